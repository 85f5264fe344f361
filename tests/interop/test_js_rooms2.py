"""JavaScript room clients in a room with members: aliases and their visitors, members and strangers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlencode

import pytest
import pytest_asyncio

from ssbfast.ids import FeedId, NetworkId
from ssbfast.room.methods import MEMBERS_ONLY
from ssbfast.room.roles import Mode
from ssbfast.wire.alias import encode_signature
from tests.helpers.kept_room import KeptRoom, kept_room
from tests.interop.jspeer import JSError, JSPeer, Kind, StartPeer
from tests.interop.scenarios import use_tunnel

pytestmark = [pytest.mark.interop, pytest.mark.timeout(180)]

KINDS: tuple[Kind, ...] = ("room-client-2/stack6", "room-client-2/stack8")


@pytest_asyncio.fixture
async def room(network: bytes, tmp_path: Path) -> AsyncIterator[KeptRoom]:
    async with kept_room(tmp_path, Mode.COMMUNITY, network=NetworkId(network)) as room:
        yield room


async def member(room: KeptRoom, peers: StartPeer, kind: Kind) -> JSPeer:
    """A JavaScript peer that is a member, and is listed."""
    peer = await peers(kind)
    await room.add(FeedId.parse(peer.id))
    await peer.join(room.server.address)
    return peer


def uri(room: KeptRoom, name: str) -> str:
    """The URI of an alias, as its web page has it."""
    alias = room.server.registry.alias(name)
    assert alias is not None
    query = {
        "action": "consume-alias",
        "roomId": str(room.server.me.id),
        "alias": name,
        "userId": str(alias.feed),
        "signature": encode_signature(alias.signature),
        "multiserverAddress": room.server.address,
    }
    return f"ssb:experimental?{urlencode(query)}"


@pytest.mark.parametrize("kind", KINDS)
async def test_a_member_registers_an_alias_and_a_stranger_visits_by_it(
    room: KeptRoom, peers: StartPeer, kind: Kind
) -> None:
    me = str(room.server.me.id)
    peer, guest = await member(room, peers, kind), await peers(kind)
    url = await peer.request("plugin", section="roomClient", name="registerAlias", args=[me, "a-lice"])
    assert url == "https://127.0.0.1/a-lice"
    assert await peer.call(me, "room.listAliases", peer.id) == ["a-lice"]
    with pytest.raises(JSError, match="alias is not valid"):
        await peer.request("plugin", section="roomClient", name="registerAlias", args=[me, "join"])
    consumed = await guest.request("plugin", section="roomClient", name="consumeAliasUri", args=[uri(room, "a-lice")])
    assert consumed == peer.id
    await use_tunnel(guest, peer)
    assert [event.fields["id"] for event in peer.seen("joined")] == []
    assert room.server.live.online() == [FeedId.parse(peer.id)]
    await peer.request("plugin", section="roomClient", name="revokeAlias", args=[me, "a-lice"])
    assert await peer.call(me, "room.listAliases", peer.id) == []
    with pytest.raises(JSError, match="no such alias"):
        await peer.request("plugin", section="roomClient", name="revokeAlias", args=[me, "a-lice"])


@pytest.mark.parametrize("kind", KINDS)
async def test_a_stranger_is_told_nothing_and_stays(room: KeptRoom, peers: StartPeer, kind: Kind) -> None:
    peer, guest = await member(room, peers, kind), await peers(kind)
    me = await guest.connect(room.server.address)
    refused = await guest.event("list-ended", peer=me)
    assert refused.fields["error"] == {"name": "Error", "message": MEMBERS_ONLY}
    with pytest.raises(JSError, match=MEMBERS_ONLY):
        await guest.source(me, "room.members")
    with pytest.raises(JSError, match="only members may have an alias"):
        await guest.request("plugin", section="roomClient", name="registerAlias", args=[me, "bob"])
    metadata = await guest.call(me, "room.metadata")
    assert metadata["membership"] is False and metadata["features"] == ["tunnel", "room2", "alias"]
    assert await guest.tunnel(me, peer.id) == peer.id
    assert peer.attendants[me] == {peer.id}
    assert await guest.call(me, "httpAuth.sendSolution", "sc", "cc", "sol") is False
    assert guest.seen("closed") == []


@pytest.mark.parametrize("kind", KINDS)
async def test_a_member_that_is_blocked_is_gone_at_once(room: KeptRoom, peers: StartPeer, kind: Kind) -> None:
    one, two = await member(room, peers, kind), await member(room, peers, kind)
    me = str(room.server.me.id)
    assert await one.tunnel(me, two.id) == two.id
    await room.block(FeedId.parse(two.id))
    await asyncio.gather(
        two.event("closed", peer=me),
        one.event("closed", peer=two.id, tunnel=True),
        one.event("left", portal=me, id=two.id),
    )
    assert len(one.seen("left", id=two.id)) == 1
    assert isinstance(await one.call(me, "tunnel.ping"), int)
