"""Rows of the report whose contenders are processes: handshakes, relays, whole rooms, crowds."""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import Iterator
from typing import Final

from benchmarks import load, processes, relay_bounds, stalled
from benchmarks.handshakes import Shaken, ceiling, shaken
from benchmarks.measured import Measured, Plan, Spread, costs, digits, ratios, say, seconds, spread
from benchmarks.relay_bounds import BODIES, Delay, Moved
from benchmarks.targets import BOUND, HANDSHAKES, IDLE, LATENCY, RELAY, ROOM, STALLED, Row
from ssbfast import limits, native
from ssbfast.cli.bench.box_stream import paths
from ssbfast.cli.bench.contest import WrongAnswerError

_OTHERS: Final = ("ssb-room", "go-ssb-room")
_ITEMS: Final = (32_768, 4096, 256)
_SMALL: Final = 500  # bytes of a body; below, a fourth of the payload takes as long
_THEIRS: Final = {"announced": 1000, "subscribed": 200}
"""Attendants of ssb-room. It sends the whole list to everybody at each change: more that subscribe are too many."""
_SUBSCRIBED: Final = 1000


def _here(kinds: tuple[str, ...], plan: Plan) -> list[str]:
    """Those that can run; why others cannot goes to the plan."""
    reasons = {kind: processes.why_not(kind) for kind in kinds}
    plan.absent.update({kind: reason for kind, reason in reasons.items() if reason is not None})
    return [kind for kind, reason in reasons.items() if reason is None]


def _name(kind: str) -> str:
    """The path, and in what it runs, of a kind of room or of a relay: "room-avx2" is "avx2"."""
    program, _, rest = kind.partition("-")
    if kind in (*_OTHERS, "js-handshakes"):
        return kind
    if program in ("asyncio", "uvloop"):
        return f"{program} without cryptography"
    if program == "epoll":
        return f"C and epoll, {rest or 'without cryptography'}"
    name = f"{native.BACKEND}, uvloop" if rest == "uvloop" else rest or native.BACKEND
    return f"{name}, handshakes alone" if program == "handshakes" else name


# ---------------------------------------------------------------- handshakes


def handshakes(plan: Plan) -> Iterator[Measured]:
    kinds = _here(("handshakes", "handshakes-uvloop", "ssbfast", "ssbfast-uvloop", "js-handshakes", "ssb-room"), plan)
    found: dict[str, list[Shaken]] = {kind: [] for kind in kinds}
    bounds = []
    for number in range(plan.rounds):
        say(f"{HANDSHAKES.name}, round {number + 1}")
        bounds.append(ceiling())
        for kind in kinds:
            found[kind].append(shaken(kind, plan.handshakes))
    rates = {kind: [each.per_cpu_second for each in some] for kind, some in found.items()}
    for kind, some in found.items():
        if "js-handshakes" in rates and kind != "js-handshakes":
            ratio = ratios(rates[kind], rates["js-handshakes"])
            yield Measured(HANDSHAKES, "to JavaScript", _name(kind), _each(some), _each(found["js-handshakes"]), ratio)
        alone = seconds(1 / spread(bounds)[0])
        ratio = ratios(rates[kind], bounds)
        yield Measured(HANDSHAKES, "to curve arithmetic", _name(kind), _each(some), f"{alone} ({alone})", ratio)


def _each(some: list[Shaken]) -> str:
    return costs(spread(one.cpu / one.count for one in some)[0], spread(one.seconds / one.count for one in some)[0])


# ---------------------------------------------------------------- relays


@functools.cache
def _relayed(plan: Plan) -> tuple[dict[tuple[str, int], list[Moved]], dict[str, list[Delay]]]:
    """Transfers by contender and body, and delays, all as many as there are rounds."""
    names = list(relay_bounds.contenders())
    moved: dict[tuple[str, int], list[Moved]] = {(name, body): [] for name in names for body in BODIES}
    delayed: dict[str, list[Delay]] = {name: [] for name in names}
    for number in range(plan.rounds):
        for body in BODIES:
            say(f"{RELAY.name}, bodies of {body} bytes, round {number + 1}")
            for name in names:
                total = plan.megabytes * 1_000_000 // (4 if body < _SMALL else 1)
                moved[name, body].append(relay_bounds.moved(name, body, total))
                if not moved[name, body][-1].correct:
                    raise WrongAnswerError(f"{name}: not what was sent has arrived")
        say(f"{LATENCY.name}, round {number + 1}")
        for name in names:
            delayed[name].append(relay_bounds.delayed(name))
    return moved, delayed


