"""Plan cache: plans of ONNX files, built when they are first wanted and kept in a folder."""

import fcntl
import hashlib
import logging
from collections.abc import Iterator
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING

from yais.engines.base import EngineError
from yais.engines.builder.model import read_model
from yais.engines.cuda.device import CudaDevice
from yais.engines.tensorrt.library import Library

if TYPE_CHECKING:
    from onnx import GraphProto, TensorProto

logger = logging.getLogger(__name__)

# To be counted up when plans are built in another way.
_FORMAT = 2


def cached_plan(
    model: Path,
    library: Library,
    device: CudaDevice,
    max_batch_size: int | None,
    folder: Path | None,
    broken: int | None = None,
) -> Path:
    """The file of a plan for what `model` holds, this TensorRT and this kind of GPU. Raises `EngineError`.

    Processes that want the same plan at the same time build it once. `folder` is the user's cache unless given, and
    need not be writable if the plan is there. `broken`: the inode of one that is of no use, instead of which another
    is built.
    """
    plan = (folder or _default_folder()) / f"{model.stem}-{_key(model, library, device, max_batch_size)}.engine"
    if not _is_missing(plan, broken):
        logger.info("Found %s, the plan of %s for %s", plan, model, device.name)
        return plan
    try:
        plan.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise EngineError(f"--plan-cache: cannot make the folder '{plan.parent}': {error.strerror}") from error
    # The lock is a file of its own, since the plan is replaced.
    lock = plan.with_suffix(".lock")
    try:
        file = lock.open("w")
    except OSError as error:
        raise EngineError(f"--plan-cache: cannot write '{lock}': {error.strerror}") from error
    with file:
        # On the file, not on the process: a lock by fcntl() would not keep two threads apart. It ends with the process.
        fcntl.flock(file, fcntl.LOCK_EX)
        # Another process may have built it while this one waited.
        if _is_missing(plan, broken):
            _build(model, plan, library, device, max_batch_size)
    return plan


def _is_missing(plan: Path, broken: int | None) -> bool:
    return not plan.exists() or plan.stat().st_ino == broken


def _build(model: Path, plan: Path, library: Library, device: CudaDevice, max_batch_size: int | None) -> None:
    # The builder is only loaded when there is something to build.
    from yais.engines.builder.build import BuildOptions, build_plan
    from yais.engines.builder.output import write_whole

    logger.info("Building a plan of %s for %s with %s; this takes a while", model, device.name, library.title)
    started = monotonic()
    capabilities = ("current",) if library.features.builds_without_gpu else ()
    with device:
        data = build_plan(model, BuildOptions(max_batch=max_batch_size, capabilities=capabilities), library)
    write_whole(plan, data)
    logger.info("Built %s in %.0f s", plan, monotonic() - started)


def _key(model: Path, library: Library, device: CudaDevice, max_batch_size: int | None) -> str:
    # A plan is of one TensorRT and one kind of GPU, and tuned for the clocks and memory of that kind.
    facts = (_FORMAT, library.title, device.name, device.capability, max_batch_size)
    content = hashlib.sha256(repr(facts).encode())
    # Weights may lie in files beside the model, which only names them.
    tensors = _tensors(read_model(model, weights=False).graph)
    names = {entry.value for tensor in tensors for entry in tensor.external_data if entry.key == "location"}
    for file in (model, *(model.parent / name for name in sorted(names))):
        with file.open("rb") as source:
            content.update(hashlib.file_digest(source, "sha256").digest())
    return content.hexdigest()[:24]


def _tensors(graph: "GraphProto") -> "Iterator[TensorProto]":
    """All constants of a graph, and of those within it."""
    yield from graph.initializer
    for attribute in (attribute for node in graph.node for attribute in node.attribute):
        # An attribute of another kind has an empty tensor here, and an empty graph below.
        yield attribute.t
        for inner in (attribute.g, *attribute.graphs):
            yield from _tensors(inner)


def _default_folder() -> Path:
    try:
        from platformdirs import user_cache_path
    except ModuleNotFoundError as error:
        raise EngineError("the package platformdirs is missing: pip install 'yais[gpu]', or --plan-cache") from error
    return user_cache_path("yais", appauthor=False) / "plans"
