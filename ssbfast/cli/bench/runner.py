"""`ssbfast bench`: contests between ways to do one thing, and what they come to.

A contest has contenders that do the same work. Each has to give the right answer before anything is timed; then they
take turns, so that all other work of the machine meets all alike. A ratio is the median of the ratios of each round,
by CPU time: only ratios of one run mean anything.
"""

from __future__ import annotations

import math
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

from ssbfast import native
from ssbfast.cli.bench import box_stream, handshake, muxrpc, relay
from ssbfast.cli.bench.contest import Contender, Contest, Work, WrongAnswerError


@dataclass(frozen=True, slots=True)
class RoundPlan:
    """The length of a measurement. rounds: turns of each contender; turn: CPU-seconds of a turn at the least."""

    rounds: int
    turn: float


FULL: Final = RoundPlan(15, 0.004)
QUICK: Final = RoundPlan(3, 0.0005)


@dataclass(frozen=True, slots=True)
class Figure:
    """The figures of one contender: medians of a pass in seconds; ratios to the baseline, the least and the largest."""

    cpu: float
    wall: float
    ratio: float | None
    ratio_low: float | None
    ratio_high: float | None


@dataclass(frozen=True, slots=True)
class BenchResult:
    """A contest that was held."""

    contest: Contest
    figures: Mapping[str, Figure]

    def rate(self, name: str) -> float:
        """Return the amount for each CPU-second."""
        return self.contest.amount / self.figures[name].cpu

    def as_json(self) -> dict[str, Any]:
        """Return the result for programs; seconds are those of one pass."""
        contest = self.contest
        return {
            "event": "result",
            "group": contest.group,
            "case": contest.case,
            "unit": contest.unit,
            "baseline": contest.baseline if contest.baseline in self.figures else None,
            "correct": True,
            "contenders": {name: self._figure(name) for name in self.figures},
        }

    def _figure(self, name: str) -> dict[str, float | None]:
        figure = self.figures[name]
        return {
            "per_cpu_second": self.rate(name),
            "cpu_seconds": figure.cpu,
            "wall_seconds": figure.wall,
            "ratio": figure.ratio,
            "ratio_low": figure.ratio_low,
            "ratio_high": figure.ratio_high,
        }


def hold(contest: Contest, pace: RoundPlan) -> BenchResult:
    """Check all contenders, then let them take turns. Raises WrongAnswerError."""
    for name, contender in contest.contenders.items():
        if not contender.is_right():
            raise WrongAnswerError(f"{name} gives a wrong answer: {contest.group}, {contest.case}")
    passes = {name: _passes(one, pace.turn) for name, one in contest.contenders.items()}
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in contest.contenders}
    for _ in range(pace.rounds):
        for name, contender in contest.contenders.items():
            taken[name].append(_turn(contender, passes[name]))
    return BenchResult(contest, figures(taken, contest.baseline))


def _passes(contender: Contender, turn: float) -> int:
    cpu, _ = _turn(contender, 1)
    return max(1, math.ceil(turn / max(cpu, 1e-7)))


def _turn(contender: Contender, passes: int) -> tuple[float, float]:
    """Return the CPU-seconds (all threads of the process) and the seconds on the clock of one pass."""
    if contender.fresh is None:
        cpu, wall = _timed(contender.work, passes)
    else:
        cpu = wall = 0.0
        for _ in range(passes):
            once = _timed(contender.fresh(), 1)
            cpu, wall = cpu + once[0], wall + once[1]
    return cpu / passes, wall / passes


def _timed(work: Work, passes: int) -> tuple[float, float]:
    cpu, wall = time.process_time(), time.perf_counter()
    for _ in range(passes):
        work()
    return time.process_time() - cpu, time.perf_counter() - wall


def figures(taken: Mapping[str, list[tuple[float, float]]], baseline: str) -> dict[str, Figure]:
    """Return medians of (CPU, wall) seconds by contender, all with as many rounds, and of the ratios in each round."""
    base = [cpu for cpu, _ in taken.get(baseline, [])]
    found = {}
    for name, rounds in taken.items():
        ratios = [theirs / max(cpu, 1e-9) for theirs, (cpu, _) in zip(base, rounds, strict=False)]
        found[name] = Figure(
            max(statistics.median(cpu for cpu, _ in rounds), 1e-9),
            statistics.median(wall for _, wall in rounds),
            statistics.median(ratios) if ratios else None,
            min(ratios, default=None),
            max(ratios, default=None),
        )
    return found


def contests() -> Iterator[Contest]:
    """Yield all contests that an installed ssbfast can hold by itself, made one after the other."""
    yield from box_stream.contests()
    yield from handshake.contests()
    yield from relay.contests()
    yield from muxrpc.contests()


def run(
    pace: RoundPlan, announce: Callable[[str], None], among: Iterable[Contest] | None = None
) -> Iterator[BenchResult]:
    """Hold all contests (or those of `among`). announce: is told what comes next. Raises WrongAnswerError."""
    for contest in contests() if among is None else among:
        announce(f"{contest.group}, {contest.case}")
        yield hold(contest, pace)


def machine() -> dict[str, Any]:
    """Return where figures come from: CPU, SIMD path in use and others on offer, versions."""
    return {
        "event": "machine",
        "cpu": cpu_model(),
        "cores": os.cpu_count(),
        "backend": native.BACKEND,
        "paths": list(native.available()),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "ssbfast": _version("ssbfast"),
        "pynacl": _version("PyNaCl"),
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def cpu_model() -> str:
    """Return the processor's name as the system tells it."""
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
