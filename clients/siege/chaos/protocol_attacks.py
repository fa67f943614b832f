"""Attacks that a well-behaved client never makes: on connections, and by requests that a server has to refuse."""

import asyncio
from collections import defaultdict
from collections.abc import Callable
from random import Random

from google.protobuf.message import DecodeError

from yais.clients.protocol import MODEL_INFER
from yais.clients.siege.chaos import h2
from yais.clients.siege.chaos.h2 import Peer
from yais.clients.siege.chaos.invariants import AttackRequest
from yais.clients.siege.chaos.runner import AttackContext
from yais.proto.grpc_service_pb2 import ModelInferRequest

# At most, for a connection that is kept and does nothing.
_HOLD_S = 0.5
_RECEIVE_S = 0.05
_LARGEST_GARBAGE = 4096

# A ClientHello of TLS 1.2 with one cipher, as far as a server reads it that expects none (RFC 5246, 7.4.1.2).
_CLIENT_HELLO = bytes.fromhex("160301002d010000290303") + bytes(32) + bytes.fromhex("000002002f0100")
_LARGEST_MESSAGE = 2**32 - 1
# Of the announced 4 GiB, so that the server has begun to read.
_SOME_BYTES = 16_384
_PADDING_BYTES = 8 * 2**20
# A server may as well wait for the rest of a message; it is not held against it.
_REFUSAL_S = 0.2
_NAMES = ("", "no-such-model", "../../etc/passwd", "x" * 4096, "modèle", "model\0", "%s%n", "identity ")


