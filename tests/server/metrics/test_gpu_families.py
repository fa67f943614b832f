import logging
import os
import re
import subprocess
from pathlib import Path
from threading import Event

import pynvml
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.fake_nvml import FakeGpu, FakeNvml, two_gpus
from yais.server.metrics import gpu
from yais.server.metrics.exposition import render
from yais.server.metrics.gpu import GpuSampler
from yais.server.metrics.nvml import Nvml

ROOT = Path(__file__).parents[3]
PROMTOOL = ROOT / "build" / "peers" / "prometheus" / "promtool"
# What perf_analyzer looks for, to the end of the line; it knows the first four families.
PERF_ANALYZERS = r'\n{name}\{{gpu_uuid="([^"]+)"\}} (\d+\.?\d*)(?=\n)'
# Type and help text of each family; its one label is gpu_uuid.
TRITONS = {
    "nv_gpu_utilization": ("gauge", "GPU utilization rate [0.0 - 1.0)"),
    "nv_gpu_power_usage": ("gauge", "GPU power usage in watts"),
    "nv_gpu_memory_used_bytes": ("gauge", "GPU used memory, in bytes"),
    "nv_gpu_memory_total_bytes": ("gauge", "GPU total memory, in bytes"),
    "nv_gpu_power_limit": ("gauge", "GPU power management limit in watts"),
    "nv_energy_consumption": ("counter", "GPU energy consumption in joules since the Triton Server started"),
}
VALUES = {
    "nv_gpu_utilization": {"GPU-0": "0.57"},
    "nv_gpu_power_usage": {"GPU-0": "71.5"},
    "nv_gpu_memory_used_bytes": {"GPU-0": "11811160064", "MIG-a": "1073741824", "MIG-b": "7516192768"},
    "nv_gpu_memory_total_bytes": {"GPU-0": "85899345920", "MIG-a": "5368709120", "MIG-b": "21474836480"},
    "nv_gpu_power_limit": {"GPU-0": "350", "GPU-1": "400"},
    "nv_energy_consumption": {"GPU-0": "0", "GPU-1": "0"},
}


def sampled(*gpus: FakeGpu) -> GpuSampler:
    sampler = GpuSampler(Nvml(FakeNvml(*gpus), {}))
    sampler.sample(0)
    return sampler


def text(sampler: GpuSampler) -> str:
    return render(sampler.families())


def watts(sampler: GpuSampler) -> dict[str, float]:
    """By the label `gpu`, which is the only one."""
    found = re.findall(r'^yais_gpus_power_usage\{gpu="([^"]*)"\} (.+)$', text(sampler), flags=re.MULTILINE)
    return {gpu: float(value) for gpu, value in found}


def declared(page: str) -> dict[str, tuple[str, str]]:
    """Type and help text of each family, by name."""
    found = re.findall(r"^# HELP (\w+) (.+)\n# TYPE \1 (\w+)$", page, flags=re.MULTILINE)
    return {name: (kind, help_text) for name, help_text, kind in found}


def test_the_power_of_each_gpu_is_in_watts_under_its_index() -> None:
    sampler = sampled(*two_gpus(), FakeGpu("GPU-2", 300_000), FakeGpu("GPU-3", 0))
    assert watts(sampler) == {"0": 71.5, "2": 300, "3": 0}


def test_each_family_of_tritons_has_its_type_and_help_text_and_there_are_no_others() -> None:
    ours = {"yais_gpus_power_usage": ("gauge", "Power draw of each GPU, in watts")}
    assert declared(text(sampled(*two_gpus()))) == ours | TRITONS


@pytest.mark.parametrize("name", TRITONS)
def test_perf_analyzer_finds_every_series_in_full(name: str) -> None:
    page = text(sampled(*two_gpus()))
    assert dict(re.findall(PERF_ANALYZERS.format(name=name), page)) == VALUES[name]


amounts = st.none() | st.integers(0, 2**40)


@given(st.lists(st.tuples(amounts, amounts, amounts, st.none() | st.integers(0, 100), amounts), max_size=3))
@settings(deadline=None)
def test_every_number_is_plain_and_no_family_is_without_series(
    gpus: list[tuple[int | None, int | None, int | None, int | None, int | None]],
) -> None:
    sampler = sampled(*(FakeGpu(f"GPU-{i}", *told) for i, told in enumerate(gpus)))
    for moment in (0.001, 3600.5):
        sampler.sample(moment)
        assert all(family.samples for family in sampler.families())
        values = [line.rpartition(" ")[2] for line in text(sampler).splitlines() if not line.startswith("#")]
        assert [value for value in values if not re.fullmatch(r"\d+(\.\d+)?", value)] == []


def test_energy_grows_by_what_a_gpu_counts_or_draws() -> None:
    counting, drawing = FakeGpu("GPU-0", 50_000, millijoules=10**12), FakeGpu("GPU-1", 300_000)
    sampler = sampled(counting, drawing)
    counting.millijoules = 10**12 + 100_000_000_250
    sampler.sample(2)
    lines = [line for line in text(sampler).splitlines() if line.startswith("nv_energy_consumption{")]
    assert lines == [
        'nv_energy_consumption{gpu_uuid="GPU-0"} 100000000.25',
        'nv_energy_consumption{gpu_uuid="GPU-1"} 600',
    ]


