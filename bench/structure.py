"""Structure of the code: the shape of each package, the modules that one ModelInfer crosses, and names used twice.

`python -m bench.structure` prints all that, and judges nothing. Modules of Python are those that have a frame while the
request is served; extension modules are those of whose code the kernel has seen a page used.
"""

import ast
import asyncio
import gc
import io
import re
import sys
import threading
import tokenize
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median, quantiles
from types import FrameType
from typing import Any, NamedTuple

import grpc
import numpy as np
import uvloop

from bench.closed_loop import message
from bench.measure import ROOT, engine
from yais.server.config import Config, EngineSource
from yais.server.service import Service

PRODUCT = ("proto", "transport", "engines", "server", "clients")
PACKAGES = (*PRODUCT, "bench")

_METHOD = "/inference.GRPCInferenceService/ModelInfer"
# By then templates are known, and how long a run takes.
_WARM_UP = 100
# Seconds. A delay leaves all batches to the threads; without one, runs as short as identity's stay on the loop.
_MAX_QUEUE_DELAYS = {"on the event loop": 0.0, "on a context's thread": 1e-4}
_CLASS = re.compile(r"^(?:cdef )?class (\w+)", re.MULTILINE)
# Comments for tools.
_DIRECTIVE = re.compile(r"#\s*(type:|noqa|pragma|!)")

Function = ast.FunctionDef | ast.AsyncFunctionDef


class PackageShape(NamedTuple):
    """Figures of a package: lengths are in lines, shares in percent."""

    modules: int
    functions: int
    median_length: float
    p90_length: float
    used_once: float
    comments: float


@dataclass
class Source:
    """Python modules, read."""

    texts: list[str]

    def __post_init__(self) -> None:
        nodes = [node for text in self.texts for node in ast.walk(ast.parse(text))]
        self.functions: list[Function] = [node for node in nodes if isinstance(node, Function)]
        # Functions are used as names, methods as attributes; a definition is neither.
        self.uses = Counter(
            node.id if isinstance(node, ast.Name) else node.attr
            for node in nodes
            if isinstance(node, ast.Name | ast.Attribute)
        )

    def shape(self) -> PackageShape:
        # `quantiles` needs at least two.
        lengths = [each.end_lineno - each.lineno + 1 for each in self.functions if each.end_lineno] or [0, 0]
        private = [each.name for each in self.functions if re.match(r"_(?!_)", each.name)]
        once = sum(self.uses[name] == 1 for name in private)
        lines = sum(text.count("\n") for text in self.texts)
        comments = sum(map(_comments, self.texts))
        return PackageShape(
            modules=len(self.texts),
            functions=len(self.functions),
            median_length=median(lengths),
            p90_length=quantiles(lengths, n=10)[-1],
            used_once=100 * once / max(1, len(self.functions)),
            comments=100 * comments / max(1, lines),
        )


def shape(folder: Path) -> PackageShape:
    """The figures of all that lies below `folder` and was written by hand."""
    files = [path for path in sorted(folder.rglob("*.py")) if "_pb2" not in path.name]
    return Source([path.read_text() for path in files]).shape()


def _comments(text: str) -> int:
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    return sum(token.type == tokenize.COMMENT and not _DIRECTIVE.match(token.string) for token in tokens)


def repeated_classes(folders: Iterable[Path]) -> dict[str, list[Path]]:
    """The modules of each class whose name another module has for one of its own, in Python or in Cython."""
    modules = defaultdict(list)
    for path in sorted(path for folder in folders for path in folder.rglob("*.py*")):
        if path.suffix in (".py", ".pyx") and "_pb2" not in path.name:
            for name in _CLASS.findall(path.read_text()):
                modules[name].append(path)
    return {name: places for name, places in sorted(modules.items()) if len(places) > 1}


class Trace:
    """Modules of `yais` with a frame in the threads that have `note` for their profile function."""

    def __init__(self) -> None:
        self.is_on = False
        self.modules: dict[str, None] = {}

    def note(self, frame: FrameType, event: str, argument: Any) -> None:
        name = frame.f_globals.get("__name__", "")
        if self.is_on and name.startswith("yais."):
            self.modules[name] = None


