"""RoomClient at a room: tunnels in and out, refusals, limits."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from ssbfast import limits
from ssbfast.client.room_client import RoomClient
from ssbfast.errors import (
    HandshakeError,
    RefusedError,
    RemoteError,
    SessionEndedError,
    SSBError,
    TruncatedError,
)
from ssbfast.ids import FeedId
from ssbfast.keys import Keypair
from ssbfast.net.peer import Peer
from ssbfast.net.stream import Stream
from ssbfast.room.tunnel_auth import AllowList
from ssbfast.wire.handshake import ClientHandshake
from tests.helpers.clients import echo_api
from tests.helpers.rawpeer import PATIENCE, RawTunnel, eventually
from tests.helpers.served_room import ServedRoom, served_room


class RoomWithClients:
    """A room and clients in it. `friends` may tunnel to each other."""

    def __init__(self, room: ServedRoom, stack: AsyncExitStack) -> None:
        self.room = room
        self.address = room.server.address
        self._stack = stack

    async def client(
        self, me: Keypair | None = None, *, friends: Iterable[FeedId] = (), boxing: str = "merged", join: bool = True
    ) -> RoomClient:
        client = RoomClient(me or Keypair.generate(), admission=AllowList(friends), api=echo_api(), boxing=boxing)
        await self._stack.enter_async_context(client)
        if join:
            await client.join(self.address)
        return client

    async def friends(self, boxing: str = "merged") -> tuple[RoomClient, RoomClient]:
        a, b = Keypair.generate(), Keypair.generate()
        return await self.client(a, friends=[b.id], boxing=boxing), await self.client(b, friends=[a.id])


@asynccontextmanager
async def room_with_clients() -> AsyncIterator[RoomWithClients]:
    async with served_room() as room, AsyncExitStack() as stack:
        yield RoomWithClients(room, stack)


@pytest.fixture
def quick_refusals(monkeypatch: pytest.MonkeyPatch) -> float:
    monkeypatch.setattr(limits, "REFUSAL_SECONDS", 0.3)
    return 0.3


# ---------------------------------------------------------------- tunnels


@pytest.mark.parametrize("boxing", ["merged", "split"])
async def test_friends_reach_each_other_both_ways(boxing: str) -> None:
    async with room_with_clients() as at:
        a, b = await at.friends(boxing)
        to_b, to_a = await a.connect(b.me.id), await b.connect(str(a.me.id))
        assert (to_b.id, to_b.path, to_b.portal) == (b.me.id, "tunnel", at.room.server.me.id)
        assert await asyncio.gather(to_b.call("add", 1, 2), to_a.call("add", 3, 4)) == [3, 7]
        data = [os.urandom(50_000) for _ in range(40)]
        stream = to_b.duplex("echo")

        async def send() -> None:
            for item in data:
                await stream.send(item)
            await stream.end()

        sending = asyncio.create_task(send())
        assert [item async for item in stream] == data
        await sending
        arrived = await asyncio.wait_for(b.incoming().__anext__(), PATIENCE)
        assert arrived.id == a.me.id
        assert await arrived.call("add", 5, 6) == 11  # a session serves both ways
        await to_b.close()
        await arrived.wait_closed()
        assert to_b.error is None and arrived.error is None
        assert await to_a.call("add", 1, 1) == 2


async def test_many_at_once() -> None:
    async with room_with_clients() as at:
        a, b = await at.friends()
        peers: list[Peer] = []
        most, at_once = limits.INNER_SESSIONS_PER_KEY, limits.PENDING_INNER_PER_ORIGIN
        for _ in range(most // at_once):  # more at a time would push each other out
            peers += await asyncio.gather(*(a.connect(b.me.id) for _ in range(at_once)))
        sums = await asyncio.gather(*(peer.call("add", i, 1) for i, peer in enumerate(peers)))
        assert sums == list(range(1, most + 1))
        await asyncio.gather(*(peer.close() for peer in peers))
        await eventually(lambda: at.room.splices == 0 and not a._inner and not b._inner)


async def test_the_end_of_a_session_ends_its_tunnels_for_both() -> None:
    async with room_with_clients() as at:
        a, b = await at.friends()
        peer = await a.connect(b.me.id)
        there = await asyncio.wait_for(b.incoming().__anext__(), PATIENCE)
        a.rooms[0].session.link.abort()
        await asyncio.wait_for(asyncio.gather(peer.wait_closed(), there.wait_closed()), PATIENCE)
        assert isinstance(peer.error, SSBError) and isinstance(there.error, SSBError)
        assert a.rooms == () and not a._inner and not b._inner
        await a.staying[0].wait_joined()
        assert await (await a.connect(b.me.id)).call("add", 1, 1) == 2


async def test_incoming_ends_with_the_client() -> None:
    async with room_with_clients() as at:
        client = await at.client()

        async def all_of_them() -> list[Peer]:
            return [peer async for peer in client.incoming()]

        listening = [asyncio.create_task(all_of_them()) for _ in range(2)]
        await asyncio.sleep(0)
        await client.close()
        assert await asyncio.gather(*listening) == [[], []]


async def test_a_cancelled_connect_leaves_nothing() -> None:
    async with room_with_clients() as at:
        silent = await at.room.raw()
        client = await at.client()
        connecting = asyncio.create_task(client.connect(silent.id))
        tunnel = await silent.accept()
        connecting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await connecting
        assert isinstance(await tunnel.wait_ended(), RemoteError)
        assert not client.rooms[0].session._tunnels and at.room.splices == 0


@pytest.mark.parametrize("wanted", ["absent", "room", "self"])
async def test_refusals_of_the_room_are_one_text(wanted: str) -> None:
    async with room_with_clients() as at:
        client = await at.client()
        target = {"absent": Keypair.generate().id, "room": at.room.server.me.id, "self": client.me.id}[wanted]
        with pytest.raises((RefusedError, HandshakeError)) as caught:
            await client.connect(target)
        if wanted != "self":  # that one fails before it is asked
            assert str(caught.value) == f"could not connect to: {target}"


# ---------------------------------------------------------------- refusals of the target


async def knock(tunnel: RawTunnel, handshake: ClientHandshake, *, spoil: bool = False) -> float:
    """Go as far as message 3 in a raw tunnel; when it was sent."""
    tunnel.write(handshake.start())
    message = handshake.receive(await tunnel.read(64))[0].data  # type: ignore[union-attr]
    if spoil:
        message = message[:-1] + bytes([message[-1] ^ 1])
    tunnel.write(message)
    return asyncio.get_running_loop().time()


async def test_every_refusal_after_message_3_is_late_and_the_same(quick_refusals: float) -> None:
    async with room_with_clients() as at:
        friend = Keypair.generate()
        target = await at.client(friends=[friend.id])
        me = at.room.server.me.id
        stranger, impostor, spoiler = await at.room.raw(), await at.room.raw(), await at.room.raw(friend)
        found = []
        cases = (
            (stranger, ClientHandshake(stranger.me, target.me.id), False),
            (impostor, ClientHandshake(friend, target.me.id), False),  # a friend's key from another origin
            (spoiler, ClientHandshake(friend, target.me.id), True),
        )
        for raw, handshake, spoil in cases:
            tunnel = raw.connect(me, target.me.id)
            sent = await knock(tunnel, handshake, spoil=spoil)
            error = await tunnel.wait_ended()
            assert isinstance(error, RemoteError)
            assert asyncio.get_running_loop().time() - sent >= quick_refusals - 0.05
            found.append((error.message, error.name, len(tunnel.received)))
        assert len(set(found)) == 1
        assert found[0][2] == 64  # nothing but the server hello was ever sent
        assert not target._inner


async def test_a_refused_caller_that_floods_holds_nobody_up(quick_refusals: float) -> None:
    async with room_with_clients() as at:
        friend = Keypair.generate()
        target = await at.client(friends=[friend.id])
        stranger = await at.room.raw()
        tunnel = stranger.connect(at.room.server.me.id, target.me.id)
        await knock(tunnel, ClientHandshake(stranger.me, target.me.id))
        tunnel.write(os.urandom(2 * limits.MiB))
        client = await at.client(friend)
        peer = await client.connect(target.me.id)
        assert await peer.call("add", 1, 1) == 2
        assert not target.rooms[0].session.link._holds
        assert isinstance(await tunnel.wait_ended(), RemoteError)


async def test_idle_strangers_cannot_lock_a_friend_out() -> None:
    async with room_with_clients() as at:
        friend = Keypair.generate()
        target = await at.client(friends=[friend.id])
        few = [(await at.room.raw()).connect(at.room.server.me.id, target.me.id) for _ in range(3)]
        await eventually(lambda: target._answering.unproven == 3)
        raw = await at.room.raw()
        most = limits.PENDING_INNER_PER_ORIGIN
        many = [raw.connect(at.room.server.me.id, target.me.id) for _ in range(most + 2)]
        for tunnel in many[:2]:  # who takes the most loses, and the oldest first
            assert isinstance(await tunnel.wait_ended(), RemoteError)
        assert all(tunnel.ended is None for tunnel in few + many[2:])
        assert target._answering.unproven == 3 + most
        client = await at.client(friend)
        assert await (await client.connect(target.me.id)).call("add", 1, 1) == 2
        assert all(tunnel.ended is None for tunnel in few + many[2:])


async def test_an_inner_handshake_has_a_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "INNER_HELLO_SECONDS", 0.2)
    async with room_with_clients() as at:
        target = await at.client()
        raw = await at.room.raw()
        tunnel = raw.connect(at.room.server.me.id, target.me.id)
        assert isinstance(await tunnel.wait_ended(), RemoteError)
        await eventually(lambda: not target._answering.unproven)


async def test_a_room_that_dies_in_the_middle_of_a_transfer_is_told_to_both() -> None:
    async with room_with_clients() as at:
        a, b = await at.friends()
        peer = await a.connect(b.me.id)
        stream = peer.duplex("echo")
        sending = asyncio.create_task(_flood(stream))
        await stream.__anext__()
        for session in list(at.room.server._sessions.values()):
            session.abort()
        with pytest.raises(SSBError):
            await asyncio.wait_for(sending, PATIENCE)
        with pytest.raises(SSBError):
            while True:
                await asyncio.wait_for(stream.__anext__(), PATIENCE)
        await peer.wait_closed()
        assert isinstance(peer.error, SessionEndedError | TruncatedError)


async def _flood(stream: Stream) -> None:
    while True:
        await stream.send(b"x" * 50_000)


async def test_link_is_told_by_the_peer_only_when_open() -> None:
    peer = Peer()
    with pytest.raises(SessionEndedError):
        _ = peer.link
    assert not peer.is_open and repr(peer) == "<Peer unproven tcp>"
    await peer.close()
