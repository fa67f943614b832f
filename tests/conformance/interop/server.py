"""`python -m conformance.interop.server IMPLEMENTATION FOLDER`: a Python transport's end of the cases as a server.

It prints its addresses as JSON, and serves until its stdin ends. `FOLDER` has the certificates; its socket goes there.
"""

import asyncio
import json
import sys
from pathlib import Path

import grpc.aio
import uvloop

from conformance.interop.certificates import server_credentials
from conformance.interop.implementations import IMPLEMENTATIONS, Implementation
from conformance.interop.messages import services
from conformance.interop.servicer import InteropServicer
from conformance.interop.tap import Tap

ANY_PORT = "127.0.0.1:0"


async def serve(name: str, folder: Path) -> None:
    implementation = IMPLEMENTATIONS[name]()
    server = implementation.server()
    addresses = bind(server, implementation, f"unix:{folder / name}.sock", folder)
    async with Tap(addresses["plain"]) as tap:
        services.add_TestServiceServicer_to_server(InteropServicer(tap), server)
        await server.start()
        print(json.dumps({**addresses, "tapped": tap.address}), flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
        await server.stop(None)


def bind(server: grpc.aio.Server, implementation: Implementation, socket: str, folder: Path) -> dict[str, str]:
    server.add_insecure_port(socket)
    tls, mutual = (server_credentials(implementation, folder, mutual) for mutual in (False, True))
    ports = {
        "plain": server.add_insecure_port(ANY_PORT),
        "tls": server.add_secure_port(ANY_PORT, tls),
        "mutual": server.add_secure_port(ANY_PORT, mutual),
    }
    return {"unix": socket, **{kind: f"127.0.0.1:{port}" for kind, port in ports.items()}}


if __name__ == "__main__":
    uvloop.run(serve(sys.argv[1], Path(sys.argv[2])))
