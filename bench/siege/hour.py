"""Resident memory of what siege keeps of an hour at 10,000 requests a second, which are recorded as fast as that goes.

Without a server, a clock or a live view: what grows with the time on the wall is not seen, for that see `memory`.
"""

import sys

from bench.measure import Size, choose_cores, launched
from bench.siege.growth import Row, resident, row
from bench.siege.records import blocks, record
from yais.clients.stats.recorder import Recorder

SHORT = Size(rounds=12, requests=50_000)
FULL = Size(rounds=60, requests=600_000)


def run(size: Size) -> list[Row]:
    """In a process of its own, where nothing that was freed before takes in what grows."""
    command = [sys.executable, "-m", "bench.siege.hour", str(size.requests)]
    with launched("recorder", command, choose_cores().load) as child:
        child.hear()
        subject = child.subject(port=0)
        samples = [resident(subject)]
        for _ in range(size.rounds):
            child.say("on")
            child.hear()
            samples.append(resident(subject))
        return [row("recorder alone", samples, size)]


def main(requests: int) -> None:
    """Records so many for each line that it reads, from where it was, and answers when that is done."""
    recorder, first = Recorder(), 0
    recorder.start(0)
    print("ready", flush=True)
    for _ in sys.stdin:
        for block in blocks(requests, first):
            record(recorder, block)
        first += requests
        print(first, flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]))
