"""A context of TensorRT, ready to be run."""

from collections.abc import Sequence
from typing import Any

from yais.engines.base import EngineError, Shape
from yais.engines.tensorrt.loaded import LoadedPlan
from yais.engines.tensorrt.outputs import Output
from yais.engines.tensorrt.workspace import Workspace


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
        self._outputs = outputs
        self._shapes: tuple[Shape, ...] | None = None
        self._context = plan.make_context()
        self._context.set_device_memory(workspace.address, workspace.size)
        if profile:
            self._choose(profile, stream)
        for binding, address in zip(plan.layout.bindings.inputs, addresses, strict=True):
            self._check(self._context.set_tensor_address(binding.name, address))
        for output in outputs:
            output.bind(self._context)

    def enqueue(self, shapes: tuple[Shape, ...], stream: Any) -> None:
        """Puts a run with inputs of these shapes on the stream. Raises `EngineError`."""
        if shapes != self._shapes:
            self._reshape(shapes)
        self._check(self._context.execute_async_v3(stream.handle))

    def _choose(self, profile: int, stream: Any) -> None:
        """A context begins in profile 0. TensorRT's binding raises here, where it returns False elsewhere."""
        try:
            self._check(self._context.set_optimization_profile_async(profile, stream.handle))
        except RuntimeError as error:
            raise EngineError(f"profile {profile} cannot be used: {error}: {self._plan.messages.take()}") from error

    def _reshape(self, shapes: tuple[Shape, ...]) -> None:
        self._shapes = None
        for binding, shape in zip(self._plan.layout.bindings.inputs, shapes, strict=True):
            self._check(self._context.set_input_shape(binding.name, shape))
        for output in self._outputs:
            output.check(self._context, shapes)
        self._shapes = shapes

    def _check(self, succeeded: bool) -> None:
        if not succeeded:
            raise EngineError(self._plan.messages.take())
