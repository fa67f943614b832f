"""What a program with tritonclient's synchronous gRPC client does; the server's address is the argument."""

import queue
import sys
from typing import Any

import ml_dtypes
import numpy as np
from harness import run
from tritonclient.grpc import InferenceServerClient, InferInput, InferRequestedOutput, InferResult
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

DTYPES = (bool, "u1", "u2", "u4", "u8", "i1", "i2", "i4", "i8", "f2", ml_dtypes.bfloat16, "f4", "f8")
SLOW = 500_000  # steps, about half a second
TEXT = "Grüße, 世界".encode()


class Answers:
    """What comes back from `async_infer`, in the order in which it comes."""

    def __init__(self) -> None:
        self._answers: queue.Queue[tuple[InferResult | None, InferenceServerException | None]] = queue.Queue()

    def put(self, result: InferResult | None, error: InferenceServerException | None) -> None:
        self._answers.put((result, error))

    def next(self) -> tuple[InferResult | None, InferenceServerException | None]:
        return self._answers.get(timeout=30)


def tensor(name: str, array: np.ndarray) -> InferInput:
    given = InferInput(name, array.shape, np_to_triton_dtype(array.dtype))
    return given.set_data_from_numpy(array)


def ones(rows: int = 1) -> list[InferInput]:
    return [tensor("INPUT0", np.ones((rows, 64), np.float32))]


def slow() -> list[InferInput]:
    return [tensor("STEPS", np.array([[SLOW]]))]


def error_of(call: Any, *arguments: Any, **options: Any) -> tuple[str, str]:
    try:
        call(*arguments, **options)
    except InferenceServerException as error:
        return error.status(), error.message()
    raise AssertionError("it was answered")


def check_health(client: InferenceServerClient) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("mlp")
    assert client.is_model_ready("mlp", "1")


def check_server_metadata(client: InferenceServerClient) -> None:
    metadata = client.get_server_metadata()
    assert metadata.name == "yais"
    assert {"model_configuration", "statistics"} <= set(metadata.extensions)


def check_model_metadata(client: InferenceServerClient) -> None:
    metadata = client.get_model_metadata("mlp", as_json=True)
    assert metadata == {
        "name": "mlp",
        "versions": ["1"],
        "platform": "onnxruntime_onnx",
        "inputs": [{"name": "INPUT0", "datatype": "FP32", "shape": ["-1", "64"]}],
        "outputs": [{"name": "OUTPUT0", "datatype": "FP32", "shape": ["-1", "10"]}],
    }


def check_model_config(client: InferenceServerClient) -> None:
    config = client.get_model_config("mlp").config
    assert (config.name, config.backend, config.max_batch_size) == ("mlp", "onnxruntime", 64)
    assert [(given.name, list(given.dims)) for given in config.input] == [("INPUT0", [64])]
    assert [(given.name, list(given.dims)) for given in config.output] == [("OUTPUT0", [10])]
    assert list(config.dynamic_batching.preferred_batch_size) == [64]
    assert client.get_model_config("identity").config.max_batch_size == 0


def check_statistics(client: InferenceServerClient) -> None:
    (before,) = client.get_inference_statistics("mlp").model_stats
    client.infer("mlp", ones(3))
    (after,) = client.get_inference_statistics("mlp", "1").model_stats
    assert after.inference_count - before.inference_count == 3
    assert after.execution_count - before.execution_count == 1
    stats = after.inference_stats
    compute = (stats.compute_input, stats.compute_infer, stats.compute_output)
    assert {stage.count for stage in compute} == {stats.success.count} == {before.inference_stats.success.count + 1}
    assert stats.success.ns >= stats.queue.ns + sum(stage.ns for stage in compute) - before.inference_stats.success.ns
    assert 3 in {batch.batch_size for batch in after.batch_stats}
    assert len(client.get_inference_statistics().model_stats) > 1


def check_every_number(client: InferenceServerClient) -> None:
    arrays = [np.arange(6).reshape(2, 3).astype(dtype) for dtype in DTYPES]
    inputs = [tensor(np_to_triton_dtype(array.dtype), array) for array in arrays]
    result = client.infer("numbers", inputs)
    for array in arrays:
        returned = result.as_numpy(f"OUT_{np_to_triton_dtype(array.dtype)}")
        np.testing.assert_array_equal(returned.astype(array.dtype), array)


def check_bytes(client: InferenceServerClient) -> None:
    words = np.array([[b"", TEXT], [b"a" * 70_000, b"\0 in the middle"]], np.object_)
    returned = client.infer("strings", [tensor("INPUT0", words)]).as_numpy("OUTPUT0")
    assert returned.tolist() == words.tolist()


def check_bytes_beside_numbers(client: InferenceServerClient) -> None:
    words, numbers = np.array([[b"a", TEXT]], np.object_), np.array([[7, -7]], np.int32)
    result = client.infer("mixed", [tensor("NUMBER", numbers), tensor("TEXT", words)])
    assert result.as_numpy("OUT_TEXT").tolist() == words.tolist()
    assert result.as_numpy("OUT_NUMBER").tolist() == numbers.tolist()


