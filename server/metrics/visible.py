"""Which GPUs of a machine CUDA_VISIBLE_DEVICES leaves to this process."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Device:
    """A GPU, named by NVML's index, or a MIG instance of the GPU named `parent`; `handle` is what NVML knows it by."""

    name: str
    uuid: str
    parent: str | None = None
    handle: Any = None


def visible(devices: Sequence[Device], entries: Sequence[str] | None) -> list[Device]:
    """Those of `devices` that the variable's `entries` leave; all if it is not set.

    A GPU comes with its MIG instances. An instance comes with its GPU, which alone can tell power and energy, and
    without the instances beside it.
    """
    if entries is None:
        return list(devices)
    named = _named(devices, entries)
    whole = {device.parent for device in devices if device.name in named}
    return [each for each in devices if each.name in named | whole or each.parent in named]


def _named(devices: Sequence[Device], entries: Sequence[str]) -> set[str]:
    """As CUDA does, ignores all that follows an entry which names no device, or more than one."""
    named: set[str] = set()
    for entry in entries:
        found = [device.name for device in devices if _is_meant(device, entry)]
        if len(found) != 1:
            break
        named.update(found)
    return named


def _is_meant(device: Device, entry: str) -> bool:
    """By a GPU's index, or by the beginning of a UUID."""
    if entry.startswith(("GPU-", "MIG-")):
        return device.uuid.startswith(entry)
    return device.parent is None and device.name == entry
