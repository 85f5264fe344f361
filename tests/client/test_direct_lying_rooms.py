"""Rooms that lie about the way back: a session on a direct path ends by its peer's own word, or after 30 seconds."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Iterable
from contextlib import AsyncExitStack
from typing import Any

import pytest

from ssbfast import limits
from ssbfast.errors import SessionEndedError, SSBError
from ssbfast.net.relayed_tunnel import Ending
from ssbfast.wire.handshake_messages import CLIENT_BYTES, SERVER_BYTES
from tests.helpers.clients import room_with_clients
from tests.helpers.meeting import Meddler, MeetingClients, meddling, meeting, paths_of
from tests.helpers.rawpeer import eventually

DIALS = 3
"""How many standbys a room spoils at the least before it comes to its senses."""


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Dials that fail do so soon, and are repeated soon; the session itself has its time."""
    for name, seconds in {
        "PUNCH_SECONDS": 0.5, "DIRECT_FAREWELL_SECONDS": 0.1, "DIRECT_LOST_SECONDS": 0.5, "DIRECT_PING_IDLE": 0.2,
        "DIRECT_PING_BUSY": 0.2,
        "RECONNECT_FIRST": 0.05, "STANDBY_RETRY_MAX": 0.2, "STANDBY_DIAL_SECONDS": 0.6, "INNER_HELLO_SECONDS": 0.4,
        "CARRIER_SECONDS": 20.0,
        "SLEEP_KEPT": 0,
    }.items():  # fmt: skip
        monkeypatch.setattr(limits, name, seconds)
    monkeypatch.setattr(limits, "STANDBY_PROBATION_SECONDS", 0.2)
    monkeypatch.setattr(limits, "STANDBY_ACCEPT_SECONDS", 0.6)


class Lies(Meddler):
    """Spoils every tunnel but the first of those of `room` (of all rooms), as long as it lies.

    how: "refuse" and "end" at the first byte; "cut" and "swallow" behind `at` bytes of the caller's; "swallow answers"
    behind so many of the target's; "hold back": what the caller says behind the handshake comes late; "garbage".
    """

    def __init__(self, how: str, at: int = 0) -> None:
        super().__init__()
        self.how = how
        self.at = at
        self.lies = True
        self.room: Any = None
        self.spoilt: set[int] = set()

    def pass_on(self, number: int, to_target: bool, data: bytes) -> Iterable[bytes]:
        splice = self.splices[number]
        if not number or not self.lies or self.room not in (None, splice._relay):
            return () if number in self.spoilt else (data,)
        came = len(self.went.get((number, to_target), b""))
        behind = came + len(data) > self.at
        if self.how == "garbage":
            self.spoilt.add(number)
            if to_target and not came:
                self.write(number, False, os.urandom(SERVER_BYTES))
            return ()
        if self.how == "swallow answers":
            return self._swallow(number, data, came) if not to_target and behind else (data,)
        if not to_target or not behind:
            return (data,)
        if self.how == "swallow":
            return self._swallow(number, data, came)
        self.spoilt.add(number)
        loop = asyncio.get_running_loop()
        if self.how == "hold back":
            loop.call_later(2 * limits.STANDBY_PROBATION_SECONDS, self._write_late, number, data)
            return ()
        loop.call_soon(self._end, number)
        return (data[: max(self.at - came, 0)],)

    def _swallow(self, number: int, data: bytes, came: int) -> Iterable[bytes]:
        self.spoilt.add(number)
        return (data[: max(self.at - came, 0)],)

    def _write_late(self, number: int, data: bytes) -> None:
        with contextlib.suppress(SessionEndedError):  # the caller may have given the tunnel up
            self.write(number, True, data)

    def _end(self, number: int) -> None:
        splice = self.splices[number]
        if self.how != "end":
            splice.fail("no such session", Ending.CLOSED)
            return
        for leg in splice._legs:
            splice._tell(leg, b"true")
        splice._finish(Ending.CLOSED)


