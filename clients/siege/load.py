"""What is to be sent where, when and within which bounds: all that a sending process needs to know."""

from dataclasses import dataclass, replace

import click

from yais.clients.siege.requests.golden import Golden
from yais.clients.siege.requests.requests import Requests
from yais.clients.siege.schedules.options import ArrivalOptions, make_pacer
from yais.clients.siege.schedules.pacer import Pacer, Shard
from yais.clients.siege.traffic.connections import Route
from yais.clients.siege.traffic.flights import Check


@dataclass(frozen=True, slots=True)
class Load:
    """A siege, or the share of it that is the `index`-th of as many as there are `processes`; it can be pickled.

    `timeout` in seconds, `late_after` in nanoseconds; a `golden` file checks the answers.
    """

    route: Route
    requests: Requests
    plan: ArrivalOptions
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
        if self.plan.is_closed:
            return None
        pacer = make_pacer(self.plan)
        return pacer if self.processes == 1 else Shard(pacer, self.index, self.processes)

    def split(self, processes: int) -> list["Load"]:
        """The shares of as many processes. Raises click's usage error where there is not enough for each."""
        plan = self.plan
        bounds = {"--max-outstanding": self.max_outstanding, "--concurrency": plan.concurrency, "--count": plan.count}
        for option, bound in bounds.items():
            if bound is not None and bound < processes:
                raise click.UsageError(
                    f"--processes: {processes} are more than {option} {bound}, of which each needs one"
                )
        return [self._share(index, processes) for index in range(processes)]

    def _share(self, index: int, processes: int) -> "Load":
        def part(whole: int | None) -> int | None:
            return None if whole is None else whole // processes + (index < whole % processes)

        plan = self.plan
        if plan.is_closed:
            plan = replace(plan, concurrency=part(plan.concurrency), count=part(plan.count))
        return replace(
            self,
            requests=self.requests.for_process(index),
            plan=plan,
            max_outstanding=part(self.max_outstanding) or 1,
            index=index,
            processes=processes,
        )
