"""`python -m bench`: runs the benchmarks and prints their table."""

from collections.abc import Sequence
from dataclasses import asdict, replace
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol, cast

import click

from bench.measure import BenchError, NotInstalledError, Size
from bench.report import plots
from bench.report import sections as table
from bench.report.results import FOLDER, Facts, write


class Benchmark(Protocol):
    """A module that measures, and how much of it is a short and a full run."""

    SHORT: Size
    FULL: Size

    def run(self, size: Size, *comparison: Any) -> Sequence[Any]: ...


# The name of a benchmark is where its module is, unless MODULES has another place: service-cost is bench.service.cost.
BENCHMARKS = (
    "service-cost",
    "service-latency",
    "service-concurrency",
    "service-start",
    "service-stages",
    "service-engines",
    "service-overload",
    "service-scaling",
    "service-workers",
    "memory",
    "recording",
    "instructions",
    "transport-unary",
    "transport-bodies",
    "transport-latency",
    "transport-clients",
    "transport-streaming",
    "transport-scaling",
    "transport-idle",
    "gpu-accuracy",
    "gpu-sweep",
    "gpu-served",
    "gpu-soak",
    "gpu-knee",
    "siege-rate",
    "siege-steps",
    "siege-lag",
    "siege-recorder",
    "siege-hour",
    "siege-memory",
)
MODULES = {
    "service-stages": "micro",
    "memory": "service.footprint",
    "transport-clients": "transport.client_cost",
    "transport-scaling": "transport.server_cost",
    "gpu-served": "gpu.throughput",
    "siege-memory": "siege.growth",
}
# The one that takes another commit, and says what exceeds a bound.
COMPARING = "instructions"
GROUPS = ("service", "transport", "gpu", "siege")


@click.command()
@click.argument("names", nargs=-1, type=click.Choice([*BENCHMARKS, *GROUPS]))
@click.option("--full", is_flag=True, help="The long runs, whose results are kept in bench/results.")
@click.option("--rounds", type=click.IntRange(min=2), help="How often everything is measured, in turn.")
@click.option("--requests", type=click.IntRange(min=10), help="Requests of a round.")
@click.option("--against", metavar="COMMIT", help="What `instructions` measures beside this checkout.")
@click.option("--bound", type=float, help="The most it may take of COMMIT's instructions; more is an error.")
@click.option(
    "--results",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where results are written.  [default: bench/results with --full, otherwise bench/results/short]",
)
def main(
    names: Sequence[str],
    full: bool,
    rounds: int | None,
    requests: int | None,
    against: str | None,
    bound: float | None,
    results: Path | None,
) -> None:
    """Runs the benchmarks NAMES, or all of them, and prints the table of all results there are."""
    if against and COMPARING not in chosen(names):
        raise click.UsageError(f"--against is for {COMPARING}")
    if bound and not against:
        raise click.UsageError("--bound needs --against")
    unmet: list[str] = []
    folder = results or (FOLDER if full else FOLDER / "short")
    facts = Facts.now()
    for name in chosen(names):
        benchmark = _module(name)
        usual = benchmark.FULL if full else benchmark.SHORT
        size = Size(rounds or usual.rounds, requests or usual.requests, full)
        click.echo(f"{name}: {size.rounds} rounds of {size.requests:,} ...", err=True)
        try:
            its_facts = _with_gpu(facts) if name.startswith("gpu-") else facts
            comparison = (against, bound) if name == COMPARING else ()
            path = write(folder, name, size, its_facts, benchmark.run(size, *comparison))
        except NotInstalledError as missing:
            click.echo(f"  left out: {missing}", err=True)
            # Or else a bound would hold where nothing can be counted.
            unmet += [f"{name}: left out"] if name == COMPARING and bound else []
        except BenchError as error:
            raise click.ClickException(f"{name}: {error}") from error
        else:
            unmet += table.exceeded(path) if name == COMPARING else []
            if noisy := table.noisy_rows(path):
                click.echo(f"  noisy, measure again: other processes had too much in {noisy} rows", err=True)
    folder.mkdir(parents=True, exist_ok=True)
    plots.draw(folder)
    page = table.page(folder)
    (folder / "README.md").write_text(f"# Results\n\n{page}")
    click.echo(page)
    if unmet:
        raise click.ClickException("\n".join(unmet))


def chosen(names: Sequence[str]) -> list[str]:
    """All benchmarks that are named, by themselves or by their group; without names simply all."""
    return [one for one in BENCHMARKS if not names or one in names or one.partition("-")[0] in names]


def _with_gpu(facts: Facts) -> Facts:
    """Raises `NotInstalledError` where there is none."""
    from bench.gpu.machine import find_gpu

    return replace(facts, gpu=asdict(find_gpu()))


def _module(name: str) -> Benchmark:
    return cast("Benchmark", import_module(f"bench.{MODULES.get(name, name.replace('-', '.'))}"))


if __name__ == "__main__":
    main()
