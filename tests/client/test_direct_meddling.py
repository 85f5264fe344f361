"""A hostile room, and sessions that are about to leave it or to come back: it can cut them, at the most."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable
from typing import Any

import pytest

from ssbfast import limits
from ssbfast.errors import DeadlineError, SSBError
from ssbfast.wire.direct.punch.probes import PROBE
from ssbfast.wire.handshake_messages import CLIENT_BYTES, SERVER_BYTES
from tests.helpers.meeting import Meddler, MeetingClients, meddling, meeting, paths_of
from tests.helpers.rawpeer import eventually, settle

HELLO = {True: CLIENT_BYTES, False: SERVER_BYTES}
"""Bytes of the inner handshake in each direction; behind them comes the session, the offer or its answer first."""


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "UPGRADE_SECONDS", 0.5)
    monkeypatch.setattr(limits, "PUNCH_SECONDS", 0.5)
    monkeypatch.setattr(limits, "DIRECT_FAREWELL_SECONDS", 0.1)


async def both_end(met: MeetingClients) -> None:
    """With an error at each end, and nobody has met."""
    for peer in (met.peer, met.there):
        await asyncio.wait_for(peer.wait_closed(), 20)
    errors = [peer.error for peer in (met.peer, met.there)]
    assert any(errors) and all(error is None or isinstance(error, SSBError) for error in errors)
    assert not met.caller.named("path") and not met.target.named("path")
    assert not [data for _, data in met.net.sent if len(data) >= 1200]  # nobody spoke QUIC


# ---------------------------------------------------------------- on the way out


class Flips(Meddler):
    """Flips one bit of the session's stream, so many bytes behind the handshake."""

    def __init__(self, to_target: bool, at: int) -> None:
        super().__init__()
        self.flips = to_target, HELLO[to_target] + at

    def pass_on(self, number: int, to_target: bool, data: bytes) -> Iterable[bytes]:
        flips, at = self.flips
        at -= len(self.went.get((number, to_target), b""))
        if to_target is flips and 0 <= at < len(data):
            data = data[:at] + bytes([data[at] ^ 0x10]) + data[at + 1 :]
        return (data,)


@pytest.mark.parametrize("to_target", [True, False], ids=["offer", "answer"])
@pytest.mark.parametrize("at", [0, 17, 33, 34, 100, 300])
async def test_no_bit_of_an_offer_or_answer_can_be_altered(to_target: bool, at: int) -> None:
    """Headers and bodies of boxes; an address is in there somewhere."""
    async with meddling(Flips(to_target, at)), meeting() as met:
        await both_end(met)


class Swaps(Meddler):
    """Gives one session what the caller has said in tunnel 0: the candidates of another offer."""

    victim: int | None = None

    def pass_on(self, number: int, to_target: bool, data: bytes) -> Iterable[bytes]:
        left = CLIENT_BYTES - len(self.went.get((number, True), b""))
        if not to_target or number != self.victim or left >= len(data):
            return (data,)
        offer = bytes(self.went[0, True][CLIENT_BYTES:]) if left >= 0 else b""
        return (data[: max(left, 0)] + offer,)


async def test_candidates_of_another_session_cannot_be_swapped_in() -> None:
    """Not even those of the same two peers: what was said in one session is noise in the other."""
    meddler = Swaps()
    async with meddling(meddler), meeting() as met:
        await met.path("direct")
        await met.has_standby()
        meddler.victim = len(meddler.splices)
        second = await met.caller.connect(met.target.me.id)
        await asyncio.wait_for(second.wait_closed(), 20)
        assert len(met.target.named("path")) == len(met.caller.named("path")) == 1  # the first session's
        assert len(met.target.named("accepted")) == 1  # A never heard a word of the second that made sense
        await met.is_usable()


class Replays(Meddler):
    """Says everything behind the handshake twice."""

    def pass_on(self, number: int, to_target: bool, data: bytes) -> Iterable[bytes]:
        left = CLIENT_BYTES - len(self.went.get((number, to_target), b""))
        return (data, data[max(left, 0) :]) if to_target else (data,)


async def test_an_offer_that_is_replayed_ends_the_session() -> None:
    async with meddling(Replays()), meeting() as met:
        await both_end(met)


class Truncates(Meddler):
    """Passes so many bytes behind the handshake, and then ends the tunnel."""

    def __init__(self, to_target: bool, at: int) -> None:
        super().__init__()
        self.cuts = to_target, HELLO[to_target] + at

    def pass_on(self, number: int, to_target: bool, data: bytes) -> Iterable[bytes]:
        cuts, at = self.cuts
        left = at - len(self.went.get((number, to_target), b""))
        if to_target is not cuts or left >= len(data):
            return (data,)
        asyncio.get_running_loop().call_soon(self.cut, number)
        return (data[: max(left, 0)],)


@pytest.mark.parametrize("to_target", [True, False], ids=["offer", "answer"])
@pytest.mark.parametrize("at", [1, 33, 34, 200])
async def test_half_an_offer_or_answer_is_none(to_target: bool, at: int) -> None:
    async with meddling(Truncates(to_target, at)), meeting() as met:
        await both_end(met)


class Withholds(Meddler):
    """Keeps what the target says behind the handshake of the first tunnel, until told to let go."""

    def __init__(self) -> None:
        super().__init__()
        self.kept: list[bytes] | None = []

    def pass_on(self, number: int, to_target: bool, data: bytes) -> Iterable[bytes]:
        known = len(self.went.get((number, to_target), b""))
        if number or to_target or self.kept is None or known < SERVER_BYTES:
            return (data,)
        self.kept.append(data)
        return ()

    def let_go(self) -> None:
        kept, self.kept = self.kept or [], None
        for data in kept:
            self.write(0, False, data)


