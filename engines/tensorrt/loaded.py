"""A plan on one device, as far as all its slots share it."""

import logging
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from yais.engines.base import EngineError
from yais.engines.cuda.device import CudaDevice
from yais.engines.tensorrt.binding import Bindings, read_bindings
from yais.engines.tensorrt.compilation import Compilation
from yais.engines.tensorrt.layout import Layout
from yais.engines.tensorrt.library import Library
from yais.engines.tensorrt.logger import Messages
from yais.engines.tensorrt.plan import load_plan

if TYPE_CHECKING:
    import tensorrt as trt

logger = logging.getLogger(__name__)


class LoadedPlan:
    """TensorRT's engine, and what it logs. Made while `device` is current. Raises `EngineError`."""

    def __init__(self, path: Path, library: Library, device: CudaDevice, max_batch_size: int | None) -> None:
        self.library = library
        self.device = device
        self.messages = Messages()
        self._runtime, self.engine = load_plan(path.read_bytes(), library, self.messages)
        compiles = library.features.compiles_at_run_time
        self._compilation = Compilation(self.engine, library) if compiles else None
        self.layout = Layout(self._batches_checked(read_bindings(self.engine, library)), max_batch_size)

    @property
    def workspace_size(self) -> int:
        """Bytes of activations in the profile that needs most."""
        profiles = range(self.layout.bindings.profiles)
        return max(self.engine.get_device_memory_size_for_profile_v2(profile) for profile in profiles)

    def make_context(self) -> "trt.IExecutionContext":
        """One without memory for activations. Raises `EngineError`."""
        if self._compilation is not None:
            made = self.engine.create_execution_context(self._compilation.config)
        else:
            strategy = self.library.module.ExecutionContextAllocationStrategy.USER_MANAGED
            made = self.engine.create_execution_context(strategy)
        if made is None:
            raise EngineError(self.messages.take())
        return made

    def _batches_checked(self, bindings: Bindings) -> Bindings:
        """Without a batch dimension if it is none of an output, as of the boxes that a detector has found."""
        if not bindings.is_batchable:
            return bindings
        context = self.make_context()
        if not all(context.set_input_shape(each.name, each.ranges[0].maximum) for each in bindings.inputs):
            return bindings
        for binding in bindings.outputs:
            # What is not known although the inputs' shapes are is decided by what they hold.
            if tuple(context.get_tensor_shape(binding.name))[:1] == (-1,):
                logger.info("The plan is served without batches: the data decide how many rows '%s' has", binding.name)
                return replace(bindings, is_batchable=False)
        return bindings
