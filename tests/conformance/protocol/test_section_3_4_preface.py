import asyncio

import pytest
from h2.errors import ErrorCodes
from hyperframe.frame import SettingsFrame

from conformance.protocol.hostile import Hostile, status_of
from conformance.protocol.peer import Peer
from conformance.protocol.serving import Served
from yais.clients.siege.chaos.h2 import PING, PREFACE, frame, settings


async def bare(server: Served, *pieces: bytes) -> Peer:
    peer = await Peer.connect(server.port)
    await peer.send(*pieces)
    return peer


@pytest.mark.parametrize(
    "start",
    [
        b"GET / HTTP/1.1\r\nHost: probe\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(64),
    ],
    ids=["HTTP/1.1", "TLS"],
)
async def test_another_protocol_is_hung_up_on(server: Served, start: bytes) -> None:
    peer = await bare(server, start)
    await peer.expect_end()
    assert all(isinstance(frame, SettingsFrame) or frame.type in (7, 8) for frame in peer.seen)
    peer.close()


async def test_a_client_must_begin_with_its_settings(server: Served) -> None:
    peer = await bare(server, PREFACE, frame(PING, payload=bytes(8)))
    await peer.expect_goaway(ErrorCodes.PROTOCOL_ERROR)
    peer.close()


async def test_a_preface_may_come_byte_by_byte(server: Served) -> None:
    peer = await Peer.connect(server.port)
    for position in range(len(PREFACE)):
        await peer.send(PREFACE[position : position + 1])
        await asyncio.sleep(0)
    await peer.send(settings())
    await peer.expect_service(1)
    peer.close()


async def test_a_call_may_come_with_the_preface(server: Served) -> None:
    peer = await Peer.connect(server.port)
    await peer.send(PREFACE, settings(), peer.call(1))
    assert (await peer.answer(1)).status == 0
    peer.close()


async def test_a_server_speaks_first_of_its_settings(server: Served) -> None:
    peer = await Peer.connect(server.port)
    assert isinstance(await peer.frame(), SettingsFrame)
    peer.close()


async def test_a_server_must_begin_with_its_settings(hostile: Hostile) -> None:
    call = asyncio.ensure_future(status_of(hostile.call()))
    peer = await hostile.bare_connection()
    await peer.read(len(PREFACE))
    await peer.send(frame(PING, payload=bytes(8)))
    await peer.expect_goaway(ErrorCodes.PROTOCOL_ERROR)
    assert (await call).name == "UNAVAILABLE"


async def test_a_channel_hangs_up_on_another_protocol(hostile: Hostile) -> None:
    call = asyncio.ensure_future(status_of(hostile.call()))
    peer = await hostile.bare_connection()
    await peer.send(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
    assert (await call).name == "UNAVAILABLE"
    await peer.read(len(PREFACE))
    await peer.expect_end()
