"""What all benchmarks share: notes on the machine, and one way to write down a result."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks.baselines import environment

Note = Callable[..., None]


@pytest.fixture
def note(benchmark: BenchmarkFixture) -> Note:
    """note(nbytes=…, correct=…, …): extra_info for the report; with nbytes (of one round) also MB/s, if timed."""

    def write(*, correct: bool, nbytes: int = 0, **more: Any) -> None:
        benchmark.extra_info.update(environment(), correct=correct, **more)
        assert correct, "the answer is wrong: nothing is to be timed"
        if nbytes:
            benchmark.extra_info["bytes"] = nbytes
            if benchmark.stats is not None:
                benchmark.extra_info["mb_per_s"] = round(nbytes / benchmark.stats.stats.median / 1e6, 2)

    return write
