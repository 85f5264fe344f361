"""What the soak calls a leak, and that its room tells what it asks for."""

from __future__ import annotations

import pytest

from benchmarks.soak import Done, Figures, running

pytest.importorskip("uvicorn")

BASE = Figures(memory=50_000_000, files=20, tasks=10, threads=4)


@pytest.mark.parametrize(
    ("end", "over"),
    [
        (BASE, []),
        (Figures(52_500_000, 21, 10, 4), []),
        (Figures(52_600_000, 20, 10, 4), ["memory"]),
        (Figures(40_000_000, 22, 11, 5), ["files", "tasks", "threads"]),
    ],
)
def test_five_percent(end: Figures, over: list[str]) -> None:
    assert end.over(BASE) == over


def test_failures_are_counted_by_kind() -> None:
    done = Done()
    for error in (OSError(), OSError(), ValueError()):
        done.fail("join", error)
    assert done.failed == {"join: OSError": 2, "join: ValueError": 1}


@pytest.mark.slow
async def test_its_room() -> None:
    async with running() as room:
        found = await room.figures()
    assert found.memory > 10_000_000 and found.files > 5 and found.tasks > 3 and found.threads > 1
