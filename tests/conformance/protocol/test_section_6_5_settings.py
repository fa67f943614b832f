import pytest
from h2.errors import ErrorCodes
from hyperframe.frame import DataFrame, SettingsFrame

from conformance.protocol.fields import request
from conformance.protocol.hostile import Hostile, answer, status_of
from conformance.protocol.peer import Peer, connected
from conformance.protocol.serving import Served
from yais.clients.siege.chaos.frames import (
    DATA,
    ENABLE_PUSH,
    END_STREAM,
    INITIAL_WINDOW_SIZE,
    MAX_CONCURRENT_STREAMS,
    MAX_FRAME_SIZE,
    MAX_HEADER_LIST_SIZE,
    SETTINGS,
    frame,
    message,
    settings,
)

FORBIDDEN = [
    (ENABLE_PUSH, 2, ErrorCodes.PROTOCOL_ERROR),
    (ENABLE_PUSH, 2**32 - 1, ErrorCodes.PROTOCOL_ERROR),
    (INITIAL_WINDOW_SIZE, 2**31, ErrorCodes.FLOW_CONTROL_ERROR),
    (INITIAL_WINDOW_SIZE, 2**32 - 1, ErrorCodes.FLOW_CONTROL_ERROR),
    (MAX_FRAME_SIZE, 0, ErrorCodes.PROTOCOL_ERROR),
    (MAX_FRAME_SIZE, 16383, ErrorCodes.PROTOCOL_ERROR),
    (MAX_FRAME_SIZE, 2**24, ErrorCodes.PROTOCOL_ERROR),
]


async def test_settings_are_acknowledged_once_each(peer: Peer) -> None:
    await peer.send(*(settings({MAX_CONCURRENT_STREAMS: count}) for count in range(5)))
    await peer.expect_pong()
    acknowledged = [frame for frame in peer.seen if isinstance(frame, SettingsFrame) and "ACK" in frame.flags]
    assert len(acknowledged) == 6


async def test_the_server_tells_its_limits(peer: Peer) -> None:
    told = next(frame.settings for frame in peer.seen if isinstance(frame, SettingsFrame))
    assert told[MAX_CONCURRENT_STREAMS] == 1024
    assert told[INITIAL_WINDOW_SIZE] == 2**20
    assert told[MAX_HEADER_LIST_SIZE] == 16384


async def test_settings_of_a_stream_are_refused(peer: Peer) -> None:
    await peer.send(frame(SETTINGS, 0, 1))
    await peer.expect_goaway(ErrorCodes.PROTOCOL_ERROR)


async def test_an_acknowledgement_of_nothing_is_refused(peer: Peer) -> None:
    await peer.send(frame(SETTINGS, 0x1))
    await peer.expect_goaway(ErrorCodes.PROTOCOL_ERROR)


@pytest.mark.parametrize(("identifier", "value", "code"), FORBIDDEN)
async def test_forbidden_values_are_refused(peer: Peer, identifier: int, value: int, code: ErrorCodes) -> None:
    await peer.send(settings({identifier: value}))
    await peer.expect_goaway(code)


@pytest.mark.parametrize(("identifier", "value", "code"), [*FORBIDDEN, (ENABLE_PUSH, 1, ErrorCodes.PROTOCOL_ERROR)])
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
        {ENABLE_PUSH: 0},
        {ENABLE_PUSH: 1},
        {MAX_CONCURRENT_STREAMS: 0},
        {MAX_CONCURRENT_STREAMS: 2**32 - 1},
        {INITIAL_WINDOW_SIZE: 2**31 - 1},
        {MAX_FRAME_SIZE: 16384},
        {MAX_FRAME_SIZE: 2**24 - 1},
        {MAX_HEADER_LIST_SIZE: 2**32 - 1},
    ],
)
async def test_extreme_values_are_served(server: Served, values: dict[int, int]) -> None:
    async with connected(server.port, values) as peer:
        await peer.expect_service(1)


async def test_of_a_value_given_twice_the_last_counts(peer: Peer) -> None:
    pairs = ((INITIAL_WINDOW_SIZE, 0), (INITIAL_WINDOW_SIZE, 7))
    await peer.send(frame(SETTINGS, payload=b"".join(bytes((0, key)) + value.to_bytes(4) for key, value in pairs)))
    await peer.send(peer.headers(1, request()), frame(DATA, END_STREAM, 1, message(b"hello")))
    assert (await peer.expect(DataFrame, 1)).data == message(b"hello")[:7]


async def test_a_server_may_change_its_mind(hostile: Hostile) -> None:
    call, peer = await hostile.called()
    for window in (0, 2**31 - 1, 65535, 1):
        await peer.send(settings({INITIAL_WINDOW_SIZE: window}))
        assert "ACK" in (await peer.expect(SettingsFrame)).flags
    await peer.send(answer(peer))
    assert await call == b"hello"
