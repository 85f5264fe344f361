"""What a running room cuts at once: blocked and removed keys, and those that a mode excludes."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from pathlib import Path
from typing import Any

import pytest

from ssbfast import limits
from ssbfast.errors import RemoteError, SSBError
from ssbfast.ids import FeedId
from ssbfast.keys import Keypair
from ssbfast.room.methods import MEMBERS_ONLY, NOT_LISTED
from ssbfast.room.records import News, Standing
from ssbfast.room.roles import Mode, Role
from ssbfast.server.live_room import Load
from tests.helpers.kept_room import KEYS, KeptRoom, kept_room
from tests.helpers.rawpeer import RawPeer, RawTunnel, eventually, settle

MEMBER, EXTERNAL = KEYS[Role.MEMBER], KEYS[Role.EXTERNAL]

BLOCK = """
import sys
from ssbfast.ids import FeedId
from ssbfast.store.room_store import RoomStore
with RoomStore(sys.argv[1]) as store:
    store.block(FeedId.parse(sys.argv[2]), "", by=None)
"""


@pytest.fixture(autouse=True)
def quick_refusals(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "REFUSAL_SECONDS", 0.05)


async def newcomer(room: KeptRoom, *, announce: bool = True) -> RawPeer:
    """A session of a new member."""
    key = Keypair.generate()
    await room.add(key.id)
    return await room.room.raw(key, announce=announce)


def left(peer: RawPeer, feed: FeedId) -> int:
    """How often a subscriber was told that a key has left."""
    return sum(item == {"type": "left", "id": str(feed)} for item in peer.items[peer.listing])


async def reason(tunnel: RawTunnel) -> str:
    error = await tunnel.wait_ended()
    assert isinstance(error, RemoteError)
    return error.message


async def talk(tunnel: RawTunnel, other: RawTunnel, stop: asyncio.Event) -> int:
    """Send bytes until told to stop; return how many. All of them have to come."""
    sent = 0
    while not stop.is_set():
        await tunnel.send(b"x" * 1000)
        sent += 1000
        await asyncio.sleep(0)
    await eventually(lambda: other.count >= sent)
    return sent


async def test_a_blocked_key_with_fifty_sessions_and_twenty_tunnels(tmp_path: Path) -> None:
    async with kept_room(tmp_path) as room:
        one, two = await newcomer(room), await newcomer(room)
        victims = [await room.room.raw(MEMBER) for _ in range(50)]
        into = [await room.room.tunnel(one, victims[-1]) for _ in range(10)]
        out = [await room.room.tunnel(victims[n], two) for n in range(10)]
        talking, listening = await room.room.tunnel(one, two)
        stop = asyncio.Event()
        talk_on = asyncio.create_task(talk(talking, listening, stop))
        assert room.server.live.load(MEMBER.id) == Load(50, 20)
        await room.block(MEMBER.id)
        assert MEMBER.id not in room.server.live.online()
        assert not any(room.server._sessions[n].link.is_open for n in room.server.portal.sessions(MEMBER.id))
        await eventually(lambda: room.server.live.load(MEMBER.id) == Load(0, 0))
        await eventually(lambda: len(room.server.tunnels) == 1)
        for here, _there in into:
            assert await reason(here) == f"could not connect to: {MEMBER.id}"
        for _here, there in out:
            assert await reason(there) == f"could not connect to: {MEMBER.id}"
        await eventually(lambda: all(victim.gone.is_set() for victim in victims))
        stop.set()
        assert await talk_on > 0 and talking.ended is None and listening.ended is None
        await eventually(lambda: left(one, MEMBER.id) == left(two, MEMBER.id) == 1)
        await settle()
        assert left(one, MEMBER.id) == left(two, MEMBER.id) == 1
        assert len([e for e in room.room.named("left") if e["id"] == MEMBER.id.short]) == 1
        reasons = [event["reason"] for event in room.room.named("tunnel_closed")]
        assert reasons == ["excluded"] * 20
        with pytest.raises(SSBError):
            await room.room.raw(MEMBER)
        await room.unblock(MEMBER.id)
        back = await room.room.raw(MEMBER, announce=False)  # a visitor now: nothing came back by itself
        assert (await back.call("room.metadata"))["membership"] is False


async def test_another_process_blocks_a_key(tmp_path: Path) -> None:
    async with kept_room(tmp_path) as room:
        victim, other = await room.room.raw(MEMBER), await newcomer(room)
        process = await asyncio.create_subprocess_exec(sys.executable, "-c", BLOCK, str(tmp_path), str(MEMBER.id))
        assert await process.wait() == 0
        await asyncio.wait_for(victim.gone.wait(), 20)
        await eventually(lambda: left(other, MEMBER.id) == 1)


async def test_a_block_between_admission_and_session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No await lies between them today; if one ever does, the session is cut all the same."""
    async with kept_room(tmp_path) as room:
        held, registry = room.server.limits, room.server.registry
        enter = held.enter

        def blocked_meanwhile(session: Any) -> bool:
            let_in = enter(session)
            news = News(registry.number or 0, registry.settings, {MEMBER.id: Standing(Role.BLOCKED)})
            room.keeper._apply(news)
            return let_in

        monkeypatch.setattr(held, "enter", blocked_meanwhile)
        peer = RawPeer(MEMBER, room.room.relay)
        room.room.peers.append(peer)
        with contextlib.suppress(SSBError):
            await peer.join(room.server.port, room.server.me.id, announce=False)
        await asyncio.wait_for(peer.gone.wait(), 20)
        assert not room.server._sessions and len(room.server.portal) == 0
        await eventually(lambda: not room.server.limits.sessions)


