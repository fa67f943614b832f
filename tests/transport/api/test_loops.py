"""Several event loops in one process: connections of one loop take nothing from those of another."""

import asyncio
import gc
import sys
from collections.abc import Iterator
from contextlib import AsyncExitStack, ExitStack
from itertools import cycle, islice
from random import Random
from typing import Any

import pytest
import trustme
import uvloop

from transport.api.messages import messages, services
from transport.api.raw import PATH, ask_raw
from transport.api.serving import ANY_PORT, Bench, servicer
from transport.api.threads import LIMIT_S, MakeLoop, Worker, turning, working
from transport.api.transports import ONLY_NATIVE
from yais.transport.scratch import Scratch

EXCHANGES = 10_000
TASKS = 5
# Within one read, of several, and of more than a loop's read buffer holds.
SIZES = (0, 10, 100, 100, 1_000, 5_000, 20_000, 70_000)
LARGE = 600_000
STREAMED = 8

UVLOOP, ASYNCIO = uvloop.new_event_loop, asyncio.new_event_loop


@pytest.fixture
def hasty() -> Iterator[None]:
    """Threads take the GIL from each other wherever they can, and not only after 5 ms."""
    usual = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(usual)


def body(place: str, turn: int, size: int) -> bytes:
    """Bytes that no other exchange has, whichever part of them is looked at."""
    mark = f"<{place}:{turn}>".encode()
    return (mark * (size // len(mark) + 1))[:size]


async def serve(bench: Bench, pair: tuple[bytes, bytes] | None = None) -> str:
    """The target of a server with an echo of each kind, the raw one included; behind TLS where it has a `pair`."""
    server = bench.make_server()
    server.add_raw_method(PATH, lambda call, message: call.respond(message))
    services.add_ProbeServicer_to_server(servicer(), server)
    if pair is None:
        port = server.add_insecure_port(ANY_PORT)
    else:
        port = server.add_secure_port(ANY_PORT, bench.ends.server.ssl_server_credentials([pair]))
    await server.start()
    return f"127.0.0.1:{port}"


async def exchange(channel: Any, place: str, turns: range, random: Random) -> None:
    """One answer after the other: most of them raw, some large, some in streams."""
    for turn in turns:
        if turn % 50 == 0:
            await chat(channel, place, turn)
        else:
            request = body(place, turn, LARGE if turn % 100 == 1 else random.choice(SIZES))
            call = await ask_raw(channel, request)
            assert (call.status, call.details) == (0, "")
            assert bytes(call.message) == request


async def chat(channel: Any, place: str, turn: int) -> None:
    sent = [messages.Note(text=f"{place}:{turn}:{n}", body=body(place, turn, 100 * 3**n)) for n in range(STREAMED)]
    call = services.ProbeStub(channel).StreamStream(iter(sent))
    assert [note async for note in call] == sent


async def converse(bench: Bench, targets: list[str], place: str, count: int, root: bytes | None = None) -> None:
    """`count` exchanges over channels to all `targets`, at once."""
    credentials = root and bench.ends.channel.ssl_channel_credentials(root)
    channels = [bench.connect(target, credentials) for target in targets]
    await asyncio.gather(*(channel.channel_ready() for channel in channels))
    each = range(count // (TASKS * len(channels)))
    await asyncio.gather(
        *(
            exchange(channel, f"{place}.{number}.{task}", each, Random(f"{place}.{number}.{task}"))
            for number, channel in enumerate(channels)
            for task in range(TASKS)
        )
    )


def converse_all(workers: list[Worker], count: int, authority: trustme.CA | None = None) -> None:
    """Each loop serves, and calls its own server and the others'; by TLS where there is an `authority`."""
    pair, root = certificate(authority) if authority else (None, None)
    targets = [worker.run(serve(worker.bench, pair)) for worker in workers]
    begun = [
        worker.begin(converse(worker.bench, targets, str(place), count // len(workers), root))
        for place, worker in enumerate(workers)
    ]
    for conversation in begun:
        conversation.result(LIMIT_S)


def certificate(authority: trustme.CA) -> tuple[tuple[bytes, bytes], bytes]:
    """A key and its certificate, and the root that they are checked against."""
    issued = authority.issue_cert("127.0.0.1")
    return (issued.private_key_pem.bytes(), issued.cert_chain_pems[0].bytes()), authority.cert_pem.bytes()


@pytest.mark.parametrize("count", [2, 4])
@pytest.mark.parametrize("loops", [(UVLOOP,), (ASYNCIO,), (UVLOOP, ASYNCIO)], ids=["uvloop", "asyncio", "both"])
def test_loops_in_threads_do_not_mix_their_messages(hasty: None, loops: tuple[MakeLoop, ...], count: int) -> None:
    with ExitStack() as stack:
        workers = [stack.enter_context(working(make)) for make in islice(cycle(loops), count)]
        converse_all(workers, EXCHANGES)


@pytest.mark.parametrize("make_loop", [UVLOOP, ASYNCIO], ids=["uvloop", "asyncio"])
def test_nor_do_they_under_tls(hasty: None, make_loop: MakeLoop) -> None:
    with working(make_loop) as one, working(make_loop) as other:
        converse_all([one, other], EXCHANGES // 10, trustme.CA())


@pytest.mark.parametrize("make_loop", [UVLOOP, ASYNCIO], ids=["uvloop", "asyncio"])
def test_a_loop_may_go_on_in_another_thread(hasty: None, make_loop: MakeLoop) -> None:
    """What its connections read into goes with it, and is not what the next loop of its first thread reads into."""
    first, second = make_loop(), make_loop()
    stack, later = AsyncExitStack(), AsyncExitStack()
    bench = Bench(ONLY_NATIVE[0], stack)
    target, channel = first.run_until_complete(serve_and_connect(bench))
    with turning(first):
        begun = Worker(first, bench).begin(exchange(channel, "first", range(1_000), Random(1)))
        second.run_until_complete(converse(Bench(ONLY_NATIVE[0], later), [target], "second", 1_000))
        second.run_until_complete(later.aclose())
        begun.result(LIMIT_S)
    first.run_until_complete(stack.aclose())
    first.close()
    second.close()


async def serve_and_connect(bench: Bench) -> tuple[str, Any]:
    target = await serve(bench)
    channel = bench.connect(target)
    await channel.channel_ready()
    return target, channel


@pytest.mark.parametrize("make_loop", [UVLOOP, ASYNCIO], ids=["uvloop", "asyncio"])
def test_loops_one_after_the_other_leave_nothing_behind(make_loop: MakeLoop) -> None:
    before = scratches()
    for _ in range(2):
        with asyncio.Runner(loop_factory=make_loop) as runner:
            runner.run(serve_and_converse())
    assert scratches() <= before


async def serve_and_converse() -> None:
    async with AsyncExitStack() as stack:
        bench = Bench(ONLY_NATIVE[0], stack)
        await converse(bench, [await serve(bench)], "alone", 200)


def scratches() -> int:
    """How many there are of what the connections of a loop share."""
    gc.collect()
    return sum(isinstance(found, Scratch) for found in gc.get_objects())
