"""Callers that each send one request after the other to the server at ADDRESS, until one is not answered with a result
or until stdin ends. Then prints as JSON how many requests became what.

usage: caller.py ADDRESS MODEL CALLERS, with MODEL `mlp`, or `slow=MILLISECONDS` or `slow_batches=MILLISECONDS` for
runs of about so long
"""

import json
import sys
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event, Thread

import grpc

sys.path.insert(0, str(Path(__file__).parents[2]))

from e2e.calls import Outcome, ask, mlp_request, slow_request

from yais.proto.grpc_service_pb2 import ModelInferRequest
from yais.proto.grpc_service_pb2_grpc import GRPCInferenceServiceStub

Outcomes = Counter[Outcome]


def maker(model: str) -> Callable[[int], ModelInferRequest]:
    name, _, milliseconds = model.partition("=")
    return mlp_request if name == "mlp" else lambda _: slow_request(float(milliseconds), name)


def call(address: str, make: Callable[[int], ModelInferRequest], stop: Event) -> Outcomes:
    outcomes: Outcomes = Counter()
    with grpc.insecure_channel(address, options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
        stub = GRPCInferenceServiceStub(channel)
        while not stop.is_set() and not outcomes.keys() - {Outcome("OK")}:
            outcomes[ask(stub, make(outcomes.total() % 5 + 1))] += 1
    return outcomes


def stop_with_stdin(stop: Event) -> None:
    sys.stdin.read()
    stop.set()


def main(address: str, model: str, callers: str) -> None:
    stop = Event()
    Thread(target=stop_with_stdin, args=[stop], daemon=True).start()
    with ThreadPoolExecutor(int(callers)) as pool:
        counts = pool.map(lambda _: call(address, maker(model), stop), range(int(callers)))
        outcomes = sum(counts, Counter[Outcome]())
    print(json.dumps([[*outcome, count] for outcome, count in outcomes.items()]))


if __name__ == "__main__":
    main(*sys.argv[1:])
