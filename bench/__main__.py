"""Command line of the benchmarks: `python -m bench` runs them and prints their table."""

from collections.abc import Sequence
from dataclasses import asdict, replace
from importlib import import_module
from pathlib import Path

import click

from bench.measure import BenchError, Benchmark, NotInstalledError, Size
from bench.report import plots
from bench.report.results import FOLDER, Facts, exceeded, noisy_rows, page, write

# Name of a benchmark -> the module below `bench` with a table of such, which is imported when it is to run.
MODULES = {
    "service-cost": "service.cost",
    "service-latency": "service.cost",
    "service-concurrency": "service.scaling",
    "service-start": "service.footprint",
    "service-stages": "micro",
    "service-engines": "service.cost",
    "service-overload": "service.overload",
    "service-scaling": "service.scaling",
    "service-workers": "service.scaling",
    "memory": "service.footprint",
    "recording": "micro",
    "instructions": "instructions.comparison",
    "transport-unary": "transport.server_cost",
    "transport-bodies": "transport.server_cost",
    "transport-latency": "transport.server_cost",
    "transport-clients": "transport.client_cost",
    "transport-streaming": "transport.client_cost",
    "transport-scaling": "transport.server_cost",
    "transport-idle": "transport.server_cost",
    "gpu-accuracy": "gpu.accuracy",
    "gpu-sweep": "gpu.throughput",
    "gpu-served": "gpu.throughput",
    "gpu-soak": "gpu.soak",
    "gpu-knee": "gpu.knee",
    "siege-rate": "siege.sending",
    "siege-steps": "siege.sending",
    "siege-lag": "siege.sending",
    "siege-recorder": "micro",
    "siege-hour": "siege.growth",
    "siege-memory": "siege.growth",
}
# The one that takes another commit, and says what exceeds a bound.
COMPARING = "instructions"
GROUPS = ("service", "transport", "gpu", "siege")


@click.command()
@click.argument("names", nargs=-1, type=click.Choice([*MODULES, *GROUPS]))
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
    # Taken once, so that all results of a run name the same commit and machine.
    facts = Facts.now()
    for name in chosen(names):
        benchmark = load(name)
        usual = benchmark.full if full else benchmark.short
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
            unmet += exceeded(path) if name == COMPARING else []
            if noisy := noisy_rows(path):
                click.echo(f"  noisy, measure again: other processes had too much in {noisy} rows", err=True)
    folder.mkdir(parents=True, exist_ok=True)
    # Of all results in the folder, those of earlier runs included.
    plots.draw(folder)
    tables = page(folder)
    (folder / "README.md").write_text(f"# Results\n\n{tables}")
    click.echo(tables)
    if unmet:
        raise click.ClickException("\n".join(unmet))


def chosen(names: Sequence[str]) -> list[str]:
    """All benchmarks that are named, by themselves or by their group; without names simply all."""
    return [one for one in MODULES if not names or one in names or one.partition("-")[0] in names]


def load(name: str) -> Benchmark:
    """The benchmark `name`, from the table of its module."""
    benchmarks: dict[str, Benchmark] = import_module(f"bench.{MODULES[name]}").BENCHMARKS
    return benchmarks[name]


def _with_gpu(facts: Facts) -> Facts:
    """Raises `NotInstalledError` where there is none."""
    from bench.gpu.machine import find_gpu

    return replace(facts, gpu=asdict(find_gpu()))


if __name__ == "__main__":
    main()