@pytest.mark.slow
async def test_answers_that_are_withheld_cost_attempts_and_not_the_session(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "OFFER_ANSWER_SECONDS", 0.2)
    meddler = Withholds()
    async with meddling(meddler), meeting() as met:
        await eventually(lambda: met.caller.named("path"))
        assert met.caller.named("path")[0]["path"] == "tunnel"
        assert met.caller.named("path")[0]["reason"] == "no answer to direct.offer"
        assert not [data for _, data in met.net.sent if len(data) == PROBE]
        meddler.let_go()
        await met.path("direct")
        await met.is_usable()


# ---------------------------------------------------------------- while direct


class Echoes(Meddler):
    """Answers every tunnel but the first with what the target has said in the first, as long as it lies."""

    lies = True

    def pass_on(self, number: int, to_target: bool, data: bytes) -> Iterable[bytes]:
        if not number or not self.lies:
            return (data,)
        if to_target:
            said = len(self.went.get((number, True), b""))
            if not said:
                self.write(number, False, bytes(self.went[0, False]))
        return ()


async def test_a_standby_cannot_be_a_replay_of_the_first_tunnel() -> None:
    meddler = Echoes()
    async with meddling(meddler), meeting() as met:
        await met.path("direct")
        await eventually(lambda: len(meddler.splices) >= 2)
        await settle(100)
        assert met.negotiation(met.caller).carrier_transport.carriers._standby is None
        await met.is_usable()
        meddler.lies = False
        await met.has_standby()
        assert not met.caller.named("closed") and met.peer.path == "direct"


class Refuses(Meddler):
    """Swallows all tunnels but the first."""

    def pass_on(self, number: int, to_target: bool, data: bytes) -> Iterable[bytes]:
        return () if number else (data,)


@pytest.mark.slow
async def test_a_room_that_withholds_every_standby_ends_the_session_no_sooner_than_its_path(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(limits, "CARRIER_SECONDS", 2.0)
    monkeypatch.setattr(limits, "SLEEP_KEPT", 0)
    async with meddling(Refuses()), meeting() as met:
        await met.path("direct")
        await asyncio.sleep(2.5)
        await met.is_usable()
        met.silence()
        for peer in (met.peer, met.there):
            await asyncio.wait_for(peer.wait_closed(), 20)
            assert isinstance(peer.error, SSBError)
        for client in (met.caller, met.target):
            assert not paths_of(client)._by_id


# ---------------------------------------------------------------- on the way back


class Spoils(Meddler):
    """Does something to the standby's bytes towards C, from a byte on: "flip", "cut", "replay" or "withhold"."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how = how
        self.ready_at: int | None = None

    def pass_on(self, number: int, to_target: bool, data: bytes) -> Iterable[bytes]:
        if number != 1 or to_target or self.ready_at is None:
            return (data,)
        at = max(self.ready_at - len(self.went[1, False]), 0)
        if at >= len(data):
            return (data,)
        if self.how == "flip":
            return (data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :],)
        if self.how == "replay":
            return (data, data[at:])
        if self.how == "cut":
            asyncio.get_running_loop().call_soon(self.cut, 1)
        return (data[:at],)


@pytest.mark.slow
@pytest.mark.parametrize("how", ["flip", "cut", "replay", "withhold"])
@pytest.mark.parametrize("behind", [0, 20, 130, 200, 600, 5000])
async def test_bytes_of_the_way_back_are_whole_or_there_are_none(
    how: str, behind: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """behind: bytes of the standby from the loss of the path on: records, goodbyes, boxes of the session.

    C asks for a long echo, and gets a prefix of it at the least: what is wrong ends the session, or it goes on by
    another standby.
    """
    monkeypatch.setattr(limits, "CARRIER_SECONDS", 4.0)
    monkeypatch.setattr(limits, "SLEEP_KEPT", 0)
    monkeypatch.setattr(limits, "STANDBY_SILENT", 3.0)
    meddler = Spoils(how)
    async with meddling(meddler), meeting() as met:
        await met.path("direct")
        await met.has_standby()
        await met.is_usable()
        meddler.ready_at = len(meddler.went[1, False]) + behind
        met.silence()
        sent = [os.urandom(3000) for _ in range(20)]
        got, error = await echoed(met, sent, patience=5.0 if how == "withhold" else 60.0)
        assert got == sent[: len(got)]
        assert error is not None or len(got) == len(sent)
        if behind == 5000 and how != "withhold":  # raw boxes of the session: nothing can mend that
            await asyncio.wait_for(met.peer.wait_closed(), 20)
            assert isinstance(met.peer.error, SSBError)


async def echoed(met: MeetingClients, items: list[bytes], patience: float) -> tuple[list[bytes], SSBError | None]:
    """What comes back of these, and what ended it: also our own patience, for a tunnel may be withheld for ever."""
    got: list[Any] = []
    try:
        await asyncio.wait_for(echo(met, items, got), patience)
    except asyncio.TimeoutError:
        met.peer.link.abort()
        return got, DeadlineError("we did not wait any longer")
    except SSBError as error:
        return got, error
    return got, None


async def echo(met: MeetingClients, items: list[bytes], got: list[Any]) -> None:
    """Send these and write down what comes back."""
    stream = met.peer.duplex("echo")
    for item in items:
        await stream.send(item)
    async for item in stream:
        got.append(item)
        if len(got) == len(items):
            break
    await stream.end()