LIES = [
    ("refuse", 0), ("end", 0), ("garbage", 0), ("swallow", 0), ("swallow", 64), ("swallow", CLIENT_BYTES),
    ("swallow answers", 64), ("swallow answers", SERVER_BYTES), ("cut", 1), ("cut", 64), ("cut", CLIENT_BYTES - 1),
    ("cut", CLIENT_BYTES), ("cut", CLIENT_BYTES + 100), ("hold back", CLIENT_BYTES),
]  # fmt: skip


async def has_no_way_back(met: MeetingClients) -> None:
    await met.path("direct")
    machine = met.negotiation(met.caller).carrier_transport.carriers
    assert machine._standby is None


@pytest.mark.parametrize(("how", "at"), LIES)
@pytest.mark.slow
async def test_a_room_s_lies_about_a_standby_do_not_end_a_session(how: str, at: int) -> None:
    """It lies when the standby is dialled, and when the path falls silent, and stops when the session has been dialling
    for a while: then the session comes back."""
    meddler = Lies(how, at)
    async with meddling(meddler), meeting() as met:
        await has_no_way_back(met)
        met.silence()
        for client, peer in ((met.caller, met.peer), (met.target, met.there)):
            end = paths_of(client).find(peer)
            assert end is not None
            await eventually(lambda machine=end.carrier_transport.carriers: machine._stranded is not None)
        lost = len(meddler.spoilt)
        await eventually(lambda: len(meddler.spoilt) >= lost + DIALS)
        assert met.peer.is_open and met.there.is_open
        meddler.lies = False
        await met.path("tunnel")
        await met.is_usable()
        assert not met.caller.named("closed")
        await eventually(lambda: met.at.room.splices == 2)  # both ends of one tunnel: the others are gone


