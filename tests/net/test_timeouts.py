"""Waiting with a deadline."""

from __future__ import annotations

import asyncio
import gc

import pytest

from ssbfast.errors import RemoteError
from ssbfast.net.timeouts import within


def fresh() -> asyncio.Future[int]:
    return asyncio.get_running_loop().create_future()


async def test_result_error_and_deadline() -> None:
    future = fresh()
    asyncio.get_running_loop().call_soon(future.set_result, 7)
    assert await within(future, None) == 7
    future = fresh()
    asyncio.get_running_loop().call_soon(future.set_exception, RemoteError("no"))
    with pytest.raises(RemoteError):
        await within(future, 10)
    future = fresh()
    with pytest.raises(asyncio.TimeoutError):
        await within(future, 0.01)
    assert future.cancelled()


@pytest.mark.parametrize("outcome", ["result", "error", "nothing"])
async def test_a_cancellation_is_never_lost(outcome: str) -> None:
    """Also not in the very moment in which the result comes; and nothing is complained about afterwards."""
    complaints: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: complaints.append(context))
    future = fresh()
    waiting = asyncio.ensure_future(within(future, 10))
    await asyncio.sleep(0)
    if outcome == "result":
        future.set_result(1)
    elif outcome == "error":
        future.set_exception(RemoteError("no"))
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert future.done()
    del future, waiting
    gc.collect()
    assert complaints == []
