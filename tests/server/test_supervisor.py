import asyncio
import logging
import re
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from yais.server import supervisor
from yais.server.config import Config
from yais.server.exit_codes import ExitCode
from yais.server.listening import StartError
from yais.server.supervisor import Supervisor

HOST = "127.0.0.1"
FAKE_WORKER = Path(__file__).with_name("fake_worker.py")


class Supervised:
    """Two workers, of which the second comes to `end`."""

    def __init__(self, end: str) -> None:
        self.lost = asyncio.Event()
        settings = Config([f"{end}.onnx"], host=HOST, port=0, metrics=0, workers=2)
        self.supervisor = Supervisor(settings, self.lost.set)

    async def start(self) -> Supervisor:
        async with asyncio.timeout(30):
            await self.supervisor.load()
            await self.supervisor.listen()
        return self.supervisor

    async def drain(self) -> ExitCode:
        async with asyncio.timeout(30):
            return await self.supervisor.drain()

    async def wait_lost(self) -> None:
        async with asyncio.timeout(30):
            await self.lost.wait()

    @property
    def processes(self) -> list[subprocess.Popen[bytes] | None]:
        return [worker._process for worker in self.supervisor._workers]


Make = Callable[[str], Supervised]


@pytest.fixture
async def make(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Make]:
    monkeypatch.setattr(supervisor, "_COMMAND", (sys.executable, "-P", str(FAKE_WORKER)))
    made: list[Supervised] = []

    def make(end: str) -> Supervised:
        made.append(Supervised(end))
        return made[-1]

    yield make
    for each in made:
        each.supervisor.kill()
        await asyncio.gather(*(worker._monitoring for worker in each.supervisor._workers if worker._process))


async def test_workers_share_a_port_and_are_ready_together(make: Make) -> None:
    supervised = make("well")
    assert not supervised.supervisor.is_ready
    supervisor = await supervised.start()
    assert supervisor.is_ready
    assert supervisor.summaries == {"m": "as worker 1 has it"}
    socket.create_server((HOST, supervisor.port), reuse_port=True).close()
    draining = asyncio.create_task(supervised.drain())
    await asyncio.sleep(0)
    assert not supervisor.is_ready
    assert await draining == ExitCode.DRAINED
    assert not supervised.lost.is_set()


async def test_the_statistics_of_all_processes_add_up_also_for_those_who_ask_together(make: Make) -> None:
    supervisor = await make("well").start()
    for stats in await asyncio.gather(*(supervisor.stats() for _ in range(5))):
        assert (stats.waiting, stats.in_flight) == ({"m": 30}, 300)
        assert [each.failures["OTHER"] for each in stats.recorders] == [3]
    families = {family.name for family in (await supervisor.stats()).process}
    assert {"process_cpu_seconds", "python_info"} <= families


async def test_whoever_stops_asking_does_not_get_in_the_way_of_others(make: Make) -> None:
    supervisor = await make("well").start()
    first, second = asyncio.create_task(supervisor.stats()), asyncio.create_task(supervisor.stats())
    await asyncio.sleep(0)
    first.cancel()
    assert (await second).in_flight == 300
    assert (await supervisor.stats()).in_flight == 300


@pytest.mark.parametrize("end", ["no engine", "no port"])
async def test_a_worker_that_cannot_start_is_a_failed_start_with_its_reason(make: Make, end: str) -> None:
    with pytest.raises(StartError, match=f"^worker 2 has {end}$"):
        await make(end).start()


