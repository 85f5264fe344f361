"""A TCP service of A, carried through a room to a local port of C, with whatever service and clients a test brings."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager

from ssbfast.client.room_client import RoomClient
from ssbfast.keys import Keypair
from ssbfast.limits import KiB
from ssbfast.net.api import Api
from ssbfast.net.forward.tcp_listener import ForwardListener
from ssbfast.net.forward.tcp_server import ForwardServer
from ssbfast.net.peer import Peer
from ssbfast.room.tunnel_auth import AllowList
from tests.helpers.rawpeer import eventually
from tests.helpers.served_room import ServedRoom, served_room

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class TcpEnd:
    """One end of a TCP connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def read(self, n: int) -> bytes:
        return await self.reader.readexactly(n)

    async def rest(self) -> bytes:
        """All there is up to the end. Raises ConnectionResetError."""
        return await self.reader.read()

    async def count(self) -> int:
        """How many bytes there are up to the end, keeping none."""
        n = 0
        while piece := await self.reader.read(256 * KiB):
            n += len(piece)
        return n

    def finish(self) -> None:
        self.writer.write_eof()

    def reset(self) -> None:
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

    async def close(self) -> None:
        self.writer.close()
        try:
            await self.writer.wait_closed()
        except ConnectionError:
            return


class TcpService:
    """A TCP server that hands its connections to the test, or to `serve`."""

    def __init__(self, serve: Serve | None = None) -> None:
        self.connections: asyncio.Queue[TcpEnd] = asyncio.Queue()
        self._serve = serve
        self._server: asyncio.Server
        self.port = 0

    async def __aenter__(self) -> TcpService:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0, backlog=200)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        while not self.connections.empty():
            await self.connections.get_nowait().close()

    async def accept(self) -> TcpEnd:
        return await asyncio.wait_for(self.connections.get(), 20)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._serve is None:
            self.connections.put_nowait(TcpEnd(reader, writer))
            return
        try:
            await self._serve(reader, writer)
        except ConnectionError:
            pass
        finally:
            await TcpEnd(reader, writer).close()


class Forwarding:
    """room; peer: C's session with A; there: A's; server and listener: the two ends of the forward."""

    room: ServedRoom
    peer: Peer
    there: Peer
    server: ForwardServer
    listener: ForwardListener

    async def dial(self) -> TcpEnd:
        return TcpEnd(*await asyncio.open_connection(*self.listener.address))

    async def is_idle(self) -> None:
        """No connection is left at either end."""
        await eventually(lambda: not self.server._connections and not self.listener._connections)
        for peer in (self.peer, self.there):
            await eventually(lambda peer=peer: not peer._tunnels)  # type: ignore[misc]
        assert self.server.traffic().open == self.listener.traffic().open == 0


@asynccontextmanager
async def forwarding(port: int, *, split: bool = False, **options: int) -> AsyncIterator[Forwarding]:
    """Carry connections to `port`. options: for the ForwardServer. At the end nothing may be left."""
    world = Forwarding()
    keys = Keypair.generate(), Keypair.generate()
    boxing = "split" if split else "merged"
    api = Api()
    async with AsyncExitStack() as stack:
        world.room = await stack.enter_async_context(served_room())
        a = await stack.enter_async_context(
            RoomClient(keys[0], admission=AllowList([keys[1].id]), api=api, boxing=boxing)
        )
        c = await stack.enter_async_context(RoomClient(keys[1], boxing=boxing))
        for client in (a, c):
            await client.join(world.room.server.address)
        world.server = await stack.enter_async_context(ForwardServer("127.0.0.1", port, **options))
        world.server.register(api)
        world.listener = await stack.enter_async_context(ForwardListener("127.0.0.1", 0))
        world.peer = world.listener.peer = await c.connect(keys[0].id)
        world.there = await anext(aiter(a.incoming()))
        yield world
        await world.is_idle()