async def never_reads(context: AttackContext) -> None:
    """Requests on connections whose windows are closed and whose sockets are never read."""

    async def hold(random: Random) -> None:
        request = context.small
        async with context.connect() as peer:
            peer.pause_reading()
            # RFC 9113, section 6.9.2: with an initial window of 0 the server may send headers, but no DATA.
            peer.greet({h2.INITIAL_WINDOW_SIZE: 0})
            for _ in range(random.randint(1, 8)):
                if peer.has_room(request.body):
                    context.counters.add_abandoned(request)
                    await peer.send(peer.request(peer.open_stream(), request.body))
            await asyncio.sleep(min(random.uniform(0, _HOLD_S), context.left))
            _leave(peer, random)

    # Each holds up to eight requests.
    await context.repeat(hold, workers=max(1, context.load // 8))


async def half_open(context: AttackContext) -> None:
    """Connections that stop somewhere between the first byte and the end of a request, and stay."""

    async def hold(random: Random) -> None:
        async with context.connect() as peer:
            await peer.send(random.choice(_BEGINNINGS)(context, peer))
            if random.random() < 0.3:
                peer.end_writing()
            await asyncio.sleep(min(random.uniform(0, _HOLD_S), context.left))
            _leave(peer, random)

    await context.repeat(hold, workers=context.load)


async def churn(context: AttackContext) -> None:
    """Connections made and dropped: at once, after a greeting, after a request, after its answer."""

    async def visit(random: Random) -> None:
        async with context.connect() as peer:
            stage = random.randrange(4)
            if stage > 0:
                peer.greet()
            if stage == 2:
                context.counters.add_abandoned(context.small)
                await peer.send(peer.request(peer.open_stream(), context.small.body))
            if stage == 3:
                peer.start_reading()
                await context.call(peer, context.small)
            _leave(peer, random)

    await context.repeat(visit, workers=8)


async def garbage(context: AttackContext) -> None:
    """TLS, HTTP/1, wrong prefaces, random bytes, and random frames behind a correct preface."""

    async def talk(random: Random) -> None:
        async with context.connect() as peer:
            await peer.send(random.choice(_GARBAGE)(random))
            try:
                await asyncio.wait_for(peer.receive(), _RECEIVE_S)
            except TimeoutError:
                _leave(peer, random)

    await context.repeat(talk, workers=8)


def _leave(peer: Peer, random: Random) -> None:
    """By RST or by FIN."""
    if random.random() < 0.5:
        peer.reset()
    else:
        peer.end_writing()


def _greeted(peer: Peer, *pieces: bytes) -> bytes:
    return b"".join((h2.PREFACE, h2.settings({}), *pieces))


def _headers(context: AttackContext, peer: Peer) -> bytes:
    return h2.headers(peer.open_stream(), MODEL_INFER)


def _half_message(context: AttackContext, peer: Peer) -> bytes:
    stream = peer.open_stream()
    message = h2.message(context.small.body)
    return h2.headers(stream, MODEL_INFER) + h2.frame(h2.DATA, 0, stream, message[: len(message) // 2])


_BEGINNINGS: tuple[Callable[[AttackContext, Peer], bytes], ...] = (
    lambda context, peer: b"P",
    lambda context, peer: h2.PREFACE[:12],
    lambda context, peer: h2.PREFACE,
    lambda context, peer: _greeted(peer),
    lambda context, peer: _greeted(peer, _headers(context, peer)[:5]),
    lambda context, peer: _greeted(peer, _headers(context, peer)[:20]),
    lambda context, peer: _greeted(peer, _headers(context, peer)),
    lambda context, peer: _greeted(peer, _half_message(context, peer)),
)


def _random_frames(random: Random) -> bytes:
    """Of known and unknown kinds; some lie about their length."""
    pieces = [h2.PREFACE, h2.settings({})]
    for _ in range(random.randint(1, 20)):
        payload = random.randbytes(random.randrange(64))
        # RFC 9113, section 4.1: the length of a frame has 24 bits.
        length = len(payload) if random.random() < 0.9 else random.randrange(2**24)
        # RFC 9113 has the types 0 to 9; unknown ones must be ignored (section 5.5).
        pieces.append(h2.frame(random.randrange(12), random.randrange(256), random.randrange(16), payload, length))
    return b"".join(pieces)


_GARBAGE: tuple[Callable[[Random], bytes], ...] = (
    lambda random: _CLIENT_HELLO,
    lambda random: b"GET / HTTP/1.1\r\nHost: chaos\r\n\r\n",
    lambda random: b"POST /v2/models HTTP/1.0\r\nContent-Length: 1000000\r\n\r\n{",
    lambda random: b"PRI * HTTP/3.0\r\n\r\nSM\r\n\r\n" + h2.settings({}),
    lambda random: random.randbytes(random.randint(1, _LARGEST_GARBAGE)),
    _random_frames,
)


async def oversize(context: AttackContext) -> None:
    """Messages that announce 4 GiB, and messages with 8 MiB more than their shape says."""
    request = _copy(context.request)
    request.raw_input_contents[0] += bytes(_PADDING_BYTES)
    large = AttackRequest(request.SerializeToString(), "raw contents longer than their shape", is_valid=False)
    async with context.client() as client:
        # Once in any case: it is drawn rarely, and a short attack on a busy machine might do without.
        await client.call(large, context.timeout)
        context.counters.actions += 1

        async def action(random: Random) -> None:
            if random.random() < 0.2:
                await client.call(large, context.timeout)
            else:
                await _send_incomplete(context, h2.message(bytes(_SOME_BYTES), length=_LARGEST_MESSAGE), is_last=False)

        await context.repeat(action)


async def truncated(context: AttackContext) -> None:
    """Requests cut off at any byte, and messages that end before their announced length."""
    body = context.small.body
    async with context.client() as client:

        async def action(random: Random) -> None:
            part = body[: random.randrange(len(body))]
            if random.random() < 0.5:
                await client.call(_wrong_bytes(context, "a truncated request", part), context.timeout)
            else:
                await _send_incomplete(context, h2.message(part, length=len(body)), is_last=True)

        await context.repeat(action)


async def mistyped(context: AttackContext) -> None:
    """Wrong datatypes, ranks, dimensions, lengths, names, parameters, and bytes that are no request at all."""
    requests = _mistyped_requests(context.request)
    async with context.client() as client:

        async def action(random: Random) -> None:
            random_bytes = _wrong_bytes(context, "random bytes", random.randbytes(random.randrange(200)))
            await client.call(random.choice([*requests, random_bytes]), context.timeout)

        await context.repeat(action)


async def unknown_models(context: AttackContext) -> None:
    """Models and versions that do not exist, by names of all kinds."""
    async with context.client() as client:

        async def action(random: Random) -> None:
            request, name = _copy(context.request), random.choice(("an unknown model", "an unknown version"))
            if name == "an unknown model":
                request.model_name = random.choice((*_NAMES, f"{request.model_name}-{random.randrange(10**6)}"))
            else:
                request.model_version = random.choice(("999999", "-1", "latest", "0"))
            body = request.SerializeToString()
            await client.call(AttackRequest(body, name, is_countable=False, is_valid=False), context.timeout)

        await context.repeat(action)


def _mistyped_requests(valid: ModelInferRequest) -> list[AttackRequest]:
    """The valid request, each time with one thing wrong about it."""
    # Each name makes a copy of the valid request when it is first used.
    wrong: defaultdict[str, ModelInferRequest] = defaultdict(lambda: _copy(valid))
    datatype = valid.inputs[0].datatype
    wrong["another datatype"].inputs[0].datatype = "FP32" if datatype == "INT32" else "INT32"
    wrong["no datatype"].inputs[0].datatype = "FP31"
    wrong["three dimensions too many"].inputs[0].shape.extend((1, 1, 1))
    wrong["a dimension of 2^40"].inputs[0].shape[:] = [2**40]
    wrong["a negative dimension"].inputs[0].shape[:] = [-3]
    contents = wrong["raw contents shorter than their shape"].raw_input_contents
    contents[0] = contents[0][:-1]
    wrong["an unknown input"].inputs[0].name = "NO_SUCH_INPUT"
    request = wrong["no inputs"]
    del request.inputs[:], request.raw_input_contents[:]
    request = wrong["an input given twice"]
    request.inputs.append(request.inputs[0])
    request.raw_input_contents.append(request.raw_input_contents[0])
    wrong["an unknown output"].outputs.add(name="NO_SUCH_OUTPUT")
    wrong["a parameter of another type"].parameters["sequence_start"].string_param = "yes"
    request = wrong["an unknown shared-memory region"]
    request.inputs[0].parameters["shared_memory_region"].string_param = "no-such-region"
    request.inputs[0].parameters["shared_memory_byte_size"].int64_param = 64
    del request.raw_input_contents[:]
    # All of them still name the model, and so count as requests for it.
    return [AttackRequest(request.SerializeToString(), name, is_valid=False) for name, request in wrong.items()]


def _copy(valid: ModelInferRequest) -> ModelInferRequest:
    request = ModelInferRequest()
    request.CopyFrom(valid)
    return request


def _wrong_bytes(context: AttackContext, name: str, body: bytes) -> AttackRequest:
    """A wrong request, which has to be parsed to know whether it still names the model."""
    try:
        is_countable = ModelInferRequest.FromString(body).model_name == context.request.model_name
    except DecodeError:
        is_countable = False
    return AttackRequest(body, name, is_countable, is_valid=False)


async def _send_incomplete(context: AttackContext, payload: bytes, *, is_last: bool) -> None:
    """A message that never becomes complete, on a connection of its own, until it is refused or has waited a while."""
    request = AttackRequest(payload, "an incomplete message", is_countable=False, is_valid=False)
    async with context.connect() as peer:
        peer.greet()
        peer.start_reading()
        stream = peer.open_stream()
        data = h2.frame(h2.DATA, h2.END_STREAM * is_last, stream, payload)
        await peer.send(h2.headers(stream, MODEL_INFER) + data)
        await asyncio.wait([ending := asyncio.ensure_future(peer.ended(stream))], timeout=_REFUSAL_S)
        context.counters.add_ended(request, ending.result() if ending.done() else None)
        if not ending.done():
            ending.cancel()
            await peer.send(h2.reset(stream))
