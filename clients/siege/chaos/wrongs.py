"""Attacks with requests that are wrong, each of which a server has to refuse."""

import asyncio
from collections.abc import Callable
from random import Random

from google.protobuf.message import DecodeError

from yais.clients.siege.chaos import frames
from yais.clients.siege.chaos.ledger import Shot
from yais.clients.siege.chaos.peer import METHOD
from yais.clients.siege.chaos.scene import Scene
from yais.proto.grpc_service_pb2 import ModelInferRequest

_LARGEST_MESSAGE = 2**32 - 1
_SOME_BYTES = 16_384
_PADDING_BYTES = 8 * 2**20
_REFUSAL_S = 0.2
_NAMES = ("", "no-such-model", "../../etc/passwd", "x" * 4096, "modèle", "model\0", "%s%n", "identity ")

Change = Callable[[ModelInferRequest, Random], None]


async def oversize(scene: Scene) -> None:
    """Messages that say that they have 4 GiB, and such as have 8 MiB more than their shape says."""
    large = _shot(scene, "raw contents longer than their shape", _lengthen)
    async with scene.caller() as caller:

        async def one(random: Random) -> None:
            if random.random() < 0.2:
                await caller.call(large, scene.patience)
            else:
                await _incomplete(scene, frames.message(bytes(_SOME_BYTES), length=_LARGEST_MESSAGE), is_last=False)

        await scene.repeat(one)


async def truncated(scene: Scene) -> None:
    """Requests cut off at any byte, and messages that end before the length that they name."""
    body = scene.small.body
    async with scene.caller() as caller:

        async def one(random: Random) -> None:
            part = body[: random.randrange(len(body))]
            if random.random() < 0.5:
                await caller.call(_judged(scene, "a truncated request", part), scene.patience)
            else:
                await _incomplete(scene, frames.message(part, length=len(body)), is_last=True)

        await scene.repeat(one)


async def mistyped(scene: Scene) -> None:
    """Wrong datatypes, ranks, dimensions, lengths, names, parameters, and bytes that are no request at all."""
    shots = [_shot(scene, name, change) for name, change in _CHANGES.items()]
    async with scene.caller() as caller:

        async def one(random: Random) -> None:
            shot = random.choice([*shots, _judged(scene, "random bytes", random.randbytes(random.randrange(200)))])
            await caller.call(shot, scene.patience)

        await scene.repeat(one)


async def unknown_models(scene: Scene) -> None:
    """Models and versions that there are not, by names of all kinds."""

    def other_name(request: ModelInferRequest, random: Random) -> None:
        request.model_name = random.choice((*_NAMES, f"{request.model_name}-{random.randrange(10**6)}"))

    def other_version(request: ModelInferRequest, random: Random) -> None:
        request.model_version = random.choice(("999999", "-1", "latest", "0"))

    async with scene.caller() as caller:

        async def one(random: Random) -> None:
            change, name = random.choice(((other_name, "an unknown model"), (other_version, "an unknown version")))
            await caller.call(_shot(scene, name, change, random, is_countable=False), scene.patience)

        await scene.repeat(one)


def _datatype(request: ModelInferRequest, random: Random) -> None:
    tensor = request.inputs[0]
    tensor.datatype = "FP32" if tensor.datatype == "INT32" else "INT32"


def _no_datatype(request: ModelInferRequest, random: Random) -> None:
    request.inputs[0].datatype = "FP31"


def _rank(request: ModelInferRequest, random: Random) -> None:
    request.inputs[0].shape.extend((1, 1, 1))


def _dimension(request: ModelInferRequest, random: Random) -> None:
    request.inputs[0].shape[:] = [2**40]


def _negative(request: ModelInferRequest, random: Random) -> None:
    request.inputs[0].shape[:] = [-3]


def _shorten(request: ModelInferRequest, random: Random) -> None:
    request.raw_input_contents[0] = request.raw_input_contents[0][:-1]


def _lengthen(request: ModelInferRequest, random: Random) -> None:
    request.raw_input_contents[0] += bytes(_PADDING_BYTES)


def _name(request: ModelInferRequest, random: Random) -> None:
    request.inputs[0].name = "NO_SUCH_INPUT"


def _nothing(request: ModelInferRequest, random: Random) -> None:
    del request.inputs[:], request.raw_input_contents[:]


def _twice(request: ModelInferRequest, random: Random) -> None:
    request.inputs.append(request.inputs[0])
    request.raw_input_contents.append(request.raw_input_contents[0])


def _output(request: ModelInferRequest, random: Random) -> None:
    request.outputs.add(name="NO_SUCH_OUTPUT")


def _parameter(request: ModelInferRequest, random: Random) -> None:
    request.parameters["sequence_start"].string_param = "yes"


def _region(request: ModelInferRequest, random: Random) -> None:
    request.inputs[0].parameters["shared_memory_region"].string_param = "no-such-region"
    request.inputs[0].parameters["shared_memory_byte_size"].int64_param = 64
    del request.raw_input_contents[:]


_CHANGES: dict[str, Change] = {
    "another datatype": _datatype,
    "no datatype": _no_datatype,
    "three dimensions too many": _rank,
    "a dimension of 2^40": _dimension,
    "a negative dimension": _negative,
    "raw contents shorter than their shape": _shorten,
    "an unknown input": _name,
    "no inputs": _nothing,
    "an input given twice": _twice,
    "an unknown output": _output,
    "a parameter of another type": _parameter,
    "an unknown shared-memory region": _region,
}


def _shot(scene: Scene, name: str, change: Change, random: Random | None = None, *, is_countable: bool = True) -> Shot:
    """The right request with one thing wrong about it."""
    request = ModelInferRequest()
    request.CopyFrom(scene.request)
    change(request, random or Random(scene.seed))
    return Shot(request.SerializeToString(), name, is_countable, is_right=False)


def _judged(scene: Scene, name: str, body: bytes) -> Shot:
    """A wrong request of which only parsing tells whether it still names the model."""
    try:
        is_countable = ModelInferRequest.FromString(body).model_name == scene.request.model_name
    except DecodeError:
        is_countable = False
    return Shot(body, name, is_countable, is_right=False)


async def _incomplete(scene: Scene, payload: bytes, *, is_last: bool) -> None:
    """A message that never becomes whole, on a connection of its own, until it is refused or has waited a while."""
    shot = Shot(payload, "an incomplete message", is_countable=False, is_right=False)
    async with scene.peer() as peer:
        peer.greet()
        peer.read()
        stream = peer.open_stream()
        data = frames.frame(frames.DATA, frames.END_STREAM * is_last, stream, payload)
        await peer.send(frames.headers(stream, METHOD) + data)
        await asyncio.wait([ending := asyncio.ensure_future(peer.ended(stream))], timeout=_REFUSAL_S)
        scene.ledger.ended(shot, ending.result() if ending.done() else None)
        if not ending.done():
            ending.cancel()
            await peer.send(frames.reset(stream))
