"""Time that was slept away does not count, whoever asks first after it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from ssbfast import limits
from ssbfast.net.sleep_detector import AwakeClock, awake_clock


class FakeLoop(asyncio.AbstractEventLoop):
    """Its time is set; timers run when they are due."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.timers: list[tuple[float, Callable[[], object]]] = []

    def time(self) -> float:
        return self.now

    def call_later(self, delay: float, callback: Callable[..., object], *args: object, **_how: object) -> object:  # type: ignore[override]
        self.timers.append((self.now + delay, callback))
        return object()

    def run(self, seconds: float, *, asleep: bool = False) -> None:
        """Let time pass; asleep: what is due runs at the end only."""
        until = self.now + seconds
        if asleep:
            self.now = until
        while due := sorted((timer for timer in self.timers if timer[0] <= until), key=lambda timer: timer[0])[:1]:
            self.timers.remove(due[0])
            self.now = max(self.now, due[0][0])
            due[0][1]()
        self.now = until


@pytest.mark.parametrize("asked_first", [True, False])
def test_a_sleep_does_not_count(asked_first: bool) -> None:
    loop = FakeLoop()
    clock = AwakeClock(loop)
    began = clock.time()
    loop.run(30.0)
    assert clock.time() - began == 30.0
    loop.now += 600.0
    if asked_first:  # before the heart has had its turn
        assert clock.time() - began == pytest.approx(30.0, abs=limits.HEARTBEAT_SECONDS)
    loop.run(0.0)
    loop.run(10.0)
    assert clock.time() - began == pytest.approx(40.0, abs=limits.HEARTBEAT_SECONDS)
    at = clock.time() + 5.0
    assert clock.loop_time(at) == pytest.approx(loop.now + 5.0)


def test_a_busy_loop_does_not_sleep() -> None:
    loop = FakeLoop()
    clock = AwakeClock(loop)
    began = clock.time()
    for _ in range(10):
        loop.run(limits.SLEEP_NOTICED_SECONDS - 0.5, asleep=True)
    assert clock.time() - began == loop.now - 1000.0


def test_the_heart_stops_when_nobody_asks_any_more_and_that_is_no_sleep() -> None:
    loop = FakeLoop()
    clock = AwakeClock(loop)
    began = clock.time()
    loop.run(limits.UPGRADE_MAX + 10.0)
    assert loop.timers == []
    loop.run(1000.0)
    assert clock.time() - began == limits.UPGRADE_MAX + 1010.0
    assert len(loop.timers) == 1


async def test_one_for_each_loop() -> None:
    assert awake_clock() is awake_clock()
