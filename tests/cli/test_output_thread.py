"""What is written in a thread: never late for the one who writes, never without a word about what is missing."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from ssbfast.cli.output_thread import Writer

PATIENCE = 60.0


class Pipe:
    """A pipe of 64 KiB at the most, full from the beginning if wanted."""

    def __init__(self) -> None:
        self.reader, self.writer = os.pipe()

    def fill(self) -> int:
        """Until not a byte more goes in; how many there are."""
        os.set_blocking(self.writer, False)
        full = 0
        with contextlib.suppress(BlockingIOError):
            while True:
                full += os.write(self.writer, b"x")
        os.set_blocking(self.writer, True)
        return full

    def read(self, n: int) -> bytes:
        """Exactly n bytes."""
        found = b""
        while len(found) < n:
            found += os.read(self.reader, n - len(found))
        return found

    def read_until(self, text: bytes) -> bytes:
        found = b""
        while text not in found:
            found += os.read(self.reader, 65_536)
        return found


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    made = Pipe()
    yield made
    for fd in (made.reader, made.writer):
        with contextlib.suppress(OSError):
            os.close(fd)


def missing(n: int) -> bytes:
    return b"missing %d\n" % n


def numbers(text: bytes) -> tuple[list[int], int]:
    """The lines that came, and how many are said to be missing."""
    lines = text.splitlines()
    lost = [int(line.split()[1]) for line in lines if line.startswith(b"missing")]
    return [int(line) for line in lines if not line.startswith(b"missing")], sum(lost)


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def test_what_does_not_fit_is_counted_and_told_once_there_is_room(pipe: Pipe) -> None:
    """Without anything more being written."""
    full = pipe.fill()
    writer = Writer(pipe.writer, name="test", missing=missing, backlog=100)
    for number in range(1000):
        writer.put(b"%d\n" % number)
    pipe.read(full)
    came, lost = numbers(pipe.read_until(b"missing"))
    assert came == list(range(len(came)))
    assert 0 < lost == 1000 - len(came)
    writer.put(b"7\n")
    assert pipe.read(2) == b"7\n"
    writer.close(PATIENCE)


def test_one_line_longer_than_the_backlog_is_written(pipe: Pipe) -> None:
    writer = Writer(pipe.writer, name="test", missing=missing, backlog=100)
    writer.put(b"x" * 5000 + b"\n")
    assert pipe.read(5001).endswith(b"x\n")
    writer.close(PATIENCE)


def test_the_end_waits_for_a_slow_reader_no_longer_than_it_is_told(pipe: Pipe) -> None:
    pipe.fill()
    writer = Writer(pipe.writer, name="test", missing=missing)
    writer.put(b"never read\n")
    began = time.monotonic()
    writer.close(0.1)
    assert time.monotonic() - began < PATIENCE / 2
    writer.put(b"after the end\n")  # and this goes nowhere


def test_nothing_is_lost_at_the_end(pipe: Pipe) -> None:
    writer = Writer(pipe.writer, name="test", missing=missing)
    for number in range(100):
        writer.put(b"%d\n" % number)
    writer.close(PATIENCE)
    os.close(pipe.writer)
    assert numbers(os.read(pipe.reader, 65_536)) == (list(range(100)), 0)


async def test_a_list_waits_for_its_reader(pipe: Pipe) -> None:
    """All of it comes, although it is longer than what may wait."""
    pipe.fill()
    writer = Writer(pipe.writer, name="test", missing=missing, backlog=1000)
    lines = [b"%d\n" % number for number in range(20_000)]
    putting = asyncio.ensure_future(writer.put_all(lines))
    await asyncio.sleep(0.1)
    assert not putting.done()
    loop = asyncio.get_running_loop()
    text = await loop.run_in_executor(None, pipe.read_until, b"19999\n")
    await putting
    assert numbers(text.lstrip(b"x")) == (list(range(20_000)), 0)
    writer.close(PATIENCE)


async def test_a_list_for_nobody_ends(pipe: Pipe) -> None:
    os.close(pipe.reader)
    broken = threading.Event()
    writer = Writer(pipe.writer, name="test", missing=missing, on_broken=broken.set, backlog=100)
    await asyncio.wait_for(writer.put_all([b"%d\n" % number for number in range(5000)]), PATIENCE)
    assert broken.is_set()
    pipe.reader = os.open(os.devnull, os.O_RDONLY)


def test_a_pipe_that_does_not_block_is_no_broken_one(pipe: Pipe) -> None:
    """Another process that shares it may have made it so."""
    full = pipe.fill()
    os.set_blocking(pipe.writer, False)
    ended: list[str] = []
    writer = Writer(
        pipe.writer,
        name="test",
        missing=missing,
        on_broken=lambda: ended.append("broken"),
        on_failed=lambda _: ended.append("failed"),
    )
    writer.put(b"1\n")
    pipe.read(full)
    assert pipe.read(2) == b"1\n"
    writer.close(PATIENCE)
    assert ended == []


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EDQUOT])
def test_a_full_disk_costs_lines_and_not_the_program(pipe: Pipe, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """One word about it, and later how many lines are missing, once some can be written again."""
    write, is_full = os.write, True

    def full(fd: int, data: bytes) -> int:
        if fd == pipe.writer and is_full:
            raise OSError(number, os.strerror(number))
        return write(fd, data)

    monkeypatch.setattr(os, "write", full)
    failures: list[OSError] = []
    broken: list[int] = []
    writer = Writer(
        pipe.writer, name="test", missing=missing, on_failed=failures.append, on_broken=lambda: broken.append(1)
    )
    for line in range(50):
        writer.put(b"%d\n" % line)
        until(lambda: writer.is_idle)
    is_full = False
    writer.put(b"50\n")
    writer.close(PATIENCE)
    assert os.read(pipe.reader, 1000) == b"missing 50\n50\n"
    assert [error.errno for error in failures] == [number] and broken == []


def test_a_line_that_is_cut_off_by_a_full_disk_stays_alone(pipe: Pipe, monkeypatch: pytest.MonkeyPatch) -> None:
    write, steps = os.write, iter([3, errno.ENOSPC])

    def partly(fd: int, data: bytes) -> int:
        step = next(steps, None) if fd == pipe.writer else None
        if step == errno.ENOSPC:
            raise OSError(step, os.strerror(step))
        return write(fd, data if step is None else data[:step])

    monkeypatch.setattr(os, "write", partly)
    writer = Writer(pipe.writer, name="test", missing=missing)
    writer.put(b"torn off\n")
    until(lambda: writer.is_idle)
    writer.put(b"whole\n")
    writer.close(PATIENCE)
    assert os.read(pipe.reader, 1000) == b"tor\nmissing 1\nwhole\n"


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")
def test_a_signal_comes_through_while_nobody_reads(pipe: Pipe) -> None:
    pipe.fill()
    writer = Writer(pipe.writer, name="test", missing=missing)
    for _ in range(10):
        writer.put(b"nobody reads this\n")
    came: list[int] = []
    before = signal.signal(signal.SIGUSR1, lambda number, _frame: came.append(number))
    try:
        os.kill(os.getpid(), signal.SIGUSR1)
        assert came == [signal.SIGUSR1]
    finally:
        signal.signal(signal.SIGUSR1, before)
        writer.close(0)