def relay(plan: Plan) -> Iterator[Measured]:
    yield from _to_relay(plan, RELAY, "room-libsodium", BODIES)


def bound(plan: Plan) -> Iterator[Measured]:
    yield from _to_relay(plan, BOUND, "asyncio", BODIES)


def _to_relay(plan: Plan, row: Row, baseline: str, bodies: tuple[int, ...]) -> Iterator[Measured]:
    moved, _ = _relayed(plan)
    for body in bodies:
        base = moved.get((baseline, body), [])
        for name in relay_bounds.contenders():
            if base and name != baseline:
                some = moved[name, body]
                ratio = ratios([one.cpu_per_gb for one in base], [one.cpu_per_gb for one in some])
                yield Measured(row, f"{body} B", _name(name), _per_gb(some), _per_gb(base), ratio)


def _per_gb(some: list[Moved] | list[load.Bulk]) -> str:
    wall = spread(one.seconds / one.bytes * load.GB for one in some)[0]
    return costs(spread(one.cpu_per_gb for one in some)[0], wall)


def latency(plan: Plan) -> Iterator[Measured]:
    _, delayed = _relayed(plan)
    base = delayed["asyncio"]
    for name, some in delayed.items():
        if name != "asyncio":
            ratio = ratios([one.added for one in some], [one.added for one in base])
            yield Measured(LATENCY, "one way", _name(name), _added(some), _added(base), ratio)


def _added(some: list[Delay]) -> str:
    return costs(spread(one.cpu / 2 for one in some)[0], spread(one.added for one in some)[0])


# ---------------------------------------------------------------- whole rooms


def rooms(plan: Plan) -> Iterator[Measured]:
    ours = ("ssbfast", *(f"ssbfast-{path}" for path in paths() if path != native.BACKEND), "ssbfast-uvloop")
    kinds = _here((*ours, *_OTHERS), plan)
    with contextlib.ExitStack() as stack:
        running = [stack.enter_context(processes.room(kind)) for kind in kinds]
        targets = [stack.enter_context(processes.target(room)) for room in running]
        found, delays = asyncio.run(_transfers(running, targets, plan))
    for theirs in (kind for kind in _OTHERS if kind in kinds):
        for item, by_kind in found.items():
            yield from _to_room(item, by_kind, theirs)
        for kind, some in delays.items():
            if kind not in _OTHERS:
                ratio = ratios([one.added for one in delays[theirs]], [one.added for one in some])
                case, base = f"latency to {theirs}, a call", _call(delays[theirs])
                yield Measured(ROOM, case, _name(kind), _call(some), base, ratio)


Bulks = dict[int, dict[str, list[load.Bulk]]]
Latencies = dict[str, list[load.Latency]]


async def _transfers(
    running: list[processes.Room], targets: list[processes.Target], plan: Plan
) -> tuple[Bulks, Latencies]:
    """By size of items and kind of room; and delays. All rooms run, and take turns."""
    found: Bulks = {item: {room.kind: [] for room in running} for item in _ITEMS}
    delays: Latencies = {room.kind: [] for room in running}
    async with contextlib.AsyncExitStack() as stack:
        peers = [await stack.enter_async_context(load.tunnel(room)) for room in running]
        for room, peer in zip(running, peers, strict=True):
            await load.bulk(room, peer, _ITEMS[0], plan.seconds / 4)
        for item in _ITEMS:
            for number in range(plan.rounds):
                say(f"{ROOM.name}, items of {item} bytes, round {number + 1}")
                for room, peer in zip(running, peers, strict=True):
                    result = await load.bulk(room, peer, item, plan.seconds)
                    if not result.correct:
                        raise WrongAnswerError(f"{room.kind}: not what was sent has arrived")
                    found[item][room.kind].append(result)
        for number in range(plan.rounds):
            say(f"{ROOM.name}, calls, round {number + 1}")
            for room, peer, target in zip(running, peers, targets, strict=True):
                delays[room.kind].append(await load.latency(room, peer, target, plan.seconds / 2))
    return found, delays


