import asyncio
import inspect
import re
import threading
from typing import Any

import grpc
import ml_dtypes
import numpy as np
import pytest

from clients.fake_server import FakeServer, Gate, echo
from yais.clients import AsyncClient, Client, InferenceError, ModelMetadata, ServerMetadata, TensorMetadata
from yais.clients.channel import channel_options
from yais.proto import grpc_service_pb2 as pb

ARRAYS = {
    "bool": np.array([True, False]),
    "uint8": np.arange(6, dtype=np.uint8).reshape(2, 3),
    "int64": np.array([-(2**63), 2**63 - 1]),
    "uint64": np.array([2**64 - 1], np.uint64),
    "float16": np.array([1.5, np.inf], np.float16),
    "bfloat16": np.array([1.5, -3.0], ml_dtypes.bfloat16),
    "float32": np.array([[np.nan, -0.0]], np.float32),
    "float64": np.array(3.25),
    "empty": np.zeros((0, 4), np.float32),
    "transposed": np.arange(6, dtype=np.int32).reshape(2, 3).T,
}


@pytest.mark.parametrize("array", ARRAYS.values(), ids=ARRAYS)
def test_an_array_comes_back_as_it_went(client: Client, array: np.ndarray[Any, Any]) -> None:
    returned = client.infer("identity", {"INPUT0": array})["OUTPUT0"]
    assert returned.dtype == array.dtype
    assert returned.shape == array.shape
    assert returned.tobytes() == array.tobytes()


@pytest.mark.parametrize(
    ("array", "elements"),
    [
        (np.array(["é", "long"]), ["é".encode(), b"long"]),
        (np.array([b"a", b"bc"]), [b"a", b"bc"]),
        (np.array([b"a\0", "b", b""], object), [b"a\0", b"b", b""]),
    ],
    ids=["str", "bytes", "object"],
)
def test_strings_travel_as_bytes(
    client: Client, fake: FakeServer, array: np.ndarray[Any, Any], elements: list[bytes]
) -> None:
    returned = client.infer("identity", {"INPUT0": array})["OUTPUT0"]
    assert fake.requests[0].inputs[0].datatype == "BYTES"
    assert returned.tolist() == elements


def test_a_big_endian_array_arrives_with_its_values(client: Client) -> None:
    returned = client.infer("identity", {"INPUT0": np.array([1, 258], ">i4")})["OUTPUT0"]
    assert returned.dtype == np.int32
    assert returned.tolist() == [1, 258]


@pytest.mark.parametrize(
    "array",
    [np.zeros(1, complex), np.zeros(1, "M8[s]"), np.zeros(1, np.longdouble), np.zeros(1, ml_dtypes.float8_e5m2)],
    ids=lambda array: str(array.dtype),
)
def test_a_dtype_that_the_protocol_lacks_is_named_with_its_input(client: Client, array: np.ndarray[Any, Any]) -> None:
    with pytest.raises(ValueError, match=rf"input 'INPUT7': .* {re.escape(str(array.dtype))}"):
        client.infer("identity", {"INPUT7": array})


def test_an_object_array_of_numbers_is_no_bytes(client: Client) -> None:
    with pytest.raises(ValueError, match=r"input 'INPUT0': .* bytes and str only"):
        client.infer("identity", {"INPUT0": np.array([b"a", 7], object)})


def test_every_part_of_a_request_reaches_the_server(client: Client, fake: FakeServer) -> None:
    parameters: dict[str, bool | int | float | str] = {
        "priority": 2,
        "flag": True,
        "share": 0.5,
        "tag": "x",
        "huge": 2**64 - 1,
    }
    client.infer(
        "identity",
        {"INPUT0": np.zeros(1), "INPUT1": np.zeros(2)},
        version="3",
        outputs=["OUTPUT1"],
        request_id="42",
        parameters=parameters,
    )
    (request,) = fake.requests
    assert (request.model_name, request.model_version, request.id) == ("identity", "3", "42")
    assert [tensor.name for tensor in request.inputs] == ["INPUT0", "INPUT1"]
    assert [tensor.name for tensor in request.outputs] == ["OUTPUT1"]
    kinds = {name: value.WhichOneof("parameter_choice") for name, value in request.parameters.items()}
    assert {name: getattr(value, kinds[name]) for name, value in request.parameters.items()} == parameters
    assert kinds["flag"] == "bool_param"
    assert kinds["huge"] == "uint64_param"


def test_a_parameter_of_another_type_is_named(client: Client) -> None:
    with pytest.raises(ValueError, match="parameter 'when': NoneType"):
        client.infer("identity", {}, parameters={"when": None})  # type: ignore[dict-item]


def test_typed_contents_are_read_too(client: Client, fake: FakeServer) -> None:
    def typed(request: pb.ModelInferRequest, context: grpc.ServicerContext) -> pb.ModelInferResponse:
        response = pb.ModelInferResponse()
        output = response.outputs.add(name="OUTPUT0", datatype="INT8", shape=[2, 1])
        output.contents.int_contents.extend([-1, 5])
        return response

    fake.answer = typed
    returned = client.infer("identity", {})["OUTPUT0"]
    assert returned.dtype == np.int8
    assert returned.tolist() == [[-1], [5]]


