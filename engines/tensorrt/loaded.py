"""A plan on one device, as far as all its slots share it."""

from pathlib import Path

from yais.engines.cuda.device import Device
from yais.engines.tensorrt.binding import read_bindings
from yais.engines.tensorrt.layout import Layout
from yais.engines.tensorrt.library import Library
from yais.engines.tensorrt.logger import Messages
from yais.engines.tensorrt.plan import load_plan


class LoadedPlan:
    """TensorRT's engine, and what it logs. Made while `device` is current. Raises `EngineError`."""

    def __init__(self, path: Path, library: Library, device: Device, max_batch_size: int | None) -> None:
        self.library = library
        self.device = device
        self.messages = Messages()
        self._runtime, self.engine = load_plan(path.read_bytes(), library, self.messages)
        self.layout = Layout(read_bindings(self.engine, library), max_batch_size)

    @property
    def workspace_size(self) -> int:
        """Bytes of activations in the profile that needs most."""
        profiles = range(self.layout.bindings.profiles)
        return max(self.engine.get_device_memory_size_for_profile_v2(profile) for profile in profiles)