def _call(some: list[load.Latency]) -> str:
    """Costs of one way of a call: the room's CPU, and what it adds."""
    return costs(spread(one.cpu / 2 for one in some)[0], spread(one.added for one in some)[0])


def _to_room(item: int, found: dict[str, list[load.Bulk]], theirs: str) -> Iterator[Measured]:
    base = found[theirs]
    for kind, some in found.items():
        if kind in _OTHERS:
            continue
        cpu = ratios([one.cpu_per_gb for one in base], [one.cpu_per_gb for one in some])
        wall = ratios([one.mb_per_s for one in some], [one.mb_per_s for one in base])
        ours, baseline, items = _per_gb(some), _per_gb(base), f"items of {item} B"
        yield Measured(ROOM, f"CPU to {theirs}, {items}", _name(kind), ours, baseline, cpu)
        yield Measured(ROOM, f"throughput to {theirs}, {items}", _name(kind), ours, baseline, wall)


# ---------------------------------------------------------------- memory


def idle(plan: Plan) -> Iterator[Measured]:
    modes: tuple[tuple[load.Mode, int], ...] = (
        ("announced", plan.attendants),
        ("subscribed", min(plan.attendants, _SUBSCRIBED)),
    )
    for mode, count in modes:
        ours = [_crowd("ssbfast", mode, count) for _ in range(plan.rounds)]
        each, goal = [one.each for one in ours], 10.0 * limits.KiB
        yield Measured(IDLE, f"to 10 KiB, {mode}", native.BACKEND, _memory(ours), "10 KiB", _parts(each, goal))
        for kind in _here(_OTHERS, plan):
            theirs = _crowd(kind, mode, min(count, _THEIRS[mode]))
            ratio = _parts(each, theirs.each)
            yield Measured(IDLE, f"to {kind}, {mode}", native.BACKEND, _memory(ours), _memory([theirs]), ratio)


def _parts(values: list[float], whole: float) -> Spread:
    return spread(value / whole for value in values)


def _crowd(kind: str, mode: load.Mode, count: int) -> load.Idle:
    say(f"{IDLE.name}: {kind}, {count} {mode}")
    with processes.room(kind) as room:
        found = asyncio.run(load.idle(room, count, mode))
    if not found.correct:
        raise WrongAnswerError(f"{kind}: not all attendants are there")
    return found


def _memory(some: list[load.Idle]) -> str:
    each, cpu = spread(one.each / limits.KiB for one in some)[0], spread(one.cpu / one.count for one in some)[0]
    return f"{digits(each)} KiB of {some[0].count}; {seconds(cpu)} to join"


def stall(plan: Plan) -> Iterator[Measured]:
    for path in paths():
        say(f"{STALLED.name}, {path}")
        found = [stalled.measure(f"ssbfast-{path}", seconds=plan.seconds) for _ in range(plan.rounds)]
        peak = spread(one.grown / limits.MiB for one in found)[0]
        yield Measured(
            STALLED,
            "memory to cap",
            path,
            f"{digits(peak)} MiB; {digits(spread(one.cpu for one in found)[0])} s of CPU a second",
            f"{digits(found[0].cap / limits.MiB)} MiB",
            spread(one.grown / one.cap for one in found),
        )
        beside, alone = (seconds(spread(times)[0]) for times in _p99(found))
        yield Measured(STALLED, "p99 beside to alone", path, beside, alone, spread(one.p99_ratio for one in found))


def _p99(found: list[stalled.Stalled]) -> tuple[list[float], list[float]]:
    return [one.beside[1] for one in found], [one.alone[1] for one in found]
