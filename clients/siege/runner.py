"""Runner of one siege in one process: what it is to send, its connections, and its loop."""

import gc
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from time import monotonic_ns, thread_time_ns

import click

from yais.clients.options import handle_signals
from yais.clients.reporters.tabular import RequestLog
from yais.clients.siege.balancer import Endpoint, RoundRobinPicker, background_tasks, connect
from yais.clients.siege.closed_loop import ClosedLoop
from yais.clients.siege.golden import Golden
from yais.clients.siege.in_flight import Check
from yais.clients.siege.open_loop import OpenLoop
from yais.clients.siege.progress import Snapshot, show_snapshots
from yais.clients.siege.requests import Requests
from yais.clients.siege.schedules.options import ArrivalOptions, make_pacer
from yais.clients.siege.schedules.pacer import Pacer, Shard
from yais.clients.stats.recorder import Recorder, Tally

Follow = Callable[[OpenLoop | ClosedLoop], Awaitable[None]]
Show = Callable[[Snapshot], None]


@dataclass(frozen=True, slots=True)
class LoadConfig:
    """A siege, or the share of it that is the `index`-th of as many as there are `processes`; it can be pickled.

    `timeout` in seconds, `late_after` in nanoseconds; a `golden` file checks the answers.
    """

    endpoint: Endpoint
    requests: Requests
    arrivals: ArrivalOptions
    timeout: float
    max_outstanding: int
    golden: Golden | None = None
    late_after: int | None = None
    index: int = 0
    processes: int = 1

    @property
    def check(self) -> Check | None:
        return None if self.golden is None else self.golden.check

    def pacer(self) -> Pacer | None:
        """The schedule, of which each of several processes sends every so many-th arrival; None for a closed loop."""
        if self.arrivals.is_closed:
            return None
        pacer = make_pacer(self.arrivals)
        return pacer if self.processes == 1 else Shard(pacer, self.index, self.processes)

    def split(self, processes: int) -> list["LoadConfig"]:
        """The shares of as many processes. Raises click's usage error where there is not enough for each."""
        arrivals = self.arrivals
        bounds = {
            "--max-outstanding": self.max_outstanding,
            "--concurrency": arrivals.concurrency,
            "--count": arrivals.count,
        }
        for option, bound in bounds.items():
            if bound is not None and bound < processes:
                raise click.UsageError(
                    f"--processes: {processes} are more than {option} {bound}, of which each needs one"
                )
        return [self._share(index, processes) for index in range(processes)]

    def _share(self, index: int, processes: int) -> "LoadConfig":
        def part(whole: int | None) -> int | None:
            # The first processes take one more each of what cannot be divided, so that the parts add up to the whole.
            return None if whole is None else whole // processes + (index < whole % processes)

        arrivals = self.arrivals
        # An open loop's --count bounds the whole schedule, of which each process then takes every so many-th arrival.
        if arrivals.is_closed:
            arrivals = replace(arrivals, concurrency=part(arrivals.concurrency), count=part(arrivals.count))
        return replace(
            self,
            requests=self.requests.for_process(index),
            arrivals=arrivals,
            max_outstanding=part(self.max_outstanding) or 1,
            index=index,
            processes=processes,
        )


@dataclass(frozen=True, slots=True)
class SendCost:
    """What it took to send: the share of a core, which address got how many requests, and lost connections."""

    cpu: float
    addresses: dict[str, int]
    losses: int


async def send(
    load: LoadConfig,
    recorder: Recorder,
    show: Show,
    follow: Follow | None = None,
    on_stop: Callable[[], None] = lambda: None,
) -> SendCost:
    """Goes through the schedule, or what a signal leaves of it; `show` gets a snapshot each second.

    `follow` runs beside the sender until that has ended; `on_stop` is called besides at the first signal.
    """
    async with connect(load.endpoint, load.timeout) as balancer:
        sender = make_loop(load, balancer.picker, recorder, lambda: warn_of_drops(load))

        def stop() -> None:
            on_stop()
            sender.stop()

        with handle_signals(stop, sender.cancel):
            followers = [] if follow is None else [follow(sender)]
            # A pacer of its own, which is only asked for its rate; how far a schedule has come is the sender's.
            cpu = await run_loop(sender, load.pacer(), show, *followers)
        return SendCost(cpu, balancer.counts(), balancer.losses)


async def run_loop(
    sender: OpenLoop | ClosedLoop, pacer: Pacer | None, show: Show, *followers: Awaitable[None], at: int | None = None
) -> float:
    """The share of a core that it took; `at` is when several processes have agreed to begin, `followers` run beside."""
    # CPU time of this thread, which runs the event loop; grpcio has threads besides.
    began = monotonic_ns(), thread_time_ns()
    async with background_tasks(show_snapshots(sender, pacer, show), *followers):
        await sender.run(at)
    return (thread_time_ns() - began[1]) / max(monotonic_ns() - began[0], 1)


def make_loop(
    load: LoadConfig, picker: RoundRobinPicker, recorder: Recorder, on_first_drop: Callable[[], None]
) -> OpenLoop | ClosedLoop:
    """The loop of a closed or an open load, yet to be run."""
    arrivals, pacer = load.arrivals, load.pacer()
    loop: OpenLoop | ClosedLoop
    if pacer is None:
        loop = ClosedLoop(
            picker,
            load.requests.next,
            concurrency=arrivals.concurrency or 1,
            timeout=load.timeout,
            count=arrivals.count,
            duration=arrivals.duration_ns,
            warmup=arrivals.warmup_ns,
            recorder=recorder,
            check=load.check,
        )
    else:
        loop = OpenLoop(
            picker,
            load.requests.next,
            pacer,
            timeout=load.timeout,
            max_outstanding=load.max_outstanding,
            warmup=arrivals.warmup_ns,
            recorder=recorder,
            check=load.check,
            on_first_drop=on_first_drop,
        )
    # What lives by now lives for the whole run; the collector need not go through it in the midst of a send.
    gc.collect()
    gc.freeze()
    return loop


def warn_of_drops(load: LoadConfig) -> None:
    click.echo(
        f"warning: {load.max_outstanding} requests are in flight (--max-outstanding): answers come more slowly than "
        "requests are due; requests are dropped until there is room",
        err=True,
    )


async def run_local(load: LoadConfig, log: RequestLog | None, show: Show) -> tuple[Tally, list[SendCost]]:
    """One siege by this process; `log` gets every request as a line of CSV."""
    recorder = Recorder(late_after=load.late_after, sink=log)
    sent = await send(load, recorder, show)
    return recorder.tally, [sent]
