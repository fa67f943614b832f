import inspect

import pynvml
import pytest

from server.fake_nvml import GIB, FakeGpu, FakeNvml, two_gpus
from yais.server.metrics.nvml import GpuReading, Nvml, NvmlError

FIRST = GpuReading("0", "GPU-0", 71.5, 350, 5000, 0.57, 80 * GIB, 11 * GIB)
SECOND = GpuReading("1", "GPU-1", power_limit=400, energy=9000)
SMALL = GpuReading("1:0", "MIG-a", memory_total=5 * GIB, memory_used=GIB)
LARGE = GpuReading("1:2", "MIG-b", memory_total=20 * GIB, memory_used=7 * GIB)


def readings(*gpus: FakeGpu, **environment: str) -> list[GpuReading]:
    return Nvml(FakeNvml(*gpus), environment).read()


def stand_ins() -> list[str]:
    return [name for name, _ in inspect.getmembers(FakeNvml, inspect.isfunction) if name.startswith("nvml")]


@pytest.mark.parametrize("function", stand_ins())
def test_the_stand_ins_functions_are_called_as_the_real_ones(function: str) -> None:
    _, *parameters = inspect.signature(getattr(FakeNvml, function)).parameters
    assert parameters == [*inspect.signature(getattr(pynvml, function)).parameters]


def test_every_gpu_and_every_instance_tells_what_is_its_own() -> None:
    assert readings(*two_gpus()) == [FIRST, SECOND, SMALL, LARGE]


def test_a_split_gpus_memory_and_utilization_are_left_to_its_instances() -> None:
    first, second = two_gpus()
    second.percent, second.milliwatts = 30, 90_000
    for instance in filter(None, second.places):
        instance.percent, instance.milliwatts, instance.limit, instance.millijoules = 10, 90_000, 400_000, 9_000_000
    told = readings(first, second)
    assert [each.utilization for each in told] == [0.57, None, 0.1, 0.1]
    assert [each.power_usage for each in told] == [71.5, 90, None, None]
    assert [each.energy for each in told] == [5000, 9000, None, None]
    assert sum(each.memory_used or 0 for each in told) == 19 * GIB


def test_a_gpu_whose_places_are_all_free_tells_its_own_memory() -> None:
    assert readings(FakeGpu("GPU-0", total=40 * GIB, used=GIB, places=[None] * 7)) == [
        GpuReading("0", "GPU-0", memory_total=40 * GIB, memory_used=GIB)
    ]


@pytest.mark.parametrize("tells_bytes", [False, True])
def test_a_uuid_is_text_whatever_the_version_of_pynvml(tells_bytes: bool) -> None:
    nvml = Nvml(FakeNvml(*two_gpus(), tells_bytes=tells_bytes), {})
    assert [each.uuid for each in nvml.read()] == ["GPU-0", "GPU-1", "MIG-a", "MIG-b"]


@pytest.mark.parametrize("code", [pynvml.NVML_ERROR_NOT_SUPPORTED, pynvml.NVML_ERROR_FUNCTION_NOT_FOUND, 999])
@pytest.mark.parametrize(
    ("function", "quantities"),
    [
        ("nvmlDeviceGetPowerUsage", {"power_usage"}),
        ("nvmlDeviceGetPowerManagementLimit", {"power_limit"}),
        ("nvmlDeviceGetTotalEnergyConsumption", {"energy"}),
        ("nvmlDeviceGetUtilizationRates", {"utilization"}),
        ("nvmlDeviceGetMemoryInfo", {"memory_total", "memory_used"}),
    ],
)
def test_a_reading_that_fails_is_left_out_by_itself_and_may_come_back(
    function: str, quantities: set[str], code: int
) -> None:
    library = FakeNvml(*two_gpus())
    nvml = Nvml(library, {})
    library.broken = {(function, "GPU-0"): code}
    failed, *others = nvml.read()
    fields = GpuReading.__dataclass_fields__
    assert {name for name in fields if getattr(failed, name) != getattr(FIRST, name)} == quantities
    assert {getattr(failed, name) for name in quantities} == {None}
    assert others == [SECOND, SMALL, LARGE]
    library.broken = {}
    assert nvml.read()[0] == FIRST


@pytest.mark.parametrize(
    ("function", "uuid", "left"),
    [
        ("nvmlDeviceGetHandleByIndex", "GPU-0", [SECOND, SMALL, LARGE]),
        ("nvmlDeviceGetUUID", "GPU-0", [SECOND, SMALL, LARGE]),
        ("nvmlDeviceGetUUID", "MIG-a", [FIRST, SECOND, LARGE]),
    ],
)
def test_a_device_that_is_lost_is_left_out_by_itself_and_may_come_back(
    function: str, uuid: str, left: list[GpuReading]
) -> None:
    library = FakeNvml(*two_gpus())
    nvml = Nvml(library, {})
    library.broken = {(function, uuid): pynvml.NVML_ERROR_GPU_IS_LOST}
    assert nvml.read() == left
    library.broken = {}
    assert nvml.read() == [FIRST, SECOND, SMALL, LARGE]
    assert library.calls.count("nvmlInit") == 1


