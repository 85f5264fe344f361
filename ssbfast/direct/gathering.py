"""Make and gather attempts for one end of a session, one of them in advance.

A target knows that an offer may come as soon as its session is open. It asks its reflectors then, and not while the
caller waits for its answer. What was prepared and is not wanted within `PREPARED_SECONDS` is closed: NATs forget. It is
closed earlier when another attempt needs its place.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from ssbfast import limits
from ssbfast.errors import SSBError

if TYPE_CHECKING:
    from ssbfast.direct.hole_punch import Attempt
    from ssbfast.wire.direct.punch.candidates import Candidates


class NextAttempt:
    """Prepared attempts of one end. make: a fresh attempt."""

    def __init__(self, make: Callable[[], Attempt]) -> None:
        self._loop = asyncio.get_running_loop()
        self._make = make
        self._ready: tuple[Attempt, asyncio.Task[Candidates]] | None = None
        self._timer: asyncio.TimerHandle | None = None

    def begin(self) -> None:
        """Prepare an attempt, which will probably be wanted soon."""
        self.close()
        attempt = self._make()
        task = self._loop.create_task(attempt.gather(spare=True))
        task.add_done_callback(_retrieve)
        self._ready = attempt, task
        self._timer = self._loop.call_later(limits.PREPARED_SECONDS, self.close)

    async def take(self) -> tuple[Attempt, Candidates]:
        """Return a fresh attempt, and where it can be reached; closing it is the receiver's business.

        Raises PunchError, MissingExtraError as `Attempt.gather` does.
        """
        ready, self._ready = self._ready, None
        self._stop_timer()
        if ready is None or ready[0].is_closed:  # given up, or there was no place for it
            ready = None
        attempt, task = ready or (self._make(), None)
        attempt.claim()
        try:
            return attempt, await (task or attempt.gather())
        except BaseException:
            attempt.close()
            raise

    def close(self) -> None:
        """Drop what is prepared."""
        ready, self._ready = self._ready, None
        self._stop_timer()
        if ready is not None:
            attempt, task = ready
            task.cancel()
            attempt.close()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def _retrieve(task: asyncio.Task[Candidates]) -> None:
    """Retrieve a failure that nothing waits for."""
    if not task.cancelled() and not isinstance(task.exception(), SSBError | None):
        task.get_loop().call_exception_handler(
            {"message": "an attempt could not gather", "exception": task.exception()}
        )
