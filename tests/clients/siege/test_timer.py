import asyncio
from time import monotonic_ns

import pytest

from yais.clients.siege.open_loop import Timer

MS = 1_000_000


async def test_an_alarm_rings_after_its_time_and_at_once_for_the_past() -> None:
    rings: list[int] = []
    start = monotonic_ns()
    times = iter([start + 2 * MS, start + 4 * MS, 0, start, None])

    def ring() -> int | None:
        rings.append(monotonic_ns())
        return next(times)

    await Timer(ring).run()
    assert len(rings) == 5
    assert rings[1] >= start + 2 * MS
    assert rings[2] >= start + 4 * MS


async def test_an_alarm_can_be_woken_from_a_wait_of_any_length() -> None:
    times = iter([10**40, None])
    alarm = Timer(lambda: next(times))
    asyncio.get_running_loop().call_soon(alarm.wake)
    await alarm.run()
    assert next(times, "rung twice") == "rung twice"


async def test_waking_an_alarm_that_is_over_does_nothing() -> None:
    alarm = Timer(lambda: None)
    await alarm.run()
    alarm.wake()


async def test_what_goes_wrong_in_a_ring_ends_the_alarm() -> None:
    def ring() -> int | None:
        raise ValueError("no such time")

    with pytest.raises(ValueError, match="no such time"):
        await Timer(ring).run()
