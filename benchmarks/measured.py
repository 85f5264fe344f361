"""What a row of the report is made of: plans, figures, and how numbers are written."""

from __future__ import annotations

import statistics
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from benchmarks.targets import Row, Target
from ssbfast.cli.bench.runner import Figure

Spread = tuple[float, float, float]
"""Median, least and largest of all rounds."""


@dataclass(frozen=True)
class Plan:
    """How much is done. rounds: turns of contenders in processes of their own; turns: of those in this one; seconds: of
    a transfer; megabytes: of a relayed one; attendants: the idle crowd. absent: gets who is missing, and why."""

    rounds: int = 3
    turns: int = 15
    seconds: float = 1.0
    megabytes: int = 200
    attendants: int = 10_000
    handshakes: int = 500
    absent: dict[str, str] = field(default_factory=dict, compare=False)


QUICK: Final = Plan(rounds=1, turns=3, seconds=0.3, megabytes=20, attendants=300, handshakes=100)


@dataclass(frozen=True, slots=True)
class Measured:
    """One line. case: sizes and what is compared; who: the path of ours, or another contender. ours, baseline: what
    they cost, as text. ratio: in the sense of the row's `figure`."""

    row: Row
    case: str
    who: str
    ours: str
    baseline: str
    ratio: Spread

    @property
    def target(self) -> Target | None:
        return self.row.target(self.case, self.who)

    @property
    def is_missed(self) -> bool:
        return self.target is not None and not self.target.is_met(self.ratio[0])


Measure = Callable[[Plan], Iterator[Measured]]


def spread(values: Iterable[float]) -> Spread:
    """Median, least, largest."""
    some = list(values)
    return statistics.median(some), min(some), max(some)


def ratios(above: Sequence[float], below: Sequence[float]) -> Spread:
    """Of the quotients within each round: what else the machine does meets both."""
    return spread(a / b for a, b in zip(above, below, strict=True))


def costs(cpu: float, wall: float) -> str:
    """Seconds of CPU, and on the clock in brackets."""
    return f"{seconds(cpu)} ({seconds(wall)})"


def seconds(value: float) -> str:
    """A time with three digits, as "61.4 ns"."""
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if value >= size:
            return f"{digits(value / size)} {unit}"
    return f"{digits(value / 1e-9)} ns"


def digits(value: float) -> str:
    """Three digits, and no exponent."""
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def compared(row: Row, case: str, figures: Mapping[str, Figure], baseline: str, pieces: float) -> Iterator[Measured]:
    """All but the baseline, each to it. pieces: of a pass, to which costs are told."""
    base = figures.get(baseline)
    if base is None:
        return
    for who, figure in figures.items():
        if who != baseline and figure.ratio is not None:
            ratio = (figure.ratio, figure.ratio_low or 0.0, figure.ratio_high or 0.0)
            ours, theirs = (costs(one.cpu / pieces, one.wall / pieces) for one in (figure, base))
            yield Measured(row, case, who, ours, theirs, ratio)


def say(text: str) -> None:
    """What is measured now."""
    print(f"benchmarks: {text}", file=sys.stderr, flush=True)
