"""The raw path at either end."""

import asyncio
from collections.abc import Callable
from typing import Any

from transport.api.serving import ANY_PORT, Bench, Options

PATH = "/a.B/C"
Callback = Callable[[Any, memoryview], None]


async def serve_raw(bench: Bench, callback: Callback, channel_options: Options = (), **server: Any) -> Any:
    """A channel to a server of one raw method."""
    made = bench.make_server(**server)
    made.add_raw_method(PATH, callback)
    port = made.add_insecure_port(ANY_PORT)
    await made.start()
    channel = bench.connect(f"127.0.0.1:{port}", options=channel_options)
    await channel.channel_ready()
    return channel


async def ask_raw(channel: Any, message: Any = b"", limit: float | None = None) -> Any:
    """The call, once it is over, of the raw client."""
    done = asyncio.get_running_loop().create_future()
    channel.raw_unary(PATH)(message, done.set_result, limit)
    return await done
