import asyncio
from importlib.metadata import version
from typing import cast

import pytest

from server.fake_engine import FakeEngine, options
from yais.server.config import Config
from yais.server.models.model import Model, ModelOptions
from yais.server.server import Server
from yais.server.terminal import banner, summarise


class Started:
    """What the banner reads of a server."""

    def __init__(self, workers: int = 1, **models: tuple[FakeEngine, ModelOptions]) -> None:
        self.config = Config(["m.onnx"], host="127.0.0.1", workers=workers)
        self.port, self.metrics_port = 12345, 23456
        loop = asyncio.get_running_loop()
        self.models = {name: summarise(Model(name, engine, pool, loop)) for name, (engine, pool) in models.items()}


async def test_the_banner_says_what_is_served_where_and_what_to_try() -> None:
    started = Started(
        flowers=(FakeEngine(platform="onnxruntime_onnx"), options(contexts=1, buffers=3)),
        mlp=(FakeEngine(max_batch_size=0, device="cuda:0"), options(contexts=2, buffers=4)),
    )
    assert banner(cast("Server", started)).splitlines() == [
        f"YAIS {version('yais')} is serving",
        "  gRPC      127.0.0.1:12345",
        "  metrics   http://127.0.0.1:23456/metrics",
        "  model     flowers: onnxruntime_onnx on cpu, batches of up to 8, 1 context, 3 buffers",
        "  model     mlp: fake_numpy on cuda:0, no batching, 2 contexts, 4 buffers",
        "Try",
        "  client-sync --port 12345 --model flowers --count 10",
        "  siege --port 12345 --model flowers --rate 20 --duration 10s --max-lag 50ms",
    ]


async def test_the_number_of_workers_is_told_when_there_are_several() -> None:
    started = Started(workers=3, m=(FakeEngine(), options()))
    assert banner(cast("Server", started)).splitlines()[3] == "  workers   3, each serving the models below"


@pytest.mark.parametrize(("buffers", "text"), [(1, "1 context, 1 buffer"), (2, "1 context, 2 buffers")])
async def test_one_is_counted_in_the_singular(buffers: int, text: str) -> None:
    started = Started(m=(FakeEngine(), options(contexts=1, buffers=buffers)))
    assert banner(cast("Server", started)).splitlines()[3].endswith(text)
