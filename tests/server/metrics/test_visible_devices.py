import pytest

from yais.server.metrics.nvml import NvmlDevice, visible_devices

DEVICES = [
    NvmlDevice("0", "GPU-aa1"),
    NvmlDevice("1", "GPU-ab2"),
    NvmlDevice("1:0", "MIG-ca3", parent="1"),
    NvmlDevice("1:2", "MIG-cb4", parent="1"),
    NvmlDevice("2", "GPU-cc5"),
]


def names(*entries: str) -> str:
    return " ".join(device.name for device in visible_devices(DEVICES, entries))


def test_all_are_visible_where_the_variable_is_not_set() -> None:
    assert visible_devices(DEVICES, None) == DEVICES


@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        ([], ""),
        ([""], ""),
        (["-1"], ""),
        (["NoDevFiles"], ""),
        (["0"], "0"),
        (["2", "0"], "0 2"),
        (["0", "0"], "0"),
        (["GPU-aa1"], "0"),
        (["GPU-cc"], "2"),
        (["GPU-aa1", "2"], "0 2"),
    ],
    ids=lambda value: ",".join(value) if isinstance(value, list) else None,
)
def test_gpus_are_named_by_index_or_by_the_beginning_of_a_uuid(entries: list[str], expected: str) -> None:
    assert names(*entries) == expected


@pytest.mark.parametrize("entry", ["-1", "3", "00", "", "GPU-zz", "GPU-a", "MIG-c", "1:0", "aa1", "GPU-aa11"])
def test_what_follows_an_entry_that_names_no_device_or_several_is_ignored(entry: str) -> None:
    assert names("0", entry, "2") == "0"


def test_a_gpu_comes_with_its_instances() -> None:
    assert names("1") == names("GPU-ab") == "1 1:0 1:2"


def test_an_instance_comes_with_its_gpu_and_without_the_instances_beside_it() -> None:
    assert names("MIG-cb4") == "1 1:2"
    assert names("2", "MIG-ca") == "1 1:0 2"
