"""Progress of a build, and its cancellation."""

from collections.abc import Callable
from concurrent.futures import Future, wait
from threading import Event, Thread
from typing import TYPE_CHECKING, Any, Protocol, Self, TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from yais.engines.tensorrt.library import Module

if TYPE_CHECKING:
    import tensorrt as trt

T = TypeVar("T")


class Monitor(Protocol):
    """Follows the phases of a build, which lie within one another; their names differ while they go on."""

    def phase_start(self, name: str, parent: str | None, steps: int) -> None: ...

    def step_complete(self, name: str, step: int) -> bool:
        """Whether to go on; otherwise the build fails soon."""

    def phase_finish(self, name: str) -> None: ...


def make_monitor(module: Module, monitor: Monitor) -> "trt.IProgressMonitor":
    """A monitor of TensorRT that passes every call on to `monitor`."""
    # Made here, since the class to derive from is that of the TensorRT which is installed.
    base: Any = module.IProgressMonitor

    class Adapter(base):  # type: ignore[misc]
        def __init__(self) -> None:
            base.__init__(self)

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            monitor.phase_start(phase_name, parent_phase, num_steps)

        def step_complete(self, phase_name: str, step: int) -> bool:
            return monitor.step_complete(phase_name, step)

        def phase_finish(self, phase_name: str) -> None:
            monitor.phase_finish(phase_name)

    made: trt.IProgressMonitor = Adapter()
    return made


class ProgressBar:
    """A bar on standard error for each phase that goes on, the inner ones below; nothing where that is no terminal."""

    def __init__(self, console: Console | None = None) -> None:
        console = console or Console(stderr=True)
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._phases: dict[str, tuple[TaskID, int]] = {}
        self._cancelled = Event()

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def cancel(self) -> None:
        self._cancelled.set()

    def phase_start(self, name: str, parent: str | None, steps: int) -> None:
        # A phase whose parent is none, or is not going on, is an outermost one.
        depth = self._phases[parent][1] + 1 if parent in self._phases else 0
        self._phases[name] = self._progress.add_task("  " * depth + name, total=steps), depth

    def step_complete(self, name: str, step: int) -> bool:
        if name in self._phases:
            self._progress.update(self._phases[name][0], completed=step + 1)
        return not self._cancelled.is_set()

    def phase_finish(self, name: str) -> None:
        if name in self._phases:
            self._progress.remove_task(self._phases.pop(name)[0])


def run_interruptibly(work: Callable[[], T], cancel: Callable[[], None]) -> T:
    """Runs `work` on a thread of its own, so that Ctrl-C is seen while TensorRT is busy.

    It then calls `cancel`, and raises `KeyboardInterrupt` once the work has ended; a second Ctrl-C does not wait.
    """
    outcome: Future[T] = Future()

    def run() -> None:
        try:
            outcome.set_result(work())
        except BaseException as error:
            outcome.set_exception(error)

    # A daemon, since a second Ctrl-C must not wait at the interpreter's end for TensorRT to return.
    try:
        Thread(target=run, daemon=True).start()
        return outcome.result()
    except KeyboardInterrupt:
        cancel()
        # TensorRT asks between two steps of a phase, which may take seconds.
        wait([outcome])
        raise
