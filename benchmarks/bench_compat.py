"""The rows of `benchmarks.compat` one by one, for `pytest benchmarks -k compat`: the old API beside ours.

SSBFAST_PEERS names a directory with the originals (see `compat.py`); without it, ours run alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from functools import partial

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks.compat import CALLS, SIZES, Calls, Ends, plain_texts, readers, stacks, writers
from benchmarks.conftest import Note

STACKS = stacks()
CONTENDERS = [*STACKS, "native", "pure", "batched"]

by_size = pytest.mark.parametrize("size", SIZES)
by_contender = pytest.mark.parametrize("name", CONTENDERS)
by_stack = pytest.mark.parametrize("name", list(STACKS))


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    made = asyncio.new_event_loop()
    yield made
    made.close()


@pytest.mark.benchmark(group="compat write")
@by_contender
@by_size
def bench_write(benchmark: BenchmarkFixture, note: Note, name: str, size: int) -> None:
    plains = plain_texts(size)
    work = writers(STACKS, plains)[name]
    correct = work() == len(plains) * (size + 34)
    note(correct=correct)
    benchmark(work)
    note(correct=correct, nbytes=len(plains) * size)


@pytest.mark.benchmark(group="compat read")
@by_contender
@by_size
def bench_read(benchmark: BenchmarkFixture, note: Note, loop: asyncio.AbstractEventLoop, name: str, size: int) -> None:
    plains = plain_texts(size)
    work = readers(STACKS, plains, loop)[name]
    correct = work() == len(plains) * size
    note(correct=correct)
    benchmark(work)
    note(correct=correct, nbytes=len(plains) * size)


@pytest.mark.benchmark(group="compat tcp")
@by_stack
@by_size
def bench_tcp(benchmark: BenchmarkFixture, note: Note, loop: asyncio.AbstractEventLoop, name: str, size: int) -> None:
    ends, count = Ends(STACKS[name]), (1 << 20) // size
    loop.run_until_complete(ends.listen())
    loop.run_until_complete(ends.open())
    send = partial(ends.send, bytes(size), count)
    correct = loop.run_until_complete(send()) == count * size
    note(correct=correct)
    benchmark(lambda: loop.run_until_complete(send()))
    note(correct=correct, nbytes=count * size)


@pytest.mark.benchmark(group="compat handshakes")
@by_stack
def bench_handshake(benchmark: BenchmarkFixture, note: Note, loop: asyncio.AbstractEventLoop, name: str) -> None:
    ends = Ends(STACKS[name])
    loop.run_until_complete(ends.listen())
    correct = loop.run_until_complete(ends.shake()) == 1
    note(correct=correct)
    benchmark(lambda: loop.run_until_complete(ends.shake()))
    note(correct=correct)


@pytest.mark.benchmark(group=f"compat rpc ({CALLS} a round)")
@pytest.mark.parametrize("what", ["sequential", "in_flight", "source"])
@pytest.mark.parametrize("name", [name for name, stack in STACKS.items() if stack.muxrpc is not None])
def bench_rpc(benchmark: BenchmarkFixture, note: Note, loop: asyncio.AbstractEventLoop, name: str, what: str) -> None:
    ends = Calls(STACKS[name])
    loop.run_until_complete(ends.start())
    correct = loop.run_until_complete(getattr(ends, what)()) == CALLS
    note(correct=correct)
    benchmark(lambda: loop.run_until_complete(getattr(ends, what)()))
    note(correct=correct, calls=CALLS)
    loop.run_until_complete(ends.stop())
