"""`RoomClient.choose_path`: sessions go back to the room and leave it again because their user says so."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import os
from typing import NoReturn

import pytest

from ssbfast import limits
from ssbfast.client.follow_graph import MemoryGraph
from ssbfast.client.tunnel_auth import Trust
from ssbfast.direct.options import Direct, PreferredPath
from ssbfast.errors import RefusedError, SessionEndedError
from ssbfast.keys import Keypair
from ssbfast.limits import KiB, MiB
from ssbfast.room.tunnel_auth import Policy
from tests.helpers.clients import RecordingClient
from tests.helpers.forwards import TcpEnd
from tests.helpers.meeting import HERE, MeetingClients, meeting, paths_of
from tests.helpers.rawpeer import eventually

TUNNEL, DIRECT, AUTO = PreferredPath.TUNNEL, PreferredPath.DIRECT, PreferredPath.AUTO


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Attempts that fail do so soon, and are repeated soon."""
    monkeypatch.setattr(limits, "UPGRADE_SECONDS", 0.5)
    monkeypatch.setattr(limits, "PUNCH_SECONDS", 0.5)
    monkeypatch.setattr(limits, "DIRECT_FAREWELL_SECONDS", 0.1)


async def choose(client: RecordingClient, met: MeetingClients, path: PreferredPath) -> str | None:
    """What keeps the one session of a client from a path."""
    other = met.target if client is met.caller else met.caller
    (outcome,) = await asyncio.wait_for(client.choose_path(other.me.id, path), 60)
    return outcome.reason


def chooser(met: MeetingClients, name: str) -> RecordingClient:
    return met.caller if name == "caller" else met.target


@pytest.mark.parametrize("name", ["caller", "target"])
async def test_to_the_room_and_back(name: str) -> None:
    async with meeting() as met:
        await met.path("direct")
        client = chooser(met, name)
        assert await choose(client, met, TUNNEL) is None
        await met.path("tunnel")
        assert met.peer.path == met.there.path == "tunnel"
        await met.is_usable()
        made = len(met.net.opened)
        await asyncio.sleep(1.2)  # both ends would have tried again by now
        assert met.peer.path == "tunnel" and paths_of(client).why_not(met.peer if client is met.caller else met.there)
        assert len(met.net.opened) <= made + 4  # the other end may look for its own addresses before it is refused
        assert await choose(client, met, DIRECT) is None
        await met.path("direct", 2)
        await met.is_usable()
        assert await choose(client, met, AUTO) is None and met.peer.path == "direct"
        assert not met.caller.named("closed") and not met.target.named("closed")


@pytest.mark.slow
async def test_a_transfer_that_is_switched_to_and_fro_loses_no_byte() -> None:
    """Both ways, over a connection of before and one of the direct path, with calls in between."""
    async with meeting() as met:
        pairs = [await met.dial()]
        await met.path("direct")
        pairs.append(await met.dial())
        running = True

        async def pour(wire: TcpEnd) -> str:
            sha = hashlib.sha256()
            while running:
                piece = os.urandom(64 * KiB)
                sha.update(piece)
                await wire.send(piece)
            wire.finish()
            return sha.hexdigest()

        async def drain(wire: TcpEnd) -> tuple[str, int]:
            sha, size = hashlib.sha256(), 0
            while piece := await wire.reader.read(64 * KiB):
                sha.update(piece)
                size += len(piece)
            return sha.hexdigest(), size

        wires = [end for pair in pairs for end in (pair, pair[::-1])]
        work = [(asyncio.create_task(pour(one)), asyncio.create_task(drain(two))) for one, two in wires]
        for number in range(4):
            client = chooser(met, "target" if number % 2 else "caller")
            for path in (TUNNEL, DIRECT):
                assert await choose(client, met, path) is None
                await eventually(lambda path=path: met.peer.path == met.there.path == path.value)
                await met.is_usable()
        running = False
        for pouring, draining in work:
            digest, size = await draining
            assert digest == await pouring and size > MiB
        paths = [path for path, _ in itertools.groupby(met.paths(met.caller))]
        assert paths == ["direct", "tunnel"] * 4 + ["direct"]
        assert not met.server.traffic().failed and not met.caller.named("closed")


async def refuse(*_args: object) -> NoReturn:
    raise SessionEndedError("no room is there")


async def test_a_room_that_is_gone_costs_the_session_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a tunnel to go back to it stays direct, says so, and goes back as soon as there is one."""
    monkeypatch.setattr(limits, "PATH_CHOICE_SECONDS", 0.5)
    async with meeting() as met:
        await met.path("direct")
        await met.has_standby()
        machine = met.negotiation(met.caller).carrier_transport.carriers
        paths = paths_of(met.caller)
        dial, paths._dial = paths._dial, refuse
        met.caller.rooms[0].session.link.abort()
        await eventually(lambda: machine._standby is None)
        assert await choose(met.caller, met, TUNNEL) == "no tunnel through a room could be opened yet"
        assert met.peer.path == "direct"
        await met.is_usable()
        paths._dial = dial
        await met.path("tunnel")
        await met.is_usable()


async def test_why_there_is_none_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "PUNCH_ATTEMPTS", 1)
    async with meeting() as met:
        await met.path("direct")
        assert await choose(met.caller, met, TUNNEL) is None
        met.silence()
        reason = await choose(met.caller, met, DIRECT)
        assert reason is not None and "direct" in reason
        assert met.peer.path == "tunnel"
        told = len(met.caller.named("path"))
        assert await choose(met.caller, met, DIRECT) == reason  # told each time
        assert len(met.caller.named("path")) == told + 1
        met.speak()
        assert await choose(met.caller, met, DIRECT) is None


async def test_the_other_end_that_wants_the_tunnel_is_respected() -> None:
    async with meeting() as met:
        await met.path("direct")
        assert await choose(met.target, met, TUNNEL) is None
        await met.path("tunnel")
        assert await choose(met.caller, met, DIRECT) == "the other end wants none"
        assert met.peer.path == met.there.path == "tunnel"
        await met.is_usable()


async def test_a_choice_outlives_its_session() -> None:
    async with meeting() as met:
        await met.path("direct")
        assert await choose(met.caller, met, TUNNEL) is None
        await met.peer.close()
        await met.connect()
        await met.is_usable()
        await asyncio.sleep(0.3)
        assert met.peer.path == "tunnel"
        assert await choose(met.caller, met, AUTO) is None
        await met.path("direct", 2)


async def test_who_may_not_have_it() -> None:
    async with meeting(c=Direct(loopback=True, required=True)) as met:
        await met.path("direct")
        with pytest.raises(RefusedError, match="direct paths alone"):
            await met.caller.choose_path(met.target.me.id, TUNNEL)
        with pytest.raises(RefusedError, match="no session"):
            await met.caller.choose_path(met.at.id, TUNNEL)
        assert met.peer.path == "direct"
    async with meeting(c=None) as met:
        assert await choose(met.caller, met, TUNNEL) is None
        assert await choose(met.caller, met, DIRECT) == "this process makes no direct paths"
    keys = Keypair.generate(), Keypair.generate()
    graph = MemoryGraph()
    async with meeting(a=HERE, keys=keys, trust=Trust(graph, policy=Policy.EVERYONE)) as met:
        reason = await choose(met.target, met, DIRECT)
        assert reason == "it may not hear our addresses: we neither follow nor name it"
        assert await choose(met.target, met, TUNNEL) is None
