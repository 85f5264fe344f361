"""Ends of the compat packages on loopback, and buffers that play streams."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from nacl.signing import SigningKey

from ssbfast.compat.secret_handshake.network import SHSClient, SHSServer, SHSServerConnection
from ssbfast.compat.ssb.muxrpc import MuxRPCAPI
from ssbfast.compat.ssb.packet_stream import PacketStream

NOT_SLOW = "import logging; logging.getLogger('asyncio').setLevel(logging.ERROR)\n"
"""For programs under `-X dev`, where asyncio tells how long each callback took on a busy machine."""

KEY = bytes(range(32))
NONCE = bytes(range(100, 124))


class RecordingWriter:
    """Keeps what is written to it, write by write."""

    def __init__(self) -> None:
        self.writes: list[bytes] = []
        self.closed = False

    def write(self, data: bytes) -> None:
        self.writes.append(data)

    def close(self) -> None:
        self.closed = True

    @property
    def data(self) -> bytes:
        return b"".join(self.writes)


class ExactReader:
    """Has nothing but `readexactly`."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    async def readexactly(self, n: int) -> bytes:
        head, self.data = self.data[:n], self.data[n:]
        if len(head) < n:
            raise asyncio.IncompleteReadError(head, n)
        return head


def stream_reader(*chunks: bytes, eof: bool = True) -> asyncio.StreamReader:
    reader = asyncio.StreamReader()
    for chunk in chunks:
        reader.feed_data(chunk)
    if eof:
        reader.feed_eof()
    return reader


class RecordingServer:
    """A server and what has come to it."""

    def __init__(self, server: SHSServer, key: SigningKey) -> None:
        self.server, self.key = server, key
        self.arrived: asyncio.Queue[SHSServerConnection] = asyncio.Queue()

    @property
    def port(self) -> int:
        assert self.server.server is not None
        return int(self.server.server.sockets[0].getsockname()[1])

    def client(self, key: SigningKey | None = None) -> SHSClient:
        return SHSClient("127.0.0.1", self.port, key or SigningKey.generate(), bytes(self.key.verify_key))

    async def pair(self) -> tuple[SHSClient, SHSServerConnection]:
        client = self.client()
        await client.open()
        return client, await asyncio.wait_for(self.arrived.get(), 10)


@asynccontextmanager
async def recording_server() -> AsyncIterator[RecordingServer]:
    key = SigningKey.generate()
    server = SHSServer("127.0.0.1", 0, key)
    it = RecordingServer(server, key)
    server.on_connect(it.arrived.put)  # type: ignore[arg-type]
    await server.listen()
    try:
        yield it
    finally:
        server.close()
        while not it.arrived.empty():
            it.arrived.get_nowait().close()
        await asyncio.sleep(0.01)


class PacketStreamPair:
    """Two packet streams with an API on each side, both pumped."""

    def __init__(self, client: Any, served: Any) -> None:
        self.here, self.there = PacketStream(client), PacketStream(served)
        self.api, self.served = MuxRPCAPI(), MuxRPCAPI()
        self.api.add_connection(self.here)
        self.served.add_connection(self.there)
        self.pumps = [asyncio.ensure_future(self.api), asyncio.ensure_future(self.served)]


@asynccontextmanager
async def packet_stream_pair() -> AsyncIterator[PacketStreamPair]:
    async with recording_server() as it:
        talk = PacketStreamPair(*await it.pair())
        try:
            yield talk
        finally:
            talk.here.disconnect()
            talk.there.disconnect()
            await asyncio.wait_for(asyncio.gather(*talk.pumps, return_exceptions=True), 10)
