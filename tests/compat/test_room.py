"""Programs written for the compat APIs as clients of our room, and a tunnel between two of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from nacl.public import PrivateKey
from nacl.signing import SigningKey

from ssbfast.compat.secret_handshake.boxstream import BoxStream, UnboxStream, get_stream_pair
from ssbfast.compat.secret_handshake.crypto import SHSClientCrypto, SHSServerCrypto
from ssbfast.compat.secret_handshake.network import SHSClient
from ssbfast.compat.ssb.muxrpc import MuxRPCAPI, MuxRPCRequest
from ssbfast.compat.ssb.packet_stream import PacketStream, PSMessage, PSMessageType
from ssbfast.compat.ssb.util import tag
from tests.helpers.livingroom import LivingRoom, living_room


class Pipe:
    """One end of a tunnel: what a box stream needs of a writer, and an asyncio reader for what comes."""

    def __init__(self, stream: PacketStream, req: int) -> None:
        self.stream, self.req = stream, req
        self.reader = asyncio.StreamReader()

    def write(self, data: bytes) -> None:
        self.stream.send(data, PSMessageType.BUFFER, stream=True, req=self.req)

    def close(self) -> None:
        self.stream.send(True, stream=True, end_err=True, req=self.req)

    def take(self, msg: PSMessage) -> None:
        if msg.end_err:
            self.reader.feed_eof()
        elif msg.type is PSMessageType.BUFFER:
            self.reader.feed_data(msg.data)

    async def streams(self, crypto: Any) -> tuple[UnboxStream, BoxStream]:
        keys = crypto.get_box_keys()
        return get_stream_pair(self.reader, self, **keys)  # type: ignore[arg-type]


class Member:
    """A program at a room: a client, its packet stream, and its methods."""

    def __init__(self) -> None:
        self.key = SigningKey.generate()
        self.id = tag(self.key.verify_key).decode()
        self.api = MuxRPCAPI()
        self.opened: asyncio.Queue[Pipe] = asyncio.Queue()
        self.pipes: dict[int, Pipe] = {}
        self.api.define("tunnel.connect")(self.tunnel)

    def tunnel(self, connection: PacketStream, request: MuxRPCRequest) -> None:
        assert request.req is not None and request.type == "duplex"
        pipe = self.pipes[request.req] = Pipe(connection, -request.req)
        self.opened.put_nowait(pipe)

    async def pump(self) -> None:
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
    async def at(self, room: LivingRoom) -> AsyncIterator[None]:
        client = SHSClient("127.0.0.1", room.server.port, self.key, room.server.me.id.key)
        await client.open()
        self.stream = PacketStream(client)
        self.api.add_connection(self.stream)
        task = asyncio.ensure_future(self.pump())
        try:
            yield
        finally:
            self.stream.disconnect()
            await asyncio.wait_for(task, 10)


async def call(member: Member, name: str, *args: Any) -> Any:
    handler: Any = member.api.call(name, list(args), "async")
    return (await asyncio.wait_for(handler.get_response(), 10)).body


async def test_methods_of_a_room() -> None:
    async with living_room() as room:
        one, two = Member(), Member()
        async with one.at(room), two.at(room):
            assert (await call(one, "room.metadata"))["membership"] in (True, False)
            assert await call(one, "tunnel.announce") is not None
            found = []
            async for msg in two.api.call("room.attendants", [], "source"):
                found.append(msg.body)
                break
            assert one.id in found[0]["ids"]


async def test_a_tunnel_between_two_compat_programs() -> None:
    async with living_room() as room:
        caller, called = Member(), Member()
        async with caller.at(room), called.at(room):
            await call(called, "tunnel.announce")
            portal = str(room.server.me.id)
            handler: Any = caller.api.call("tunnel.connect", [{"portal": portal, "target": called.id}], "duplex")
            here = Pipe(caller.stream, handler.req)

            async def feed() -> None:
                async for msg in handler:
                    here.take(msg)

            feeding = asyncio.ensure_future(feed())
            client = SHSClientCrypto(caller.key, bytes(called.key.verify_key), PrivateKey.generate())
            server = SHSServerCrypto(called.key)
            here.write(client.generate_challenge())
            there = await asyncio.wait_for(called.opened.get(), 10)
            assert server.verify_challenge(await there.reader.readexactly(64))
            there.write(server.generate_challenge())
            assert client.verify_server_challenge(await here.reader.readexactly(64))
            here.write(client.generate_client_auth())
            assert server.verify_client_auth(await there.reader.readexactly(112))
            assert bytes(server.remote_pub_key) == bytes(caller.key.verify_key)
            there.write(server.generate_accept())
            assert client.verify_server_accept(await here.reader.readexactly(80))
            (read_here, write_here), (read_there, write_there) = await here.streams(client), await there.streams(server)
            data = bytes(range(256)) * 400
            for write, read in ((write_here, read_there), (write_there, read_here)):
                write.write(data)
                write.close()
                got = b""
                while (body := await asyncio.wait_for(read.read(), 10)) is not None:
                    got += body
                assert got == data and read.goodbye_received
            here.close()
            there.close()
            await asyncio.wait_for(feeding, 10)
