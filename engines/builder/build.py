"""Building a plan out of an ONNX file."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from yais.engines.builder.config import make_config, save_timing_cache
from yais.engines.builder.model import declared_batch, read_model, rewrite, save
from yais.engines.builder.network import Network, parse
from yais.engines.builder.options import BuildOptions
from yais.engines.builder.profiles import BatchRange, Profile, ShapeRange, plan_profiles
from yais.engines.builder.progress import Monitor, make_monitor
from yais.engines.tensorrt.bindings import NO_BATCH
from yais.engines.tensorrt.library import Library
from yais.engines.zoo import BuildError

if TYPE_CHECKING:
    import tensorrt as trt

__all__ = ["BatchRange", "BuildOptions", "Prepared", "ShapeRange", "build_plan", "build_prepared", "prepare"]

# What TensorRT-RTX says of a network whose data decide shapes: such a plan has to take memory while it runs.
_TAKES_MEMORY = "requireUserAllocation|REQUIRE_USER_ALLOCATION"


@dataclass(frozen=True, slots=True)
class Prepared:
    """A network that can be built, and the profiles for it."""

    network: Network
    profiles: list[Profile]


def build_plan(model: Path, options: BuildOptions, library: Library, monitor: Monitor | None = None) -> bytes:
    """The plan of the ONNX file `model`. Raises `BuildError`. Takes minutes on a GPU, in which other threads go on."""
    return build_prepared(prepare(model, options, library), options, monitor)


def prepare(model: Path, options: BuildOptions, library: Library) -> Prepared:
    """Does all that can fail for what the model is or what is asked of it. Raises `BuildError`."""
    options.check(library)
    with _rewritten(model, options) as (path, name, declared):
        network = parse(path, library)
    has_none = declared == 0 or options.max_batch == 0
    network.definition.name = name + NO_BATCH if has_none else name
    return Prepared(network, plan_profiles(network.inputs, network.outputs, options.bounds, declared))


def build_prepared(prepared: Prepared, options: BuildOptions, monitor: Monitor | None = None) -> bytes:
    network = prepared.network
    config = make_config(network, options, prepared.profiles)
    # TensorRT does not keep the monitor alive.
    watching = make_monitor(network.library.module, monitor) if monitor is not None else None
    if watching is not None:
        config.progress_monitor = watching
    plan, told = _build(network, config)
    if plan is None and re.search(_TAKES_MEMORY, told):
        config.clear_flag(network.library.module.BuilderFlag.REQUIRE_USER_ALLOCATION)
        plan, told = _build(network, config)
    if plan is None:
        raise BuildError(f"{network.library.title} cannot build '{network.definition.name}': {told}")
    if options.timing_cache and network.library.features.has_timing_cache:
        save_timing_cache(config, options.timing_cache)
    return bytes(plan)


def _build(network: Network, config: "trt.IBuilderConfig") -> "tuple[trt.IHostMemory | None, str]":
    """The plan, or None and what TensorRT told."""
    network.messages.take()
    plan: trt.IHostMemory | None = network.builder.build_serialized_network(network.definition, config)
    return plan, network.messages.take() if plan is None else ""


@contextmanager
def _rewritten(path: Path, options: BuildOptions) -> Iterator[tuple[Path, str, int | None]]:
    """The file to parse, the model's name, and the largest batch that it declares."""
    model = read_model(path, weights=options.is_rewrite)
    name, declared = model.graph.name or path.stem, declared_batch(model)
    if not options.is_rewrite:
        yield path, name, declared
        return
    with TemporaryDirectory() as folder:
        made = Path(folder) / path.name
        save(rewrite(model, options), made)
        yield made, name, declared
