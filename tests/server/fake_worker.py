"""A process that talks to a supervisor as a worker does; the second comes to the end that its engine is named for."""

import asyncio
import os
import signal
import socket
import sys
from typing import Any, NoReturn

from yais.server.ipc import Command, DeviceLoss, MessagePipe, Setup, StartFailure
from yais.server.metrics.process_stats import ProcessStats
from yais.server.metrics.recorder import InferenceRecorder


def killed() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def answer(message: Any, number: int, end: str) -> object:
    match message, end:
        case (Setup(), "no engine") | (Command.LISTEN, "no port"):
            return StartFailure(f"worker {number} has {end}")
        case (Setup(), "killed at first") | (Command.READ, "killed in service") | (Command.DRAIN, "killed at last"):
            killed()
        case (Setup(), _):
            return {"m": f"as worker {number} has it"}
        case (Command.READ, "left in service"):
            sys.exit(7)
        case (Command.READ, "without its device") | (Command.DRAIN, "without its device at last"):
            sys.exit(5)
        case (Command.READ, "draining without its device"):
            return DeviceLoss()
        case (Command.READ, _):
            recorder = InferenceRecorder("m", "1")
            recorder.failures["OTHER"] = number
            return ProcessStats([recorder], {"m": 10 * number}, 100 * number)
        case (Command.DRAIN, _):
            sys.exit(1 if end == "left undone" else 0)
    return None


async def talk() -> NoReturn:
    pipe = await MessagePipe.open(socket.socket(fileno=0))
    message = setup = await pipe.receive()
    end = setup.config.engines[0].name if setup.number == 2 else "well"
    while True:
        pipe.send(answer(message, setup.number, end))
        message = await pipe.receive()


if __name__ == "__main__":
    asyncio.run(talk())
