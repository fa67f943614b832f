from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc.aio
import pytest

from transport.api.differences import UNARY_COMPRESSION, UNCOMPRESSED_CALL
from transport.api.messages import note, services
from transport.api.reading import read_all
from transport.api.relay import Relay
from transport.api.serving import Bench

SIZE = 100_000
GZIP, DEFLATE, NONE = grpc.Compression.Gzip, grpc.Compression.Deflate, grpc.Compression.NoCompression

compressions = pytest.mark.parametrize("compression", [GZIP, DEFLATE], ids=["gzip", "deflate"])


@asynccontextmanager
async def watched(
    bench: Bench, channel_compression: grpc.Compression | None = None, **server: Any
) -> AsyncIterator[tuple[Any, Relay]]:
    """A stub, and the relay that all of its calls go through."""
    _, target = await bench.start(**server)
    async with Relay.to(target) as relay:
        yield services.ProbeStub(bench.connect(relay.target, compression=channel_compression)), relay


def is_compressed(count: int) -> bool:
    assert count < SIZE / 10 or count > SIZE
    return count < SIZE / 10


@compressions
async def test_a_call_may_compress_its_request(bench: Bench, compression: grpc.Compression) -> None:
    async with watched(bench) as (stub, relay):
        assert await stub.UnaryUnary(note(size=SIZE), compression=compression) == note(size=SIZE)
        assert is_compressed(relay.sent)
        assert not is_compressed(relay.received)


@compressions
async def test_a_channel_may_compress_all_requests(bench: Bench, compression: grpc.Compression) -> None:
    async with watched(bench, channel_compression=compression) as (stub, relay):
        for _ in range(2):
            await stub.UnaryUnary(note(size=SIZE))
        await stub.StreamUnary([note(size=SIZE)])
        assert is_compressed(relay.sent)


async def test_a_call_may_leave_out_its_channels_compression(bench: Bench) -> None:
    async with watched(bench, channel_compression=GZIP) as (stub, relay):
        await stub.UnaryUnary(note(size=SIZE), compression=NONE)
        expected = UNCOMPRESSED_CALL.at(bench.ends.channel)
        assert expected == ("is compressed" if is_compressed(relay.sent) else "is not compressed")


@compressions
async def test_a_server_may_compress_all_answers(bench: Bench, compression: grpc.Compression) -> None:
    async with watched(bench, compression=compression) as (stub, relay):
        assert await stub.UnaryUnary(note(size=SIZE)) == note(size=SIZE)
        assert await read_all(stub.StreamStream([note(size=SIZE)])) == [note(size=SIZE)]
        assert is_compressed(relay.received)


@compressions
async def test_a_method_may_compress_its_stream_of_answers(bench: Bench, compression: grpc.Compression) -> None:
    async def stream(request: Any, context: Any) -> AsyncIterator[Any]:
        context.set_compression(compression)
        for _ in range(3):
            yield request

    async with watched(bench, methods={"UnaryStream": stream}) as (stub, relay):
        assert await read_all(stub.UnaryStream(note(size=SIZE))) == [note(size=SIZE)] * 3
        assert is_compressed(relay.received)


async def test_a_method_may_leave_its_stream_of_answers_uncompressed(bench: Bench) -> None:
    async def stream(request: Any, context: Any) -> AsyncIterator[Any]:
        context.set_compression(NONE)
        yield request

    async with watched(bench, methods={"UnaryStream": stream}, compression=GZIP) as (stub, relay):
        await read_all(stub.UnaryStream(note(size=SIZE)))
        assert not is_compressed(relay.received)


@pytest.mark.parametrize("before", [GZIP, NONE], ids=["compressing", "plain"])
async def test_a_unary_method_may_choose_its_compression(bench: Bench, before: grpc.Compression) -> None:
    after = {GZIP: NONE, NONE: GZIP}[before]

    async def answer(request: Any, context: Any) -> Any:
        context.set_compression(after)
        return request

    async with watched(bench, methods={"UnaryUnary": answer}, compression=before) as (stub, relay):
        await stub.UnaryUnary(note(size=SIZE))
        chosen = after if UNARY_COMPRESSION.at(bench.ends.server) == "is what is sent" else before
        assert is_compressed(relay.received) == (chosen is GZIP)


async def test_compression_goes_with_initial_metadata(bench: Bench) -> None:
    async def answer(request: Any, context: Any) -> Any:
        context.set_compression(GZIP)
        await context.send_initial_metadata((("a", "1"),))
        return request

    async with watched(bench, methods={"UnaryUnary": answer}) as (stub, relay):
        call = stub.UnaryUnary(note(size=SIZE))
        assert await call == note(size=SIZE)
        assert (await call.initial_metadata())["a"] == "1"
        assert is_compressed(relay.received)


async def test_compression_cannot_be_set_after_initial_metadata(bench: Bench) -> None:
    async def answer(request: Any, context: Any) -> Any:
        await context.send_initial_metadata(())
        with pytest.raises(RuntimeError):
            context.set_compression(GZIP)
        return request

    async with watched(bench, methods={"UnaryUnary": answer}) as (stub, _):
        assert await stub.UnaryUnary(note("a")) == note("a")


async def test_the_next_message_may_be_left_uncompressed(bench: Bench) -> None:
    counts = []

    async def stream(request: Any, context: Any) -> AsyncIterator[Any]:
        yield note(size=SIZE)
        context.disable_next_message_compression()
        yield note(size=SIZE)
        yield note(size=SIZE)

    async with watched(bench, methods={"UnaryStream": stream}, compression=GZIP) as (stub, relay):
        assert len(await read_all(stub.UnaryStream(note()))) == 3
        counts.append(relay.received)
    assert SIZE < counts[0] < 1.2 * SIZE


async def test_a_unary_answer_may_be_left_uncompressed(bench: Bench) -> None:
    async def answer(request: Any, context: Any) -> Any:
        context.disable_next_message_compression()
        return request

    async with watched(bench, methods={"UnaryUnary": answer}, compression=GZIP) as (stub, relay):
        await stub.UnaryUnary(note(size=SIZE))
        assert not is_compressed(relay.received)


async def test_what_compression_does_not_shrink_arrives_too(bench: Bench) -> None:
    async with watched(bench, channel_compression=GZIP, compression=GZIP) as (stub, _):
        for text in ("", "a", "\u263a" * 1000):
            assert await stub.UnaryUnary(note(text)) == note(text)