async def test_blocks_and_unblocks_that_race_with_handshakes(tmp_path: Path) -> None:
    async with kept_room(tmp_path, Mode.OPEN) as room:

        async def knock() -> None:
            for _ in range(12):
                try:
                    peer = await room.room.raw(EXTERNAL, announce=False)
                except SSBError:
                    continue
                assert peer.is_open.is_set()

        knocking = [asyncio.create_task(knock()) for _ in range(4)]
        for _ in range(15):
            await room.block(EXTERNAL.id)
            assert all(not room.server._sessions[n].link.is_open for n in room.server.portal.sessions(EXTERNAL.id))
            await settle(3)
            await room.unblock(EXTERNAL.id)
            await asyncio.sleep(0.01)
        await room.block(EXTERNAL.id)
        await asyncio.gather(*knocking)
        await eventually(lambda: room.server.live.load(EXTERNAL.id) == Load(0, 0))
        assert EXTERNAL.id not in room.server.live.online()


async def test_a_removed_member_of_a_community_is_a_visitor_at_once(tmp_path: Path) -> None:
    async with kept_room(tmp_path) as room:
        other, victim = await newcomer(room), await room.room.raw(MEMBER)
        into, _ = await room.room.tunnel(other, victim)
        own, _ = await room.room.tunnel(victim, other)
        endpoints = victim.source("tunnel.endpoints")
        await eventually(lambda: victim.items[endpoints])
        await room.remove(MEMBER.id)
        assert MEMBER.id not in room.server.live.online() and room.server.live.visitors() == [MEMBER.id]
        assert await reason(into) == f"could not connect to: {MEMBER.id}"
        for listing in (victim.listing, endpoints):
            await eventually(lambda: {victim.listing, endpoints} <= victim.ends.keys())
            error = victim.ends[listing]
            assert isinstance(error, RemoteError) and error.message == MEMBERS_ONLY
        await eventually(lambda: left(other, MEMBER.id) == 1)
        own.write(b"still here")
        await settle()
        assert own.ended is None and not victim.gone.is_set()
        assert (await victim.call("room.metadata"))["membership"] is False
        again = other.connect(room.server.me.id, MEMBER.id)
        assert await reason(again) == f"could not connect to: {MEMBER.id}"
        # A member once more, in the same session.
        await room.add(MEMBER.id)
        assert (await victim.call("room.metadata"))["membership"] is True
        assert MEMBER.id not in room.server.live.online()
        again_listing = victim.source("room.attendants")
        await eventually(lambda: victim.items[again_listing])
        await room.room.tunnel(other, victim)


