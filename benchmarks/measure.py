"""The closing figures: our room and ssb-room 1.3 in one run, as a table or as JSON.

python -m benchmarks.measure [--json] [--seconds S] [--attendants N] [--rooms ssbfast,ssb-room]
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import statistics
import sys
import time
from dataclasses import dataclass, field
from typing import Any

from benchmarks import load, processes
from benchmarks.baselines import KEY, NONCE, environment
from ssbfast import native
from ssbfast.net.peer import Peer

ITEMS = (32_768, 4096, 256)
TURNS = 4
"""Parts of a transfer; rooms take turns."""
SUBSCRIBERS = 200
"""Subscribers that both rooms are measured with; ssb-room's lists grow with the third power of it."""


@dataclass
class Figures:
    """What one room has shown."""

    kind: str
    bulk: dict[int, load.Bulk] = field(default_factory=dict)
    latency: load.Latency | None = None
    sessions: load.Sessions | None = None
    idle: dict[tuple[str, int], load.Idle] = field(default_factory=dict)
    boxes_alone: dict[int, float] = field(default_factory=dict)

    @property
    def checked(self) -> list[load.Bulk | load.Idle]:
        """The results that know whether the answer was right."""
        return [*self.bulk.values(), *self.idle.values()]


@dataclass(frozen=True)
class Row:
    """One line of the table. values: by kind of room; None: not measured there. lower: whether less is better."""

    name: str
    unit: str
    values: dict[str, float | None]
    lower: bool = True

    @property
    def ratio(self) -> float | None:
        """How many times better ours is than ssb-room."""
        ours, theirs = self.values.get("ssbfast"), self.values.get("ssb-room")
        if not ours or not theirs:
            return None
        return theirs / ours if self.lower else ours / theirs


def measure(kinds: list[str], options: argparse.Namespace) -> list[Figures]:
    """Everything about these kinds of rooms."""
    found = [Figures(kind) for kind in kinds]
    with contextlib.ExitStack() as stack:
        rooms = [stack.enter_context(processes.room(kind)) for kind in kinds]
        targets = [stack.enter_context(processes.target(room)) for room in rooms]
        asyncio.run(_traffic(list(zip(found, rooms, targets, strict=True)), options.seconds))
    for figures in found:
        _crowds(figures, options.attendants)
    return found


def _crowds(figures: Figures, attendants: int) -> None:
    kind = figures.kind
    with processes.room(kind) as room:
        figures.sessions = asyncio.run(load.sessions(room, 300))
    crowds: list[tuple[load.Mode, int]] = [("announced", attendants), ("subscribed", SUBSCRIBERS)]
    if kind != "ssb-room":
        crowds.append(("subscribed", attendants))
    for mode, count in crowds:
        _say(f"{kind}: {count} attendants, {mode}")
        with processes.room(kind) as room:
            figures.idle[mode, count] = asyncio.run(load.idle(room, count, mode))


async def _traffic(rooms: list[tuple[Figures, processes.Room, processes.Target]], seconds: float) -> None:
    """All rooms run, and take turns: what else the machine does then hits all alike."""
    async with contextlib.AsyncExitStack() as stack:
        peers = [await stack.enter_async_context(load.tunnel(room)) for _, room, _ in rooms]
        for (_, room, _), peer in zip(rooms, peers, strict=True):
            await load.bulk(room, peer, ITEMS[0], seconds / 4)
        for item in ITEMS:
            await _transfers(rooms, peers, item, seconds / TURNS)
        for (figures, room, target), peer in zip(rooms, peers, strict=True):
            figures.latency = await load.latency(room, peer, target, seconds)


async def _transfers(
    rooms: list[tuple[Figures, processes.Room, processes.Target]], peers: list[Peer], item: int, seconds: float
) -> None:
    _say(f"items of {item} bytes")
    alone: list[float] = []
    parts: list[list[load.Bulk]] = [[] for _ in rooms]
    for _turn in range(TURNS):
        for (_, room, _), peer, mine in zip(rooms, peers, parts, strict=True):
            alone.append(boxes_alone())
            mine.append(await load.bulk(room, peer, item, seconds))
    for (figures, _, _), mine in zip(rooms, parts, strict=True):
        figures.bulk[item] = load.merged(mine)
        figures.boxes_alone[item] = statistics.median(alone)