@contextmanager
def _traced(trace: Trace) -> Iterator[set[str]]:
    """Traces what is done meanwhile; the set has the names of extension modules in the end."""
    extensions: set[str] = set()
    gc.collect()
    # A collection would touch whatever has garbage.
    gc.disable()
    # Clears the kernel's "referenced" marks on all pages, which smaps shows.
    Path("/proc/self/clear_refs").write_text("1")
    trace.is_on = True
    try:
        yield extensions
    finally:
        trace.is_on = False
        extensions.update(_used_extensions(Path("/proc/self/smaps").read_text()))
        gc.enable()


def _used_extensions(smaps: str) -> Iterator[str]:
    """Extension modules of `yais` whose code has been used since the kernel's marks were cleared."""
    for mapping in re.split(r"\n(?=[0-9a-f]+-[0-9a-f]+ )", smaps):
        # Only the executable mapping: a module's data may be touched although none of its code has run.
        path = re.search(rf" r-xp .* {re.escape(str(ROOT))}/(\w\S+)\.cpython\S+\.so", mapping)
        used = re.search(r"^Referenced: +(\d+) kB", mapping, re.MULTILINE)
        if path and used and int(used[1]):
            yield f"yais.{path[1].replace('/', '.')}"


async def _crossed(max_queue_delay: float) -> tuple[list[str], list[str]]:
    """The modules of Python, and the extension modules, that serve one request which came before."""
    trace = Trace()
    service = Service(_config(max_queue_delay), on_lost=lambda: None)
    # Only threads that start from now on have it, as those of the contexts do.
    threading.setprofile(trace.note)
    await service.load()
    threading.setprofile(None)
    await service.listen()
    data = message("identity", "INPUT0", np.zeros(16, np.float32))
    with grpc.insecure_channel(f"127.0.0.1:{service.port}") as channel:
        infer: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(_METHOD)
        for _ in range(_WARM_UP):
            await asyncio.to_thread(infer, data)
        # The event loop's own thread, which has been running all along.
        sys.setprofile(trace.note)
        with _traced(trace) as extensions:
            await asyncio.to_thread(infer, data)
        sys.setprofile(None)
    await service.drain()
    return list(trace.modules), sorted(extensions)


def _config(max_queue_delay: float) -> Config:
    return Config(
        engines=[EngineSource("identity", engine("identity"))],
        host="127.0.0.1",
        port=0,
        metrics=0,
        threads=1,
        max_batch_size=8,
        max_queue_delay=max_queue_delay,
        max_message_size=2**20,
        drain_timeout=1.0,
    )


def _rooms(package: str) -> Iterable[Path]:
    """The folder of a package, and those in it that are packages, too."""
    folder = ROOT / package
    return [folder, *sorted(path.parent for path in folder.glob("*/__init__.py"))]


def main() -> None:
    print(f"{'package':24} {'modules':>7} {'functions':>9} {'median':>6} {'p90':>4} {'once %':>6} {'comments %':>10}")
    for folder in [room for package in PACKAGES for room in _rooms(package)]:
        figures = shape(folder)
        print(
            f"{folder.relative_to(ROOT)!s:24} {figures.modules:7} {figures.functions:9} {figures.median_length:6.0f} "
            f"{figures.p90_length:4.0f} {figures.used_once:6.1f} {figures.comments:10.1f}"
        )
    repeated = repeated_classes(ROOT / package for package in PRODUCT)
    print(f"\nClasses of the product that share their name: {len(repeated)}")
    for name, places in repeated.items():
        print(f"  {name:22} {' '.join(str(place.relative_to(ROOT)) for place in places)}")
    for way, max_queue_delay in _MAX_QUEUE_DELAYS.items():
        modules, extensions = uvloop.run(_crossed(max_queue_delay))
        print(f"\nModelInfer, run {way}: {len(modules) + len(extensions)} modules")
        print("\n".join(f"  {name}" for name in (*modules, *extensions)))


if __name__ == "__main__":
    main()
