"""CUDA's driver API: streams, events and graphs."""

from threading import get_ident

import simulation
from simulation import capture as capturing
from simulation import errors
from simulation.capture import Capture, Executable, Graph
from simulation.driver import api, capture_of, current_device, event_of, log, spoil, stream_of
from simulation.driver_memory import submit
from simulation.errors import CudaError
from simulation.work import DISABLE_TIMING, Event, Operation, Stream


@api()
def cuStreamCreate(flags: int) -> int:
    stream = Stream(current_device(), flags)
    simulation.machine().streams[stream.handle] = stream
    log("create stream", stream.handle)
    return stream.handle


@api()
def cuStreamDestroy(handle: int) -> None:
    """What is queued is still run, as in CUDA; it is waited for here, since nobody else could."""
    stream = stream_of(handle)
    spoil(stream)
    simulation.machine().scheduler.drain(stream)
    del simulation.machine().streams[handle]
    log("destroy stream", handle)


@api(unsafe=True)
def cuStreamSynchronize(handle: int) -> None:
    stream = stream_of(handle)
    spoil(stream)
    log("synchronize stream", handle)
    simulation.machine().scheduler.drain(stream)
    stream.device.check("")


@api(unsafe=True)
def cuStreamQuery(handle: int) -> None:
    """Raises that it is not ready while work is left."""
    stream = stream_of(handle)
    spoil(stream)
    log("query stream", handle)
    if stream.queue:
        simulation.machine().scheduler.advance(stream.queue[-1])
    stream.device.check("")
    if stream.queue:
        raise CudaError(errors.NOT_READY)


@api()
def cuStreamWaitEvent(handle: int, event_handle: int) -> None:
    """A capture must not depend on anything outside of it; captures over several streams are not simulated."""
    stream, event = stream_of(handle), event_of(event_handle)
    capture = capture_of(stream)
    if event.capture and event.capture is not capture:
        event.capture.is_valid = False
        raise CudaError(errors.CAPTURE_UNSUPPORTED)
    if capture and event.record and not event.capture:
        spoil(stream, errors.CAPTURE_ISOLATION)
    log("wait", handle, event_handle)
    if not capture:
        simulation.machine().scheduler.wait(stream, event)


@api()
def cuEventCreate(flags: int) -> int:
    event = Event(current_device(), flags)
    simulation.machine().events[event.handle] = event
    log("create event", event.handle)
    return event.handle


@api()
def cuEventDestroy(handle: int) -> None:
    event_of(handle)
    del simulation.machine().events[handle]
    log("destroy event", handle)


@api()
def cuEventRecord(handle: int, stream_handle: int) -> None:
    """In a capture this only says on what later work depends: no replay records the event."""
    event, stream = event_of(handle), stream_of(stream_handle)
    if event.device is not stream.device:
        raise CudaError(errors.INVALID_HANDLE)
    capture = capture_of(stream)
    log("record", stream_handle, handle)
    if capture:
        event.record, event.capture = None, capture
    else:
        simulation.machine().scheduler.record(stream, event)


@api(unsafe=True)
def cuEventSynchronize(handle: int) -> None:
    event = _outside_captures(handle)
    log("synchronize event", handle)
    if event.record:
        simulation.machine().scheduler.finish(event.record)
    event.device.check("")


@api(unsafe=True)
def cuEventQuery(handle: int) -> None:
    event = _outside_captures(handle)
    log("query event", handle)
    if event.record:
        simulation.machine().scheduler.advance(event.record)
    event.device.check("")
    if event.record and not event.record.is_done:
        raise CudaError(errors.NOT_READY)


@api()
def cuEventElapsedTime(start_handle: int, end_handle: int) -> float:
    """In milliseconds."""
    start, end = event_of(start_handle), event_of(end_handle)
    for event in (start, end):
        if event.capture:
            raise CudaError(errors.CAPTURED_EVENT)
        if event.record is None or event.flags & DISABLE_TIMING or event.device is not start.device:
            raise CudaError(errors.INVALID_HANDLE)
    if not (start.record and end.record and start.record.is_done and end.record.is_done):
        raise CudaError(errors.NOT_READY)
    return (end.record.time_ns - start.record.time_ns) / 1e6


def _outside_captures(handle: int) -> Event:
    event = event_of(handle)
    if event.capture:
        event.capture.is_valid = False
        raise CudaError(errors.CAPTURED_EVENT)
    return event


@api()
def cuStreamBeginCapture(handle: int, mode: int) -> None:
    stream = stream_of(handle)
    if stream.capture:
        raise CudaError(errors.INVALID_VALUE)
    stream.capture = Capture(stream, mode)
    simulation.machine().captures.append(stream.capture)
    log("begin capture", handle)


@api()
def cuStreamEndCapture(handle: int) -> int:
    """The graph's handle. A capture that is spoilt is ended, too."""
    stream = stream_of(handle)
    capture = stream.capture
    if capture is None:
        raise CudaError(errors.INVALID_VALUE)
    if capture.mode != capturing.RELAXED and capture.thread != get_ident():
        raise CudaError(errors.CAPTURE_WRONG_THREAD)
    stream.capture = None
    simulation.machine().captures.remove(capture)
    log("end capture", handle, len(capture.operations))
    if not capture.is_valid:
        raise CudaError(errors.CAPTURE_INVALIDATED)
    graph = Graph(tuple(capture.operations), stream.device)
    simulation.machine().graphs[graph.handle] = graph
    return graph.handle


@api()
def cuStreamIsCapturing(handle: int) -> int:
    capture = stream_of(handle).capture
    if capture is None:
        return capturing.NONE
    return capturing.ACTIVE if capture.is_valid else capturing.INVALIDATED


@api()
def cuGraphInstantiate(handle: int, flags: int) -> int:
    graph = _found(simulation.machine().graphs, handle)
    executable = Executable(graph.operations, graph.device)
    simulation.machine().executables[executable.handle] = executable
    simulation.machine().recorded += 1
    log("instantiate", executable.handle, len(graph.operations))
    return executable.handle


@api()
def cuGraphUpload(handle: int, stream_handle: int) -> None:
    _found(simulation.machine().executables, handle)
    stream_of(stream_handle)
    log("upload", stream_handle, handle)


@api()
def cuGraphLaunch(handle: int, stream_handle: int) -> None:
    executable, stream = _found(simulation.machine().executables, handle), stream_of(stream_handle)
    accesses = [access for operation in executable.operations for access in operation.accesses]
    entry = ("launch", stream_handle, handle)
    before = executable.last_launch
    launch = Operation(entry, lambda: _replay(stream, executable), accesses, awaited=before)
    submit(stream, launch)
    executable.last_launch = launch


@api()
def cuGraphExecDestroy(handle: int) -> None:
    """Waits for its last launch here; CUDA destroys it when that is done."""
    executable = _found(simulation.machine().executables, handle)
    if executable.last_launch:
        simulation.machine().scheduler.finish(executable.last_launch)
    del simulation.machine().executables[handle]
    log("destroy executable", handle)


@api()
def cuGraphDestroy(handle: int) -> None:
    _found(simulation.machine().graphs, handle)
    del simulation.machine().graphs[handle]
    log("destroy graph", handle)


def _replay(stream: Stream, executable: Executable) -> None:
    for operation in executable.operations:
        stream.device.check(operation.entry[0])
        operation.run()
        simulation.machine().done.append(operation.entry)


def _found(objects: dict, handle: int):  # noqa: ANN202
    simulation.machine().note_stale(handle)
    found = objects.get(handle)
    if found is None:
        raise CudaError(errors.INVALID_VALUE)
    return found
