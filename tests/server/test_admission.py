import asyncio

import pytest

from yais.server.admission import Admission
from yais.server.errors import DrainingError


async def test_an_open_door_lets_everybody_in_and_counts_them() -> None:
    admission = Admission()
    with admission:
        with admission:
            assert admission.in_flight == 2
        assert admission.in_flight == 1
    assert admission.in_flight == 0
    assert not admission.is_closed


async def test_a_closed_door_lets_nobody_in() -> None:
    admission = Admission()
    admission.close()
    assert admission.is_closed
    with pytest.raises(DrainingError, match="has stopped accepting new requests"), admission:
        pytest.fail("was let in")
    assert admission.in_flight == 0


async def test_a_request_that_fails_is_no_longer_in_flight() -> None:
    admission = Admission()
    with pytest.raises(ZeroDivisionError), admission:
        raise ZeroDivisionError
    assert admission.in_flight == 0


async def test_a_server_without_work_is_empty_as_soon_as_it_closes() -> None:
    admission = Admission()
    waiting = asyncio.create_task(admission.wait_empty())
    await asyncio.sleep(0)
    with admission:
        pass
    await asyncio.sleep(0)
    assert not waiting.done()
    admission.close()
    async with asyncio.timeout(30):
        await waiting


async def test_a_server_with_work_is_empty_once_the_last_request_is_answered() -> None:
    admission = Admission()
    admission.__enter__()
    admission.__enter__()
    admission.close()
    admission.close()
    waiting = asyncio.create_task(admission.wait_empty())
    await asyncio.sleep(0)
    admission.__exit__()
    await asyncio.sleep(0)
    assert not waiting.done()
    admission.__exit__()
    async with asyncio.timeout(30):
        await waiting