def test_a_driver_that_knows_no_instances_tells_of_its_gpus() -> None:
    library = FakeNvml(*two_gpus())
    library.broken = {"nvmlDeviceGetMaxMigDeviceCount": pynvml.NVML_ERROR_FUNCTION_NOT_FOUND}
    assert [each.name for each in Nvml(library, {}).read()] == ["0", "1"]


def test_a_gpu_that_tells_nothing_is_left_out() -> None:
    assert readings(*two_gpus(), FakeGpu("GPU-2")) == [FIRST, SECOND, SMALL, LARGE]


def test_readings_follow_the_gpus_and_their_instances() -> None:
    library = FakeNvml(*two_gpus())
    nvml = Nvml(library, {})
    nvml.read()
    library.gpus[1].places[0] = None
    assert nvml.read() == [FIRST, SECOND, LARGE]
    library.gpus.pop()
    assert nvml.read() == [FIRST]


def test_no_gpus_are_no_readings() -> None:
    library = FakeNvml()
    nvml = Nvml(library, {})
    assert [nvml.read(), nvml.read()] == [[], []]
    assert library.calls.count("nvmlInit") == 1


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ("0", [FIRST]),
        ("1", [SECOND, SMALL, LARGE]),
        (" GPU-1 , 0", [FIRST, SECOND, SMALL, LARGE]),
        ("MIG-b", [SECOND, LARGE]),
        ("MIG-GPU-1/2/0", [SECOND, LARGE]),
        ("MIG-GPU-1/5/0,0", []),
        ("", []),
    ],
)
def test_only_what_cuda_leaves_to_this_process_is_asked(setting: str, expected: list[GpuReading]) -> None:
    assert readings(*two_gpus(), CUDA_VISIBLE_DEVICES=setting) == expected


def test_a_gpu_of_others_is_not_asked_for_readings() -> None:
    library = FakeNvml(FakeGpu("GPU-0", 1000), FakeGpu("GPU-1", 2000))
    Nvml(library, {"CUDA_VISIBLE_DEVICES": "1"}).read()
    assert library.calls.count("nvmlDeviceGetPowerUsage") == 1


def test_without_a_driver_opening_fails() -> None:
    library = FakeNvml(*two_gpus())
    library.broken = {"nvmlInit": pynvml.NVML_ERROR_LIBRARY_NOT_FOUND}
    with pytest.raises(NvmlError, match=r"^NVML Shared Library Not Found$"):
        Nvml(library, {}).open()


def lost(code: int, *functions: str) -> dict[str | tuple[str, str | None], int]:
    return dict.fromkeys(functions, code)


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (lost(pynvml.NVML_ERROR_DRIVER_NOT_LOADED, "nvmlDeviceGetCount"), "Driver Not Loaded"),
        (lost(pynvml.NVML_ERROR_GPU_IS_LOST, "nvmlDeviceGetHandleByIndex"), "no GPU tells anything"),
        (
            lost(
                pynvml.NVML_ERROR_UNKNOWN,
                "nvmlDeviceGetPowerUsage",
                "nvmlDeviceGetPowerManagementLimit",
                "nvmlDeviceGetTotalEnergyConsumption",
                "nvmlDeviceGetUtilizationRates",
                "nvmlDeviceGetMemoryInfo",
            ),
            "no GPU tells anything",
        ),
    ],
    ids=["no count", "no handles", "no values"],
)
def test_nvml_that_is_lost_is_opened_again_until_it_is_back(
    broken: dict[str | tuple[str, str | None], int], message: str
) -> None:
    library = FakeNvml(*two_gpus())
    nvml = Nvml(library, {})
    nvml.open()
    library.broken = broken
    with pytest.raises(NvmlError, match=rf"^{message}$"):
        nvml.read()
    assert not library.is_open
    library.broken = {"nvmlInit": pynvml.NVML_ERROR_DRIVER_NOT_LOADED}
    with pytest.raises(NvmlError, match=r"^Driver Not Loaded$"):
        nvml.read()
    library.broken = {}
    assert nvml.read() == [FIRST, SECOND, SMALL, LARGE]
    assert library.calls.count("nvmlInit") == 3


def test_closing_lets_go_of_nvml_once_and_never_fails() -> None:
    library = FakeNvml(*two_gpus())
    nvml = Nvml(library, {})
    nvml.open()
    nvml.close()
    assert not library.is_open
    nvml.close()
