"""Results of a folder: a JSON file for each benchmark, and the page of tables made of all of them."""

import json
import os
import platform
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, distributions, version
from pathlib import Path
from typing import Any

import psutil

from bench.measure import PEERS_FOLDER, ROOT, Size
from bench.report.columns import is_noisy
from bench.report.sections import SECTIONS

FOLDER = ROOT / "bench" / "results"

_PEERS = ("nvidia-pytriton", "mlserver")
_LIBRARIES = ("grpc++", "libnghttp2")
_PACKAGES = ("yais", "grpcio", "protobuf", "uvloop", "numpy", "onnxruntime", "prometheus-client")
# Results are no part of what is measured.
_SOURCES = (".", ":(exclude)bench/results")


@dataclass(frozen=True, slots=True)
class Facts:
    """What figures depend on besides the code. `commit` is None where the sources are not those of a commit.

    `gpu` is told where one takes part.
    """

    taken: str
    cpu: str
    cores: int
    memory_gib: float
    kernel: str
    python: str
    packages: dict[str, str]
    commit: str | None
    gpu: dict[str, Any] | None = None

    @classmethod
    def now(cls) -> "Facts":
        return cls(
            taken=datetime.now(UTC).isoformat(timespec="minutes"),
            cpu=_cpu_model(),
            cores=os.cpu_count() or 1,
            memory_gib=round(psutil.virtual_memory().total / 2**30, 1),
            kernel=f"{platform.system()} {platform.release()}",
            python=f"{platform.python_implementation()} {platform.python_version()}",
            packages=dict(_versions()) | dict(_libraries()) | dict(_peers()),
            commit=_commit(),
        )


def write(folder: Path, benchmark: str, size: Size, facts: Facts, rows: Sequence[Any]) -> Path:
    """Writes the dataclasses `rows` of one benchmark to `folder`."""
    content = {
        "benchmark": benchmark,
        "size": size._asdict(),
        "facts": asdict(facts),
        "rows": [asdict(row) for row in rows],
    }
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{benchmark}.json"
    path.write_text(json.dumps(content, indent=2) + "\n")
    return path


def noisy_rows(path: Path) -> int:
    """How many rows of a benchmark's results were taken while other processes had too much."""
    return sum(is_noisy(row) for row in json.loads(path.read_text())["rows"])


def exceeded(path: Path) -> list[str]:
    """The rows of a comparison that are above their bound, in a line each."""
    return [
        f"{row['case']}: {row['of_medians']:.4f} of the other commit's, and at most {row['bound']['value']:g} was asked"
        for row in json.loads(path.read_text())["rows"]
        # The other commit's own rows have no bound.
        if row["bound"] and row["of_medians"] > row["bound"]["value"]
    ]


def page(folder: Path) -> str:
    """All benchmarks that have results in `folder`."""
    # The order of the sections, in whatever order the benchmarks were run.
    return "\n".join(line for name in SECTIONS for line in _section(name, folder / f"{name}.json"))


def _section(name: str, path: Path) -> Iterator[str]:
    if not path.exists():
        return
    result = json.loads(path.read_text())
    title, columns = SECTIONS[name]
    yield f"## {title}\n"
    yield _line([column.heading for column in columns])
    yield _line(["---"] * len(columns))
    for row in result["rows"]:
        yield _line([column.cell(row) for column in columns])
    yield f"\n{_origin(result)}\n"
    if (plot := path.with_suffix(".svg")).exists():
        yield f"![{title}]({plot.name})\n"


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _origin(result: dict[str, Any]) -> str:
    size, facts = result["size"], result["facts"]
    packages = ", ".join(f"{name} {version}" for name, version in facts["packages"].items())
    machine = f"{facts['cpu']}, {facts['cores']} cores, {facts['memory_gib']:g} GiB"
    commit = f"commit {facts['commit']}" if facts["commit"] else "sources that are not those of a commit"
    return (
        f"{size['rounds']} rounds of {size['requests']:,}. {facts['taken']}; {commit}; {machine}; "
        f"{facts['kernel']}, {facts['python']}, {packages}{_gpu_facts(facts.get('gpu'))}."
    )


def _gpu_facts(facts: dict[str, Any] | None) -> str:
    if facts is None:
        return ""
    told = ", ".join(f"{name} {value}" for name, value in (*facts["nvml"].items(), *facts["packages"].items()))
    return f"; {facts['name']}, {facts['memory_gib']:g} GiB, CUDA {facts['cuda']}, {facts['runtime']}, {told}"


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    # On aarch64 the kernel names no model.
    return platform.machine()


def _versions() -> Iterator[tuple[str, str]]:
    """Of those that are installed: a distribution for GPUs can stand in for another."""
    for package in _PACKAGES:
        with suppress(PackageNotFoundError):
            yield package, version(package)


def _libraries() -> Iterator[tuple[str, str]]:
    """The versions of those that are installed, in C or C++."""
    for library in _LIBRARIES:
        with suppress(OSError, subprocess.CalledProcessError):
            yield library, _output("pkg-config", "--modversion", library)


def _peers() -> Iterator[tuple[str, str]]:
    """The versions of those that have environments of their own."""
    # By their folders: importlib.metadata looks into this environment only.
    folders = [str(folder) for folder in sorted(PEERS_FOLDER.glob("*/lib/python3*/site-packages"))]
    for package in distributions(path=folders):
        if package.name in _PEERS:
            yield package.name, package.version


def _commit() -> str | None:
    try:
        # Figures of uncommitted changes name no commit, since none has the code that was measured.
        changes = _output("git", "status", "--porcelain", "--", *_SOURCES)
        return None if changes else _output("git", "rev-parse", "--short=12", "HEAD")
    except (OSError, subprocess.CalledProcessError):
        return None


def _output(*command: str) -> str:
    return subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.strip()
