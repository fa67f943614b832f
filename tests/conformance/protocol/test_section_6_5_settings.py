import pytest
from h2.errors import ErrorCodes
from hyperframe.frame import SettingsFrame

from conformance.protocol.hostile import Hostile, answer, status_of
from conformance.protocol.peer import Peer, connected
from conformance.protocol.serving import Served
from yais.clients.siege.chaos.h2 import (
    ENABLE_PUSH,
    INITIAL_WINDOW_SIZE,
    MAX_CONCURRENT_STREAMS,
    MAX_FRAME_SIZE,
    MAX_HEADER_LIST_SIZE,
    settings,
)


async def test_the_server_tells_its_limits(peer: Peer) -> None:
    told = next(frame.settings for frame in peer.seen if isinstance(frame, SettingsFrame))
    assert told[MAX_CONCURRENT_STREAMS] == 1024
    assert told[INITIAL_WINDOW_SIZE] == 2**20
    assert told[MAX_HEADER_LIST_SIZE] == 16384


async def test_a_forbidden_value_is_refused(peer: Peer) -> None:
    await peer.send(settings({INITIAL_WINDOW_SIZE: 2**31}))
    await peer.expect_goaway(ErrorCodes.FLOW_CONTROL_ERROR)


@pytest.mark.parametrize(
    ("identifier", "value", "code"),
    [
        (INITIAL_WINDOW_SIZE, 2**31, ErrorCodes.FLOW_CONTROL_ERROR),
        (ENABLE_PUSH, 1, ErrorCodes.PROTOCOL_ERROR),
    ],
)
async def test_forbidden_values_of_a_server_are_refused(
    hostile: Hostile, identifier: int, value: int, code: ErrorCodes
) -> None:
    call, peer = await hostile.called()
    await peer.send(settings({identifier: value}))
    await peer.expect_goaway(code)
    assert (await status_of(call)).name == "UNAVAILABLE"


@pytest.mark.parametrize(
    "values",
    [
        {MAX_CONCURRENT_STREAMS: 0},
        {INITIAL_WINDOW_SIZE: 2**31 - 1},
        {MAX_FRAME_SIZE: 2**24 - 1},
    ],
)
async def test_extreme_values_are_served(server: Served, values: dict[int, int]) -> None:
    async with connected(server.port, values) as peer:
        await peer.expect_service(1)


async def test_a_server_may_change_its_mind(hostile: Hostile) -> None:
    call, peer = await hostile.called()
    for window in (0, 2**31 - 1, 65535, 1):
        await peer.send(settings({INITIAL_WINDOW_SIZE: window}))
        assert "ACK" in (await peer.expect(SettingsFrame)).flags
    await peer.send(answer(peer))
    assert await call == b"hello"
