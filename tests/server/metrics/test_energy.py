import pytest

from yais.server.metrics.gpu import EnergyMeter
from yais.server.metrics.nvml import GpuReading

DAY_S = 86_400.0


class Meter:
    """One that reads a GPU every 2 s; `add` returns its joules, None where it has none."""

    def __init__(self) -> None:
        self._meter = EnergyMeter()
        self._now = DAY_S

    def add(self, watts: float | None = None, count: float | None = None) -> float | None:
        return self._add(GpuReading("0", "GPU-0", power_usage=watts, energy=count))

    def miss(self) -> float | None:
        return self._add()

    def _add(self, *readings: GpuReading) -> float | None:
        self._now += 2
        return self._meter.add(readings, self._now).get("GPU-0")


def test_a_gpus_own_count_is_told_from_the_first_reading_on() -> None:
    meter = Meter()
    assert [meter.add(300, count) for count in (5000, 5000, 5600.5, 5601)] == [0, 0, 600.5, 601]


def test_a_count_that_failed_for_a_while_covers_that_while() -> None:
    meter = Meter()
    readings = [meter.add(300, 5000), meter.add(300, 5100), meter.add(300), meter.miss(), meter.add(300, 6000)]
    assert readings == [0, 100, None, None, 1000]


def test_a_count_that_starts_again_never_lets_the_joules_go_down() -> None:
    meter = Meter()
    assert [meter.add(count=count) for count in (5000, 5100, 40, 60)] == [0, 100, 140, 160]


def test_power_over_time_stands_in_for_a_count() -> None:
    meter = Meter()
    assert [meter.add(watts) for watts in (100, 100, 200, 0)] == [0, 200, 500, 700]


@pytest.mark.parametrize("gap", ["add", "miss"])
def test_without_readings_of_power_nothing_is_added(gap: str) -> None:
    meter = Meter()
    before = [meter.add(100), meter.add(100), getattr(meter, gap)()]
    assert [*before, meter.add(100), meter.add(100)] == [0, 200, None, 200, 400]


def test_a_count_takes_over_from_power_and_is_kept_to() -> None:
    meter = Meter()
    readings = [meter.add(100), meter.add(100), meter.add(100, 5000), meter.add(100, 5300), meter.add(100)]
    assert readings == [0, 200, 200, 500, None]


def test_joules_are_told_to_the_millijoule() -> None:
    meter = Meter()
    assert [meter.add(count=count) for count in (0.1, 0.2, 0.3)] == [0, 0.1, 0.2]
    tiny = EnergyMeter()
    assert tiny.add([GpuReading("0", "a", power_usage=0.001)], 5) == {"a": 0}
    assert tiny.add([GpuReading("0", "a", power_usage=0.001)], 5.01) == {"a": 0}


def test_each_gpu_has_joules_of_its_own_and_an_instance_none() -> None:
    meter = EnergyMeter()
    first = [
        GpuReading("0", "a", energy=10),
        GpuReading("1", "b", power_usage=50),
        GpuReading("1:0", "c", memory_used=1),
    ]
    assert meter.add(first, 10) == {"a": 0, "b": 0}
    assert meter.add([GpuReading("0", "b", power_usage=50), GpuReading("1", "a", energy=15)], 14) == {"a": 5, "b": 200}
