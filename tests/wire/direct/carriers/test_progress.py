"""Direct paths whose MTU shrinks in mid-session: signs of life pass, and what fills a datagram does not."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ssbfast import limits
from ssbfast.wire.direct.carriers import effects as ef
from ssbfast.wire.direct.carriers.session import Carriers
from ssbfast.wire.direct.keys import Role
from tests.helpers.carriers import HOLD, TAKE, kinds, rec, said, with_standby

STUCK = limits.DIRECT_STUCK_SECONDS
LATEST = STUCK + 2 * limits.DIRECT_LOOK_SECONDS
"""Seconds from the first byte that does not pass to the verdict."""


@dataclass
class Simulated:
    """A path that acknowledges what fits: it is asked before each timer, as `CarrierTransport` does.

    streams: by number, the offset of the oldest byte that waits, and when it passes; None: never.
    """

    machine: Carriers
    now: float = 0.0
    rtt: float = 0.02
    streams: dict[int, tuple[int, float | None]] = field(default_factory=dict)
    effects: list[tuple[float, ef.Effect]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.machine.waiting(1, {}, self.now)

    def send(self, stream: int, offset: int, passes: float | None) -> None:
        self.streams[stream] = offset, passes
        self.machine.forwarding_moved(self.now)
        self.take()

    def take(self) -> None:
        self.effects += [(self.now, effect) for effect in self.machine.effects()]

    def run(self, end: float) -> None:
        """Run until then; pings are answered at once, whatever else happens."""
        while (at := self.machine.timer()) is not None and at <= end:
            self.now = max(self.now, at)
            self.tick()
        self.now = end

    def tick(self) -> None:
        self.machine.data_received(1, self.now, self.rtt)
        self.streams = {
            number: (offset, passes)
            for number, (offset, passes) in self.streams.items()
            if passes is None or passes > self.now
        }
        self.machine.waiting(1, {number: offset for number, (offset, _) in self.streams.items()}, self.now)
        self.machine.handle_timer(self.now)
        self.take()

    def lost_at(self) -> float | None:
        return next((at for at, effect in self.effects if effect == ef.EndCarrier(1, False)), None)


@pytest.mark.parametrize("role", list(Role))
@pytest.mark.parametrize("stream", [0, 2, 3, 4, 5, 401])
def test_a_byte_that_never_passes_takes_the_session_down(role: Role, stream: int) -> None:
    """Whatever it belongs to: records, the session, a forwarded connection of either end."""
    path = Simulated(with_standby(role))
    path.run(40.0)
    path.send(stream, 1000, None)
    path.run(40.0 + LATEST)
    at = path.lost_at()
    assert at is not None and 40 + STUCK <= at <= 40 + LATEST
    assert said([effect for when, effect in path.effects if when >= at], 2)[:1] == [("HOLD", 10)]
    shorten = [when for when, effect in path.effects if isinstance(effect, ef.ShortenDatagrams)]
    assert shorten == [at]
    machine = path.machine
    machine.records(2, rec(HOLD, 20) + rec(TAKE, 10), path.now)
    assert ef.PathChanged("tunnel", "long datagrams do not pass on the direct path") in machine.effects()


def test_others_that_get_on_do_not_hide_it() -> None:
    path = Simulated(with_standby(Role.CALLER))
    path.send(4, 0, None)
    for step in range(30):
        path.send(8, step, path.now + 0.05)
        path.run(path.now + 0.1)
    at = path.lost_at()
    assert at is not None and at <= LATEST


@given(st.lists(st.tuples(st.sampled_from([0, 2, 4, 8]), st.floats(0.0, STUCK - 0.3)), max_size=30))
def test_what_gets_on_however_slowly_is_left_in_peace(sends: list[tuple[int, float]]) -> None:
    path = Simulated(with_standby(Role.TARGET))
    for offset, (stream, takes) in enumerate(sends):
        path.send(stream, offset, path.now + takes)
        path.run(path.now + takes / 2 + 0.01)
    path.run(path.now + 100.0)
    assert path.lost_at() is None


def test_a_long_path_is_given_time_for_repetitions() -> None:
    path = Simulated(with_standby(Role.CALLER), rtt=1.0)
    path.send(2, 0, 4.0)
    path.run(30.0)
    assert path.lost_at() is None
    path.send(2, 1, None)
    path.run(60.0)
    at = path.lost_at()
    assert at is not None and 30 + limits.DIRECT_STUCK_RTTS <= at <= 31 + limits.DIRECT_STUCK_RTTS


def test_a_sleep_of_our_own_is_no_standstill() -> None:
    path = Simulated(with_standby(Role.CALLER))
    path.send(2, 0, None)
    path.run(0.5)
    path.now = 100.0
    path.tick()
    assert path.lost_at() is None
    path.run(100 + LATEST)
    assert path.lost_at() is not None


@pytest.mark.parametrize(("last", "reason"), [(2.0, "long datagrams do not pass"), (1.1, "went silent")])
def test_signs_of_life_need_not_go_on_until_the_verdict(last: float, reason: str) -> None:
    """What overtakes a byte by far shows that short datagrams pass; a path that is cut shortly behind it is cut."""
    machine = with_standby(Role.CALLER)
    machine.waiting(1, {2: 0}, 1.0)
    machine.send(b"x", 1.0)
    machine.data_received(1, last, 0.02)
    for step in range(5, 4 * 4):
        machine.waiting(1, {2: 0}, step / 4)
        machine.handle_timer(step / 4)
    machine.records(2, rec(HOLD, 20) + rec(TAKE, 10), 4.0)
    (changed,) = (effect for effect in machine.effects() if isinstance(effect, ef.PathChanged))
    assert reason in changed.reason


def test_nobody_looks_at_an_idle_path() -> None:
    path = Simulated(with_standby(Role.CALLER))
    path.run(30.0)
    times = []
    while (at := path.machine.timer()) is not None and at <= 130.0:
        times.append(at)
        path.now = at
        path.tick()
    assert len(times) <= 20  # pings and what waits for their answers, keepalives of the standby, dials of another one


def test_the_next_path_comes_at_once_the_first_time_and_then_after_the_usual_pauses() -> None:
    caller = with_standby(Role.CALLER)
    caller.upgrade(0.0)
    now, carrier, pauses = 1.0, 1, []
    for _ in range(3):
        caller.waiting(carrier, {2: 0}, now)
        for _ in range(8):
            now += limits.DIRECT_LOOK_SECONDS
            caller.data_received(carrier, now)
            caller.waiting(carrier, {2: 0}, now)
            caller.handle_timer(now)
        assert "ShortenDatagrams" in kinds(caller.effects())
        caller.records(carrier + 1, rec(HOLD, 20) + rec(TAKE, 10), now)
        down = now
        while "WantQuic" not in kinds(caller.effects()):
            at = caller.timer()
            assert at is not None
            now = max(now, at)
            caller.handle_timer(now)
        pauses.append(now - down)
        carrier = caller.quic_up(caller.next_epoch(), now)
        caller.records(carrier, rec(HOLD, 20) + rec(TAKE, 10), now)
        assert caller.standby_up(caller.next_epoch(), now) == carrier + 1
        caller.effects()
    assert pauses[0] == 0 and pauses[1] > 10 and pauses[2] > pauses[1]
