"""Peers and the web site of a room of ours: a web invite, an alias, a visitor who is refused and named, WebSockets."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from ssbfast.client.denial_log import DenialLog
from ssbfast.client.follow_graph import MemoryGraph
from ssbfast.client.tunnel_auth import Trust
from ssbfast.errors import AliasError, InviteError, RemoteError, SSBError
from ssbfast.ids import encode_key
from ssbfast.room.roles import Mode
from ssbfast.room.tunnel_auth import AllowList
from ssbfast.store.peer_store import Store
from tests.helpers.clients import RecordingClient
from tests.helpers.rawpeer import eventually
from tests.helpers.web_pages import Place, web_room


def over_websocket(place: Place) -> str:
    return f"ws://127.0.0.1:{place.port}/~shs:{encode_key(place.room.me.id.key)}"


async def test_from_an_invite_to_an_alias_to_a_visit(tmp_path: Path) -> None:
    async with web_room(tmp_path) as place, RecordingClient() as visitor:
        code = await place.invite()
        async with RecordingClient(admission=AllowList([visitor.me.id])) as alice:
            room = await alice.join(f"{place.url}/join?invite={code}")
            with pytest.raises(InviteError, match="not valid"):
                await visitor.join(f"{place.url}/join?invite={code}")
            url = await alice.register_alias(room, "alice")
            assert url.endswith("/alice")
            assert await alice.aliases(room) == ["alice"]
            for link in (f"{place.url}/alice", f"{place.url}/alias/alice"):
                found = await visitor.resolve(link)
                assert (found.user, found.room) == (alice.me.id, place.room.me.id)
                peer = await visitor.consume(found)
                assert await peer.call("add", 1, 2) == 3
                await peer.close()
                await eventually(lambda: not visitor.staying)
            await alice.revoke_alias(room, "alice")
            with pytest.raises(AliasError, match="no such alias"):
                await visitor.resolve(f"{place.url}/alice")
            with pytest.raises(RemoteError, match="no such alias"):
                await alice.revoke_alias(room, "alice")


async def test_a_restricted_room_has_no_aliases(tmp_path: Path) -> None:
    async with web_room(tmp_path) as place, RecordingClient() as alice:
        await place.member(feed=alice.me.id)
        room = await alice.join(place.room.address)
        await alice.register_alias(room, "alice")
        await place.mode(Mode.RESTRICTED)
        with pytest.raises(AliasError, match="no such alias"):
            await alice.resolve(f"{place.url}/alice")


@pytest.mark.parametrize("announce", [True, False])
async def test_a_member_over_the_web_server_s_websocket(tmp_path: Path, announce: bool) -> None:
    async with web_room(tmp_path) as place, RecordingClient() as caller:
        admission = AllowList([caller.me.id])
        async with RecordingClient(admission=admission) as target:
            for client in (caller, target):
                await place.member(feed=client.me.id)
            await target.join(over_websocket(place))
            await caller.join(over_websocket(place), announce=announce)
            peer = await caller.connect(target.me.id)
            assert await peer.call("add", 1, 2) == 3


async def test_a_refused_visitor_is_named(tmp_path: Path) -> None:
    async with web_room(tmp_path / "room", Mode.OPEN) as place, RecordingClient() as caller:
        trust = Trust(MemoryGraph(), denials=DenialLog(tmp_path / "peer"))
        async with RecordingClient(trust=trust, name_denials=True) as target:
            await target.join(over_websocket(place))
            await caller.register_alias(await caller.join(over_websocket(place)), "mallory")
            with pytest.raises(SSBError):
                await caller.connect(target.me.id)
            named = await target.told("denied_alias")
            assert named["origin"] == str(caller.me.id)
            assert named["alias"] == f"{place.url}/mallory"
        await trust.close()
    with Store(tmp_path / "peer") as store:
        assert [denial.alias for denial in store.denials()] == [named["alias"]]


async def test_the_web_server_ends_and_peers_come_back_over_tcp(tmp_path: Path) -> None:
    async with web_room(tmp_path, Mode.OPEN) as place, RecordingClient() as client:
        await client.join(f"{over_websocket(place)};{place.room.address}")
        await place.web.close()
        await client.told("reconnecting")
        await client.told("announced", 2)
        await asyncio.sleep(0)
