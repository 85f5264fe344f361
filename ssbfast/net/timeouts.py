"""Waiting with a deadline, without losing cancellations."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

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
            future.exception()  # counts as retrieved: a failure that nothing awaits is no error
    if not done:
        raise asyncio.TimeoutError
    return future.result()


async def run_within(work: Coroutine[Any, Any, T], seconds: float | None, drop: Callable[[T], object]) -> T:
    """Return the result of a coroutine, cancelled after so many seconds, or when its caller is.

    drop: gets a result that comes all the same. Loses no cancellation either. Raises asyncio.TimeoutError.
    """
    task, is_done = asyncio.ensure_future(work), False
    try:
        await asyncio.wait((task,), timeout=seconds)
        is_done = task.done()
    finally:
        if not is_done:
            task.add_done_callback(lambda ended: ended.cancelled() or ended.exception() or drop(ended.result()))
            task.cancel()
            await asyncio.wait((task,))
    if not is_done:
        raise asyncio.TimeoutError
    return task.result()
