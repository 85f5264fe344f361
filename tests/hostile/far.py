"""A long way to the room: a TCP proxy that hands everything on some time later."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

ONE_WAY = 0.05
"""Seconds: a round trip of 100 ms, as between continents."""


@contextlib.asynccontextmanager
async def far_away(host: str, port: int, one_way: float = ONE_WAY) -> AsyncIterator[int]:
    """The port of 127.0.0.1 at which host:port is so far away."""
    loop = asyncio.get_running_loop()

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65_536):
                loop.call_later(one_way, writer.write, data)
        loop.call_later(one_way, writer.close)

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            far_reader, far_writer = await asyncio.open_connection(host, port)
        except OSError:
            writer.transport.abort()
            return
        with contextlib.suppress(asyncio.CancelledError):  # the loop ends: streams would complain of a cancelled task
            await asyncio.gather(pump(reader, far_writer), pump(far_reader, writer))

    server = await asyncio.start_server(carry, "127.0.0.1", 0)
    try:
        yield int(server.sockets[0].getsockname()[1])
    finally:
        server.close()
