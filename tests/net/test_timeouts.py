"""Waiting with a deadline."""

from __future__ import annotations

import asyncio
import gc

import pytest

from ssbfast.errors import RemoteError
from ssbfast.net.timeouts import run_within, within


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


async def test_a_coroutine_s_result_error_and_deadline() -> None:
    dropped: list[int] = []

    async def work(value: int | Exception | None) -> int:
        await asyncio.sleep(0)
        if isinstance(value, Exception):
            raise value
        if value is None:
            await fresh()
        return value or 0

    assert await run_within(work(7), None, dropped.append) == 7
    with pytest.raises(RemoteError):
        await run_within(work(RemoteError("no")), 10, dropped.append)
    with pytest.raises(asyncio.TimeoutError):
        await run_within(work(None), 0.01, dropped.append)
    assert dropped == []


@pytest.mark.parametrize("outcome", ["result", "error", "nothing", "a result in spite of it"])
async def test_a_coroutine_s_caller_loses_no_cancellation(outcome: str) -> None:
    """What has been made by then is dropped; and nothing is complained about afterwards."""
    complaints: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: complaints.append(context))
    future, dropped = fresh(), []

    async def work() -> int:
        try:
            return await future
        except asyncio.CancelledError:
            if outcome == "a result in spite of it":
                return 2
            raise

    waiting = asyncio.ensure_future(run_within(work(), 10, dropped.append))
    for _ in range(3):
        await asyncio.sleep(0)
    if outcome == "result":
        future.set_result(1)
        await asyncio.sleep(0)
    elif outcome == "error":
        future.set_exception(RemoteError("no"))
        await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert dropped == {"result": [1], "a result in spite of it": [2]}.get(outcome, [])
    del waiting
    gc.collect()
    assert complaints == []