@pytest.mark.parametrize(
    ("datatype", "shape", "raw", "reason"),
    [
        ("FP32", [3], [b"1234"], "output 'OUTPUT0', FP32 \\[3\\]: cannot reshape"),
        ("FP8", [1], [b"1"], "'OUTPUT0', FP8 \\[1\\]: no raw contents of this datatype"),
        ("FP16", [1], [], "'OUTPUT0', FP16 \\[1\\]: no typed contents of this datatype"),
        ("FP32", [1], [b"1234", b"5678"], "1 outputs came with 2 raw contents"),
        ("BYTES", [1], [b"\5\0\0\0a"], "output 'OUTPUT0', BYTES"),
    ],
)
def test_a_response_that_contradicts_itself_is_an_internal_error(
    client: Client, fake: FakeServer, datatype: str, shape: list[int], raw: list[bytes], reason: str
) -> None:
    output = pb.ModelInferResponse.InferOutputTensor(name="OUTPUT0", datatype=datatype, shape=shape)
    fake.answer = lambda request, context: pb.ModelInferResponse(outputs=[output], raw_output_contents=raw)
    with pytest.raises(InferenceError, match=f"INTERNAL: the response cannot be read: .*{reason}"):
        client.infer("identity", {})


def test_an_error_carries_the_status_and_the_text_of_the_server(client: Client) -> None:
    with pytest.raises(InferenceError, match=r"^NOT_FOUND: Request for unknown model: 'x' is not found$") as caught:
        client.infer("x", {})
    assert caught.value.code is grpc.StatusCode.NOT_FOUND
    assert caught.value.details == "Request for unknown model: 'x' is not found"


def test_a_call_past_its_timeout_ends_with_deadline_exceeded(client: Client, gate: Gate) -> None:
    with pytest.raises(InferenceError) as caught:
        client.infer("identity", {}, timeout=0.05)
    assert caught.value.code is grpc.StatusCode.DEADLINE_EXCEEDED


def test_a_server_that_is_not_there_is_unavailable(unused_tcp_port: int) -> None:
    with Client(f"localhost:{unused_tcp_port}") as client, pytest.raises(InferenceError, match=r"^UNAVAILABLE: "):
        client.server_live()


def test_metadata_and_state_are_plain_values(client: Client, fake: FakeServer) -> None:
    fake.models = {"mlp": FakeServer().models["identity"]}
    assert (client.server_live(), client.server_ready()) == (True, True)
    assert (client.model_ready("mlp"), client.model_ready("other")) == (True, False)
    assert client.server_metadata() == ServerMetadata("fake", "3", ("statistics", "parameters"))
    inputs, outputs = (TensorMetadata("INPUT0", "FP32", (-1,)),), (TensorMetadata("OUTPUT0", "FP32", (-1,)),)
    assert client.model_metadata("mlp") == ModelMetadata("mlp", ("1",), "fake", inputs, outputs)
    assert client.model_config("mlp").max_batch_size == 0
    assert [(entry.name, entry.version) for entry in client.model_statistics()] == [("mlp", "1"), ("mlp", "2")]


def test_a_message_beyond_grpcs_default_limit_passes(client: Client) -> None:
    array = np.zeros(2 * 2**20, np.float32)
    assert client.infer("identity", {"INPUT0": array})["OUTPUT0"].nbytes == 8 * 2**20


def test_channel_options_override_the_defaults(fake: FakeServer) -> None:
    assert dict(channel_options({"grpc.max_send_message_length": 8}))["grpc.max_receive_message_length"] == 2**31 - 1
    small = Client(fake.target, options={"grpc.max_receive_message_length": 1000})
    with small as client, pytest.raises(InferenceError, match="RESOURCE_EXHAUSTED"):
        client.infer("identity", {"INPUT0": np.zeros(1000)})


async def test_cancelling_the_task_cancels_the_call(fake: FakeServer) -> None:
    cancelled, arrived = threading.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    def answer(request: pb.ModelInferRequest, context: grpc.ServicerContext) -> pb.ModelInferResponse:
        context.add_callback(cancelled.set)
        loop.call_soon_threadsafe(arrived.set)
        cancelled.wait(30)
        return echo(request, context)

    fake.answer = answer
    async with AsyncClient(fake.target) as client:
        task = asyncio.create_task(client.infer("identity", {}))
        await arrived.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await asyncio.to_thread(cancelled.wait, 30)


def test_the_clients_are_twins() -> None:
    methods = {name for name in vars(Client) if not name.startswith("_")}
    assert methods == {name for name in vars(AsyncClient) if not name.startswith("_")}
    for name in (*methods, "__init__"):
        assert inspect.signature(getattr(Client, name)) == inspect.signature(getattr(AsyncClient, name)), name
