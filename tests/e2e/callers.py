"""Clients as processes of their own, which go on asking until they are stopped, refused or killed."""

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from e2e.calls import Outcome
from e2e.peers import DRIVERS
from e2e.serving import Serving, environment


class Callers:
    """One process with some callers in it, each with one request in flight at a time."""

    def __init__(self, serving: Serving, model: str, callers: int) -> None:
        self.process = subprocess.Popen(
            [sys.executable, DRIVERS / "caller.py", serving.address, model, str(callers)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment(),
        )

    def until_refused(self) -> Counter[Outcome]:
        """Waits until each of them has met a refusal; what became of all their requests."""
        self.process.wait(timeout=60)
        return self.stop()

    def stop(self) -> Counter[Outcome]:
        """Lets them finish what is in flight; what became of all their requests."""
        output, _ = self.process.communicate(timeout=60)
        return Counter({Outcome(code, text): count for code, text, count in json.loads(output)})

    def kill(self) -> None:
        """As a machine does that loses its power."""
        self.process.kill()
        self.process.communicate()


@contextmanager
def callers(serving: Serving, *loads: tuple[str, int]) -> Iterator[list[Callers]]:
    """A process for each of `loads`, a model as caller.py takes it and its callers; killed when the block ends."""
    with ExitStack() as stack:
        processes: list[Callers] = []
        for model, count in loads:
            processes.append(Callers(serving, model, count))
            stack.callback(processes[-1].kill)
        yield processes
