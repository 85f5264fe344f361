"""Several ways to the same end, tried one beside the other: a dead one costs a quarter of a second.

Each attempt begins `ATTEMPT_DELAY` after the one before, or at once when those before have failed; the first that
succeeds wins, and the others are cancelled. An attempt that has a connection, and only waits for what the other end
says, holds the next one up for `ANSWER_DELAY`.

Spec: RFC 8305 ("happy eyeballs"), section 5; the second delay is ours.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Final, Generic, TypeAlias, TypeVar

from ssbfast import limits
from ssbfast.errors import BusyError, DeadlineError, SessionEndedError, SSBError

T = TypeVar("T")
K = TypeVar("K")

Attempt: TypeAlias = Callable[[Callable[[], None]], Awaitable[T]]
"""Gets what to call once there is a connection."""

FAILURES: Final = (SSBError, OSError, UnicodeError)
"""What an attempt may fail with; anything else ends the race."""


_OVERTAKEN: Final = 0.8
"""Of `ATTEMPT_DELAY`: an attempt that was under way for longer was not the last to begin. Clocks are uneven."""


class RaceLostError(Exception):
    """A failure of every attempt. problems: why, in the order of the attempts; never empty."""

    def __init__(self, problems: Sequence[Exception]) -> None:
        super().__init__("every attempt has failed")
        self.problems = tuple(problems)


async def race(attempts: Sequence[Attempt[T]], drop: Callable[[T], None]) -> T:
    """Return what the first attempt to succeed has made.

    drop: gets what others have made all the same. Raises RaceLostError. When cancelled it cancels all.
    """
    return await _Race(attempts, drop).run()


class _Race(Generic[T]):
    def __init__(self, attempts: Sequence[Attempt[T]], drop: Callable[[T], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._waiting = list(enumerate(attempts))
        self._drop = drop
        self._running: dict[asyncio.Future[T], int] = {}
        self._problems: dict[int, Exception] = {}
        self._next_at = self._loop.time()

    async def run(self) -> T:
        try:
            winner = await self._winner()
        except BaseException:
            await self._stop()
            raise
        try:
            await self._stop()
        except BaseException:
            self._drop(winner)
            raise
        return winner

    async def _winner(self) -> T:
        while self._waiting or self._running:
            now = self._loop.time()
            if self._waiting and (now >= self._next_at or not self._running):
                self._start(now)
            pause = max(0.0, self._next_at - now) if self._waiting else None
            done, _ = await asyncio.wait(self._running, timeout=pause, return_when=asyncio.FIRST_COMPLETED)
            for task in sorted(done, key=self._running.__getitem__):
                if self._has_won(task):
                    del self._running[task]
                    return task.result()
        raise RaceLostError([self._problems[number] for number in sorted(self._problems)])

    def _start(self, now: float) -> None:
        number, attempt = self._waiting.pop(0)
        self._next_at = now + limits.ATTEMPT_DELAY
        self._running[asyncio.ensure_future(attempt(self._reached))] = number

    def _reached(self) -> None:
        self._next_at = max(self._next_at, self._loop.time() + limits.ANSWER_DELAY)

    def _has_won(self, task: asyncio.Future[T]) -> bool:
        """Return whether an attempt has succeeded; of a failed one only its problem is kept."""
        problem = task.exception()
        if problem is None:
            return True
        number = self._running.pop(task)
        if not isinstance(problem, FAILURES):
            raise problem
        self._problems[number] = problem
        self._next_at = self._loop.time()
        return False

    async def _stop(self) -> None:
        for task in self._running:
            task.add_done_callback(self._lost)
            task.cancel()
        if self._running:
            await asyncio.wait(self._running)

    def _lost(self, task: asyncio.Future[T]) -> None:
        if not task.cancelled() and task.exception() is None:
            self._drop(task.result())


def most_telling(problems: Sequence[Exception]) -> Exception:
    """Return the problem that tells most: a refusal before a busy peer, and that before one that was not reached."""

    def silence(problem: Exception) -> int:
        if isinstance(problem, BusyError):
            return 1
        return 2 if isinstance(problem, DeadlineError | SessionEndedError) else 0

    return min(problems, key=silence)


class FailedAddresses:
    """Memory of the addresses that were of no use lately: they are tried last for `BAD_WAY_SECONDS`.

    A key names a way to the other end, for example (host, port).
    """

    def __init__(self) -> None:
        self._bad: dict[object, float] = {}

    def order(self, ways: Sequence[K], key: Callable[[K], object]) -> list[K]:
        """Return the addresses as given, those that did not work lately last."""
        now = asyncio.get_running_loop().time()
        return sorted(ways, key=lambda way: self._bad.get(key(way), 0.0) > now)

    @contextlib.contextmanager
    def judging(self, key: object) -> Iterator[None]:
        """Note how an attempt ends. One that is overtaken counts as failed, unless it had just begun."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        try:
            yield
        except asyncio.CancelledError:
            if loop.time() - began >= _OVERTAKEN * limits.ATTEMPT_DELAY:
                self._note(key, loop.time())
            raise
        except FAILURES:
            self._note(key, loop.time())
            raise
        self._bad.pop(key, None)

    def _note(self, key: object, now: float) -> None:
        self._bad.pop(key, None)
        self._bad[key] = now + limits.BAD_WAY_SECONDS
        if len(self._bad) > limits.BAD_WAYS:
            del self._bad[next(iter(self._bad))]
