import time

import grpc
import numpy as np
import pytest

from e2e.calls import Outcome, ask, mlp_request, outcomes, output, picky_request, request
from e2e.conftest import Engines
from e2e.models import NUMERIC
from e2e.scrape import growth
from e2e.serving import Serving, run_server
from yais.proto import grpc_service_pb2 as pb
from yais.proto.grpc_service_pb2_grpc import GRPCInferenceServiceStub

OK = Outcome("OK")
BYTES_OF = {"BOOL": 1, "FP16": 2, "BF16": 2} | {
    name: int(name.lstrip("UINTFP")) // 8 for name in NUMERIC if name[-1].isdigit() and name not in ("FP16", "BF16")
}
TYPED_FIELDS = {
    "BOOL": ("bool_contents", [True, False]),
    "UINT8": ("uint_contents", [0, 255]),
    "UINT16": ("uint_contents", [0, 2**16 - 1]),
    "UINT32": ("uint_contents", [0, 2**32 - 1]),
    "UINT64": ("uint64_contents", [0, 2**64 - 1]),
    "INT8": ("int_contents", [-128, 127]),
    "INT16": ("int_contents", [-(2**15), 2**15 - 1]),
    "INT32": ("int_contents", [-(2**31), 2**31 - 1]),
    "INT64": ("int64_contents", [-(2**63), 2**63 - 1]),
    "FP32": ("fp32_contents", [1.5, float("inf")]),
    "FP64": ("fp64_contents", [1e300, -0.0]),
}
NUMPY = {"BOOL": "?", "FP32": "f4", "FP64": "f8"} | {
    name: f"{name[0].lower()}{BYTES_OF[name]}" for name in TYPED_FIELDS if "INT" in name
}


def numbers(rows: int, length: int) -> pb.ModelInferRequest:
    """For the model `numbers`: every datatype, with bytes that are all 1."""
    message = pb.ModelInferRequest(model_name="numbers")
    for name in NUMERIC:
        message.inputs.add(name=name, datatype=name, shape=[rows, length])
        message.raw_input_contents.append(b"\1" * (rows * length * BYTES_OF[name]))
    return message


def typed_values(message: pb.ModelInferRequest, response: pb.ModelInferResponse) -> None:
    """Asserts that the response gives back the typed contents of the message."""
    raws = {tensor.name: raw for tensor, raw in zip(response.outputs, response.raw_output_contents, strict=True)}
    for tensor in message.inputs:
        values = TYPED_FIELDS[tensor.name][1]
        returned = np.frombuffer(raws[f"OUT_{tensor.name}"], NUMPY[tensor.name])
        assert returned.tolist() == values, tensor.name


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (8, 100), (2, 0), (0, 3), (0, 0)], ids=str)
def test_every_number_comes_back_bit_for_bit(stub: GRPCInferenceServiceStub, size: tuple[int, int]) -> None:
    message = numbers(*size)
    response = stub.ModelInfer(message, timeout=30)
    assert {tensor.name: tensor.datatype for tensor in response.outputs} == {f"OUT_{name}": name for name in NUMERIC}
    assert {tuple(tensor.shape) for tensor in response.outputs} == {size}
    sent = dict(zip(NUMERIC, message.raw_input_contents, strict=True))
    for tensor, raw in zip(response.outputs, response.raw_output_contents, strict=True):
        assert raw == sent[tensor.datatype]


def test_typed_contents_of_every_datatype_come_back_raw(engines: Engines) -> None:
    message = pb.ModelInferRequest(model_name="typed")
    for name, (field, values) in TYPED_FIELDS.items():
        tensor = message.inputs.add(name=name, datatype=name, shape=[1, 2])
        getattr(tensor.contents, field).extend(values)
    with run_server(*engines.flags("typed")) as server, server.stub() as stub:
        typed_values(message, stub.ModelInfer(message, timeout=30))
        message.inputs[0].contents.Clear()
        field = TYPED_FIELDS["INT8"][0]
        del message.inputs[:]
        tensor = message.inputs.add(name="INT8", datatype="INT8", shape=[1, 2])
        getattr(tensor.contents, field).extend([0, 128])
        assert ask(stub, message).code == "INVALID_ARGUMENT"


