"""connect(): what may be given, which room is taken, what is left when it is cancelled."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from ssbfast import limits
from ssbfast.client.targets import parse_target
from ssbfast.errors import (
    AddressError,
    DeadlineError,
    FeedIdError,
    HandshakeError,
    LocalProtocolError,
    RefusedError,
    SessionEndedError,
)
from ssbfast.ids import FeedId
from ssbfast.keys import Keypair
from ssbfast.room.tunnel_auth import AllowList
from ssbfast.wire.address import TunnelAddress, format_address
from ssbfast.wire.muxrpc import Called
from ssbfast.wire.private_tunnel import PrivateTunnelAddress, issue_group, issue_personal
from tests.helpers.clients import RecordingClient, RoomWithClients, nothing_left, room_with_clients
from tests.helpers.rawpeer import PATIENCE, eventually


async def friends(at: RoomWithClients, **options: Any) -> tuple[RecordingClient, RecordingClient]:
    """A target that lets everybody of the test in, and its caller."""
    me = Keypair.generate()
    target = await at.client(admission=AllowList([me.id]))
    return target, await at.client(me, **options)


# ---------------------------------------------------------------- forms of a target


@pytest.mark.parametrize("form", ["id", "id text", "address", "address text", "alternatives"])
async def test_every_form_of_a_target(form: str) -> None:
    async with room_with_clients() as at:
        target, caller = await friends(at)
        address = TunnelAddress(at.id, target.me.id)
        elsewhere = format_address(TunnelAddress(Keypair.generate().id, target.me.id))
        given: dict[str, Any] = {
            "id": target.me.id,
            "id text": str(target.me.id),
            "address": address,
            "address text": target.tunnel_address(target.rooms[0]),
            "alternatives": f"{elsewhere};{address}",
        }
        peer = await caller.connect(given[form])
        assert (peer.id, peer.portal) == (target.me.id, at.id)


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("", AddressError),
        ("@x", FeedIdError),
        ("net:host:8008~shs:" + "A" * 43 + "=", AddressError),
        ("tunnel:@x", AddressError),
        ("ptunnel:1:x", AddressError),
        ("nonsense", AddressError),
    ],
)
async def test_what_is_no_target_fails_before_anything_is_done(text: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        parse_target(text)
    client = RecordingClient()
    with pytest.raises(error):
        await client.connect(text)


async def test_the_instance_of_2018_is_passed_on() -> None:
    async with room_with_clients() as at:
        raw = await at.room.raw()
        caller = await at.client()
        connecting = asyncio.create_task(caller.connect(TunnelAddress(at.id, raw.id, 7)))
        tunnel = await raw.accept()
        assert isinstance(tunnel.call, Called)
        assert tunnel.call.args[0] == {
            "portal": str(at.id),
            "target": str(raw.id),
            "origin": str(caller.me.id),
            "instance": 7,
        }
        tunnel.end("no")
        with pytest.raises(RefusedError):
            await connecting


# ---------------------------------------------------------------- which room


async def test_a_tunnel_address_goes_through_its_portal_only() -> None:
    async with room_with_clients() as one, room_with_clients() as two:
        me = Keypair.generate()
        target = await one.client(admission=AllowList([me.id]))
        await target.join(two.address)
        caller = await two.client(me)
        await caller.join(one.address)
        for at in (one, two):
            peer = await caller.connect(TunnelAddress(at.id, target.me.id))
            assert peer.portal == at.id and at.room.splices == 2  # one at each session
            await peer.close()
        stranger = Keypair.generate().id
        with pytest.raises(LocalProtocolError, match="join the room first"):
            await caller.connect(TunnelAddress(stranger, target.me.id))
        for client in (target, caller):
            await client.close()


async def test_the_same_target_in_two_rooms_is_tried_in_turn() -> None:
    async with room_with_clients() as one, room_with_clients() as two:
        me, them = Keypair.generate(), Keypair.generate()
        deaf = await one.room.raw(them)  # the same key, but nobody who answers
        target = await two.client(them, admission=AllowList([me.id]))
        caller = await two.client(me)
        await caller.join(one.address)
        await eventually(lambda: all(them.id in room.attendants for room in caller.rooms))
        assert caller.rooms[0].id == one.id

        async def refuse() -> None:
            (await deaf.accept()).end("busy")

        refusing = asyncio.create_task(refuse())
        peer = await caller.connect(them.id)
        await refusing
        assert peer.portal == two.id
        there = await asyncio.wait_for(target.incoming().__anext__(), PATIENCE)
        assert there.portal == two.id
        with pytest.raises(RefusedError, match="could not connect to"):
            await caller.connect(Keypair.generate().id)
        for client in (target, caller):
            await client.close()
        await deaf.leave()


async def test_a_room_that_is_away_is_no_way() -> None:
    async with room_with_clients() as at:
        target, caller = await friends(at)
        caller.rooms[0].session.link.abort()
        await eventually(lambda: caller.rooms == ())
        for whom in (target.me.id, TunnelAddress(at.id, target.me.id)):
            with pytest.raises(SessionEndedError, match="just now"):
                await caller.connect(whom)
        with pytest.raises(SessionEndedError):
            await caller.connect(target.me.id, room=caller.staying[0])


async def test_a_target_that_does_not_answer_has_a_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "HANDSHAKE_SECONDS", 0.3)
    async with room_with_clients() as at:
        silent = await at.room.raw()
        caller = await at.client()
        with pytest.raises(DeadlineError, match="handshake in time"):
            await caller.connect(silent.id)
        assert isinstance(await (await silent.accept()).wait_ended(), Exception)


async def test_our_own_key_is_nobody_to_call() -> None:
    async with room_with_clients() as at:
        caller = await at.client()
        with pytest.raises(HandshakeError):
            await caller.connect(caller.me.id)


# ---------------------------------------------------------------- private addresses


def personal(at: RoomWithClients, target: RecordingClient, to: FeedId, **options: Any) -> PrivateTunnelAddress:
    return issue_personal(target.me, to, at.id, **options)


@pytest.mark.parametrize("with_owner", [False, True])
async def test_a_private_address_is_resolved_here(with_owner: bool) -> None:
    async with room_with_clients() as at:
        known: list[FeedId] = []
        target, caller = await friends(at, contacts=lambda: known)
        known += [Keypair.generate().id, target.me.id]
        address = personal(at, target, caller.me.id, with_owner=with_owner)
        assert await caller.resolve(address) == TunnelAddress(at.id, target.me.id)
        assert (await caller.connect(str(address))).id == target.me.id
        assert (await caller.connect(address)).id == target.me.id


async def test_a_private_address_for_a_group() -> None:
    async with room_with_clients() as at:
        secret = b"s" * 32
        target, caller = await friends(at, groups=[secret])
        address = issue_group(secret, target.me.id, at.id, with_owner=True)
        assert (await caller.connect(str(address))).id == target.me.id


async def test_a_private_address_for_somebody_else_sends_nothing() -> None:
    async with room_with_clients() as at:
        target, caller = await friends(at)
        seen: list[object] = []
        happened = at.room.server.event_received

        def spy(session: Any, event: object) -> None:
            seen.append(event)
            happened(session, event)

        at.room.server.event_received = spy  # type: ignore[method-assign]
        for address in (
            personal(at, target, Keypair.generate().id, with_owner=True),
            issue_personal(target.me, caller.me.id, Keypair.generate().id, with_owner=True),
            personal(at, target, caller.me.id),  # the owner is none of our contacts
        ):
            with pytest.raises(RefusedError, match="unknown portal or not for you"):
                await caller.connect(address)
        assert await caller.rooms[0].session.call("tunnel.ping")
        assert [event.name for event in seen if isinstance(event, Called)] == [("tunnel", "ping")]


# ---------------------------------------------------------------- events


async def test_both_ends_tell_of_a_tunnel() -> None:
    async with room_with_clients() as at:
        target, caller = await friends(at)
        peer = await caller.connect(target.me.id)
        await peer.close()
        end = await target.told("closed")
        ours, theirs = caller.named("connected")[0]["session"], end["session"]
        common = {"path": "tunnel", "portal": str(at.id), "session": ours}
        assert caller.events[1:] == [
            {"event": "connected", "peer": str(target.me.id), **common},
            {"event": "closed", "peer": str(target.me.id), **common, "reason": "goodbye"},
        ]
        common["session"] = theirs
        assert target.named("accepted") == [{"event": "accepted", "peer": str(caller.me.id), **common}]
        assert end == {"event": "closed", "peer": str(caller.me.id), **common, "reason": "goodbye"}


async def test_a_listener_that_fails_breaks_nothing() -> None:
    async with room_with_clients() as at:
        target, caller = await friends(at)
        problems: list[dict[str, Any]] = []
        asyncio.get_running_loop().set_exception_handler(lambda _loop, context: problems.append(context))

        def fail(_event: dict[str, Any]) -> None:
            raise ValueError("on purpose")

        caller._events._listener = fail
        assert (await caller.connect(target.me.id)).is_open
        assert str(problems[0]["exception"]) == "on purpose"


# ---------------------------------------------------------------- cancelling


@pytest.mark.parametrize("turns", [0, 1, 2, 3, 5, 8, 13, 30])
@pytest.mark.slow
async def test_a_cancelled_connect_leaves_nothing(turns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "INNER_HELLO_SECONDS", 2 * PATIENCE)
    async with room_with_clients() as at:
        target, caller = await friends(at)
        async with nothing_left():
            connecting = asyncio.create_task(caller.connect(target.me.id))
            for _ in range(turns):
                await asyncio.sleep(0)
            was_done = connecting.done()
            connecting.cancel()
            if not was_done:
                with pytest.raises(asyncio.CancelledError):
                    await connecting
            for peer in list(caller._inner):
                await peer.close()
            await eventually(lambda: at.room.splices == 0 and not caller._inner and not target._inner)
            assert not caller.rooms[0].session._tunnels
            await eventually(lambda: target._answering.unproven == target._answering.refused == 0)


@pytest.mark.parametrize(
    "wait",
    [
        lambda client: client.incoming().__anext__(),
        lambda client: client.rooms[0].changes().__anext__(),
        lambda client: client.rooms[0].wait_left(),
        lambda client: client.rooms[0].session.call("room.nothing.that.answers"),
    ],
    ids=["incoming", "changes", "wait_left", "call"],
)
@pytest.mark.slow
async def test_other_cancelled_awaits_leave_nothing(wait: Callable[[RecordingClient], Any]) -> None:
    async with room_with_clients() as at:
        client = await at.client()
        at.room.server._methods._called = lambda *_: []  # type: ignore[method-assign]
        async with nothing_left():
            for turns in (0, 1, 3):
                waiting = asyncio.ensure_future(wait(client))
                for _ in range(turns):
                    await asyncio.sleep(0)
                waiting.cancel()
                await asyncio.gather(waiting, return_exceptions=True)
            assert not client.rooms[0].session._answers
