"""The engine against aioquic, and against itself, over networks that lose, delay, double and reorder.

SSBFAST_QUIC_SCHEDULES: how many random schedules each pair of ends is tried with; 3,400 make 10,000 in all, which takes
about a quarter of an hour. A schedule that fails is named by its seed.
"""

from __future__ import annotations

import os
import random
import sys
from typing import Any

import pytest

if sys.version_info < (3, 11):
    pytest.skip("aioquic needs Python 3.11: there are no direct paths", allow_module_level=True)
pytest.importorskip("ssbfast.native.core", reason="the C core is not built")

from tests.helpers.quic_world import (
    CALLER,
    SECOND,
    TARGET,
    AioquicEnd,
    Direction,
    EngineEnd,
    Network,
    World,
    digest,
    text,
)

SCHEDULES = int(os.environ.get("SSBFAST_QUIC_SCHEDULES", "40"))
DAY = 86_400 * SECOND
AT_ONCE = 100
"""Schedules in one test: they take some seconds."""
PAIRS = {"caller": (CALLER,), "target": (TARGET,), "both": (CALLER, TARGET)}
"""Ends that are the engine's; the other one is aioquic's."""


def random_direction(choose: random.Random) -> Direction:
    delay = choose.choice((500, 5_000, 20_000, 100_000, 200_000))
    return Direction(
        loss=choose.choice((0.0, 0.0, 0.01, 0.05, 0.1, 0.3)),
        delay=delay,
        jitter=choose.choice((0, 0, delay // 10, delay)),
        twice=choose.choice((0.0, 0.0, 0.05, 0.3)),
        rate=choose.choice((0.0, 0.0, 0.5, 5.0)),
        queue=choose.choice((10_000, 100_000, 1_000_000)),
        longest=choose.choice((65_535, 65_535, 1_450, 1_400)),
    )


class Schedule:
    """One random run: streams of both ends, key updates and datagrams in between."""

    def __init__(self, seed: str, roles: tuple[int, ...]) -> None:
        self.choose = choose = random.Random(seed)
        self.world = World(seed, Network(random_direction(choose), random_direction(choose)))
        self.world.take_over(*roles)
        self.world.grouping = choose.random() < 0.5
        self.sent: list[tuple[Any, Any, int, bytes]] = []
        self.datagrams: list[tuple[Any, list[bytes]]] = []

    def open(self) -> None:
        for role, end in enumerate(self.world.ends):
            for _ in range(self.choose.randrange(1, 4)):
                stream = end.open(uni=self.choose.random() < 0.3)
                data = text(len(self.sent), self.choose.choice((0, 1, 1_000, 30_000, 120_000)))
                end.write(stream, data, end=True)
                self.sent.append((end, self.world.ends[1 - role], stream, data))

    def answer(self) -> None:
        """End the other side of streams that go both ways."""
        for end, other, stream, _ in list(self.sent):
            if stream & 2 == 0 and stream in other.got | dict.fromkeys(other.ended):
                data = text(1_000 + stream, 2_000)
                other.write(stream, data, end=True)
                self.sent.append((other, end, stream, data))

    def disturb(self) -> None:
        for end in self.world.ends:
            if isinstance(end, AioquicEnd) and self.choose.random() < 0.5:
                end.update_keys()

    def done(self) -> bool:
        return all(stream in other.ended for _, other, stream, _ in self.sent)

    def run(self) -> None:
        self.open()
        for _ in range(self.choose.randrange(4)):
            self.world.run(self.choose.randrange(1, 300_000))
            self.disturb()
        assert self.world.run(DAY, self.done), "not all has come"
        self.answer()
        assert self.world.run(DAY, self.done), "not all answers have come"
        for _, other, stream, data in self.sent:
            assert digest(other.got.get(stream, b"")) == digest(data)
        assert not any(end.closed for end in self.world.ends)
        assert self.world.run(DAY, self.settled), "something is still in flight"
        for end in self.world.ends:
            if isinstance(end, EngineEnd):
                figures = end.engine.figures()
                assert {figures[name] for name in ("in_flight", "pages", "segments", "unread", "forged")} == {0}

    def settled(self) -> bool:
        engines = [end.engine for end in self.world.ends if isinstance(end, EngineEnd)]
        return all(engine.figures()["in_flight"] == 0 == engine.figures()["segments"] for engine in engines)


@pytest.mark.parametrize("first", range(0, SCHEDULES, AT_ONCE))
@pytest.mark.parametrize("pair", PAIRS)
def test_every_byte_comes_once_and_in_order(pair: str, first: int) -> None:
    for number in range(first, min(first + AT_ONCE, SCHEDULES)):
        seed = f"{pair} {number}"
        try:
            Schedule(seed, PAIRS[pair]).run()
        except Exception as error:
            error.add_note(f"schedule {seed!r}")
            raise
