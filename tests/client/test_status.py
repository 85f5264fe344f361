"""`RoomClient.status`: what a look at a running client says."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path
from typing import Any, NoReturn

import pytest

from ssbfast import limits
from ssbfast.client import status
from ssbfast.client.control_socket import ControlSocket, questions, running
from ssbfast.client.status import SessionStatus
from ssbfast.direct.options import Direct, PreferredPath
from ssbfast.errors import SessionEndedError, SSBError
from ssbfast.ids import FeedId
from ssbfast.limits import MiB
from ssbfast.net.ping import PingSession
from tests.helpers.clients import room_with_clients
from tests.helpers.meeting import meeting, paths_of
from tests.helpers.rawpeer import eventually


def session(**times: float) -> SessionStatus:
    known: Any = times
    return SessionStatus(
        FeedId(bytes(32)), "00", "tunnel", PreferredPath.AUTO, None, 0.0, known, 0, 0, 0.0, 0.0, 0, None
    )


def test_the_faster_path() -> None:
    assert session(tunnel=0.1, direct=0.05).faster == "direct"
    assert session(tunnel=0.05, direct=0.1).faster == "tunnel"
    assert session(tunnel=0.1).faster is session(direct=0.1).faster is session().faster is None
    assert session(tunnel=0.1, direct=0.1 - limits.FASTER_SECONDS / 2).faster is None


async def test_a_session_in_its_tunnel_and_on_a_direct_path() -> None:
    async with meeting() as met:
        await met.path("direct")
        wire, service = await met.dial()
        taking = asyncio.create_task(service.reader.readexactly(2 * MiB))
        await wire.send(os.urandom(2 * MiB))
        await taking
        for client, other in ((met.caller, met.target), (met.target, met.caller)):
            found = await client.status()
            (one,) = found.sessions
            (room,) = found.rooms
            assert found.id == client.me.id and one.peer == other.me.id and one.portal == room.id == met.at.id
            assert (one.path, one.reason, one.connections) == ("direct", None, 1)
            assert one.round_trip is not None and 0 < one.round_trip < 60
            assert one.figures is not None and one.figures.mtu >= 1200
            moved = one.sent if client is met.caller else one.received
            assert 2 * MiB <= moved < 3 * MiB
            assert one.since is not None and room.since is not None and room.reason is None
            json.dumps(found.as_json())
        assert "tunnel" in met.peer.round_trips  # by what was said there anyway
        await met.caller.choose_path(met.target.me.id, PreferredPath.TUNNEL)
        await eventually(lambda: met.there.path == "tunnel")
        (one,) = (await met.caller.status()).sessions
        assert one.path == "tunnel" and one.preferred is PreferredPath.TUNNEL and one.round_trip is not None
        assert one.figures is None
        assert one.reason == "the room's tunnel was chosen" and one.connections == 1 and one.sent >= 2 * MiB


async def test_a_session_that_waits_for_a_silent_peer_does_not_look_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "DIRECT_FAREWELL_SECONDS", 0.1)
    monkeypatch.setattr(limits, "CARRIER_SECONDS", 4.0)
    monkeypatch.setattr(limits, "SLEEP_KEPT", 0)
    async with meeting() as met:
        await met.path("direct")
        assert [one.is_waiting for one in (await met.target.status()).sessions] == [False]
        await met.at.room.server.close()
        met.silence()
        calling = asyncio.create_task(met.there.call("add", 1, 2))  # what waits for an answer feels the silence
        machine = met.negotiation(met.target).carrier_transport.carriers
        await eventually(lambda: machine.is_stranded)
        (one,) = (await met.target.status()).sessions
        assert one.is_waiting and one.as_json()["waiting"]
        with pytest.raises(SSBError):
            await calling


async def test_the_silence_of_a_peer_is_told_and_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "AWAY_TOLD_SECONDS", 0.1)
    monkeypatch.setattr(limits, "DIRECT_PING_IDLE", 600.0)

    async def refuse(*_: object) -> NoReturn:
        raise SessionEndedError("no room is there")

    async with meeting(c=Direct(loopback=True, keep=90.0)) as met:
        await met.path("direct")
        await met.has_standby()
        paths = paths_of(met.caller)
        dial, paths._dial = paths._dial, refuse
        met.silence()
        met.caller.rooms[0].session.link.abort()  # the end of the standby is felt at once: there may be no peer
        await eventually(lambda: bool(met.caller.named("away") and met.target.named("away")))
        assert [event["seconds"] for event in met.caller.named("away")] == [90.0]
        assert not met.caller.named("back") and not met.target.named("back")
        paths._dial = dial
        await eventually(lambda: bool(met.caller.named("back") and met.target.named("back")))
        await met.is_usable()
        assert len(met.caller.named("away")) == len(met.target.named("away")) == 1


async def test_a_peer_that_is_back_as_another_process_ends_the_session_with_the_reason(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(limits, "AWAY_TOLD_SECONDS", 0.1)
    async with meeting() as met:
        await met.path("direct")
        await met.has_standby()
        met.silence()
        known = paths_of(met.target)._by_id
        before = dict(known)
        known.clear()  # what a new process knows of the session
        met.caller.rooms[0].session.link.abort()
        await asyncio.wait_for(met.peer.wait_closed(), 20)
        known.update(before)
        assert str(met.peer.error) == "the other end has no such session any more"
        assert not met.caller.named("back")


@pytest.mark.parametrize("is_answered", [True, False])
async def test_one_ping_where_nothing_has_measured(monkeypatch: pytest.MonkeyPatch, is_answered: bool) -> None:
    pings: list[PingSession] = []
    measure = status.measure

    async def noted(peer: PingSession) -> None:
        pings.append(peer)
        if is_answered:
            await measure(peer)

    monkeypatch.setattr(status, "measure", noted)
    async with meeting(a=None, c=None) as met:
        for _ in range(3):
            (one,) = (await met.target.status()).sessions
            assert one.reason == "this process makes no direct paths"
        assert (one.round_trip is not None) is is_answered and pings == [met.there]


async def test_rates_are_those_of_the_last_second(monkeypatch: pytest.MonkeyPatch) -> None:
    async with meeting(a=None, c=None) as met:
        wire, service = await met.dial()
        await met.caller.status()
        await asyncio.sleep(limits.TOP_LEAST_SECONDS)
        taking = asyncio.create_task(service.reader.readexactly(MiB))
        await wire.send(os.urandom(MiB))
        await taking
        (busy,) = (await met.caller.status()).sessions
        assert busy.sending > 1000 and busy.sending > 10 * busy.receiving
        await asyncio.sleep(limits.TOP_LEAST_SECONDS)
        (idle,) = (await met.caller.status()).sessions
        assert idle.sending < busy.sending / 10 and idle.sent >= MiB


async def test_a_room_that_is_away_says_why() -> None:
    async with room_with_clients() as at:
        client = await at.client()
        client.rooms[0].session.link.abort()
        await client.told("reconnecting")
        (room,) = (await client.status()).rooms
        assert room.since is None and room.reason and room.host == "127.0.0.1"


async def test_by_the_control_socket(tmp_path: Path) -> None:
    async with meeting(a=None, c=None) as met, ControlSocket.beside(tmp_path, "connect") as control:
        control.serve(met.caller, lambda: [{"name": "ssh", "kind": "tcp"}])
        (path,) = running(tmp_path)

        def ask(name: str, **members: Any) -> Any:
            with questions(path) as asking:
                return asking.ask(name, **members)[0]

        told = await asyncio.to_thread(ask, "status")
        assert told["command"] == "connect" and told["offered"] == [{"name": "ssh", "kind": "tcp"}]
        assert [one["peer"] for one in told["sessions"]] == [str(met.target.me.id)]
        members: dict[str, Any] = {"peer": str(met.target.me.id), "path": "tunnel"}
        (outcome,) = await asyncio.to_thread(lambda: ask("path", **members))
        assert outcome["reached"] and outcome["path"] == "tunnel"
        for wrong in ({"peer": "x"}, {"path": "sideways"}, {"path": ["tunnel"]}, {"peer": None}):
            with pytest.raises(Exception, match=r"not a peer's id|not a path"):
                await asyncio.to_thread(lambda wrong=wrong: ask("path", **{**members, **wrong}))
