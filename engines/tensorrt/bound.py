"""A context of TensorRT, ready to be run."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from yais.engines.base import EngineError, Shape
from yais.engines.tensorrt.loaded import LoadedPlan
from yais.engines.tensorrt.outputs import Output
from yais.engines.tensorrt.workspace import Workspace

if TYPE_CHECKING:
    import tensorrt as trt


class BoundContext:
    """A context in one profile, with a workspace for its activations, and its inputs at `addresses`.

    Raises `EngineError` when TensorRT refuses any of that.
    """

    def __init__(
        self,
        plan: LoadedPlan,
        profile: int,
        workspace: Workspace,
        addresses: Sequence[int],
        outputs: Sequence[Output],
        stream: Any,
    ) -> None:
        self._plan = plan
        self._shapes: tuple[Shape, ...] | None = None
        self._context = self._make(workspace)
        self._check(self._context.set_optimization_profile_async(profile, stream.handle))
        for binding, address in zip(plan.layout.bindings.inputs, addresses, strict=True):
            self._check(self._context.set_tensor_address(binding.name, address))
        for output in outputs:
            output.bind(self._context)

    def enqueue(self, shapes: tuple[Shape, ...], stream: Any) -> None:
        """Puts a run with inputs of these shapes on the stream. Raises `EngineError`."""
        if shapes != self._shapes:
            self._reshape(shapes)
        self._check(self._context.execute_async_v3(stream.handle))

    def _reshape(self, shapes: tuple[Shape, ...]) -> None:
        self._shapes = None
        for binding, shape in zip(self._plan.layout.bindings.inputs, shapes, strict=True):
            self._check(self._context.set_input_shape(binding.name, shape))
        self._shapes = shapes

    def _make(self, workspace: Workspace) -> "trt.IExecutionContext":
        strategy = self._plan.library.module.ExecutionContextAllocationStrategy.USER_MANAGED
        made = self._plan.engine.create_execution_context(strategy)
        if made is None:
            raise EngineError(self._plan.messages.take())
        made.set_device_memory(workspace.address, workspace.size)
        return made

    def _check(self, succeeded: bool) -> None:
        if not succeeded:
            raise EngineError(self._plan.messages.take())
