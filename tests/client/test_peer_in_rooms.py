"""A peer in rooms: it joins them, is listed, and answers what they may call."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from ssbfast import limits
from ssbfast.client.incoming_tunnels import api_for_rooms
from ssbfast.client.joined_room import Attendance
from ssbfast.client.room_client import RoomClient
from ssbfast.errors import (
    AddressError,
    DeadlineError,
    FeedIdError,
    HandshakeError,
    LocalProtocolError,
    RemoteError,
    SessionEndedError,
    SSBError,
)
from ssbfast.keys import Keypair
from ssbfast.room.tunnel_auth import AllowList
from ssbfast.wire.muxrpc import NOT_ALLOWED, CallKind, Ended, Failed
from tests.helpers.clients import RecordingClient, room_with_clients
from tests.helpers.false_room import false_room
from tests.helpers.rawpeer import PATIENCE, eventually

# ---------------------------------------------------------------- joining


async def test_a_joined_room_tells_its_name_and_who_is_there() -> None:
    async with room_with_clients() as at:
        first = await at.client()
        second = await at.client()
        room = second.rooms[0]
        assert room.id == at.room.server.me.id
        assert room.name == "ssbfast room" and "tunnel" in room.features
        assert room.attendants == {first.me.id, second.me.id}
        await eventually(lambda: first.rooms[0].attendants == room.attendants)


async def test_an_invite_and_alternatives_are_addresses_too() -> None:
    async with room_with_clients() as at:
        client = await at.client(join=False)
        await client.join(str(at.room.server.invite))
        dead = at.address.replace(f":{at.room.server.port}~", ":1~")
        await client.join(f"{dead};{at.address}")
        assert len(client.rooms) == 2


async def test_who_only_calls_is_not_listed() -> None:
    async with room_with_clients() as at:
        watcher = await at.client()
        caller = await at.client(join=False)
        room = await caller.join(at.address, announce=False)
        assert room.attendants == set()
        assert at.room.server.portal.attendants() == [watcher.me.id]


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (lambda address: "", AddressError),
        (lambda address: "ws:x:1", AddressError),
        (lambda address: address.split("~")[0], AddressError),
        (lambda address: f"net:127.0.0.1:1~{address.split('~')[1]}", SessionEndedError),
        (lambda address: f"{address.split('~')[0]}~shs:{str(Keypair.generate().id)[1:-8]}", HandshakeError),
    ],
    ids=["empty", "no net", "no key", "nobody", "wrong key"],
)
async def test_a_room_that_cannot_be_joined_says_why(change: Callable[[str], str], error: type[SSBError]) -> None:
    async with room_with_clients() as at:
        client = await at.client(join=False)
        with pytest.raises(error) as caught:
            await client.join(change(at.address))
        assert "127.0.0.1" not in str(caught.value)
        assert client.rooms == ()


async def test_a_peer_that_is_no_room_is_left_again() -> None:
    async with room_with_clients() as at:
        at.room.server._methods._table.clear()
        client = await at.client(join=False)
        with pytest.raises(RemoteError):
            await client.join(at.address)
        await eventually(lambda: not client.rooms and not at.room.server._sessions)


async def test_an_older_room_is_joined_by_its_older_methods() -> None:
    async with room_with_clients() as at:
        table = at.room.server._methods._table
        del table["room", "metadata"], table["room", "attendants"]
        client, other = await at.client(), await at.client()
        await eventually(lambda: client.rooms[0].attendants == {client.me.id, other.me.id})


async def test_a_room_that_does_not_say_who_is_there_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "CALL_SECONDS", 0.2)
    async with room_with_clients() as at:
        at.room.server._methods._table["room", "attendants"] = ("source", lambda *_: [])
        client = await at.client(join=False)
        with pytest.raises(DeadlineError):
            await client.join(at.address)
        await eventually(lambda: not client.rooms and not at.room.server._sessions)


async def test_changes_are_everybody_first_and_then_each_change_once() -> None:
    async with room_with_clients() as at:
        watcher = await at.client()
        seen: list[Attendance] = []

        async def follow() -> None:
            async for change in watcher.rooms[0].changes():
                seen.append(change)

        following = asyncio.create_task(follow())
        other = await at.client()
        await eventually(lambda: Attendance(other.me.id, True) in seen)
        await other.close()
        await eventually(lambda: Attendance(other.me.id, False) in seen)
        assert seen[0] == Attendance(watcher.me.id, True) and len(seen) == 3
        await watcher.close()
        await asyncio.wait_for(following, PATIENCE)


async def test_joining_twice_leaves_twice() -> None:
    async with room_with_clients() as at:
        client = await at.client()
        await client.join(at.address)
        assert len(client.rooms) == len(at.room.server._sessions) == 2
        await client.close()
        assert client.rooms == ()
        await eventually(lambda: not at.room.server._sessions)


async def test_without_context_or_room_there_is_nothing_to_do() -> None:
    client = RoomClient(Keypair.generate())
    with pytest.raises(LocalProtocolError):
        await client.join(f"net:127.0.0.1:1~shs:{str(client.me.id)[1:-8]}")
    with pytest.raises(LocalProtocolError):
        await client.connect(Keypair.generate().id)
    with pytest.raises(FeedIdError):
        await client.connect("@nobody")
    with pytest.raises(ValueError, match="merged"):
        RoomClient(Keypair.generate(), boxing="no")


# ---------------------------------------------------------------- what rooms may call


@pytest.mark.parametrize(
    "args",
    [
        [],
        [None],
        [{}],
        [{"target": "@x"}],
        [{"target": 7, "origin": None}],
        [{"target": str(Keypair.generate().id)}],
        [{"target": "me", "origin": "@x"}],
        [{"target": "me", "origin": 7}],
    ],
)
async def test_calls_of_a_room_that_make_no_sense_are_refused(args: list[object]) -> None:
    async with room_with_clients() as at:
        target = await at.client()
        session = next(iter(at.room.server._sessions.values()))
        filled = [
            {**arg, "target": str(target.me.id)} if isinstance(arg, dict) and arg.get("target") == "me" else arg
            for arg in args
        ]
        req, packet = session.mux.call(CallKind.DUPLEX, ("tunnel", "connect"), filled)  # type: ignore[arg-type]
        answers: list[object] = []
        at.room.server.event_received = lambda _session, event: answers.append(event)  # type: ignore[method-assign]
        session.link.control(*packet)
        await eventually(lambda: answers)
        assert isinstance(answers[0], Failed | Ended) and answers[0].req == req
        assert not target._answering.unproven


@pytest.mark.parametrize("name", ["whoami", "tunnel.isRoom", "tunnel.ping"])
async def test_what_a_room_may_ask_is_answered_whatever_its_arguments(name: str) -> None:
    """Else each call would be an error of ours, with its lines in the log."""
    method = api_for_rooms(Keypair.generate().id).find(tuple(name.split(".")), CallKind.ASYNC)
    assert method is not None
    room: Any = None
    assert await method(room) is not None
    assert await method(room, {"opts": 1}, None) is not None


@pytest.mark.parametrize("consent", [None, lambda request: False])
async def test_a_manifest_names_every_call_that_is_served(consent: Any) -> None:
    """What the manifest does not name is refused as unknown, whatever its kind."""
    names = ["tunnel.connect", "tunnel.isRoom", "tunnel.ping", "tunnel.announce", "tunnel.leave", "tunnel.endpoints"]
    names += ["gossip.ping", "whoami", "manifest", "room.metadata", "room.attendants", "room.members", "blobs.has"]
    names += ["httpAuth.requestSolution", "httpAuth.sendSolution", "createHistoryStream", "add", "echo"]
    async with false_room() as room, RecordingClient(on_sign_in=consent) as client:
        await client.join(room.address)
        side = room.sessions[client.me.id]
        manifest = await side.call("manifest")
        for name in names:
            group, _, method = name.partition(".")
            named = manifest.get(group)
            kind = named.get(method) if isinstance(named, dict) else named if not method else None
            for asked in (CallKind.ASYNC, CallKind.DUPLEX, CallKind.SOURCE):
                if kind is not None and asked.value == ("async" if kind == "sync" else kind):
                    continue
                error = await side.refused(asked, name)
                assert error is not None and error.message.endswith(NOT_ALLOWED), (name, asked, error)


async def test_manifests_name_what_is_served() -> None:
    """go-muxrpc, and so go-ssb-room, calls nothing else."""
    async with (
        false_room() as room,
        RecordingClient() as caller,
        RecordingClient(admission=AllowList([caller.me.id])) as target,
    ):
        for client in (caller, target):
            await client.join(room.address)
            side = room.sessions[client.me.id]
            assert await side.call("manifest") == {
                "gossip": {"ping": "duplex"},
                "manifest": "sync",
                "tunnel": {"connect": "duplex", "isRoom": "async", "ping": "sync"},
                "whoami": "sync",
            }
            assert await side.call("tunnel.isRoom") is False
            assert await side.call("whoami") == {"id": str(client.me.id)}
            assert isinstance(await side.call("tunnel.ping"), int)
        peer = await caller.connect(target.me.id)
        assert await peer.call("manifest") == {
            "add": "async",
            "echo": "duplex",
            "gossip": {"ping": "duplex"},
            "manifest": "sync",
        }