def test_numbers_that_are_none_are_served(stub: GRPCInferenceServiceStub) -> None:
    values = np.array([np.nan, np.inf, -np.inf, -0.0, 5e-324], np.float32)
    response = stub.ModelInfer(request("identity", {"INPUT0": values}), timeout=30)
    assert response.raw_output_contents[0] == values.tobytes()
    assert np.isnan(output(stub.ModelInfer(mlp_request(np.full((2, 64), np.nan, np.float32)), timeout=30))).all()


def test_no_rows_give_no_rows(stub: GRPCInferenceServiceStub) -> None:
    assert output(stub.ModelInfer(mlp_request(0), timeout=30)).shape == (0, 10)


def test_an_empty_tensor_of_any_length_cannot_hurt(stub: GRPCInferenceServiceStub) -> None:
    """No rows of a huge length are no bytes, but would be a huge buffer."""
    assert ask(stub, numbers(0, 2**31 - 1)).code in ("OK", "INVALID_ARGUMENT", "RESOURCE_EXHAUSTED")
    assert ask(stub, numbers(2, 3)) == OK


@pytest.mark.parametrize("version", ["9" * 5000, "-" + "9" * 5000, "\N{ARABIC-INDIC DIGIT ONE}"], ids=len)
def test_a_version_that_is_no_version_is_told_so(stub: GRPCInferenceServiceStub, version: str) -> None:
    refused = ask(stub, mlp_request(model_version=version))
    assert refused.code == "INVALID_ARGUMENT"
    assert refused.text.startswith("failed to get model version from specified version string")
    assert ask(stub, mlp_request()) == OK


def test_an_element_that_is_no_text_is_refused_by_name(stub: GRPCInferenceServiceStub) -> None:
    message = pb.ModelInferRequest(model_name="strings", raw_input_contents=[b"\2\0\0\0\xff\xfe"])
    message.inputs.add(name="INPUT0", datatype="BYTES", shape=[1, 1])
    refused = ask(stub, message)
    assert refused.code == "INVALID_ARGUMENT"
    assert "'INPUT0' has an element that is not UTF-8" in refused.text


def test_one_request_that_fails_does_not_fail_its_batch(engines: Engines) -> None:
    with run_server(*engines.flags("picky"), "--max-queue-delay", "10s") as server, server.stub() as stub:
        before = server.samples()
        began = time.monotonic()
        indices = [0, 1, 2, 99, 4, 5, 6, 7]
        calls = [stub.ModelInfer.future(picky_request(index), timeout=30) for index in indices]
        became = outcomes(calls)
        assert time.monotonic() - began < 8, "eight rows are a full batch, which waits for nobody"
        after = server.samples()
    assert [each.code for each in became] == ["OK"] * 3 + ["INTERNAL"] + ["OK"] * 4
    assert "idx=99" in became[3].text
    squares = [output(call.result(), np.int64).item() for index, call in zip(indices, calls, strict=True) if index < 10]
    assert squares == [index**2 for index in indices if index < 10]
    assert growth(before, after, "nv_inference_request_success") == 7
    assert growth(before, after, "nv_inference_request_failure", reason="BACKEND") == 1


@pytest.fixture(scope="module")
def narrow_server(engines: Engines) -> Serving:  # type: ignore[misc]
    with run_server(*engines.flags("identity", "mlp"), "--max-message-size", "1MiB") as server:
        yield server


@pytest.mark.parametrize("compression", list(grpc.Compression), ids=lambda each: each.name)
def test_a_message_over_the_limit_is_refused_and_the_next_is_served(
    narrow_server: Serving, compression: grpc.Compression
) -> None:
    with narrow_server.stub() as stub:
        large = request("identity", {"INPUT0": np.zeros(2**18, np.float32)})
        with pytest.raises(grpc.RpcError) as refused:
            stub.ModelInfer(large, timeout=30, compression=compression)
        assert refused.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
        assert str(2**20) in (refused.value.details() or "")
        assert ask(stub, request("identity", {"INPUT0": np.zeros(2**18 - 64, np.float32)})) == OK
