"""A relay without any cryptography: asyncio's BufferedProtocol and nothing else. The bound for any relay in asyncio.

    python -m benchmarks.plain_relay PORT-OF-THE-TARGET [uvloop]

It listens on a port of its own choice, which it says in one line of JSON, and ends when its standard input does.
"""

from __future__ import annotations

import asyncio
import json
import socket
import sys
from typing import Final, cast

READ: Final = 64 * 1024
_KEEPS_VIEWS: Final = sys.version_info >= (3, 12)


class Side(asyncio.BufferedProtocol):
    """One connection; what it brings goes to the other."""

    def __init__(self, other: Side | None = None, target: int = 0) -> None:
        self._other = other
        self._target = target
        self._buffer = memoryview(bytearray(READ))
        self._transport: asyncio.Transport | None = None
        self._early = b""
        self._dialling: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._other is None:
            self._transport.pause_reading()
            self._dialling = asyncio.get_running_loop().create_task(self._dial())

    async def _dial(self) -> None:
        loop = asyncio.get_running_loop()
        transport, self._other = await loop.create_connection(lambda: Side(self), "127.0.0.1", self._target)
        transport.write(self._early)
        self.hold(False)

    def hold(self, yes: bool) -> None:
        """Whether to stop reading."""
        transport = self._transport
        if transport is not None and not transport.is_closing():
            transport.pause_reading() if yes else transport.resume_reading()

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        other, data = self._other, self._buffer[:nbytes]
        if other is None:
            self._early += data  # uvloop does not obey in connection_made
        elif other._transport is not None:
            # Only before Python 3.12 the buffer may be used again at once.
            other._transport.write(bytes(data) if _KEEPS_VIEWS or UVLOOP else data)

    def pause_writing(self) -> None:
        if self._other is not None:
            self._other.hold(True)

    def resume_writing(self) -> None:
        if self._other is not None:
            self._other.hold(False)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._other is not None and self._other._transport is not None:
            self._other._transport.close()


async def run(target: int) -> None:
    """Relay to a port of this machine until standard input ends."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Side(target=target), "127.0.0.1", 0)
    print(json.dumps({"event": "ready", "port": server.sockets[0].getsockname()[1]}), flush=True)
    await loop.run_in_executor(None, sys.stdin.read)


UVLOOP = False

if __name__ == "__main__":
    if UVLOOP := sys.argv[2:] == ["uvloop"]:
        import uvloop

        uvloop.run(run(int(sys.argv[1])))
    else:
        asyncio.run(run(int(sys.argv[1])))