async def test_a_worker_that_dies_before_it_serves_is_a_failed_start_that_tells_how(
    make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    supervised = make("killed at first")
    with pytest.raises(StartError) as caught:
        await supervised.start()
    assert re.fullmatch(
        r"worker 2 \(process \d+\) was ended by signal 9 \(Killed\) before it served", str(caught.value)
    )
    assert not supervised.lost.is_set()
    assert caplog.messages == []


async def test_a_worker_that_dies_while_others_load_is_a_failed_start_that_tells_how(make: Make) -> None:
    supervised = make("well")
    await supervised.supervisor.load()
    worker = supervised.supervisor._workers[0]
    worker.kill()
    await worker._monitoring
    with pytest.raises(
        StartError, match=r"^worker 1 \(process \d+\) was ended by signal 9 \(Killed\) before it served$"
    ):
        await supervised.supervisor.listen()


async def test_a_process_that_cannot_be_made_is_a_failed_start(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "_COMMAND", ("/no/such/python",))
    with pytest.raises(StartError, match=r"^--workers: cannot start a process: .*No such file"):
        await make("well").start()


@pytest.mark.parametrize(
    ("end", "how"),
    [("killed in service", r"was ended by signal 9 \(Killed\)"), ("left in service", "ended with exit code 7")],
)
async def test_a_worker_that_ends_by_itself_is_lost_and_what_it_did_still_counts(
    make: Make, caplog: pytest.LogCaptureFixture, end: str, how: str
) -> None:
    supervised = make(end)
    supervisor = await supervised.start()
    stats = await supervisor.stats()
    await supervised.wait_lost()
    assert not supervisor.is_ready
    assert re.fullmatch(rf"Lost worker 2 \(process \d+\) {how}", caplog.messages[0])
    assert (stats.in_flight, [each.failures["OTHER"] for each in stats.recorders]) == (100, [1])
    assert (await supervisor.stats()).in_flight == 100
    assert await supervised.drain() == ExitCode.LOST_WORKER
    assert len(caplog.messages) == 1


async def test_a_worker_that_has_lost_its_device_makes_the_exit_code_of_the_server(
    make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    supervised = make("without its device")
    supervisor = await supervised.start()
    await supervisor.stats()
    await supervised.wait_lost()
    assert not supervisor.is_ready
    assert re.fullmatch(r"Lost worker 2 \(process \d+\) ended with exit code 5", caplog.messages[0])
    assert await supervised.drain() == ExitCode.LOST_DEVICE


async def test_a_worker_that_says_that_it_has_lost_its_device_is_lost_before_it_ends(make: Make) -> None:
    supervised = make("draining without its device")
    supervisor = await supervised.start()
    asking = asyncio.create_task(supervisor.stats())
    await supervised.wait_lost()
    assert not supervisor.is_ready
    assert all(process and process.poll() is None for process in supervised.processes)
    # It was no answer: that is still to come.
    assert len(supervisor._workers[1]._answers) == 1
    assert await supervised.drain() == ExitCode.DRAINED
    await asking


async def test_a_lost_device_is_a_worse_end_than_a_lost_worker(make: Make) -> None:
    supervised = make("without its device")
    supervisor = await supervised.start()
    supervisor._workers[0].kill()
    await supervisor.stats()
    assert await supervised.drain() == ExitCode.LOST_DEVICE


@pytest.mark.parametrize(
    ("end", "code"),
    [
        ("left undone", ExitCode.UNANSWERED),
        ("killed at last", ExitCode.LOST_WORKER),
        ("without its device at last", ExitCode.LOST_DEVICE),
    ],
)
async def test_the_worst_end_of_a_worker_is_that_of_the_server(make: Make, end: str, code: ExitCode) -> None:
    supervised = make(end)
    await supervised.start()
    assert await supervised.drain() == code
    assert supervised.lost.is_set() == (code != ExitCode.UNANSWERED)


async def test_what_was_told_last_is_what_lasts_without_queues(make: Make) -> None:
    supervised = make("well")
    supervisor = await supervised.start()
    assert (await supervisor.stats()).in_flight == 300
    await supervised.drain()
    stats = await supervisor.stats()
    assert (stats.waiting, stats.in_flight) == ({"m": 0}, 0)
    assert [each.failures["OTHER"] for each in stats.recorders] == [3]


async def test_workers_are_killed_at_once(make: Make) -> None:
    supervised = make("well")
    supervisor = await supervised.start()
    supervisor.kill()
    assert [process and process.returncode for process in supervised.processes] == [-9, -9]
    with socket.create_server((HOST, supervisor.port)):
        pass


async def test_a_supervisor_without_workers_yet_has_none_to_kill(make: Make) -> None:
    make("well").supervisor.kill()


async def test_workers_do_not_hear_signals_that_are_sent_to_all(make: Make) -> None:
    supervised = make("well")
    supervisor = await supervised.start()
    for process in supervised.processes:
        assert process is not None
        for name in ("SIGTERM", "SIGINT"):
            process.send_signal(getattr(signal, name))
    assert (await supervisor.stats()).in_flight == 300
    assert await supervised.drain() == ExitCode.DRAINED


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> Any:
    caplog.set_level(logging.WARNING, "yais.server")
