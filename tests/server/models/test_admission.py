import asyncio
from collections.abc import Callable

import pytest

from yais.server.errors import DrainingError
from yais.server.models.admission import Admission


async def test_an_open_door_lets_everybody_in_and_counts_them() -> None:
    admission = Admission()
    admission.check()
    admission.enter()
    admission.enter()
    assert admission.in_flight == 2
    admission.leave()
    assert admission.in_flight == 1
    admission.leave()
    assert admission.in_flight == 0
    assert not admission.is_closed


@pytest.mark.parametrize("ask", [Admission.check, Admission.enter], ids=["check", "enter"])
async def test_a_closed_door_lets_nobody_in(ask: Callable[[Admission], None]) -> None:
    admission = Admission()
    admission.close()
    assert admission.is_closed
    with pytest.raises(DrainingError, match="has stopped accepting new requests"):
        ask(admission)
    assert admission.in_flight == 0


async def test_asking_at_the_door_is_not_yet_coming_in() -> None:
    admission = Admission()
    admission.check()
    assert admission.in_flight == 0


async def test_a_server_without_work_is_empty_as_soon_as_it_closes() -> None:
    admission = Admission()
    waiting = asyncio.create_task(admission.wait_empty())
    await asyncio.sleep(0)
    admission.enter()
    admission.leave()
    await asyncio.sleep(0)
    assert not waiting.done()
    admission.close()
    async with asyncio.timeout(30):
        await waiting


async def test_a_server_with_work_is_empty_once_the_last_request_is_answered() -> None:
    admission = Admission()
    admission.enter()
    admission.enter()
    admission.close()
    admission.close()
    waiting = asyncio.create_task(admission.wait_empty())
    await asyncio.sleep(0)
    admission.leave()
    await asyncio.sleep(0)
    assert not waiting.done()
    admission.leave()
    async with asyncio.timeout(30):
        await waiting
