import pickle
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from yais.clients.siege.schedules.options import ArrivalOptions, arrival_options, make_pacer, parse_schedule, usages
from yais.clients.siege.schedules.pacer import Arrivals, Pacer, count_before
from yais.clients.siege.schedules.pacers import gamma_gaps, poisson_gaps, uniform_gaps
from yais.clients.stats.histogram import SECOND


@click.command()
@arrival_options
@click.option("--loud", is_flag=True)
def main(arrivals: ArrivalOptions, loud: bool) -> None:
    click.echo(f"{arrivals}{' !' if loud else ''}")


def run(arguments: str) -> Result:
    return CliRunner().invoke(main, arguments.split())


def all_of(pacer: Pacer) -> list[int]:
    arrivals, dues = Arrivals(pacer), list[int]()
    while taken := arrivals.take(10**18):
        dues += taken
    return dues


@pytest.mark.parametrize(
    ("arguments", "description"),
    [
        ("--rate 2500", "constant, 2,500/s"),
        ("--rate 0.5 --loud", "constant, 0.5/s !"),
        ("--rate 100 --schedule poisson", "poisson, 100/s"),
        ("--rate 100 --schedule gamma:0.25 --arrival-seed 7", "gamma:0.25, 100/s"),
        ("--rate 100 --schedule uniform", "uniform, 100/s"),
        ("--schedule pulse:10:100:2:0.25", "pulse:10:100:2:0.25"),
        ("--schedule step:10:1,0:0.5,30:2", "step:10:1,0:0.5,30:2"),
        ("--schedule ramp:0:100:10", "ramp:0:100:10"),
        ("--schedule sine:100:100:60", "sine:100:100:60"),
        ("--concurrency 8", "closed loop, 8 in flight"),
    ],
)
def test_a_plan_says_what_it_is(arguments: str, description: str) -> None:
    result = run(arguments)
    assert (result.exit_code, result.output) == (0, f"{description}\n")


