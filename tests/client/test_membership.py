"""A client in a room whose members change: what it is there, and when it notices."""

from __future__ import annotations

from pathlib import Path

import pytest

from ssbfast import limits
from ssbfast.keys import Keypair
from ssbfast.room.roles import Mode
from ssbfast.room.tunnel_auth import AllowList
from tests.helpers.clients import RecordingClient
from tests.helpers.false_room import false_room
from tests.helpers.kept_room import KeptRoom, kept_room
from tests.helpers.rawpeer import eventually


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MEMBERSHIP_SECONDS", 0.05)


async def member(room: KeptRoom, client: RecordingClient) -> None:
    await room.add(client.me.id)
    await client.join(room.server.address)


async def test_a_visitor_joins_without_the_list_and_is_told_once(tmp_path: Path) -> None:
    guest = Keypair.generate()
    async with (
        kept_room(tmp_path) as room,
        RecordingClient(admission=AllowList([guest.id])) as one,
        RecordingClient(guest) as two,
    ):
        await member(room, one)
        joined = await two.join(room.server.address)
        assert not joined.is_member and joined.is_external and not joined.is_listed
        assert joined.attendants == set()
        await two.told("external")
        assert await (await two.connect(one.me.id)).call("add", 1, 2) == 3
        assert [event["event"] for event in two.events if event["event"] != "connected"] == ["external"]
        assert room.server.live.visitors() == [guest.id] and room.server.live.online() == [one.me.id]


async def test_a_visitor_that_becomes_a_member_is_listed_in_the_same_session(tmp_path: Path) -> None:
    friend = Keypair.generate()
    async with (
        kept_room(tmp_path) as room,
        RecordingClient(admission=AllowList([friend.id])) as client,
        RecordingClient(friend) as caller,
    ):
        await member(room, caller)
        joined = await client.join(room.server.address)
        session = joined.session
        await room.add(client.me.id)
        await client.told("announced")
        assert joined.is_member and joined.is_listed and joined.session is session
        assert joined.attendants == {client.me.id, friend.id}
        assert await (await caller.connect(client.me.id)).call("add", 1, 2) == 3
        assert client.named("reconnecting") == []


async def test_a_member_that_is_removed_keeps_its_session_and_own_tunnels(tmp_path: Path) -> None:
    me = Keypair.generate()
    async with (
        kept_room(tmp_path) as room,
        RecordingClient(admission=AllowList([me.id])) as friend,
        RecordingClient(me, admission=AllowList([friend.me.id])) as client,
    ):
        await member(room, friend)
        await member(room, client)
        joined = client.rooms[0]
        own, theirs = await client.connect(friend.me.id), await friend.connect(me.id)
        await room.remove(me.id)
        await client.told("external")
        assert not joined.is_member and not joined.is_listed and joined.attendants == set()
        await theirs.wait_closed()
        assert await own.call("add", 2, 3) == 5
        assert client.named("reconnecting") == [] and joined.is_open
        await room.add(me.id)
        await client.told("announced", 2)
        await eventually(lambda: joined.attendants == {me.id, friend.me.id})
        assert await own.call("add", 2, 3) == 5


async def test_a_member_whose_room_becomes_a_community_is_a_visitor(tmp_path: Path) -> None:
    async with kept_room(tmp_path, Mode.OPEN) as room, RecordingClient() as client:
        joined = await client.join(room.server.address)
        assert joined.is_member
        await room.change_mode(Mode.COMMUNITY)
        await client.told("external")
        await room.change_mode(Mode.OPEN)
        await client.told("announced", 2)
        assert joined.is_member and client.named("reconnecting") == []


async def test_a_list_that_ends_for_no_reason_is_a_session_that_is_over() -> None:
    async with false_room() as room, RecordingClient() as client:
        room.present = [str(client.me.id)]
        await client.join(room.address)
        side = room.sessions[client.me.id]
        side.link.control(*side.mux.fail(side.lists[0], "not today"))
        await client.told("reconnecting")
        await client.told("announced", 2)
