"""Waiting with a deadline, without losing cancellations."""

from __future__ import annotations

import asyncio
from typing import TypeVar

T = TypeVar("T")


async def within(future: asyncio.Future[T], seconds: float | None) -> T:
    """Return the result of a plain future (not of a task), given up after so many seconds, or when cancelled.

    `asyncio.wait_for` returns the result of a future that is done although its caller has been cancelled (before
    Python 3.12); this never does. Raises asyncio.TimeoutError.
    """
    try:
        done, _ = await asyncio.wait((future,), timeout=seconds)
    finally:
        if not future.cancel() and not future.cancelled():
            future.exception()  # the failure counts as retrieved without a waiter
    if not done:
        raise asyncio.TimeoutError
    return future.result()
