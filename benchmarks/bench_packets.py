"""Packet stream: plain bytes to packets (`scan`), and sealed bytes to packets in Python's hands (`receive`).

The native engine scans inside `Link.receive`; `Scanner` is for those who have plain bytes in their hands.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks.baselines import ENGINES, KEY, NONCE, PlainOpener, PlainScanner, new_link, packet, sealed
from benchmarks.conftest import Note
from ssbfast import native, pure

TOTAL = 65_536
SIZES = (64, 256, 1000, 4087)
FLAGS = 0x09
"""A stream item of type text: no inlet waits for it, so that it goes to Python."""

Packets = list[tuple[int, int, bytes]]
Read = Callable[[bytes], Packets]


def packets(size: int) -> Packets:
    return [(FLAGS, 7, hashlib.shake_128(b"%d" % i).digest(size)) for i in range(TOTAL // (size + 9))]


def cases(group: str, makers: dict[str, Callable[[], Read]]) -> list[Any]:
    return [
        pytest.param(make, size, id=f"{size}-{name}", marks=pytest.mark.benchmark(group=f"{group} {size}"))
        for size in SIZES
        for name, make in makers.items()
    ]


def _by_engine(name: str) -> Callable[[], Read]:
    def make() -> Read:
        engine: Any = ENGINES[name]
        link = new_link(engine, engine.Hub(4 << 20))

        def read(wire: bytes) -> Packets:
            found: list[tuple[int, int, int, bytes]] = []
            status, events = link.receive(bytearray(wire))
            found += events
            while status is native.Status.AGAIN:
                status, events = link.proceed()
                found += events
            return [event[1:] for event in found]

        return read

    return make


def _by_pynacl() -> Read:
    opener, scanner = PlainOpener(KEY, NONCE), PlainScanner()
    return lambda wire: scanner.feed(b"".join(opener.open(wire)))


SCANNERS: dict[str, Callable[[], Read]] = {
    "ssbfast": lambda: native.Scanner(native.CoreLimits()).feed,
    "pure": lambda: pure.Scanner(pure.CoreLimits()).feed,
    "plain": lambda: PlainScanner().feed,
}
RECEIVERS: dict[str, Callable[[], Read]] = {
    **{name: _by_engine(name) for name in ENGINES},
    "pynacl": _by_pynacl,
}


@pytest.mark.parametrize(("make", "size"), cases("scan", SCANNERS))
def bench_scan(benchmark: BenchmarkFixture, note: Note, make: Callable[[], Read], size: int) -> None:
    expected = packets(size)
    plain = b"".join(packet(*each) for each in expected)
    feed = make()
    correct = feed(plain) == expected
    note(correct=correct)
    benchmark(feed, plain)
    note(correct=correct, nbytes=len(plain), packets=len(expected), sizes=str(size))


@pytest.mark.parametrize(("make", "size"), cases("receive", RECEIVERS))
def bench_receive(benchmark: BenchmarkFixture, note: Note, make: Callable[[], Read], size: int) -> None:
    expected = packets(size)
    wire = sealed([packet(*each) for each in expected])
    correct = make()(wire) == expected
    note(correct=correct)

    def fresh() -> tuple[tuple[Read, bytes], dict[str, Any]]:
        return (make(), wire), {}

    timed: Any = benchmark  # its pedantic() has no types
    timed.pedantic(lambda read, data: read(data), setup=fresh, rounds=100, warmup_rounds=3)
    note(correct=correct, nbytes=size * len(expected), packets=len(expected), sizes=str(size))
