"""Slots: the stream, the memory and the contexts of TensorRT that one run on the device needs."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from threading import Lock
from typing import Any, NamedTuple

from yais.engines.base import EngineError, Run, Shape
from yais.engines.cuda.device import CudaDevice
from yais.engines.cuda.driver import CudaGraph, graph_sizes, round_up
from yais.engines.tensorrt.bindings import ProfileChoice
from yais.engines.tensorrt.buffers import HostBuffers, Output, make_outputs
from yais.engines.tensorrt.plan import LoadedPlan

# The generation of a slot that has been freed.
_NONE = -1


class Workspace:
    """Memory of `size` bytes on a device. Runs that use it follow one another on the GPU, while threads go on.

    `lock` is held while a run is put on its stream, so that no other comes between waiting for the last run and being
    the last.
    """

    def __init__(self, device: CudaDevice, size: int) -> None:
        self.size = size
        self.lock = Lock()
        self._memory = device.allocate(size)
        # The event after the last run that was put on a stream with this memory.
        self._used: Any = None

    @property
    def address(self) -> int:
        return int(self._memory)

    def await_last(self, stream: Any, own: Any) -> None:
        """Has the stream wait for the run that used the memory last, unless that was its own, which ends in `own`."""
        if self._used is not None and self._used is not own:
            stream.wait_for_event(self._used)

    def used_until(self, event: Any) -> None:
        """The next run waits for `event`, which has been recorded."""
        self._used = event


class ExecutionContext:
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
        # No memory of its own: contexts that run one after the other can have the same for their activations.
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
            # Should this fail half way, the context's shapes are neither the old ones nor the new.
            self._shapes = None
            for binding, shape in zip(self._plan.layout.bindings.inputs, shapes, strict=True):
                self._check(self._context.set_input_shape(binding.name, shape))
            # TensorRT works the outputs' shapes out now; it does not know how much memory there is for them.
            for output in self._outputs:
                output.check(self._context, shapes)
            self._shapes = shapes
        self._check(self._context.execute_async_v3(stream.handle))

    def _choose(self, profile: int, stream: Any) -> None:
        """A context begins in profile 0. TensorRT's binding raises here, where it returns False elsewhere."""
        try:
            self._check(self._context.set_optimization_profile_async(profile, stream.handle))
        except RuntimeError as error:
            raise EngineError(f"profile {profile} cannot be used: {error}: {self._plan.messages.take()}") from error

    def _check(self, succeeded: bool) -> None:
        if not succeeded:
            raise EngineError(self._plan.messages.take())


class BrokenDeviceError(EngineError):
    """A run after which nothing on the device works any more, until its context is made anew."""


class StaleSlotError(EngineError):
    """A run that was not begun, since the context has ended that its slot was made in."""


class RecordedGraph(NamedTuple):
    """A graph, and the context that it was recorded from, which must stay as it was."""

    graph: CudaGraph
    context: ExecutionContext


