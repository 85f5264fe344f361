"""Whole rooms, each in a process of its own on loopback: throughput, the room's CPU, added latency, memory.

One round each: what counts is in `extra_info`, not in the timing. The clients are ours, whatever the room.
`python -m benchmarks.measure` prints the same figures as a table.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, TypeVar

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks import load, processes
from benchmarks.conftest import Note

SECONDS = 3.0
ATTENDANTS = 1000
T = TypeVar("T")


@pytest.fixture(params=processes.ROOMS)
def room(request: pytest.FixtureRequest) -> Iterator[processes.Room]:
    if (why := processes.why_not(request.param)) is not None:
        pytest.skip(why)
    with processes.room(request.param) as running:
        yield running


def once(benchmark: BenchmarkFixture, work: Callable[[], Awaitable[T]]) -> T:
    """Run `work` in an event loop of its own, as the one round of a benchmark."""

    async def run() -> T:
        return await work()

    timed: Any = benchmark  # its pedantic() has no types
    result: T = timed.pedantic(lambda: asyncio.run(run()), rounds=1)
    return result


def rounded(result: Any) -> dict[str, Any]:
    fields = load.as_dict(result)
    fields.pop("correct", None)
    return {name: round(value, 6) if isinstance(value, float) else value for name, value in fields.items()}


@pytest.mark.benchmark(group="room, bulk")
@pytest.mark.parametrize("item", [32_768, 4096, 256])
def bench_bulk(benchmark: BenchmarkFixture, note: Note, room: processes.Room, item: int) -> None:
    async def work() -> load.Bulk:
        async with load.tunnel(room) as peer:
            await load.bulk(room, peer, item, SECONDS / 4)
            return await load.bulk(room, peer, item, SECONDS)

    with processes.target(room):
        result = once(benchmark, work)
    note(correct=result.correct, room=room.kind, **rounded(result))


@pytest.mark.benchmark(group="room, latency")
def bench_latency(benchmark: BenchmarkFixture, note: Note, room: processes.Room) -> None:
    with processes.target(room) as target:

        async def work() -> load.Latency:
            async with load.tunnel(room) as peer:
                return await load.latency(room, peer, target, SECONDS)

        result = once(benchmark, work)
    note(correct=True, room=room.kind, **rounded(result))


@pytest.mark.benchmark(group="room, sessions")
def bench_sessions(benchmark: BenchmarkFixture, note: Note, room: processes.Room) -> None:
    result = once(benchmark, lambda: load.sessions(room, 300))
    note(correct=True, room=room.kind, **rounded(result))


@pytest.mark.benchmark(group="room, idle attendants")
def bench_announced(benchmark: BenchmarkFixture, note: Note, room: processes.Room) -> None:
    result = once(benchmark, lambda: load.idle(room, ATTENDANTS, "announced"))
    note(correct=result.correct, room=room.kind, **rounded(result))


@pytest.mark.benchmark(group="room, idle subscribers")
def bench_subscribed(benchmark: BenchmarkFixture, note: Note, room: processes.Room) -> None:
    # ssb-room sends the whole list to everybody at each change: 1,000 that join would be 18 GB.
    count = ATTENDANTS if room.kind == "ssbfast" else 200
    result = once(benchmark, lambda: load.idle(room, count, "subscribed"))
    note(correct=result.correct, room=room.kind, **rounded(result))
