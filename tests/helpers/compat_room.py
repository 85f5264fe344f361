"""A program at a room as one writes it with the compat packages: tunnels by hand, and sessions inside of them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from nacl.public import PrivateKey
from nacl.signing import SigningKey

from ssbfast.compat.secret_handshake.boxstream import get_stream_pair
from ssbfast.compat.secret_handshake.crypto import SHSClientCrypto, SHSCryptoBase, SHSServerCrypto
from ssbfast.compat.secret_handshake.network import SHSClient, SHSServerConnection
from ssbfast.compat.ssb.muxrpc import MuxRPCAPI, MuxRPCAPIException, MuxRPCRequest
from ssbfast.compat.ssb.packet_stream import PacketStream, PSMessage, PSMessageType
from ssbfast.compat.ssb.util import tag


class Pipe:
    """One end of a tunnel: what a box stream needs of a writer, and an asyncio reader for what comes."""

    def __init__(self, stream: PacketStream, req: int) -> None:
        self.stream, self.req = stream, req
        self.reader = asyncio.StreamReader()
        self.is_open = True

    def write(self, data: bytes) -> None:
        self.stream.send(data, PSMessageType.BUFFER, stream=True, req=self.req)

    def close(self) -> None:
        if self.is_open:
            self.is_open = False
            self.stream.send(True, stream=True, end_err=True, req=self.req)

    def take(self, msg: PSMessage) -> None:
        if msg.end_err:
            self.reader.feed_eof()
        elif msg.type is PSMessageType.BUFFER:
            self.reader.feed_data(msg.data)

    def session(self, crypto: SHSCryptoBase) -> SHSServerConnection:
        keys = crypto.get_box_keys()
        return SHSServerConnection(*get_stream_pair(self.reader, self, **keys))  # type: ignore[arg-type]


class Member:
    """A program at a room: a client, its packet stream, and its methods. network: 32 bytes; None is the main one."""

    def __init__(self, network: bytes | None = None) -> None:
        self.network = network
        self.key = SigningKey.generate()
        self.id = tag(self.key.verify_key).decode()
        self.api = MuxRPCAPI()
        self.opened: asyncio.Queue[Pipe] = asyncio.Queue()
        self.pipes: dict[int, Pipe] = {}
        self.api.define("tunnel.connect")(self._tunnel)

    def _tunnel(self, connection: PacketStream, request: MuxRPCRequest) -> None:
        assert request.req is not None and request.type == "duplex"
        pipe = self.pipes[request.req] = Pipe(connection, -request.req)
        self.opened.put_nowait(pipe)

    async def _pump(self) -> None:
        """As programs do that take streams of the peer's: by hand."""
        async for msg in self.stream:
            assert msg.req is not None
            if msg.req in self.pipes:
                self.pipes[msg.req].take(msg)
            elif isinstance(msg.body, dict):
                try:
                    self.api.process(self.stream, MuxRPCRequest.from_message(msg))
                except Exception:
                    self.stream.send({"name": "Error", "message": "no", "stack": ""}, end_err=True, req=-msg.req)

    @asynccontextmanager
    async def at(self, port: int, key: bytes) -> AsyncIterator[None]:
        """Inside of it, we are connected to the room with this port and key."""
        client = SHSClient("127.0.0.1", port, self.key, key, application_key=self.network)
        await client.open()
        self.stream = PacketStream(client)
        self.api.add_connection(self.stream)
        task = asyncio.ensure_future(self._pump())
        try:
            yield
        finally:
            self.stream.disconnect()
            await asyncio.wait_for(task, 10)

    async def call(self, name: str, *args: Any) -> Any:
        """The answer of the room."""
        return (await asyncio.wait_for(self.api.call(name, list(args), "async").get_response(), 10)).body

    async def connect(self, portal: str, target: str, key: bytes) -> SHSServerConnection:
        """A session with `target`, whose key has to be `key`, through a tunnel."""
        handler: Any = self.api.call("tunnel.connect", [{"portal": portal, "target": target}], "duplex")
        pipe = Pipe(self.stream, handler.req)
        self.feeding = asyncio.ensure_future(_feed(handler, pipe))
        crypto = SHSClientCrypto(self.key, key, PrivateKey.generate(), self.network)
        pipe.write(crypto.generate_challenge())
        assert crypto.verify_server_challenge(await asyncio.wait_for(pipe.reader.readexactly(64), 10))
        pipe.write(crypto.generate_client_auth())
        assert crypto.verify_server_accept(await asyncio.wait_for(pipe.reader.readexactly(80), 10))
        return pipe.session(crypto)

    async def accept(self) -> tuple[str, SHSServerConnection]:
        """Who called us through a tunnel, and the session with them."""
        pipe = await asyncio.wait_for(self.opened.get(), 10)
        crypto = SHSServerCrypto(self.key, application_key=self.network)
        assert crypto.verify_challenge(await asyncio.wait_for(pipe.reader.readexactly(64), 10))
        pipe.write(crypto.generate_challenge())
        assert crypto.verify_client_auth(await asyncio.wait_for(pipe.reader.readexactly(112), 10))
        pipe.write(crypto.generate_accept())
        return tag(crypto.remote_pub_key).decode(), pipe.session(crypto)


async def _feed(source: AsyncIterator[PSMessage], pipe: Pipe) -> None:
    with contextlib.suppress(MuxRPCAPIException):  # a tunnel may end with an error as well
        async for msg in source:
            pipe.take(msg)
    pipe.reader.feed_eof()
