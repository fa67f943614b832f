"""What a program with tritonclient's asyncio gRPC client does; the server's address is the argument."""

import asyncio
import sys
from collections.abc import Awaitable
from contextlib import suppress

import numpy as np
from harness import run
from tritonclient.grpc.aio import InferenceServerClient, InferInput
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

SLOW = 500_000  # steps, about half a second


def tensor(name: str, array: np.ndarray) -> InferInput:
    given = InferInput(name, array.shape, np_to_triton_dtype(array.dtype))
    return given.set_data_from_numpy(array)


def slow() -> list[InferInput]:
    return [tensor("STEPS", np.array([[SLOW]]))]


async def status_of(call: Awaitable[object]) -> str:
    try:
        await call
    except InferenceServerException as error:
        return error.status()
    raise AssertionError("it was answered")


async def check_what_it_tells_of_itself(address: str) -> None:
    async with InferenceServerClient(address) as client:
        assert await client.is_server_live()
        assert await client.is_server_ready()
        assert await client.is_model_ready("mlp")
        assert (await client.get_server_metadata()).name == "yais"
        assert (await client.get_model_metadata("two")).inputs[1].datatype == "FP16"
        assert (await client.get_model_config("two")).config.max_batch_size == 8
        assert (await client.get_inference_statistics("two")).model_stats[0].name == "two"


async def check_many_at_once(address: str) -> None:
    async def ask(number: int) -> None:
        values = np.full(number % 5 + 1, number, np.float32)
        result = await client.infer("identity", [tensor("INPUT0", values)], request_id=str(number))
        assert result.get_response().id == str(number)
        assert result.as_numpy("OUTPUT0").tolist() == values.tolist()

    async with InferenceServerClient(address) as client:
        await asyncio.gather(*map(ask, range(500)))


async def check_many_rows_at_once(address: str) -> None:
    rows = np.random.default_rng(7).standard_normal((100, 64)).astype(np.float32)

    async def ask(first: int) -> np.ndarray:
        part = rows[first : first + first % 5 + 1]
        return (await client.infer("mlp", [tensor("INPUT0", part)])).as_numpy("OUTPUT0")

    async with InferenceServerClient(address) as client:
        alone = np.concatenate([await ask(first) for first in range(0, 100, 5)])
        together = await asyncio.gather(*map(ask, range(100)))
        for first, answer in enumerate(together):
            assert answer.shape == (len(rows[first : first + first % 5 + 1]), 10)
            if first % 5 == 0:
                np.testing.assert_allclose(answer[0], alone[first // 5], rtol=1e-4, atol=1e-5)


async def check_compression(address: str) -> None:
    async with InferenceServerClient(address) as client:
        values = np.zeros(10_000, np.float32)
        result = await client.infer("identity", [tensor("INPUT0", values)], compression_algorithm="gzip")
        assert len(result.as_numpy("OUTPUT0")) == len(values)


async def check_errors(address: str) -> None:
    async with InferenceServerClient(address) as client:
        short = [tensor("INPUT0", np.ones((1, 63), np.float32))]
        assert await status_of(client.infer("mlp", short)) == "StatusCode.INVALID_ARGUMENT"
        assert await status_of(client.infer("nope", short)) == "StatusCode.NOT_FOUND"
        assert await status_of(client.infer("slow", slow(), client_timeout=0.05)) == "StatusCode.DEADLINE_EXCEEDED"


async def check_cancelled_task(address: str) -> None:
    async with InferenceServerClient(address) as client:
        task = asyncio.create_task(client.infer("slow", slow()))
        await asyncio.sleep(0.05)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        assert task.cancelled()
        assert await client.is_server_ready()


if __name__ == "__main__":
    run(globals(), sys.argv[1])
