"""How a local server of the tests lives: it tells its port, and ends when its standard input closes."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable


async def serve(handle: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]) -> None:
    """Listen on 127.0.0.1 at a port that is printed, until standard input closes."""
    listening = await asyncio.start_server(handle, "127.0.0.1", 0, limit=2**24, backlog=512)
    print(listening.sockets[0].getsockname()[1], flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
