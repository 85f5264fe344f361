"""Handshakes a second of a server process: our room, ssb-room 1.3, and what curve arithmetic alone would allow.

    python -m benchmarks.handshakes [--count N] [--rounds N]

Clients are ours, over TCP, 32 under way at a time; what counts is the CPU of the room, which is one thread.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import time
from dataclasses import dataclass

from benchmarks import load, processes
from benchmarks.baselines import environment
from ssbfast.cli.bench.handshake import curve_only


@dataclass(frozen=True, slots=True)
class Shaken:
    """Sessions opened at one room. seconds: wall; cpu: the room's."""

    kind: str
    count: int
    seconds: float
    cpu: float

    @property
    def per_cpu_second(self) -> float:
        return self.count / self.cpu


def shaken(kind: str, count: int) -> Shaken:
    """Open so many sessions at a room of this kind; each is proven by both sides, else it raises."""
    with processes.room(kind) as room:
        result = asyncio.run(load.sessions(room, count))
    return Shaken(kind, count, result.seconds, result.cpu)


def ceiling(count: int = 500) -> float:
    """Handshakes a CPU-second of the public-key operations and boxes of a server, with nothing around them."""
    work = curve_only()
    if not work():
        raise RuntimeError("a wrong answer")
    began = time.process_time()
    for _ in range(count):
        work()
    return count / (time.process_time() - began)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.handshakes")
    parser.add_argument("--count", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    kinds = [kind for kind in processes.ROOMS if processes.why_not(kind) is None]
    results: list[Shaken] = []
    bounds = []
    for _ in range(options.rounds):
        bounds.append(ceiling())
        results += [shaken(kind, options.count) for kind in kinds]
    bound = statistics.median(bounds)
    print(f"{environment()['cpu']}, curve arithmetic alone: {bound:.0f} handshakes a CPU-second")
    for kind in kinds:
        mine = [each for each in results if each.kind == kind]
        rate = statistics.median(each.per_cpu_second for each in mine)
        wall = statistics.median(each.count / each.seconds for each in mine)
        print(f"{kind:12}{rate:8.0f} a CPU-second{wall:8.0f} a second{rate / bound:8.2f} of the ceiling")
    return 0


if __name__ == "__main__":
    sys.exit(main())
