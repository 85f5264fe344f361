"""Compat with compat and compat with the native API, in both roles and directions; with boxes split and merged."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from nacl.signing import SigningKey

from ssbfast.compat.secret_handshake.network import SHSClient
from ssbfast.compat.ssb.muxrpc import MuxRPCAPI, MuxRPCAPIException, MuxRPCRequest
from ssbfast.compat.ssb.packet_stream import PacketStream, PSMessageType
from ssbfast.errors import RemoteError
from ssbfast.ids import FeedId
from ssbfast.keys import Keypair
from ssbfast.net.api import Api
from ssbfast.net.dial import dial
from ssbfast.net.link import Link
from ssbfast.net.peer import Peer
from ssbfast.net.relay import Relay
from ssbfast.wire.handshake import ClientHandshake, ServerHandshake
from tests.helpers.compat import recording_server
from tests.helpers.require import require

BLOB = hashlib.shake_128(b"blob").digest(300_000)


def native_api() -> Api:
    api = Api()

    @api.call("add")
    async def add(peer: Peer, a: int, b: int) -> int:
        return a + b

    @api.source("count")
    async def count(peer: Peer, n: int) -> AsyncIterator[int]:
        for number in range(n):
            yield number

    @api.source("blob")
    async def blob(peer: Peer) -> AsyncIterator[bytes]:
        for at in range(0, len(BLOB), 65_536):
            yield BLOB[at : at + 65_536]

    @api.duplex("echo")
    async def echo(peer: Peer, stream: Any) -> None:
        async for item in stream:
            await stream.send(item)

    return api


def compat_api() -> MuxRPCAPI:
    api = MuxRPCAPI()
    api.define("add")(lambda connection, request: sum(request.args))

    @api.define("count")
    async def count(connection: PacketStream, request: MuxRPCRequest) -> None:
        assert request.req is not None
        for number in range(request.args[0]):
            connection.send(number, stream=True, req=-request.req)
        connection.send(True, stream=True, end_err=True, req=-request.req)

    @api.define("blob")
    async def blob(connection: PacketStream, request: MuxRPCRequest) -> None:
        assert request.req is not None
        for at in range(0, len(BLOB), 60_000):
            connection.send(BLOB[at : at + 60_000], PSMessageType.BUFFER, stream=True, req=-request.req)
            await connection.drain()
        connection.send(True, stream=True, end_err=True, req=-request.req)

    return api


async def calls_of_a_compat_program(api: MuxRPCAPI) -> None:
    assert (await api.call("add", [1, 2], "async").get_response()).body == 3
    assert [msg.body async for msg in api.call("count", [3], "source")] == [0, 1, 2, True]
    data = b""
    async for msg in api.call("blob", [], "source"):
        if msg.type is PSMessageType.BUFFER:
            data += msg.data
    assert data == BLOB
    with pytest.raises(MuxRPCAPIException):
        await api.call("nope", [], "async").get_response()
    answers = await asyncio.gather(*(api.call("add", [n, 1], "async").get_response() for n in range(50)))
    assert [msg.body for msg in answers] == list(range(1, 51))


async def calls_of_a_native_program(peer: Peer) -> None:
    assert await peer.call("add", 1, 2) == 3
    assert [item async for item in peer.source("count", 3)] == [0, 1, 2]
    assert b"".join([item async for item in peer.source("blob")]) == BLOB
    with pytest.raises(RemoteError):
        await peer.call("nope")


@asynccontextmanager
async def native_server(split: bool) -> AsyncIterator[tuple[Keypair, int, Peer]]:
    """A server of the native API for one peer: its key, its port, and the peer's session."""
    me, relay, peer = Keypair.generate(), Relay(pool=16 * 1024 * 1024), Peer(api=native_api())
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Link(relay, ServerHandshake(me), peer, split=split), "127.0.0.1", 0)
    try:
        yield me, server.sockets[0].getsockname()[1], peer
    finally:
        server.close()
        if peer._link is not None:
            peer.link.abort()
            await peer.wait_closed()


@pytest.mark.parametrize("split", [True, False], ids=["split", "merged"])
async def test_compat_client_native_server(split: bool) -> None:
    async with native_server(split) as (me, port, peer):
        client = SHSClient("127.0.0.1", port, SigningKey.generate(), me.id.key)
        await client.open()
        api = compat_api()
        api.add_connection(PacketStream(client))
        pump = asyncio.ensure_future(api.process_messages())
        await peer.wait_opened()
        await asyncio.gather(calls_of_a_compat_program(api), calls_of_a_native_program(peer))
        echo = api.call("echo", [], "duplex")
        echo.send(b"abc", msg_type=PSMessageType.BUFFER)
        assert (await echo.__anext__()).data == b"abc"
        echo.send(True, end=True)
        client.disconnect()
        await asyncio.wait_for(pump, 10)
        await asyncio.wait_for(peer.wait_closed(), 10)


