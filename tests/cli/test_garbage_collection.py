"""When a room gives memory back, and when Python looks for all garbage: each look is made by hand here."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator

import pytest

from ssbfast import limits
from ssbfast.cli import garbage_collection as tidying
from ssbfast.cli.garbage_collection import Tidier

MiB = 1 << 20


class World:
    """there: sessions and tunnels. resident: bytes. did: what was done."""

    def __init__(self) -> None:
        self.there = 0
        self.resident = 30 * MiB
        self.did: list[str] = []


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    found = World()
    monkeypatch.setattr(tidying, "resident", lambda: found.resident)
    monkeypatch.setattr(tidying, "give_back", lambda: found.did.append("give back"))
    return found


@contextlib.contextmanager
def started(world: World, monkeypatch: pytest.MonkeyPatch) -> Iterator[Tidier]:
    """Full collections are only counted."""
    with contextlib.closing(Tidier(lambda: world.there)) as tidier:
        tidier.start()
        monkeypatch.setattr(gc, "collect", lambda: world.did.append("collect"))
        yield tidier


async def test_memory_goes_back_when_a_burst_is_over(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    with started(world, monkeypatch) as tidier:
        for resident in (34, 38, 42):  # it still grows
            world.resident = resident * MiB
            tidier._look()
            assert world.did == []
        tidier._look()
        assert world.did == ["collect", "give back"]
        tidier._look()  # what stays is in use
        assert world.did == ["collect", "give back"]


async def test_while_there_is_work_it_waits(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    used = [0.0]
    monkeypatch.setattr(tidying.time, "process_time", lambda: used[0])
    with started(world, monkeypatch) as tidier:
        world.resident += 10 * MiB
        for _ in range(5):
            used[0] += limits.TIDY_CALM * limits.TIDY_SECONDS
            tidier._look()
        assert world.did == []
        tidier._look()
        assert world.did == ["collect", "give back"]


async def test_a_little_growth_is_left_alone(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    with started(world, monkeypatch) as tidier:
        world.resident += limits.TIDY_BYTES
        tidier._look()
        tidier._look()
        assert world.did == []


async def test_with_many_there_a_burst_costs_nobody_a_pause(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.there = limits.TIDY_FEW + 1
    with started(world, monkeypatch) as tidier:
        world.resident += 10 * MiB
        tidier._look()
        tidier._look()
        assert world.did == ["give back"]


async def test_all_garbage_is_looked_for_when_a_crowd_has_left(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.there = 5_000
    with started(world, monkeypatch) as tidier:
        tidier._look()
        world.there = 2_400
        tidier._look()
        assert world.did == ["collect", "give back"]


async def test_the_collector_is_as_it_was_afterwards() -> None:
    before = gc.get_threshold()
    with contextlib.closing(Tidier(lambda: 0)) as tidier:
        tidier.start()
        assert gc.get_threshold() != before
    assert gc.get_threshold() == before


def test_the_system_tells_how_much_memory_there_is() -> None:
    assert tidying.resident() == 0 or 5 * MiB < tidying.resident() < 2000 * MiB