def check_requested_outputs(client: InferenceServerClient) -> None:
    inputs = [tensor("A", np.ones((1, 4), np.int32)), tensor("B", np.ones((1, 4), np.float16))]
    for names in (["OUT_B"], ["OUT_B", "OUT_A"], ["OUT_A"]):
        result = client.infer("two", inputs, outputs=[InferRequestedOutput(name) for name in names])
        assert {output.name for output in result.get_response().outputs} == set(names)
        assert all((result.as_numpy(name) == 1).all() for name in names)


def check_id_and_version(client: InferenceServerClient) -> None:
    response = client.infer("mlp", ones(), model_version="1", request_id="order 66").get_response()
    assert (response.id, response.model_name, response.model_version) == ("order 66", "mlp", "1")
    assert client.infer("mlp", ones()).get_response().model_version == "1"


def check_parameters(client: InferenceServerClient) -> None:
    client.infer("mlp", ones(), priority=1, timeout=5_000_000, parameters={"who": "me", "much": 3, "sure": True})
    client.infer("mlp", ones(), sequence_id=5, sequence_start=True, sequence_end=True, headers={"x-tenant": "a"})


def check_numbers_that_are_none(client: InferenceServerClient) -> None:
    values = np.array([np.nan, np.inf, -np.inf, -0.0], np.float32)
    returned = client.infer("identity", [tensor("INPUT0", values)]).as_numpy("OUTPUT0")
    np.testing.assert_array_equal(returned.view(np.uint32), values.view(np.uint32))


def check_large_and_empty_messages(client: InferenceServerClient) -> None:
    for length in (0, 4_000_000):
        values = np.arange(length, dtype=np.float32)
        np.testing.assert_array_equal(client.infer("identity", [tensor("INPUT0", values)]).as_numpy("OUTPUT0"), values)


def check_compression(client: InferenceServerClient) -> None:
    values = np.zeros(100_000, np.float32)
    for algorithm in ("gzip", "deflate"):
        result = client.infer("identity", [tensor("INPUT0", values)], compression_algorithm=algorithm)
        np.testing.assert_array_equal(result.as_numpy("OUTPUT0"), values)


def check_errors(client: InferenceServerClient) -> None:
    assert error_of(client.infer, "nope", ones()) == (
        "StatusCode.NOT_FOUND",
        "Request for unknown model: 'nope' is not found",
    )
    assert error_of(client.infer, "mlp", ones(), model_version="9") == (
        "StatusCode.NOT_FOUND",
        "Request for unknown model: 'mlp' version 9 is not found",
    )
    assert error_of(client.infer, "mlp", ones(65), request_id="q1") == (
        "StatusCode.INVALID_ARGUMENT",
        "[request id: q1] inference request batch-size must be <= 64 for 'mlp'",
    )
    assert error_of(client.get_inference_statistics, "nope") == (
        "StatusCode.INVALID_ARGUMENT",
        "requested model 'nope' is not available",
    )


def check_what_is_not_served(client: InferenceServerClient) -> None:
    classes = [InferRequestedOutput("OUTPUT0", class_count=1)]
    assert error_of(client.infer, "mlp", ones(), outputs=classes)[0] == "StatusCode.UNIMPLEMENTED"
    for call in (client.get_model_repository_index, client.get_trace_settings, client.get_log_settings):
        assert error_of(call)[0] == "StatusCode.UNIMPLEMENTED"
    assert error_of(client.load_model, "mlp")[0] == "StatusCode.UNIMPLEMENTED"
    assert error_of(client.get_system_shared_memory_status)[0] == "StatusCode.UNIMPLEMENTED"


def check_async_infer(client: InferenceServerClient) -> None:
    answers = Answers()
    for number in range(200):
        values = np.full(number % 7 + 1, number, np.float32)
        inputs = [tensor("INPUT0", values)]
        client.async_infer("identity", inputs, answers.put, request_id=str(number))
    missing = set(range(200))
    while missing:
        result, error = answers.next()
        assert error is None, error
        number = int(result.get_response().id)
        assert result.as_numpy("OUTPUT0").tolist() == [number] * (number % 7 + 1)
        missing.remove(number)


def check_client_timeout(client: InferenceServerClient) -> None:
    status, _ = error_of(client.infer, "slow", slow(), client_timeout=0.05)
    assert status == "StatusCode.DEADLINE_EXCEEDED"


def check_cancel(client: InferenceServerClient) -> None:
    answers = Answers()
    client.async_infer("slow", slow(), answers.put).cancel()
    result, error = answers.next()
    assert result is None
    assert error.status() == "StatusCode.CANCELLED"
    assert client.is_server_ready()


if __name__ == "__main__":
    with InferenceServerClient(sys.argv[1]) as client:
        run(globals(), client)