def test_promtool_misses_only_the_suffix_that_tritons_counter_lacks() -> None:
    if not PROMTOOL.exists() and os.environ.get("YAIS_REQUIRE_PEERS") != "1":
        pytest.skip(f"{PROMTOOL.relative_to(ROOT)} is missing: make test makes it")
    page = text(sampled(*two_gpus()))
    command = [PROMTOOL, "check", "metrics"]
    done = subprocess.run(command, input=page, capture_output=True, text=True, timeout=30, check=False)
    complaints = (done.stdout + done.stderr).splitlines()
    assert complaints == ['nv_energy_consumption counter metrics should have "_total" suffix']


@pytest.mark.parametrize("name", ["yais_gpus_power_usage", *TRITONS])
def test_the_metrics_page_explains_every_family(name: str) -> None:
    assert f"`{name}`" in (ROOT / "docs" / "metrics.md").read_text()


def test_before_the_first_sample_and_without_gpus_there_is_nothing() -> None:
    assert text(GpuSampler(Nvml(FakeNvml(*two_gpus()), {}))) == text(sampled()) == ""


def test_readings_of_lost_gpus_are_not_kept_and_the_log_tells_of_each_loss_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    library = FakeNvml(FakeGpu("GPU-0", 1000))
    sampler = GpuSampler(Nvml(library, {}))
    sampler.sample(0)
    assert caplog.messages == []
    told = ["The GPU readings are lost: Driver Not Loaded", "The GPU readings are back"]
    for moment in (10, 20):
        library.broken = {"nvmlDeviceGetCount": pynvml.NVML_ERROR_DRIVER_NOT_LOADED}
        for second in range(3):
            sampler.sample(moment + second)
            assert text(sampler) == ""
        library.broken = {}
        sampler.sample(moment + 3)
        assert watts(sampler) == {"0": 1}
        sampler.sample(moment + 4)
        assert caplog.messages == told * (moment // 10)


def test_power_is_not_added_up_over_a_time_without_readings() -> None:
    library = FakeNvml(FakeGpu("GPU-0", 1_000_000))
    sampler = GpuSampler(Nvml(library, {}))
    sampler.sample(100)
    library.broken = {"nvmlDeviceGetCount": pynvml.NVML_ERROR_DRIVER_NOT_LOADED}
    sampler.sample(102)
    library.broken = {}
    for moment in (1000, 1002):
        sampler.sample(moment)
    assert 'nv_energy_consumption{gpu_uuid="GPU-0"} 2000\n' in text(sampler)


class Counting(FakeNvml):
    """Tells when it has been read three times."""

    def __init__(self, *gpus: FakeGpu) -> None:
        super().__init__(*gpus)
        self.reads = 0
        self.is_read = Event()

    def nvmlDeviceGetCount(self) -> int:
        self.reads += 1
        if self.reads == 3:
            self.is_read.set()
        return super().nvmlDeviceGetCount()


def test_a_thread_samples_until_it_is_stopped_and_lets_go_of_nvml(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "PERIOD_S", 0.001)
    library = Counting(FakeGpu("GPU-0", 4000))
    sampler = GpuSampler(Nvml(library, {}))
    sampler.start()
    assert library.is_read.wait(30)
    monkeypatch.setattr(gpu, "PERIOD_S", 30)
    sampler.stop()
    assert watts(sampler) == {"0": 4}
    assert (library.calls[0], library.calls[-1], library.is_open) == ("nvmlInit", "nvmlShutdown", False)


def test_samples_are_two_seconds_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    sampler = GpuSampler(Nvml(FakeNvml(FakeGpu("GPU-0", 4000)), {}))
    waits: list[float] = []

    def wait(seconds: float) -> bool:
        waits.append(seconds)
        return len(waits) == 3

    monkeypatch.setattr(sampler._stopping, "wait", wait)
    sampler._run()
    assert waits == [2, 2, 2]


@pytest.mark.parametrize("is_expected", [True, False])
def test_without_a_driver_the_thread_ends_and_the_log_says_why_in_one_line_where_a_gpu_was_asked_for(
    caplog: pytest.LogCaptureFixture, is_expected: bool
) -> None:
    caplog.set_level(logging.INFO)
    library = FakeNvml(*two_gpus())
    library.broken = {"nvmlInit": pynvml.NVML_ERROR_LIBRARY_NOT_FOUND}
    sampler = GpuSampler(Nvml(library, {}), is_expected)
    sampler.start()
    sampler.stop()
    assert (text(sampler), library.calls) == ("", ["nvmlInit"])
    assert caplog.messages == ["No GPU readings: NVML Shared Library Not Found"] * is_expected


def test_a_driver_that_hangs_keeps_neither_the_server_nor_the_interpreter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "PERIOD_S", 0.001)
    hanging = Event()

    class Hanging(FakeNvml):
        def nvmlDeviceGetCount(self) -> int:
            hanging.wait(60)
            return super().nvmlDeviceGetCount()

    sampler = GpuSampler(Nvml(Hanging(*two_gpus()), {}))
    sampler.start()
    sampler.stop()
    assert sampler._thread.daemon
    assert text(sampler) == ""
    hanging.set()
    sampler._thread.join(30)
    assert not sampler._thread.is_alive()


def test_the_real_library_is_never_fatal() -> None:
    sampler = GpuSampler()
    sampler.start()
    sampler.stop()
    assert all(family.samples for family in sampler.families())
