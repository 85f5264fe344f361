"""The room's log is short, whatever happens, and says how much it leaves out."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from ssbfast import limits
from ssbfast.cli.log_budget import Budget, LogBudget

SUMMARY = 200
"""Bytes of the line with the counts."""

names = st.sampled_from(["joined", "left", "tunnel_opened", "tunnel_closed", "of a later version"])
steps = st.tuples(st.floats(0, 3), names, st.integers(1, 600))


class Log:
    """What stands in the log: (time, bytes). As the room does it, its timer included."""

    def __init__(self) -> None:
        self.now = 0.0
        self.budget = LogBudget(0.0)
        self.lines: list[tuple[float, int]] = []
        self.told: list[float] = []
        self.printed: Counter[str] = Counter()
        self.counted: Counter[str] = Counter()

    def advance(self, seconds: float) -> None:
        end = self.now + seconds
        while (due := self.budget.due(self.now)) is not None and self.now + due <= end:
            self.now += due
            if self.budget.due(self.now):  # a rounding error more
                self.now += 1e-6
            self.tell()
        self.now = max(self.now, end)

    def tell(self) -> None:
        self.counted.update(self.budget.skipped(self.now))
        self.budget.pay(SUMMARY, self.now)
        self.lines.append((self.now, SUMMARY))
        self.told.append(self.now)

    def event(self, name: str, size: int) -> None:
        if not self.budget.leaves_out(name) and self.budget.passes(name, size, self.now):
            self.lines.append((self.now, size))
            self.printed[name] += 1


@given(st.lists(steps, max_size=150), st.integers(1, 5))
def test_no_window_has_more_than_it_may(done: list[tuple[float, str, int]], crowd: int) -> None:
    log, happened = Log(), Counter[str]()
    for seconds, name, size in done:
        log.advance(seconds)
        for _ in range(crowd):
            log.event(name, size)
            happened[name] += 1
    if log.budget.due(log.now) is not None:
        log.tell()  # the end of the room
    for begin in range(len(log.lines)):
        total = 0
        for at, size in log.lines[begin:]:
            total += size
            assert total <= limits.LOG_BURST + limits.LOG_RATE * (at - log.lines[begin][0]) + 1e-3
    assert log.printed + log.counted == happened


@given(st.lists(steps, min_size=1, max_size=150))
def test_what_is_left_out_is_told_soon_and_seldom(done: list[tuple[float, str, int]]) -> None:
    log = Log()
    for seconds, name, size in done:
        log.advance(seconds)
        log.event(name, size)
    log.advance(limits.LOG_SKIPPED_SECONDS)
    assert log.budget.due(log.now) is None
    assert all(after - before >= limits.LOG_SKIPPED_SECONDS - 1e-3 for before, after in pairwise(log.told))


def test_a_flood_is_below_one_kilobyte_a_second_and_goes_on_being_shown() -> None:
    log = Log()
    for _ in range(6000):
        log.advance(0.01)
        log.event("joined", 120)
    assert sum(size for _, size in log.lines) < 60 * 1000
    assert log.printed["joined"] > 60
    assert 5 <= len(log.told) <= 7
    for told in log.told:
        assert sum(told < at <= told + 1 for at, _ in log.lines) > 5


def test_once_a_line_is_missing_all_are_until_that_is_told() -> None:
    log = Log()
    for _ in range(100):
        log.event("joined", 100)
    log.now += 1  # there is room again
    log.event("left", 100)
    assert log.printed["left"] == 0 and log.budget.skipped(log.now) == {
        "joined": 100 - log.printed["joined"],
        "left": 1,
    }


def test_the_address_and_errors_always_pass() -> None:
    budget = LogBudget(0.0, Budget(burst=1000, rate=1, reserve=100, pause=10))
    assert not budget.passes("joined", 950, 0.0)
    assert all(budget.passes(name, 5000, 0.0) for name in ("listening", "error"))
    assert not budget.leaves_out("error")
    assert not budget.passes("joined", 1, 0.0)


def test_a_clock_that_stands_still_or_turns_back_earns_nothing() -> None:
    budget = LogBudget(100.0, Budget(burst=1000, rate=100, reserve=0, pause=10))
    assert budget.passes("joined", 1000, 100.0)
    assert not budget.passes("joined", 1, 50.0)
    assert budget.due(50.0) is not None
