"""Programs written for the compat packages at our room: its methods, tunnels between them and to native peers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from ssbfast.client.room_client import RoomClient
from ssbfast.errors import RemoteError
from ssbfast.ids import FeedId
from ssbfast.keys import Keypair
from ssbfast.net.api import Api
from ssbfast.net.peer import Peer
from ssbfast.room.tunnel_auth import AllowList
from tests.helpers.compat_api import ECHOED, Program, content
from tests.helpers.compat_room import Member
from tests.helpers.served_room import ServedRoom, served_room


def at(room: ServedRoom, member: Member) -> Any:
    return member.at(room.server.port, room.server.me.id.key)


def native_api() -> Api:
    api = Api()

    @api.call("test.add")
    async def add(peer: Peer, a: int, b: int) -> int:
        return a + b

    @api.call("test.fail")
    async def fail(peer: Peer, message: str) -> None:
        raise RemoteError(message)

    @api.source("test.count")
    async def count(peer: Peer, n: int) -> AsyncIterator[int]:
        for number in range(n):
            yield number

    @api.source("test.failAfter")
    async def fail_after(peer: Peer, n: int, message: str) -> AsyncIterator[int]:
        for number in range(n):
            yield number
        raise RemoteError(message)

    @api.source("test.bytes")
    async def some_bytes(peer: Peer, size: int, chunk: int) -> AsyncIterator[bytes]:
        data = content(size)
        for at in range(0, size, chunk):
            yield data[at : at + chunk]

    @api.duplex("test.echo")
    async def echo(peer: Peer, stream: Any) -> None:
        async for item in stream:
            await stream.send(item)

    return api


async def use(peer: Peer) -> None:
    """Every kind of call of the native API on a compat program."""
    assert await peer.call("test.add", 20, 22) == 42
    for name in ("test.fail", "test.nothing"):
        with pytest.raises(RemoteError):
            await peer.call(name, "on purpose")
    assert [item async for item in peer.source("test.count", 300)] == list(range(300))
    with pytest.raises(RemoteError, match="half way"):
        async for _ in peer.source("test.failAfter", 3, "half way"):
            pass
    assert b"".join([item async for item in peer.source("test.bytes", 300_000, 1000)]) == content(300_000)
    async with peer.duplex("test.echo") as stream:
        for item in ECHOED:
            await stream.send(item)
            assert await stream.__anext__() == item


async def test_methods_of_a_room() -> None:
    async with served_room() as room:
        one, two = Member(), Member()
        async with at(room, one), at(room, two):
            assert (await one.call("room.metadata"))["membership"] in (True, False)
            assert await one.call("tunnel.announce") is not None
            found = []
            async for msg in two.api.call("room.attendants", [], "source"):
                found.append(msg.body)
                break
            assert one.id in found[0]["ids"]


async def test_a_tunnel_between_two_compat_programs() -> None:
    async with served_room() as room:
        caller, called = Member(), Member()
        async with at(room, caller), at(room, called):
            await called.call("tunnel.announce")
            accepting = asyncio.ensure_future(called.accept())
            here = await caller.connect(str(room.server.me.id), called.id, bytes(called.key.verify_key))
            who, there = await accepting
            assert who == caller.id
            programs = [Program(here), Program(there)]
            await asyncio.wait_for(asyncio.gather(*(program.use() for program in programs)), 30)
            here.close()
            await asyncio.wait_for(programs[1].pump, 10)
            assert there.goodbye_received
            there.close()
            await asyncio.wait_for(asyncio.gather(programs[0].pump, caller.feeding), 10)


@pytest.mark.parametrize("boxing", ["split", "merged"])
@pytest.mark.slow
async def test_a_compat_program_calls_a_native_peer(boxing: str) -> None:
    async with served_room() as room:
        member, me = Member(), Keypair.generate()
        friends = AllowList([FeedId.parse(member.id)])
        async with RoomClient(me, admission=friends, api=native_api(), boxing=boxing) as client, at(room, member):
            await client.join(room.server.address)
            session = await member.connect(str(room.server.me.id), str(me.id), me.id.key)
            peer = await asyncio.wait_for(client.incoming().__anext__(), 10)
            assert str(peer.id) == member.id
            program = Program(session)
            await asyncio.wait_for(asyncio.gather(program.use(), use(peer)), 30)
            await peer.close()
            await asyncio.wait_for(asyncio.gather(program.pump, member.feeding), 10)


@pytest.mark.parametrize("boxing", ["split", "merged"])
async def test_a_native_peer_calls_a_compat_program(boxing: str) -> None:
    async with served_room() as room:
        member, me = Member(), Keypair.generate()
        async with RoomClient(me, api=native_api(), boxing=boxing) as client, at(room, member):
            await member.call("tunnel.announce")
            await client.join(room.server.address, announce=False)
            accepting = asyncio.ensure_future(member.accept())
            peer = await client.connect(member.id)
            who, session = await accepting
            assert who == str(me.id)
            program = Program(session)
            await asyncio.wait_for(asyncio.gather(program.use(), use(peer)), 30)
            session.close()
            await asyncio.wait_for(asyncio.gather(program.pump, peer.wait_closed()), 10)
            assert peer.error is None
