import asyncio
import contextlib
import logging
from collections.abc import Callable

import pytest
from fake_nvml import FakeNvml
from prometheus_client.metrics_core import Metric

from yais.server.metrics import gpu
from yais.server.metrics.gpu import PERIOD_S, PowerSampler


class Periods:
    """Stands in for the sleep between two samples: does what `between` says, until nothing is left to do."""

    def __init__(self, *between: Callable[[], None]) -> None:
        self._between = list(between)
        self.lengths: list[float] = []

    async def sleep(self, seconds: float) -> None:
        self.lengths.append(seconds)
        if not self._between:
            raise asyncio.CancelledError
        self._between.pop(0)()


async def sample(nvml: FakeNvml, monkeypatch: pytest.MonkeyPatch, *between: Callable[[], None]) -> PowerSampler:
    """A sampler that took a sample, and another after each step of `between`; then it was cancelled."""
    periods = Periods(*between)
    sampler = PowerSampler(nvml)
    with monkeypatch.context() as patched:
        patched.setattr(gpu.asyncio, "sleep", periods.sleep)
        with contextlib.suppress(asyncio.CancelledError):
            await sampler.run()
    assert set(periods.lengths) <= {PERIOD_S}
    return sampler


def watts(sampler: PowerSampler) -> dict[str, float]:
    families: list[Metric] = list(sampler.families())
    return {each.labels["gpu"]: each.value for family in families for each in family.samples}


async def test_every_gpu_has_its_power_in_watts(monkeypatch: pytest.MonkeyPatch) -> None:
    nvml = FakeNvml(71_500, 300_000, 0)
    sampler = await sample(nvml, monkeypatch)
    (family,) = sampler.families()
    assert (family.name, family.type) == ("yais_gpus_power_usage", "gauge")
    assert watts(sampler) == {"0": 71.5, "1": 300.0, "2": 0.0}
    assert (nvml.calls[0], nvml.calls[-1]) == ("init", "shutdown")


async def test_before_the_first_sample_there_is_no_series() -> None:
    assert list(PowerSampler(FakeNvml(1)).families()) == []


async def test_without_a_gpu_there_is_no_series(monkeypatch: pytest.MonkeyPatch) -> None:
    assert list((await sample(FakeNvml(), monkeypatch)).families()) == []


async def test_without_a_driver_sampling_ends_at_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    nvml = FakeNvml(1)
    nvml.broken = {"init"}
    caplog.set_level(logging.INFO)
    sampler = await sample(nvml, monkeypatch)
    assert list(sampler.families()) == []
    assert nvml.calls == ["init"]
    assert caplog.messages == ["No GPU power readings: init failed"]


@pytest.mark.parametrize("broken", ["power", "handle 1"])
async def test_a_gpu_that_cannot_tell_is_left_out_and_may_come_back(
    monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    nvml = FakeNvml(1000, 2000, 3000)
    readings: list[dict[str, float]] = []

    def fail() -> None:
        nvml.broken = {broken}
        nvml.milliwatts[1] = None if broken == "power" else 2000

    def recover() -> None:
        nvml.broken = set()
        nvml.milliwatts[1] = 2500

    sampler = PowerSampler(nvml)
    periods = Periods(fail, recover)

    async def sleep(seconds: float) -> None:
        readings.append(watts(sampler))
        await periods.sleep(seconds)

    with monkeypatch.context() as patched:
        patched.setattr(gpu.asyncio, "sleep", sleep)
        with contextlib.suppress(asyncio.CancelledError):
            await sampler.run()
    assert readings == [{"0": 1, "1": 2, "2": 3}, {"0": 1, "2": 3}, {"0": 1, "1": 2.5, "2": 3}]


async def test_readings_follow_the_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    nvml = FakeNvml(1000, 2000)
    assert watts(await sample(nvml, monkeypatch, lambda: nvml.milliwatts.pop())) == {"0": 1}


async def test_a_driver_that_fails_for_a_while_ends_neither_the_sampling_nor_keeps_old_readings(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    nvml = FakeNvml(1000)
    during: list[dict[str, float]] = []

    def fail() -> None:
        nvml.broken = {"count"}

    def recover() -> None:
        during.append(watts(sampler))
        nvml.broken = set()
        nvml.milliwatts = [4000]

    sampler = PowerSampler(nvml)
    with monkeypatch.context() as patched:
        patched.setattr(gpu.asyncio, "sleep", Periods(fail, recover).sleep)
        with contextlib.suppress(asyncio.CancelledError):
            await sampler.run()
    assert during == [{}]
    assert watts(sampler) == {"0": 4}


async def test_sampling_ends_with_its_task_and_lets_go_of_the_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    sampled = asyncio.Event()

    async def sleep(seconds: float) -> None:
        sampled.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(gpu.asyncio, "sleep", sleep)
    nvml = FakeNvml(1000)
    task = asyncio.create_task(PowerSampler(nvml).run())
    async with asyncio.timeout(30):
        await sampled.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert nvml.calls[-1] == "shutdown"


async def test_the_real_library_is_never_fatal(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(gpu.asyncio, "sleep", Periods().sleep)
        with contextlib.suppress(asyncio.CancelledError):
            await PowerSampler().run()
