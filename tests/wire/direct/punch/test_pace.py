"""One pace for all attempts, in turns: no window of a second has too many probes, and nobody waits long."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ssbfast import limits
from ssbfast.wire.direct.punch.pace import Due, Pace, ProbePace, Turn


class Sender:
    """An attempt that has so many probes and guesses to send. waiting: since when it has something to send."""

    def __init__(self, crowd: Crowd, key: bytes, probes: int, guesses: int) -> None:
        self.crowd = crowd
        self.probes, self.guesses = probes, guesses
        self.waiting = crowd.now
        self.turn: Turn = crowd.pace.enter(key, self.send)
        self._plan()

    def send(self, now: float) -> None:
        is_guess = self.probes == 0
        if is_guess:
            self.guesses -= 1
        else:
            self.probes -= 1
        self.crowd.left.append((now, self, is_guess))
        self.crowd.longest = max(self.crowd.longest, now - self.waiting)
        self.waiting = now
        self._plan()

    def _plan(self) -> None:
        never = Due().probe
        self.turn.due = Due(self.crowd.now if self.probes else never, self.crowd.now if self.guesses else never)


class Crowd:
    """Attempts on virtual time. left: when each probe left, whose it was, whether it was a guess."""

    def __init__(self) -> None:
        self.pace = ProbePace()
        self.now = 0.0
        self.left: list[tuple[float, Sender, bool]] = []
        self.longest = 0.0

    def add(self, key: int, probes: int, guesses: int = 0) -> Sender:
        sender = Sender(self, bytes([key]), probes, guesses)
        self.pace.run(self.now)
        return sender

    def until(self, when: float) -> None:
        while (at := self.pace.timer()) is not None and at <= when:
            self.now = max(at, self.now)
            self.pace.run(self.now)
        self.now = when

    def busiest(self, *, guesses: bool = False) -> int:
        """Return the number of probes in the busiest second."""
        times = [when for when, _, is_guess in self.left if is_guess or not guesses]
        first = most = 0
        for last, when in enumerate(times):
            while times[first] <= when - 1:
                first += 1
            most = max(most, last - first + 1)
        return most


@given(st.integers(1, 500), st.integers(1, 50), st.lists(st.floats(0, 0.5), max_size=300))
def test_pace(rate: int, burst: int, pauses: list[float]) -> None:
    pace = Pace(rate, burst)
    now, left = 0.0, []
    for pause in pauses:
        now += pause
        if pace.take(now):
            left.append(now)
        elif pace.ready() > now:
            assert pace.take(pace.ready()), "a timer that follows it makes progress"
            left.append(pace.ready())
            now = max(now, left[-1])
    for index, begin in enumerate(left):
        assert sum(1 for when in left[index:] if when < begin + 0.999) <= rate + burst


def test_a_burst_leaves_at_once_and_the_rest_in_time() -> None:
    crowd = Crowd()
    crowd.add(1, 1000)
    assert len(crowd.left) in (limits.PROBE_BURST - 1, limits.PROBE_BURST), "one may wait for a rounding error"
    crowd.until(0.9999)
    assert len(crowd.left) <= limits.PROBES_PER_SECOND
    crowd.until(10.0)
    assert len(crowd.left) == 1000 and crowd.busiest() <= limits.PROBES_PER_SECOND


steps = st.lists(
    st.tuples(
        st.floats(0, 0.3),  # pause
        st.integers(0, 9),  # peer
        st.integers(0, 300),  # probes
        st.sampled_from([0, 0, 0, 2000]),  # guesses
        st.booleans(),  # one of those that are there leaves first
    ),
    max_size=60,
)


@given(steps)
@settings(deadline=None, max_examples=60)
def test_whatever_attempts_come_and_go(plan: list[tuple[float, int, int, int, bool]]) -> None:
    """The bounds of `AttemptPlaces` hold; then no second has more than the pace, and none waits longer than one."""
    crowd = Crowd()
    there: list[Sender] = []
    for pause, key, probes, guesses, leaves in plan:
        crowd.until(crowd.now + pause)
        if leaves and there:
            crowd.pace.leave(there.pop(0).turn)
        if sum(other.turn.key == bytes([key]) for other in there) < limits.ATTEMPTS_PER_KEY:
            there.append(crowd.add(key, probes, guesses))
    crowd.until(crowd.now + 200)
    assert all(sender.probes == sender.guesses == 0 for sender in there), "all work is done"
    assert crowd.busiest() <= limits.PROBES_PER_SECOND
    assert crowd.busiest(guesses=True) <= limits.GUESSES_PER_SECOND
    assert crowd.longest <= 1.0


def worst_crowd(guesses: int) -> tuple[Crowd, list[Sender]]:
    """Make as many attempts as there may be, one peer with as many as it may have, all of them busy."""
    crowd = Crowd()
    slow = [crowd.add(0, 30, guesses) for _ in range(limits.ATTEMPTS_PER_KEY)]
    for key in range(1, limits.ATTEMPTS - limits.ATTEMPTS_PER_KEY + 1):
        crowd.add(key, 200, guesses)
    return crowd, slow


@pytest.mark.parametrize("guesses", [0, 60])
def test_nobody_waits_longer_than_a_second_in_the_largest_crowd(guesses: int) -> None:
    crowd, slow = worst_crowd(guesses)
    crowd.until(120.0)
    assert all(sender.probes == sender.guesses == 0 for sender in slow)
    assert crowd.longest <= 1.0
    assert crowd.busiest() <= limits.PROBES_PER_SECOND


def test_a_peer_with_many_attempts_gets_no_more_than_one_with_a_single_one() -> None:
    crowd = Crowd()
    for key, attempts in ((1, 4), (2, 1), (3, 2)):
        for _ in range(attempts):
            crowd.add(key, 10_000)
    crowd.until(10.0)
    got = Counter(sender.turn.key[0] for _, sender, _ in crowd.left)
    assert max(got.values()) - min(got.values()) <= limits.PROBE_BURST
    of_the_first = Counter(id(sender) for _, sender, _ in crowd.left if sender.turn.key == bytes([1]))
    assert max(of_the_first.values()) - min(of_the_first.values()) <= limits.PROBE_BURST


def test_whoever_comes_and_goes_gains_nothing() -> None:
    """A new attempt begins at the end of the line, that of a new peer too."""
    crowd = Crowd()
    for key in range(1, 51):
        crowd.add(key, 10_000)
    number = 0
    while crowd.now < 5.0:
        sender = crowd.add(200, 3)
        crowd.until(crowd.now + 0.01)
        crowd.pace.leave(sender.turn)
        number += 1
    got = Counter(sender.turn.key[0] for _, sender, _ in crowd.left)
    assert got[200] <= min(got[key] for key in range(1, 51)) + 1


def test_searches_leave_room_for_the_checks_of_others() -> None:
    """In the midst of a search another peer's first checks leave at once."""
    crowd = Crowd()
    crowd.add(1, 0, 100_000)
    crowd.until(3.0)
    before = len(crowd.left)
    crowd.add(2, limits.PROBE_BURST // 2)
    assert len(crowd.left) - before == limits.PROBE_BURST // 2
    crowd.until(10.0)
    assert crowd.busiest() <= limits.PROBES_PER_SECOND
    guesses = sum(is_guess for _, _, is_guess in crowd.left)
    assert guesses >= 0.95 * 10 * limits.GUESSES_PER_SECOND


def test_who_has_left_sends_nothing() -> None:
    crowd = Crowd()
    sender = crowd.add(1, 1000)
    crowd.pace.leave(sender.turn)
    crowd.pace.leave(sender.turn)
    left = len(crowd.left)
    crowd.until(10.0)
    assert len(crowd.left) == left and crowd.pace.timer() is None


def test_nothing_is_due_before_its_time() -> None:
    pace = ProbePace()
    went: list[float] = []
    turn = pace.enter(b"one", went.append)
    turn.due = Due(probe=5.0)
    pace.run(4.9)
    assert went == [] and pace.timer() == 5.0
    turn.due = Due(guess=3.0)
    assert pace.timer() == 3.0
    turn.due = Due()
    assert pace.timer() is None


def test_repr_shows_no_key() -> None:
    turn = ProbePace().enter(b"\xaa" * 32, lambda now: None)
    assert "xaa" not in repr(turn)


@given(st.integers(0, 2**32))
@settings(deadline=None, max_examples=20)
def test_late_timers_change_nothing(seed: int) -> None:
    """A loop that is busy runs late; then what was missed is not caught up beyond the burst."""
    crowd, rng = Crowd(), random.Random(seed)
    for key in range(5):
        crowd.add(key, 400, 400)
    while crowd.pace.timer() is not None and crowd.now < 60:
        crowd.now += rng.random() * 0.2
        crowd.pace.run(crowd.now)
    assert crowd.busiest() <= limits.PROBES_PER_SECOND
