"""`python -m bench`: runs the benchmarks and prints their table."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import click

from bench import memory, overhead, recording, resnet, table
from bench.measure import BenchError, NotInstalledError, Size
from bench.results import FOLDER, Facts, write
from bench.transport import bodies, clients, idle, latency, plots, scaling, streaming, unary


class Benchmark(NamedTuple):
    """What runs a benchmark, and how much of it is a short and a full run."""

    run: Callable[[Size], Sequence[Any]]
    short: Size
    full: Size


BENCHMARKS = {
    "overhead": Benchmark(overhead.run, overhead.SHORT, overhead.FULL),
    "resnet": Benchmark(resnet.run, resnet.SHORT, resnet.FULL),
    "memory": Benchmark(memory.run, memory.SHORT, memory.FULL),
    "recording": Benchmark(recording.run, recording.SHORT, recording.FULL),
    "transport-unary": Benchmark(unary.run, unary.SHORT, unary.FULL),
    "transport-bodies": Benchmark(bodies.run, bodies.SHORT, bodies.FULL),
    "transport-latency": Benchmark(latency.run, latency.SHORT, latency.FULL),
    "transport-clients": Benchmark(clients.run, clients.SHORT, clients.FULL),
    "transport-streaming": Benchmark(streaming.run, streaming.SHORT, streaming.FULL),
    "transport-scaling": Benchmark(scaling.run, scaling.SHORT, scaling.FULL),
    "transport-idle": Benchmark(idle.run, idle.SHORT, idle.FULL),
}
GROUPS = ("transport",)


@click.command()
@click.argument("names", nargs=-1, type=click.Choice([*BENCHMARKS, *GROUPS]))
@click.option("--full", is_flag=True, help="The long runs, whose results are kept in bench/results.")
@click.option("--rounds", type=click.IntRange(min=2), help="How often everything is measured, in turn.")
@click.option("--requests", type=click.IntRange(min=10), help="Requests of a round.")
@click.option(
    "--results",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where results are written.  [default: bench/results with --full, otherwise bench/results/short]",
)
def main(names: Sequence[str], full: bool, rounds: int | None, requests: int | None, results: Path | None) -> None:
    """Runs the benchmarks NAMES, or all of them, and prints the table of all results there are."""
    folder = results or (FOLDER if full else FOLDER / "short")
    facts = Facts.now()
    for name in chosen(names):
        benchmark = BENCHMARKS[name]
        usual = benchmark.full if full else benchmark.short
        size = Size(rounds or usual.rounds, requests or usual.requests)
        click.echo(f"{name}: {size.rounds} rounds of {size.requests:,} ...", err=True)
        try:
            write(folder, name, size, facts, benchmark.run(size))
        except NotInstalledError as missing:
            click.echo(f"  left out: {missing}", err=True)
        except BenchError as error:
            raise click.ClickException(f"{name}: {error}") from error
    plots.draw(folder)
    page = table.page(folder)
    (folder / "README.md").write_text(f"# Results\n\n{page}")
    click.echo(page)


def chosen(names: Sequence[str]) -> list[str]:
    """All benchmarks that are named, by themselves or by their group; without names simply all."""
    return [one for one in BENCHMARKS if not names or one in names or one.partition("-")[0] in names]


if __name__ == "__main__":
    main()