@pytest.mark.parametrize(
    ("schedule", "first"),
    [
        ("poisson", poisson_gaps(10.0, 3).due_block(0, 3)),
        ("gamma:4", gamma_gaps(10.0, 4.0, 3).due_block(0, 3)),
        ("uniform", uniform_gaps(10.0, 3).due_block(0, 3)),
        ("pulse:0:4:2:0.5", [0, SECOND // 4, SECOND // 2]),
        ("step:1:2,10:1", [0, SECOND, 2 * SECOND]),
        ("ramp:2:0:1", [0]),
        ("sine:5:0:9", [0, SECOND // 5, 2 * SECOND // 5]),
    ],
)
def test_each_schedule_is_made_of_its_numbers_in_their_order(schedule: str, first: list[int]) -> None:
    parsed = parse_schedule(schedule)
    plan = ArrivalOptions(rate=10.0 if parsed.takes_rate else None, schedule=parsed, arrival_seed=3, duration=3600.0)
    assert make_pacer(plan).due_block(0, 3) == first


@pytest.mark.parametrize(
    ("schedule", "problem"),
    [
        ("often", "'often' is not one of poisson, gamma:SHAPE, uniform, pulse:LOW:HIGH:PERIOD:DUTY, step:"),
        ("poisson:3", "poisson: '3' has 1 numbers, not none"),
        ("gamma", "gamma:SHAPE: '' has 0 numbers, not one for each of SHAPE"),
        ("gamma:0", "gamma:SHAPE: SHAPE is 0, not from 0.01 to 10,000"),
        ("gamma:nan", "gamma:SHAPE: SHAPE is nan, not from 0.01 to 10,000"),
        ("gamma:smooth", "gamma:SHAPE: SHAPE is 'smooth', which is not a number"),
        (
            "pulse:1:2:3",
            "pulse:LOW:HIGH:PERIOD:DUTY: '1:2:3' has 3 numbers, not one for each of LOW, HIGH, PERIOD, DUTY",
        ),
        ("pulse:5:2:1:0.5", "LOW is 5, not at most HIGH, 2"),
        ("pulse:0:0:1:0.5", "HIGH is 0, not from 0.001 to 1,000,000"),
        ("pulse:1:2:1:1", "DUTY is 1, not from 0.001 to 0.999"),
        ("pulse:1:2:0:0.5", "PERIOD is 0, not from 0.001 to 31,622,400"),
        ("step:", "step:RATE:DURATION,RATE:DURATION,...: '' has 0 numbers, not one for each of RATE, DURATION"),
        ("step:1:2,3", "'3' has 1 numbers"),
        ("step:-1:2", "RATE is -1, not from 0 to 1,000,000"),
        ("step:0:2,0:3", "every RATE is 0, not one above it"),
        ("ramp:0:0:3", "FROM and TO are 0, not one of them above it"),
        ("ramp:1:2e6:3", "TO is 2e6, not from 0 to 1,000,000"),
        ("ramp:1:2:0", "DURATION is 0, not from 0.001"),
        ("sine:1:2:3", "AMPLITUDE is 2, not at most MEAN, 1"),
        ("sine:0:0:3", "MEAN is 0, not from 0.001"),
        ("replay:", "replay:FILE: FILE is missing"),
        ("replay:/no/such/file", "replay:FILE: /no/such/file cannot be replayed"),
    ],
)
def test_a_schedule_that_cannot_be_is_refused_with_its_part_and_bound(schedule: str, problem: str) -> None:
    result = run(f"--rate 10 --schedule {schedule}")
    assert result.exit_code == 2
    assert problem in " ".join(result.stderr.split())


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ("", "Missing option '--rate'."),
        ("--schedule uniform", "Missing option '--rate' for uniform."),
        ("--rate 5 --schedule sine:1:1:1", "--rate: sine:1:1:1 has rates of its own"),
        ("--rate 5 --concurrency 2", "--concurrency is a closed loop, which has neither --rate nor --schedule"),
        ("--schedule sine:1:1:1 --concurrency 2", "--concurrency is a closed loop"),
        ("--rate 5 --duration 1 --count 1", "--duration and --count exclude each other"),
        ("--rate 5 --warmup -1", "'--warmup': -1 is not above 0 and up to 86400s"),
        ("--rate 5 --warmup nan", "'--warmup': 'nan' is not"),
        ("--rate 5 --arrival-seed -1", "'--arrival-seed': -1 is not in the range x>=0"),
        ("--concurrency 0", "'--concurrency': 0 is not in the range 1<=x<=100000"),
        ("--concurrency 3 --dry-run", "--dry-run: a closed loop has no schedule"),
        ("--rate 3 --dry-run", "--dry-run: constant, 3/s has no end without --duration or --count"),
        ("--schedule ramp:1:1:3 --warmup 4 --dry-run", "--warmup: ramp:1:1:3 is over within 4 s"),
    ],
)
def test_options_that_cannot_be_are_refused(arguments: str, problem: str) -> None:
    result = run(arguments)
    assert result.exit_code == 2
    assert problem in " ".join(result.stderr.split())


def test_the_help_names_every_schedule() -> None:
    text = "".join(run("--help").output.split())
    assert all(usage in text for usage in usages())


@pytest.mark.parametrize(
    ("bounds", "arrivals"),
    [
        ({"count": 7}, 7),
        ({"duration": 2.0}, 20),
        ({"count": 7, "warmup": 1.5}, 22),
        ({"duration": 2.0, "warmup": 1.5}, 35),
    ],
    ids=["a count", "a duration", "a count after a warm-up", "a duration after a warm-up"],
)
def test_bounds_come_on_top_of_the_warm_up(bounds: dict[str, Any], arrivals: int) -> None:
    plan = ArrivalOptions(rate=10.0, **bounds)
    assert len(all_of(make_pacer(plan))) == arrivals


@pytest.mark.parametrize(
    ("schedule", "duration", "arrivals"),
    [
        ("step:10:1,20:2", None, 50),
        ("step:10:1,20:2", 2.0, 30),
        ("step:10:1,20:2", 5.0, 90),
        ("step:10:1,0:2", 5.0, 10),
        ("ramp:0:20:2", None, 20),
        ("ramp:0:20:2", 3.0, 40),
    ],
)
def test_steps_and_ramps_end_by_themselves_and_go_on_when_they_are_to(
    schedule: str, duration: float | None, arrivals: int
) -> None:
    plan = ArrivalOptions(schedule=parse_schedule(schedule), duration=duration)
    assert len(all_of(make_pacer(plan))) == arrivals


@pytest.mark.parametrize("schedule", ["poisson", "sine:100:50:3"])
def test_a_plan_can_be_given_to_another_process(schedule: str) -> None:
    plan = ArrivalOptions(rate=100.0 if schedule == "poisson" else None, schedule=parse_schedule(schedule), count=20)
    assert all_of(make_pacer(pickle.loads(pickle.dumps(plan)))) == all_of(make_pacer(plan))


def test_random_arrivals_are_counted_after_the_warm_up_too() -> None:
    plan = ArrivalOptions(rate=100.0, schedule=parse_schedule("poisson"), count=50, warmup=2.0)
    pacer = make_pacer(plan)
    assert len(all_of(pacer)) == 50 + count_before(pacer, 2 * SECOND)


def test_a_dry_run_prints_the_schedule_and_calls_nothing() -> None:
    result = run("--schedule step:4:0.5,2:1 --dry-run --loud")
    assert result.exit_code == 0
    assert result.stdout == "0.000000000\n0.250000000\n0.500000000\n1.000000000\n"
    assert result.stderr == (
        "4 arrivals from 0.000 s to 1.000 s; "
        "gaps: mean 333.333 ms, deviation 117.851 ms, from 250.000 ms to 500.000 ms\n"
    )


@pytest.mark.parametrize("schedule", ["poisson", "gamma:0.1", "uniform"])
def test_a_dry_run_can_be_replayed(tmp_path: Path, schedule: str) -> None:
    file = tmp_path / "arrivals"
    arguments = f"--rate 1000 --schedule {schedule} --arrival-seed 5 --count 1000 --dry-run"
    file.write_text(run(arguments).stdout)
    again = run(f"--schedule replay:{file} --dry-run")
    assert again.stdout == file.read_text()
    assert len(again.stdout.splitlines()) == 1000
