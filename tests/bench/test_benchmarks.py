from importlib import import_module

import pytest

from bench.__main__ import MODULES, load
from bench.report.plots import BARS, CASES, LINES
from bench.report.sections import SECTIONS


@pytest.mark.parametrize("module", sorted(set(MODULES.values())))
def test_each_benchmark_of_a_module_can_be_run_by_its_name(module: str) -> None:
    names = [name for name, place in MODULES.items() if place == module]
    assert sorted(import_module(f"bench.{module}").BENCHMARKS) == sorted(names)


@pytest.mark.parametrize("name", MODULES)
def test_a_full_run_of_a_benchmark_is_no_shorter_than_a_short_one(name: str) -> None:
    benchmark = load(name)
    assert benchmark.full.rounds >= benchmark.short.rounds
    assert benchmark.full.requests >= benchmark.short.requests


def test_each_benchmark_has_a_section_in_the_report() -> None:
    assert set(SECTIONS) == set(MODULES)


def test_what_is_drawn_is_a_benchmark() -> None:
    assert {*BARS, *LINES, *CASES} <= set(MODULES)
