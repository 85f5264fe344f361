"""W of a session and of a forwarded connection on a long fat path: both ends and the path between, on a virtual clock.

ACKs come in the bursts that a wake-up reads. What the other end says decides how far W grows; whoever says nothing, as
ssbfast before this, gets 4 MiB, and 1 MiB for each connection.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable
from typing import Final

import pytest

from ssbfast import limits
from ssbfast.errors import CarrierError
from ssbfast.wire.direct.carriers import effects as ef
from ssbfast.wire.direct.carriers.records import RecordReader
from ssbfast.wire.direct.carriers.session import Carriers
from ssbfast.wire.direct.carriers.streams import CarriedStream
from ssbfast.wire.direct.keys import Role
from ssbfast.wire.direct.memory import MemoryBudget, MemoryShare

MIB = 1024 * 1024
RTT = 0.2
PLAIN, MOST = limits.CARRIER_WINDOW_PLAIN, limits.CARRIER_WINDOW_MAX
PIECE: Final = bytes(limits.CARRIER_SLACK)
TICK = 0.01
"""Between two wake-ups: 3 MB come at a time at full speed."""


def session(role: Role, share: MemoryShare | None = None) -> Carriers:
    """Return an end as `Negotiation` makes it."""
    return Carriers(role, most=PLAIN, takes=MOST, share=share)


class Pair:
    """Two ends of a session on a direct path; what they send takes half a round trip."""

    def __init__(self, caller: Carriers, target: Carriers) -> None:
        self.ends = (caller, target)
        self.now = 0.0
        self._way: list[tuple[float, int, int, Callable[[Carriers], None]]] = []
        self._count = itertools.count()
        epoch = caller.next_epoch()
        assert target.claim(epoch)
        for end in (1, 0):
            self.ends[end].quic_up(epoch, self.now)
        self.run(1.0, send=False)
        assert caller.path == target.path == "direct"

    def run(self, seconds: float, *, send: bool = True) -> None:
        """Let time pass. send: the caller seals whatever has room."""
        until = self.now + seconds
        while self.now < until:
            self.now += TICK
            while self._way and self._way[0][0] <= self.now:
                _, _, end, act = heapq.heappop(self._way)
                act(self.ends[end])
            while send and 0 < self.ends[0].room < 2**40:
                self.ends[0].send(PIECE, self.now)
            for end in (0, 1):
                self.ends[end].data_received(1, self.now, RTT)
                self._carry_out(end)

    def _carry_out(self, end: int) -> None:
        for effect in self.ends[end].effects():
            match effect:
                case ef.Records(1, data):
                    self._later(1 - end, lambda there, data=data: there.records(1, data, self.now))
                case ef.Data(1, data):
                    self._later(1 - end, lambda there, data=data: there.data(1, data, self.now))
                case ef.Deliver(data):
                    self.ends[end].consumed(len(data), self.now)
                case ef.Failed(error):
                    raise error

    def _later(self, end: int, act: Callable[[Carriers], None]) -> None:
        heapq.heappush(self._way, (self.now + RTT / 2, next(self._count), end, act))


def test_w_reaches_what_the_other_end_takes_within_a_few_round_trips() -> None:
    caller, target = session(Role.CALLER, MemoryBudget().share(b"a")), session(Role.TARGET)
    caller.agree(MOST)
    pair = Pair(caller, target)
    pair.run(12 * RTT)
    assert caller.window == MOST
    assert caller.unacknowledged >= MOST
    pair.run(1.0)  # and the other end takes it


@pytest.mark.parametrize("said", [None, PLAIN])
def test_w_stays_where_the_other_end_says_no_more(said: int | None) -> None:
    caller = session(Role.CALLER, MemoryBudget().share(b"a"))
    older = Carriers(Role.TARGET, most=PLAIN)  # it breaks the session above 4 MiB and 64 KiB
    caller.agree(said)
    Pair(caller, older).run(3.0)
    assert caller.window == PLAIN and not older.is_over


def test_the_older_end_does_break_above_it() -> None:
    """The test above would show a W that grows too far."""
    caller = session(Role.CALLER)
    caller.agree(MOST)
    older = Carriers(Role.TARGET, most=PLAIN)
    with pytest.raises(CarrierError):
        Pair(caller, older).run(3.0)


@pytest.mark.parametrize("said", [8 * MIB, limits.CARRIER_WINDOW_SAID])
def test_w_follows_what_was_said_up_to_our_own_bound(said: int) -> None:
    caller = session(Role.CALLER, MemoryBudget().share(b"a"))
    caller.agree(said)
    caller.agree(None)  # a word that was given holds
    Pair(caller, session(Role.TARGET)).run(3.0)
    assert caller.window == min(said, MOST)


def test_w_grows_as_far_as_there_is_memory_and_gives_it_back() -> None:
    budget = MemoryBudget(20 * MIB)
    share = budget.share(b"a")
    caller = session(Role.CALLER, share)
    caller.agree(MOST)
    Pair(caller, session(Role.TARGET)).run(3.0)
    assert PLAIN < caller.window == PLAIN + share.held < MOST
    caller.abort(9.0)
    assert share.held == 0 and budget.free == 20 * MIB


@pytest.mark.parametrize("said", [None, MOST])
def test_a_connection_does_the_same(said: int | None) -> None:
    budget = MemoryBudget()
    sender = CarriedStream(4, most=said or 0, share=budget.share(b"a"))
    receiver = CarriedStream(4, takes=MOST if said else 0)
    way: list[tuple[float, bytes, bool]] = []
    now = 0.0
    for _ in range(300):
        now += TICK
        sender.path_rtt(RTT)
        while way and way[0][0] <= now:
            _, data, is_record = way.pop(0)
            if is_record:
                for record in RecordReader().feed(data):
                    sender.record(record, now)
            elif ack := receiver.consumed(len(receiver.received(data)), now):
                way.append((now + RTT / 2, ack, True))
        while sender.room > 0:
            way.append((now + RTT / 2, sender.send(PIECE, now), False))
        if ack := receiver.handle_timer(now):
            way.append((now + RTT / 2, ack, True))
    assert sender._sending.window.size == (said or limits.FORWARD_WINDOW)
    sender.release()
    assert budget.free == limits.PATH_MEMORY
