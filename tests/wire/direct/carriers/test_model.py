"""Carriers under random schedules (`tests/helpers/carrier_world.py`): nothing lost, doubled or re-ordered.

And the schedules are good for something: machines with one rule taken out of them fail.
"""

from __future__ import annotations

import os
from collections import Counter
from typing import Any

import pytest

from ssbfast import limits
from ssbfast.errors import SSBError
from ssbfast.wire.direct.carriers.handover import LEAVING, LEFT, Carrier
from ssbfast.wire.direct.carriers.records import RecordType
from ssbfast.wire.direct.carriers.retransmission import Sending
from ssbfast.wire.direct.carriers.session import Carriers
from tests.helpers.carrier_world import CarrierSimulation

QUICK = "SSBFAST_TEST_QUICK" in os.environ
BATCHES = 2 if QUICK else 6
EACH = 200
QUICK_BATCHES = 1
"""A batch takes seconds: more of them are not for people's quick run."""


def batches(count: int) -> list[Any]:
    return [pytest.param(batch, marks=pytest.mark.slow if batch >= QUICK_BATCHES else ()) for batch in range(count)]


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make schedules with many ups and downs: upgrades do not wait for long."""
    monkeypatch.setattr(limits, "UPGRADE_SECONDS", 0.5)
    monkeypatch.setattr(limits, "UPGRADE_MAX", 4.0)


@pytest.mark.parametrize("batch", batches(BATCHES))
def test_fair_schedules_deliver_everything(batch: int) -> None:
    """1,200 schedules in which another path can always be made within 30 s."""
    seen: Counter[str] = Counter()
    unsure = 0
    for seed in range(batch * EACH, (batch + 1) * EACH):
        world = CarrierSimulation(seed)
        try:
            world.run()
        except AssertionError as error:
            raise AssertionError(f"schedule {seed}: {error}") from error
        seen += world.seen
        unsure += world.caller.outcome != "over" or world.target.outcome != "over"
    # They did what they are for; an end whose last ACK died with the last path is rare.
    assert seen["direct"] > 100 and seen["tunnel"] > 50 and seen["direct paths killed"] > 50, seen
    assert seen["rooms killed"] > 10 and seen["tunnels killed"] > 5 and seen["Resume"] > 30, seen
    assert unsure <= EACH // 40


@pytest.mark.parametrize("foul", [False, True])
def test_users_that_change_their_minds_lose_nothing(foul: bool) -> None:
    """Schedules in which either end leaves direct paths of its own will, and wants them back."""
    seen: Counter[str] = Counter()
    for seed in range(EACH // 2):
        world = CarrierSimulation(seed, foul=foul, fickle=True)
        try:
            world.run()
        except AssertionError as error:
            raise AssertionError(f"schedule {seed}: {error}") from error
        seen += world.seen
    assert seen[LEAVING] > 20 and seen[LEFT] > 20 and seen["direct"] > 50, seen


@pytest.mark.parametrize("batch", batches(BATCHES // 2))
def test_foul_schedules_end_without_a_wrong_byte(batch: int) -> None:
    """600 schedules in which anything dies: a side that ends in order has everything, the others get an error."""
    seen: Counter[str] = Counter()
    for seed in range(batch * EACH, (batch + 1) * EACH):
        world = CarrierSimulation(seed, foul=True)
        try:
            world.run()
        except AssertionError as error:
            raise AssertionError(f"schedule {seed}: {error}") from error
        seen += world.seen
        for side in (world.caller, world.target):
            assert side.outcome == "over" or isinstance(side.outcome, SSBError)
    assert seen["Failed"] > 20 and seen["Over"] > 50, seen


@pytest.mark.parametrize("seed", [8, 101, 213, 305, 380, 1774])
def test_the_end_of_everything_at_every_step(seed: int) -> None:
    """Goodbyes, EOF and death at each moment of a schedule in turn: it always ends, with nothing wrong."""
    steps = CarrierSimulation(seed).run()
    for doom in range(0, steps, max(1, steps // (20 if QUICK else 150))):
        CarrierSimulation(seed, foul=True).run(doom)


# ---------------------------------------------------------------- one rule less


class NoHoldCheck(Carriers):
    """A mutant of R3 without its condition: TAKE at once."""

    __slots__ = ()

    def _try_take(self, now: float) -> None:
        carrier = self._change
        if carrier is not None and not carrier.took:
            carrier.took = True
            self._from = carrier
            self._say(carrier, RecordType.TAKE, self._receiving.got, now)
            self._finish_move(carrier)


class OldCarrierToo(Carriers):
    """A mutant of R3 without its end: bytes that the old carrier still brings are taken, too."""

    __slots__ = ()

    def data(self, carrier: int, data: bytes, now: float) -> None:
        found = self._carriers.get(carrier)
        if found is not None:
            self._on_data(found, data, now)


class SendsOn(Carriers):
    """A mutant of R4 without its offset: it goes on with what is sealed next."""

    __slots__ = ()

    def _send_after(self, carrier: Carrier, offset: int) -> None:
        pass


class ForgetsAtOnce(Carriers):
    """A mutant of R7 that is too early: retention ends with the peer's TAKE, on QUIC too."""

    __slots__ = ()

    def _on_take(self, carrier: Carrier, offset: int, now: float) -> None:
        super()._on_take(carrier, offset, now)
        self._sending.drop()


class NoWindow(Carriers):
    """A mutant of R1 without W."""

    __slots__ = ()

    @property
    def room(self) -> int:
        return limits.CARRIER_SLACK


class NoAcks(Carriers):
    """A mutant without R6."""

    __slots__ = ()

    def _acknowledge(self, now: float) -> None:
        pass


class LeavesEarly(Carriers):
    """A mutant that ends without the ACK of its own goodbye."""

    __slots__ = ()

    def _try_finish(self, now: float) -> None:
        if self._said and self._heard and self._receiving.consumed == self._receiving.got:
            self._finish(now)


class StaysAway(Carriers):
    """A mutant that does not answer a caller that comes back after the end, nor wait for the session to read."""

    __slots__ = ()

    def _on_tunnel_lost(self, now: float) -> None:
        super()._on_tunnel_lost(now)
        if self._cut is not None:
            self._fail(self._cut)


@pytest.mark.parametrize(
    "broken", [NoHoldCheck, OldCarrierToo, SendsOn, ForgetsAtOnce, NoWindow, NoAcks, LeavesEarly, StaysAway]
)
def test_schedules_notice_a_missing_rule(broken: type[Carriers]) -> None:
    for seed in range(400):
        try:
            CarrierSimulation(seed, make=broken).run()
        except (AssertionError, SSBError):
            return
    pytest.fail("nothing was noticed")


def test_retention_is_not_quadratic() -> None:
    """What is given back is every byte from the offset on, whatever the ACKs in between cut."""
    sending = Sending(1 << 20)
    sending.hold()
    data = bytes(range(256)) * 16
    for start in range(0, len(data), 64):
        sending.add(data[start : start + 64], 0.0)
    for offset in (1, 63, 64, 65, 1000, 4000):
        sending.ack(offset, 0.0)
        for first in (offset, offset + 1, offset + 64, len(data)):
            assert b"".join(sending.after(first)) == data[first:]
    assert sum(map(len, sending._chunks)) == len(data) - 4000 // 64 * 64
