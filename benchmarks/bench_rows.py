"""A group for each row of the report, measured once and briefly: what counts is in `extra_info`, not in the timing."""

from __future__ import annotations

from typing import Any

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks.conftest import Note
from benchmarks.measured import QUICK, Measured
from benchmarks.results import MEASURES
from benchmarks.targets import ROWS, Row


def cases() -> list[Any]:
    return [pytest.param(row, id=row.name, marks=pytest.mark.benchmark(group=row.name)) for row in ROWS]


@pytest.mark.parametrize("row", cases())
def bench_row(benchmark: BenchmarkFixture, note: Note, row: Row) -> None:
    found: list[Measured] = []
    timed: Any = benchmark  # its pedantic() has no types
    timed.pedantic(lambda: found.extend(MEASURES[row](QUICK)), rounds=1)
    figures = {
        f"{one.case}, {one.who}": {
            "ours": one.ours,
            "baseline": one.baseline,
            "ratio": one.ratio,
            "target": str(one.target or ""),
        }
        for one in found
    }
    note(correct=True, baseline=row.baseline, figures=figures, absent=QUICK.absent)  # a wrong answer would have raised