async def test_who_loses_membership_unannounced_loses_old_tunnels_too(tmp_path: Path) -> None:
    async with kept_room(tmp_path) as room:
        other, victim = await newcomer(room), await room.room.raw(MEMBER)
        into = [await room.room.tunnel(other, victim) for _ in range(12)]
        await victim.call("tunnel.leave")
        await room.remove(MEMBER.id)
        for here, there in into:
            assert await reason(here) == f"could not connect to: {MEMBER.id}"
            assert await reason(there) == f"could not connect to: {MEMBER.id}"
        await eventually(lambda: len(room.server.tunnels) == 0)


async def test_a_removed_member_of_an_open_room_stays(tmp_path: Path) -> None:
    async with kept_room(tmp_path, Mode.OPEN) as room:
        peer = await room.room.raw(MEMBER)
        await room.remove(MEMBER.id)
        await settle()
        assert MEMBER.id in room.server.live.online() and not peer.gone.is_set() and peer.listing not in peer.ends


async def test_a_removed_member_of_a_restricted_room_is_cut(tmp_path: Path) -> None:
    async with kept_room(tmp_path, Mode.RESTRICTED) as room:
        peer = await room.room.raw(MEMBER)
        await room.remove(MEMBER.id)
        await asyncio.wait_for(peer.gone.wait(), 20)


async def test_roles_of_members_change_nothing_of_their_sessions(tmp_path: Path) -> None:
    async with kept_room(tmp_path) as room:
        peer = await room.room.raw(MEMBER)
        for role in (Role.ADMIN, Role.MODERATOR, Role.MEMBER):
            await room.keeper.run(room.store.set_role, MEMBER.id, role, by=None)
        await settle()
        assert not peer.gone.is_set() and peer.listing not in peer.ends
        assert room.server.live.online() == [MEMBER.id]


async def test_a_room_whose_mode_changes_while_all_are_there(tmp_path: Path) -> None:
    async with kept_room(tmp_path, Mode.OPEN) as room:
        member = await room.room.raw(MEMBER)
        strangers = [await room.room.raw() for _ in range(2 * limits.EXCLUDED_AT_ONCE + 5)]
        into, _ = await room.room.tunnel(member, strangers[0])
        own, far = await room.room.tunnel(strangers[1], member)
        await room.change_mode(Mode.COMMUNITY)
        await eventually(lambda: room.server.live.online() == [MEMBER.id])  # a crowd in turns
        assert set(room.server.live.visitors()) == {stranger.id for stranger in strangers}
        assert await reason(into) == f"could not connect to: {strangers[0].id}"
        await eventually(lambda: all(stranger.listing in stranger.ends for stranger in strangers))
        assert (await strangers[5].call("tunnel.announce", None)).message == NOT_LISTED
        own.write(b"to a member")
        assert await far.read(11) == b"to a member"
        await room.change_mode(Mode.RESTRICTED)
        await eventually(lambda: all(stranger.gone.is_set() for stranger in strangers))
        assert await reason(far) == f"could not connect to: {strangers[1].id}"
        await eventually(lambda: len(room.server._sessions) == 1)
        assert not member.gone.is_set() and member.listing not in member.ends
        for stranger in strangers:
            assert left(member, stranger.id) == 1
        await room.change_mode(Mode.OPEN)
        await settle()
        assert not member.gone.is_set()
        assert await (await room.room.raw()).call("tunnel.announce", None) is True


async def test_who_claims_an_invite_is_internal_without_coming_again(tmp_path: Path) -> None:
    async with kept_room(tmp_path) as room:
        visitor = await room.room.raw(EXTERNAL, announce=False)
        hash = bytes(32)
        await room.keeper.run(room.store.create_invite, hash, by=None)
        assert (await visitor.call("room.metadata"))["membership"] is False
        await room.keeper.run(room.store.claim_invite, hash, EXTERNAL.id, 1.0)
        assert (await visitor.call("room.metadata"))["membership"] is True
        listing = visitor.source("room.attendants")
        await eventually(lambda: visitor.items[listing])
        assert visitor.items[listing][0] == {"type": "state", "ids": [str(EXTERNAL.id)]}
        assert room.server.live.visitors() == []