class Slot:
    """A stream with its events, device memory for the largest batch, and contexts of TensorRT.

    All is allocated here, once. Made while the plan's device is current.
    """

    def __init__(self, plan: LoadedPlan, workspace: Workspace) -> None:
        self._plan = plan
        self._workspace = workspace
        self._device = device = plan.device
        self._generation = device.generation
        self._stream = device.stream()
        self._began, self._computing, self._computed = (device.event() for _ in range(3))
        self._ended = device.event(is_waited_for=True)
        self._inputs = [self._zeros(plan.layout.input_size(binding)) for binding in plan.layout.bindings.inputs]
        self._outputs = make_outputs(plan)
        self._contexts: list[ExecutionContext] = []
        self._recorded: dict[int, RecordedGraph] = {}
        self._sizes: tuple[int, ...] = ()

    def make_contexts(self) -> None:
        """Prepares runs without graphs. Raises `EngineError`."""
        profiles = range(self._plan.layout.bindings.profiles)
        self._contexts = [self._make_context(profile) for profile in profiles]

    def record_graphs(self) -> None:
        """Records a run of each of the graph sizes. Raises `EngineError` for the first that cannot be."""
        layout = self._plan.layout
        # Several sizes may come to one where a profile takes no smaller batch.
        for choice in dict.fromkeys(layout.choose(rows, layout.fixed_shapes) for rows in graph_sizes(layout.capacity)):
            self._recorded[choice.rows] = self._record(choice)
        self._sizes = tuple(sorted(self._recorded))

    def run(self, buffers: HostBuffers, rows: int) -> Run:
        """Raises `EngineError` when this run fails, `BrokenDeviceError` when all further ones would.

        Raises `StaleSlotError` without having begun when the context is a newer one by now.
        """
        device = self._device
        with device:
            # All that a slot has is of the context in which it was made; in another, its handles mean anything.
            if device.generation != self._generation:
                raise StaleSlotError("the GPU's context was made anew")
            # Before anything is copied: on the device there is memory for what a profile takes, and no more.
            choice = None if self._sizes else self._plan.layout.choose(rows, buffers.shapes)
            try:
                return self._run(buffers, rows, choice)
            except (EngineError, device.errors) as error:
                # Healthy or not, nothing is left on a stream that reads or writes the buffers, which are used again.
                kind = EngineError if device.is_healthy(self._stream) else BrokenDeviceError
                raise kind(str(error)) from error

    def finish(self) -> None:
        """Waits for what was put on the stream; raises what pycuda does where that failed."""
        self._stream.synchronize()

    def forget_graphs(self) -> None:
        for graph, _ in self._recorded.values():
            graph.free()
        self._recorded.clear()
        self._sizes = ()

    def free(self) -> None:
        """Lets go of all that it has on the device, in a context that may be broken; there are no further runs."""
        with suppress(EngineError):
            self.forget_graphs()
        # Before the stream and the plan: what is freed here may refer to them.
        for owned in (self._recorded, self._contexts, self._outputs, self._inputs):
            owned.clear()
        self._generation = _NONE
        del self._stream, self._began, self._computing, self._computed, self._ended, self._workspace, self._plan

    def _zeros(self, size: int) -> Any:
        """Memory for rows. Some fill up a batch before any were written, and not every model can do with anything."""
        memory = self._device.allocate(size)
        self._device.clear(int(memory), size, self._stream)
        return memory

    def _run(self, buffers: HostBuffers, rows: int, choice: ProfileChoice | None) -> Run:
        stream = self._stream
        self._began.record(stream)
        for memory, data in zip(self._inputs, buffers.filled(rows), strict=True):
            self._device.copy_in(int(memory), data, stream)
        with self._computation():
            if choice is None:
                computed = round_up(rows, self._sizes)
                self._recorded[computed].graph.launch(stream.handle)
            else:
                computed = choice.rows
                self._contexts[choice.profile].enqueue(choice.shapes, stream)
        for output in self._outputs:
            output.fetch(buffers, rows, computed, stream)
        self._ended.record(stream)
        # The one wait of a run; pycuda gives the GIL up for it.
        self._ended.synchronize()
        # By the GPU's own clock: the thread's would count what it waited for others.
        spans = ((self._began, self._computing), (self._computing, self._computed), (self._computed, self._ended))
        input_ns, infer_ns, output_ns = (int(end.time_since(start) * 1e6) for start, end in spans)
        return Run(infer_ns, input_ns, output_ns, padding=computed - rows)

    @contextmanager
    def _computation(self) -> Iterator[None]:
        """What is put on the stream within comes after the last run with the same workspace, and is timed."""
        with self._workspace.lock:
            self._workspace.await_last(self._stream, self._computed)
            self._computing.record(self._stream)
            try:
                yield
            except BaseException:
                # It may have begun: no other run may have the workspace before it has ended, or failed for good.
                self._device.is_healthy(self._stream)
                raise
            self._computed.record(self._stream)
            self._workspace.used_until(self._computed)

    def _record(self, choice: ProfileChoice) -> RecordedGraph:
        # NVIDIA's advice: a graph depends on the state of its context, so that each has one of its own.
        context = self._make_context(choice.profile)
        # TensorRT puts off some of its work until the first run, which is nothing that can be recorded.
        context.enqueue(choice.shapes, self._stream)
        self._stream.synchronize()
        graph = self._device.cuda.record(self._stream.handle, lambda: context.enqueue(choice.shapes, self._stream))
        # The first launch takes the graph to the GPU, and shows whether it can be launched.
        graph.launch(self._stream.handle)
        self._stream.synchronize()
        return RecordedGraph(graph, context)

    def _make_context(self, profile: int) -> ExecutionContext:
        addresses = [int(memory) for memory in self._inputs]
        return ExecutionContext(
            self._plan,
            profile,
            workspace=self._workspace,
            addresses=addresses,
            outputs=self._outputs,
            stream=self._stream,
        )