@pytest.mark.slow
async def test_a_room_that_lies_to_the_end_costs_the_session_no_sooner_than_the_rule(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(limits, "CARRIER_SECONDS", 3.0)
    monkeypatch.setattr(limits, "SLEEP_KEPT", 0)
    meddler = Lies("refuse")
    async with meddling(meddler), meeting() as met:
        await has_no_way_back(met)
        met.silence()
        machine = met.negotiation(met.caller).carrier_transport.carriers
        await eventually(lambda: machine._stranded is not None)
        stranded = asyncio.get_running_loop().time()
        await asyncio.wait_for(met.peer.wait_closed(), 20)
        assert asyncio.get_running_loop().time() - stranded >= limits.CARRIER_SECONDS - 0.1
        assert isinstance(met.peer.error, SSBError)


async def test_a_target_that_is_out_of_an_honest_room_for_a_while_keeps_its_session() -> None:
    async with meeting() as met:
        await met.path("direct")
        await met.has_standby()
        (room,) = met.target.rooms
        await room.leave()
        met.silence()
        machine = met.negotiation(met.caller).carrier_transport.carriers
        await eventually(lambda: machine._stranded is not None)
        epoch = machine._epoch
        await eventually(lambda: machine._epoch >= epoch + DIALS)
        assert met.peer.is_open and met.there.is_open
        await met.target.join(met.at.address)
        await met.path("tunnel")
        await met.is_usable()


async def test_the_peer_s_own_word_gives_a_session_up_at_once() -> None:
    """It has been restarted, say: whoever answers there, proven, knows of no such session."""
    async with meddling(meddler := Lies("refuse")), meeting() as met:
        await has_no_way_back(met)
        paths_of(met.target)._by_id.clear()
        met.silence()
        meddler.lies = False
        await asyncio.wait_for(met.peer.wait_closed(), limits.CARRIER_SECONDS / 2)
        assert str(met.peer.error) == "the other end has no such session any more"
        met.there.link.abort()


# ---------------------------------------------------------------- a room that withholds one direction of the way back


class Withholds(Meddler):
    """Keeps one direction of the standby, tunnel 1, from so many bytes on, until told to let go."""

    def __init__(self, to_target: bool) -> None:
        super().__init__()
        self.to_target = to_target
        self.at: int | None = None
        self.kept: list[bytes] = []

    def pass_on(self, number: int, to_target: bool, data: bytes) -> Iterable[bytes]:
        if number != 1 or to_target is not self.to_target or self.at is None:
            return (data,)
        passed = max(self.at - len(self.went[1, to_target]), 0)
        if passed < len(data):
            self.kept.append(data[passed:])
        return (data[:passed],)

    def let_go(self) -> None:
        self.at = None
        for data in self.kept:
            with contextlib.suppress(SessionEndedError):  # another standby may have taken its place
                self.write(1, self.to_target, data)


@pytest.mark.parametrize("to_target", [True, False], ids=["towards the target", "towards the caller"])
@pytest.mark.parametrize("behind", [0, 60, 120, 137, 154, 180, 300])
@pytest.mark.slow
async def test_a_way_back_that_is_withheld_one_way_has_as_long_as_any(
    to_target: bool, behind: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """behind: bytes of the standby from the loss of the path on, until the room withholds: in the midst of HOLD and
    TAKE, or of the standby's goodbye, for which its own link would wait for `GOODBYE_SECONDS`."""
    monkeypatch.setattr(limits, "GOODBYE_SECONDS", 0.2)
    meddler = Withholds(to_target)
    async with meddling(meddler), meeting() as met:
        await met.path("direct")
        await met.has_standby()
        await met.is_usable()
        meddler.at = len(meddler.went[1, to_target]) + behind
        met.silence()
        using = asyncio.create_task(met.is_usable())
        await eventually(lambda: meddler.kept)
        await asyncio.sleep(3 * limits.GOODBYE_SECONDS)
        assert met.peer.is_open and met.there.is_open, using.cancel()
        meddler.let_go()
        await using
        await met.path("tunnel")
        met.speak()
        assert not met.caller.named("closed") and not met.target.named("closed")


@pytest.mark.parametrize("to_target", [True, False], ids=["towards the target", "towards the caller"])
@pytest.mark.slow
async def test_a_goodbye_that_is_withheld_for_ever_ends_the_session_by_the_rule(
    to_target: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "GOODBYE_SECONDS", 0.2)
    monkeypatch.setattr(limits, "CARRIER_SECONDS", 2.0)
    monkeypatch.setattr(limits, "SLEEP_KEPT", 0)
    meddler = Withholds(to_target)
    async with meddling(meddler), meeting() as met:
        await met.path("direct")
        await met.has_standby()
        meddler.at = len(meddler.went[1, to_target]) + 150
        met.silence()
        await eventually(lambda: meddler.kept)
        since = asyncio.get_running_loop().time()
        waits = met.there if to_target else met.peer
        await asyncio.wait_for(waits.wait_closed(), 20)
        assert asyncio.get_running_loop().time() - since >= limits.CARRIER_SECONDS - 0.1
        assert str(waits.error) == "the way back did not open in time"
        await asyncio.wait_for((met.peer if to_target else met.there).wait_closed(), 20)


# ---------------------------------------------------------------- another room


async def test_a_room_that_swallows_standbys_does_not_keep_them_from_another_room() -> None:
    meddler = Lies("swallow")
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(meddling(meddler))
        met = await stack.enter_async_context(meeting(connect=False))
        meddler.room = met.at.room.server.relay
        other = await stack.enter_async_context(room_with_clients())
        for client in (met.target, met.caller):
            joined = await client.join(other.address)
            stack.push_async_callback(joined.leave)
        met.peer = await met.caller.connect(met.target.me.id, room=met.caller.rooms[-1])
        met.there = await anext(aiter(met.target.incoming()))
        await met.path("direct")
        await met.has_standby()
        met.silence()
        await met.path("tunnel")
        await met.is_usable()
        assert meddler.spoilt and len(other.room.named("tunnel_opened")) == 1
