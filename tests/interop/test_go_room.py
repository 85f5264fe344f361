"""Our clients in a room of go-ssb-room, as it is: target, caller, visitor, and what it asks of peers."""

from __future__ import annotations

from pathlib import Path

import pytest

from ssbfast.errors import RefusedError
from ssbfast.keys import Keypair
from ssbfast.room.tunnel_auth import AllowList
from ssbfast.wire.alias import sign_alias
from tests.helpers.clients import RecordingClient
from tests.helpers.rawpeer import eventually
from tests.interop.go_room import WHY, binary, go_room

pytestmark = [
    pytest.mark.interop,
    pytest.mark.timeout(120),
    pytest.mark.skipif(binary() is None, reason=WHY),
]

BYTES = bytes(range(256)) * 4096


@pytest.mark.parametrize("mode", ["open", "community"])
async def test_our_client_is_reached_through_it(mode: str, tmp_path: Path) -> None:
    """It asks every peer for its manifest, and calls nothing that it does not name."""
    me, friend = Keypair.generate(), Keypair.generate()
    async with (
        go_room(tmp_path, mode) as room,
        RecordingClient(me, admission=AllowList([friend.id])) as target,
        RecordingClient(friend) as caller,
    ):
        if mode == "community":
            room.add_member(me.id)
            room.add_member(friend.id)
        joined = await target.join(room.address)
        assert joined.is_member and joined.is_listed
        other = await caller.join(room.address)
        await eventually(lambda: other.attendants == {me.id, friend.id})
        peer = await caller.connect(me.id)
        assert await peer.call("add", 20, 22) == 42
        stream = peer.duplex("echo")
        for at in range(0, len(BYTES), 65_536):
            await stream.send(BYTES[at : at + 65_536])
        found = b""
        while len(found) < len(BYTES):
            found += await stream.__anext__()
        assert found == BYTES
        await stream.end()
        if mode == "community":  # it gives aliases to members alone, in open rooms too
            assert await joined.session.call("room.registerAlias", "alice", sign_alias(me, room.id, "alice"))
            assert await joined.session.call("room.listAliases", str(me.id)) == ["alice"]


async def test_a_visitor_of_a_community_reaches_its_members(tmp_path: Path) -> None:
    me, visitor = Keypair.generate(), Keypair.generate()
    async with (
        go_room(tmp_path, "community") as room,
        RecordingClient(me, admission=AllowList([visitor.id])) as member,
        RecordingClient(visitor) as guest,
    ):
        room.add_member(me.id)
        await member.join(room.address)
        joined = await guest.join(room.address)
        assert not joined.is_member and not joined.is_listed and joined.attendants == set()
        await guest.told("external")
        peer = await guest.connect(me.id)
        assert await peer.call("add", 1, 2) == 3
        with pytest.raises(RefusedError):
            await member.connect(visitor.id)
        assert guest.named("reconnecting") == []


async def test_an_open_one_lists_keys_that_it_calls_no_members(tmp_path: Path) -> None:
    async with go_room(tmp_path, "open") as room, RecordingClient() as client:
        joined = await client.join(room.address)
        assert joined.is_member and joined.is_listed and "room2" not in joined.features
