"""TCP lines that are slow, or go dead while both ends stay up."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class SlowTcpProxy:
    """Forwards TCP connections to a port of this machine.

    delay: seconds that each byte is under way, in each direction. cut: what is sent while it is set gets lost.
    """

    def __init__(self, to: int, delay: float = 0.0) -> None:
        self.to = to
        self.delay = delay
        self.cut = False
        self.port = 0
        self.connections = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    def through(self, address: str) -> str:
        """The same room, behind this line."""
        return address.replace(f":{self.to}~", f":{self.port}~")

    async def open(self) -> None:
        self._server = await asyncio.start_server(self._accepted, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is not None:
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        self.connections += 1
        there_reader, there_writer = await asyncio.open_connection("127.0.0.1", self.to)
        ways = [
            asyncio.create_task(self._carry(reader, there_writer)),
            asyncio.create_task(self._carry(there_reader, writer)),
        ]
        try:
            await asyncio.gather(*ways)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            for one in (writer, there_writer):
                one.transport.abort()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        loop = asyncio.get_running_loop()
        while data := await reader.read(65_536):
            if not self.cut:
                loop.call_later(self.delay, self._write, writer, data)
        loop.call_later(self.delay, writer.transport.abort)
        if self.delay:
            await asyncio.sleep(2 * self.delay)

    @staticmethod
    def _write(writer: asyncio.StreamWriter, data: bytes) -> None:
        if not writer.is_closing():
            writer.write(data)


@asynccontextmanager
async def line(to: int, delay: float = 0.0) -> AsyncIterator[SlowTcpProxy]:
    found = SlowTcpProxy(to, delay)
    await found.open()
    try:
        yield found
    finally:
        await found.close()
