"""`stalling_server.py NUMBER SECONDS`: answers with nothing, and does nothing at all for SECONDS at request NUMBER.

Prints its port, and once it has stalled for how long it did.
"""

import asyncio
import sys
import time

from yais import transport
from yais.transport import ServerCall


class Stalling:
    def __init__(self, number: int, seconds: float) -> None:
        self._left = number
        self._seconds = seconds

    def answer(self, call: ServerCall, message: memoryview) -> None:
        self._left -= 1
        if not self._left:
            began = time.monotonic()
            time.sleep(self._seconds)
            print(time.monotonic() - began, flush=True)
        call.respond(b"")


async def serve(number: int, seconds: float) -> None:
    server = transport.server()
    server.add_raw_method("/test.Stalling/Call", Stalling(number, seconds).answer)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(port, flush=True)
    await server.wait_for_termination()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), float(sys.argv[2])))
