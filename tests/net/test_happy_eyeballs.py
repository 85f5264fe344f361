"""Attempts one beside the other: who begins when, who wins, and what is left of those that lose."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from ssbfast import limits
from ssbfast.errors import BusyError, DeadlineError, HandshakeError, SessionEndedError
from ssbfast.net.happy_eyeballs import FailedAddresses, RaceLostError, most_telling, race
from tests.helpers.rawpeer import PATIENCE, settle


class Field:
    """Attempts that end when the test says so. begun: their numbers. dropped: what nobody took."""

    def __init__(self) -> None:
        self.begun: list[int] = []
        self.ended: list[int] = []
        self.dropped: list[int] = []
        self.outcomes: dict[int, asyncio.Future[int]] = {}

    def attempt(self, number: int, *, reaches: bool = False) -> Callable[[Callable[[], None]], asyncio.Future[int]]:
        async def run(reached: Callable[[], None]) -> int:
            self.begun.append(number)
            self.outcomes[number] = asyncio.get_running_loop().create_future()
            if reaches:
                reached()
            try:
                return await asyncio.shield(self.outcomes[number])
            finally:
                self.ended.append(number)

        return lambda reached: asyncio.ensure_future(run(reached))

    def race(self, count: int, *, reaches: bool = False) -> asyncio.Future[int]:
        return asyncio.ensure_future(
            race([self.attempt(number, reaches=reaches) for number in range(count)], self.dropped.append)
        )


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing begins by itself."""
    monkeypatch.setattr(limits, "ATTEMPT_DELAY", 1000.0)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "ATTEMPT_DELAY", 0.02)


async def test_a_silent_attempt_is_overtaken_and_cancelled(quick: None) -> None:
    field = Field()
    racing = field.race(3)
    while 1 not in field.outcomes:
        await asyncio.sleep(0.001)
    field.outcomes[1].set_result(1)
    assert await asyncio.wait_for(racing, PATIENCE) == 1
    assert set(field.ended) == set(field.begun) >= {0, 1}


async def test_a_failure_begins_the_next_at_once(slow: None) -> None:
    field = Field()
    racing = field.race(2)
    await settle()
    assert field.begun == [0]
    field.outcomes[0].set_exception(SessionEndedError("refused"))
    await settle()
    assert field.begun == [0, 1]
    field.outcomes[1].set_result(1)
    assert await asyncio.wait_for(racing, PATIENCE) == 1


async def test_a_connection_holds_the_next_attempt_up(quick: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "ANSWER_DELAY", 1000.0)
    field = Field()
    racing = field.race(2, reaches=True)
    await asyncio.sleep(0.1)
    assert field.begun == [0]
    field.outcomes[0].set_result(0)
    assert await asyncio.wait_for(racing, PATIENCE) == 0


async def test_one_that_connects_and_says_nothing_is_overtaken_too(
    quick: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "ANSWER_DELAY", 0.05)
    field = Field()
    racing = field.race(2, reaches=True)
    while 1 not in field.outcomes:
        await asyncio.sleep(0.001)
    field.outcomes[1].set_result(1)
    assert await asyncio.wait_for(racing, PATIENCE) == 1


async def test_when_all_fail_every_reason_is_told(quick: None) -> None:
    field, problems = Field(), (OSError("no"), DeadlineError("late"))
    racing = field.race(2)
    await settle()
    for number, problem in enumerate(problems):
        while number not in field.outcomes:
            await asyncio.sleep(0.001)
        field.outcomes[number].set_exception(problem)
    with pytest.raises(RaceLostError) as caught:
        await asyncio.wait_for(racing, PATIENCE)
    assert caught.value.problems == problems


async def test_what_a_loser_makes_all_the_same_is_dropped(slow: None) -> None:
    field = Field()

    async def stubborn(_reached: Callable[[], None]) -> int:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return 7
        return 8

    monkey = [stubborn, field.attempt(1)]
    racing = asyncio.ensure_future(race(monkey, field.dropped.append))
    await settle()
    racing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await racing
    assert field.dropped == [7] and field.begun == []


async def test_what_has_won_when_the_race_is_cancelled_is_dropped(slow: None) -> None:
    field = Field()
    racing = field.race(1)
    await settle()
    field.outcomes[0].set_result(0)
    for _ in range(3):  # the attempt is done; the race has yet to see it
        await asyncio.sleep(0)
    racing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await racing
    assert field.dropped == [0]


async def test_an_error_that_is_no_failure_ends_the_race(slow: None) -> None:
    field = Field()
    racing = field.race(2)
    await settle()
    field.outcomes[0].set_exception(ZeroDivisionError())
    with pytest.raises(ZeroDivisionError):
        await asyncio.wait_for(racing, PATIENCE)
    assert field.begun == [0]


def test_who_was_reached_tells_most() -> None:
    away, late, busy, wrong = SessionEndedError("away"), DeadlineError("late"), BusyError(), HandshakeError()
    assert most_telling([away, late]) is away
    assert most_telling([away, busy]) is busy
    assert most_telling([late, busy, wrong]) is wrong


# ---------------------------------------------------------------- what is remembered


async def test_a_way_of_no_use_goes_behind_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    loop, failed = asyncio.get_running_loop(), FailedAddresses()
    began = loop.time()
    monkeypatch.setattr(loop, "time", lambda: began)
    with pytest.raises(OSError, match="no"), failed.judging("a"):
        raise OSError("no")
    assert failed.order("abc", str) == ["b", "c", "a"]
    monkeypatch.setattr(loop, "time", lambda: began + limits.BAD_WAY_SECONDS + 1)
    assert failed.order("abc", str) == ["a", "b", "c"]


async def test_a_way_of_use_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    failed = FailedAddresses()
    with pytest.raises(BusyError), failed.judging("a"):
        raise BusyError
    with failed.judging("a"):
        pass
    assert failed.order("ab", str) == ["a", "b"]


@pytest.mark.parametrize(("seconds", "bad"), [(0.0, False), (limits.ATTEMPT_DELAY, True)])
async def test_who_is_cancelled_was_of_no_use_unless_it_had_just_begun(
    seconds: float, bad: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop, failed = asyncio.get_running_loop(), FailedAddresses()
    began = loop.time()
    monkeypatch.setattr(loop, "time", lambda: began)
    with pytest.raises(asyncio.CancelledError), failed.judging("a"):
        monkeypatch.setattr(loop, "time", lambda: began + seconds)
        raise asyncio.CancelledError
    assert failed.order("ab", str) == (["b", "a"] if bad else ["a", "b"])


async def test_no_more_than_so_many_are_remembered() -> None:
    failed = FailedAddresses()
    for number in range(limits.BAD_WAYS + 5):
        with pytest.raises(BusyError), failed.judging(number):
            raise BusyError
    assert len(failed._bad) == limits.BAD_WAYS and 0 not in failed._bad