@pytest.mark.parametrize("split", [True, False], ids=["split", "merged"])
@pytest.mark.slow
async def test_native_client_compat_server(split: bool) -> None:
    async with recording_server() as it:
        peer, relay = Peer(api=native_api()), Relay(pool=16 * 1024 * 1024)
        shake = ClientHandshake(Keypair.generate(), FeedId(bytes(it.key.verify_key)))
        await dial("127.0.0.1", it.port, lambda: Link(relay, shake, peer, split=split))
        await peer.wait_opened()
        api = compat_api()
        api.add_connection(PacketStream(await it.arrived.get()))
        pump = asyncio.ensure_future(api)
        await asyncio.gather(calls_of_a_compat_program(api), calls_of_a_native_program(peer))
        await asyncio.wait_for(peer.close(), 10)
        await asyncio.wait_for(pump, 10)


async def test_compat_client_compat_server() -> None:
    async with recording_server() as it:
        client, served = await it.pair()
        apis = [compat_api(), compat_api()]
        for api, end in zip(apis, (client, served), strict=True):
            api.add_connection(PacketStream(end))
        pumps = [asyncio.ensure_future(api) for api in apis]
        await asyncio.gather(*map(calls_of_a_compat_program, apis))
        client.disconnect()
        await asyncio.wait_for(asyncio.gather(*pumps), 10)


ORIGINAL = """
import asyncio, sys
from nacl.signing import SigningKey
from secret_handshake import SHSClient
from ssb_client.muxrpc import MuxRPCAPI
from ssb_client.packet_stream import PacketStream
assert "ssbfast" not in sys.modules
async def main(port, key):
    client = SHSClient("127.0.0.1", port, SigningKey.generate(), bytes.fromhex(key))
    await client.open()
    stream, api = PacketStream(client), MuxRPCAPI()
    api.add_connection(stream)
    async def pump():
        async for msg in stream:
            stream.send(sum(msg.body["args"]), req=-msg.req)
    task = asyncio.ensure_future(pump())
    for n in range(20):
        answer = await api.call("add", [n, 1], "async")
        assert answer.body == n + 1, answer
    assert [msg.body async for msg in api.call("count", [5], "source")] == [0, 1, 2, 3, 4, True]
    data = b""
    async for msg in api.call("blob", [], "source"):
        if msg.type.name == "BUFFER":
            data += msg.data
    assert len(data) == 300000
    assert (await api.call("done", [], "async")).body is True
    task.cancel()
asyncio.run(main(int(sys.argv[1]), sys.argv[2]))
"""
"""A program on the originals, which read one box for a head, and bodies in boxes of 4096 bytes."""


@asynccontextmanager
async def original(port: int, key: bytes) -> AsyncIterator[None]:
    place = os.environ.get("SSBFAST_PEERS", "")
    require("peers", (Path(place) / "ssb_client").is_dir(), "SSBFAST_PEERS names no directory with ssb_client")
    command = [sys.executable, "-c", ORIGINAL, str(port), key.hex()]
    environment = {**os.environ, "PYTHONPATH": place}
    process = await asyncio.create_subprocess_exec(*command, env=environment, stderr=asyncio.subprocess.PIPE)
    try:
        yield
        _, errors = await asyncio.wait_for(process.communicate(), 30)
        assert process.returncode == 0, errors.decode()
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()


async def test_the_original_calls_a_native_server_that_splits() -> None:
    async with native_server(True) as (me, port, peer), original(port, me.id.key):
        done = asyncio.Event()

        @peer._api.call("done")
        async def _(peer: Peer) -> bool:
            done.set()
            return True

        await peer.wait_opened()
        assert await peer.call("add", 4, 5) == 9
        await asyncio.wait_for(done.wait(), 30)


async def test_the_original_calls_a_compat_server() -> None:
    async with recording_server() as it, original(it.port, bytes(it.key.verify_key)):
        api = compat_api()
        api.define("done")(lambda connection, request: True)
        api.add_connection(PacketStream(await asyncio.wait_for(it.arrived.get(), 30)))
        pump = asyncio.ensure_future(api)
        assert (await api.call("add", [4, 5], "async").get_response()).body == 9
        await asyncio.wait_for(pump, 30)


async def test_a_split_link_keeps_heads_in_boxes_of_their_own() -> None:
    """What pyssb's reader needs of the native side."""
    async with native_server(True) as (me, port, peer):
        client = SHSClient("127.0.0.1", port, SigningKey.generate(), me.id.key)
        await client.open()
        await peer.wait_opened()
        call = asyncio.ensure_future(peer.call("add", 1, 2))
        head = await client.read()
        assert head is not None and len(head) == 9
        body = await client.read()
        assert body is not None and len(body) == int.from_bytes(head[1:5], "big")
        client.close()
        await asyncio.gather(call, return_exceptions=True)
