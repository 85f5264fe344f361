"""The state of a running room as data: what is in it, and what is not."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from ssbfast import limits
from ssbfast.keys import Keypair
from ssbfast.server.control import Control, is_supported
from ssbfast.server.limit_table import RoomCaps
from ssbfast.server.status import attendants, handlers, status, tunnels
from tests.helpers.clients import room_with_clients
from tests.helpers.commands import succeed
from tests.helpers.rawpeer import eventually
from tests.helpers.served_room import served_room


async def test_two_attendants_two_tunnels_and_what_they_carried() -> None:
    async with served_room() as room:
        first, second, caller = await room.raw(), await room.raw(), await room.raw(announce=False)
        here, there = await room.tunnel(caller, first)
        await room.tunnel(caller, second)
        here.write(b"x" * 10_000)
        await eventually(lambda: len(there.received) == 10_000)
        told = status(room.server)
        assert (told["sessions"], told["attendants"], told["tunnels"], told["connections"]) == (3, 2, 2, 0)
        assert told["mode"] == "open" and told["bytes"] == 10_000 and told["seconds"] >= 0
        assert "members" not in told  # it keeps none
        listed = tunnels(room.server)
        assert [tunnel["bytes"] for tunnel in listed] == [10_000, 0]
        assert listed[0]["origin"] == caller.id.short and listed[0]["target"] == first.id.short
        assert [(one["id"], one["sessions"], one["tunnels"]) for one in attendants(room.server)] == [
            (str(first.id), 1, 1),
            (str(second.id), 1, 1),
        ]
        first.link.abort()
        await eventually(lambda: len(room.server.tunnels) == 1)
        assert status(room.server)["bytes"] >= 10_000, "what ended tunnels carried counts"


async def test_a_limit_that_was_reached_is_told_with_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As data, by the commands, and as an event."""
    monkeypatch.setattr(limits, "TALLY_SECONDS", 0.01)
    async with served_room(caps=RoomCaps({"sessions_per_key": 1})) as room:
        me = Keypair.generate()
        await room.raw(me)
        await room.raw(me)
        assert status(room.server)["limits"] == {"sessions_per_key": 1}
        rows = {row["limit"]: row for row in handlers(room.server)["limits"]({})}
        assert (rows["sessions_per_key"]["value"], rows["sessions_per_key"]["reached"]) == (1, 1)
        assert rows["calls"]["reached"] == 0
        await eventually(lambda: bool(room.named("limited")))
        assert room.named("limited") == [{"event": "limited", "limits": {"sessions_per_key": 1}}]
        if not is_supported():
            return
        control = Control(tmp_path, handlers(room.server))
        await control.start()
        text = await asyncio.to_thread(succeed, "room", "--data", str(tmp_path), "status")
        assert "limits      reached: sessions_per_key 1\n" in text
        listed = await asyncio.to_thread(succeed, "room", "--data", str(tmp_path), "limits")
        words = {line.split()[0]: line.split()[1:3] for line in listed.splitlines()}
        assert (words["sessions_per_key"], words["calls"]) == (["1*", "1"], ["200", "0"])
        await control.close()


async def test_no_address_of_a_peer_is_in_it() -> None:
    async with room_with_clients() as world:
        await world.client()
        answers = {name: answer({}) for name, answer in handlers(world.room.server).items()}
        for told in (answers["status"], answers["top"]["room"]):
            del told["address"]  # the room's own
        assert "127.0.0.1" not in json.dumps(answers)
