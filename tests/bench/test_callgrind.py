import pytest

from bench.instructions.callgrind import total
from bench.measure import BenchError

DUMP = """\
# callgrind format
version: 1
cmd:  python server.py --totals: 7

desc: Trigger: dump

positions: line
events: {events}
summary: 194

fn=(10) __errno_location
26 4
+1 2

totals: {totals}
"""


def test_totals_of_a_dump() -> None:
    assert total(DUMP.format(events="Ir", totals=204)) == 204


def test_a_dump_that_counts_something_else_as_well_is_refused() -> None:
    with pytest.raises(BenchError, match="instructions alone"):
        total(DUMP.format(events="Ir Dr", totals="204 17"))


def test_a_dump_that_was_cut_off_is_refused() -> None:
    whole = DUMP.format(events="Ir", totals=204)
    with pytest.raises(BenchError, match="not a dump"):
        total(whole.partition("totals: 204")[0])
