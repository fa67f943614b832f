"""Up to which rate one process of siege keeps a constant schedule."""

from bench.measure import Size, Subject, choose_cores
from bench.siege.sending import Generator, Row, compare, siege
from bench.transport.peers import require_native, serving

SHORT = Size(rounds=1, requests=10_000)
FULL = Size(rounds=5, requests=400_000)

RATES = (20_000, 30_000, 40_000, 50_000, 60_000, 70_000)
TARGET = 40_000
LEAST_ACHIEVED = 0.999


def run(size: Size) -> list[Row]:
    require_native()
    with serving(["native, bytes"], choose_cores()) as servers:
        return compare([_step(servers["native, bytes"], rate) for rate in RATES], size)


def _step(server: Subject, rate: int) -> Generator:
    is_judged = rate <= TARGET
    return Generator(
        "constant",
        "siege",
        rate,
        siege(server, rate),
        least_achieved=LEAST_ACHIEVED if is_judged else None,
        must_be_valid=is_judged,
    )
