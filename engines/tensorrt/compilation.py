"""How TensorRT-RTX compiles kernels for the contexts of a plan, which TensorRT has done when it built it."""

from typing import TYPE_CHECKING

from yais.engines.base import EngineError
from yais.engines.tensorrt.library import Library

if TYPE_CHECKING:
    import tensorrt as trt


class Compilation:
    """The configuration with which all contexts of an engine are made; must outlive them.

    Kernels are compiled once for all contexts, and those for a shape before its first run ends: were that done in the
    background, a CUDA graph would hold the slow ones that stand in for them. Raises `EngineError`.
    """

    def __init__(self, engine: "trt.ICudaEngine", library: Library) -> None:
        module = library.module
        self.config = engine.create_runtime_config()
        self.config.set_execution_context_allocation_strategy(module.ExecutionContextAllocationStrategy.USER_MANAGED)
        self.config.dynamic_shapes_kernel_specialization_strategy = (
            module.DynamicShapesKernelSpecializationStrategy.EAGER
        )
        self._compiled = self.config.create_runtime_cache()
        if not self.config.set_runtime_cache(self._compiled):
            raise EngineError("TensorRT-RTX refuses a cache for what it compiles")
