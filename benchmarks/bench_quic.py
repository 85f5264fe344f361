"""CPU a byte of QUIC by several libraries (`quic/contest.py`); `python -m benchmarks.bench_quic` prints a table."""

from __future__ import annotations

import statistics
import sys
from typing import Any

import pytest

if sys.version_info < (3, 11):
    pytest.skip("aioquic needs Python 3.11: there are no direct paths", allow_module_level=True)

from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks.conftest import Note
from benchmarks.quic.contest import PAIRS, Cost, Pair, available, main


def cases() -> list[Any]:
    return [pytest.param(pair, id=pair.name) for pair in PAIRS]


@pytest.mark.parametrize("pair", cases())
@pytest.mark.benchmark(group="QUIC")
def bench_quic(benchmark: BenchmarkFixture, note: Note, pair: Pair) -> None:
    if pair not in available()[0]:
        pytest.skip(f"{pair.peer} is not there")
    found: list[Cost] = []
    timed: Any = benchmark  # its pedantic() has no types
    timed.pedantic(lambda: found.append(pair.run(0.2)), rounds=3)
    note(
        correct=True,  # a wrong answer would have raised
        about=pair.about,
        receiver_cpu_ns_per_byte=round(statistics.median(cost.receiver for cost in found), 2),
        sender_cpu_ns_per_byte=round(statistics.median(cost.sender for cost in found), 2),
    )


if __name__ == "__main__":
    main()