def boxes_alone() -> float:
    """CPU-seconds per GB to seal boxes of 4096 bytes and to open them again: what every relay pays at the least."""
    plain, count = bytes(16 * 4096), 500
    sealer, opener = native.Sealer(KEY, NONCE), native.Opener(KEY, NONCE)
    began = time.process_time()
    for _ in range(count):
        opener.open(sealer.seal(plain))
    return (time.process_time() - began) / (count * len(plain)) * load.GB


def rows(figures: list[Figures]) -> list[Row]:
    """The table."""
    table = []
    for item in ITEMS:
        bulk = {each.kind: each.bulk[item] for each in figures}
        table.append(Row(f"throughput, items of {item} B", "MB/s", _of(bulk, lambda b: b.mb_per_s), lower=False))
        table.append(Row("  CPU of the room", "s/GB", _of(bulk, lambda b: b.cpu_per_gb)))
        alone = {each.kind: each.bulk[item].cpu_per_gb / each.boxes_alone[item] for each in figures}
        table.append(Row("  the same, in times of our box stream alone", "", _of(alone, float)))
    delays = {each.kind: each.latency for each in figures if each.latency is not None}
    table.append(Row("latency added to one way, median", "ms", _of(delays, lambda d: d.added * 1e3)))
    table.append(Row("  round trip, median", "ms", _of(delays, lambda d: d.through * 1e3)))
    table.append(Row("  round trip, 99th percentile", "ms", _of(delays, lambda d: d.through_p99 * 1e3)))
    table.append(Row("  CPU of the room for a round trip", "ms", _of(delays, lambda d: d.cpu * 1e3)))
    opened = {each.kind: each.sessions for each in figures if each.sessions is not None}
    table.append(Row("opening a session, CPU of the room", "ms", _of(opened, lambda s: s.cpu / s.count * 1e3)))
    for mode, count in dict.fromkeys(key for each in figures for key in each.idle):
        crowd = {each.kind: each.idle[mode, count] for each in figures if (mode, count) in each.idle}
        table.append(Row(f"memory per attendant, {count} {mode}", "KiB", _of(crowd, lambda i: i.each / 1024)))
        table.append(Row("  joining, CPU of the room", "ms", _of(crowd, lambda i: i.cpu / i.count * 1e3)))
    return table


def _of(results: dict[str, Any], value: Any) -> dict[str, float | None]:
    return {kind: value(result) for kind, result in results.items()}


def is_correct(figures: list[Figures]) -> bool:
    """Whether every answer was right; else no figure means anything."""
    return all(result.correct for each in figures for result in each.checked)


def show(table: list[Row], kinds: list[str]) -> str:
    """The table as text."""
    lines = [f"{'':46}{'':6}" + "".join(f"{kind:>12}" for kind in kinds) + f"{'ratio':>9}"]
    for row in table:
        cells = "".join(f"{_number(row.values.get(kind)):>12}" for kind in kinds)
        ratio = "" if row.ratio is None else f"{row.ratio:.1f}x"
        lines.append(f"{row.name:46}{row.unit:6}{cells}{ratio:>9}")
    return "\n".join(lines)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}" if value < 100 else f"{value:.0f}"


def as_json(figures: list[Figures], table: list[Row]) -> dict[str, Any]:
    return {
        "environment": environment(),
        "correct": is_correct(figures),
        "rows": [{"name": r.name.strip(), "unit": r.unit, "values": r.values, "ratio": r.ratio} for r in table],
        "raw": {
            each.kind: [load.as_dict(result) for result in (*each.checked, each.latency, each.sessions) if result]
            for each in figures
        },
    }


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.measure", description="Compare rooms in one run.")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--seconds", type=float, default=5.0, help="length of each transfer (default 5)")
    parser.add_argument("--attendants", type=int, default=1000, help="size of the idle crowd (default 1000)")
    parser.add_argument("--rooms", default=",".join(processes.ROOMS), help="which, of ssbfast, ssbfast-pure, ssb-room")
    options = parser.parse_args()
    kinds = []
    for kind in options.rooms.split(","):
        if (why := processes.why_not(kind)) is not None:
            _say(f"{kind} is left out: {why}")
        else:
            kinds.append(kind)
    figures = measure(kinds, options)
    table = rows(figures)
    if options.json:
        print(json.dumps(as_json(figures, table), indent=1))
    else:
        about = environment()
        print(f"{about['cpu']}, backend {about['backend']}, SIMD {about['simd']}, Python {about['python']}\n")
        print(show(table, kinds))
    if not is_correct(figures):
        _say("an answer was WRONG: these figures mean nothing")
        return 1
    return 0


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
