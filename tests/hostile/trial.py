"""One trial: a room, the honest pair, an attack; what was measured before, during and after it, and what that means."""

from __future__ import annotations

import contextlib
import json
import subprocess
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from tests.hostile.attacks import ATTACKS
from tests.hostile.watch import Room, busy, cpu_of, start

WARM_SECONDS = 2.0
AFTER_SECONDS = 5.0
"""After the end of an attack everything has to be as before."""
STOP_SECONDS = 10.0
P99_FLOOR = 0.002
"""Seconds that an idle p99 counts for at least: below it the ratio would measure the machine's own noise."""
MB = 1_000_000


# ---------------------------------------------------------------- what the honest pair tells


@dataclass(frozen=True)
class Told:
    op: str
    at: float
    took: float
    error: str | None


class Honest:
    """The honest pair's process; `told` grows as it speaks."""

    def __init__(self, address: str) -> None:
        self.process = start("-m", "tests.hostile.honest", address, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )  # fmt: skip
        assert self.process.stdout is not None
        first = json.loads(self.process.stdout.readline() or b"{}")
        self.listener = str(first.get("listener", ""))
        self.told: list[Told] = []
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()
        if not self.listener:
            self.close()
            raise RuntimeError("the honest pair did not start")

    def _read(self) -> None:
        for line in self.process.stdout or ():
            event = json.loads(line)
            self.told.append(Told(event["op"], event["at"], event["took"], event["error"]))

    def finish(self) -> None:
        """Let what is under way come to its end or time-out."""
        if self.process.stdin is not None:
            self.process.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(12)
        self.close()

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self._thread.join()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()


def percentile(values: Sequence[float], part: float) -> float:
    """Of sorted or unsorted seconds; 0 when there are none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))] if ordered else 0.0


@dataclass
class Phase:
    """What the honest pair met between two moments. Times in seconds; a call that failed counts with all it took."""

    seconds: float
    answers: float
    """Answers a second to calls that were made then."""
    p50: float
    p90: float
    p99: float
    worst: float
    calls: int
    joins: int
    visits: int
    failed_calls: int
    failed_joins: int
    failed_visits: int
    lost: int
    join_p99: float
    errors: dict[str, int]


def phase(told: Sequence[Told], since: float, until: float) -> Phase:
    """What was begun in this time, whenever it ended."""
    begun = [one for one in told if since <= one.at < until]
    by_op = {op: [one for one in begun if one.op == op] for op in ("call", "join", "visit", "lost")}
    calls = by_op["call"]
    took = [one.took for one in calls]
    failed = {op: sum(one.error is not None for one in ones) for op, ones in by_op.items()}
    errors = Counter(f"{one.op}: {one.error}" for one in begun if one.error is not None)
    return Phase(
        seconds=until - since,
        answers=(len(calls) - failed["call"]) / (until - since),
        p50=percentile(took, 0.5),
        p90=percentile(took, 0.9),
        p99=percentile(took, 0.99),
        worst=max(took, default=0.0),
        calls=len(calls),
        joins=len(by_op["join"]),
        visits=len(by_op["visit"]),
        failed_calls=failed["call"],
        failed_joins=failed["join"],
        failed_visits=failed["visit"],
        lost=len(by_op["lost"]),
        join_p99=percentile([one.took for one in by_op["join"]], 0.99),
        errors=dict(errors.most_common(6)),
    )


def frozen(told: Sequence[Told], since: float, until: float) -> float:
    """The longest time without an answer to any call, less the longest for which the honest process did not run."""
    came = sorted(one.at + one.took for one in told if one.op == "call" and one.error is None)
    inside = [since, *(at for at in came if since <= at < until), until]
    slept = max((one.took for one in told if one.op == "lag" and since <= one.at < until), default=0.0)
    return max(0.0, max(b - a for a, b in pairwise(inside)) - slept)


# ---------------------------------------------------------------- a trial


@dataclass
class Figures:
    """names: the attacks. rss in bytes, cpu in cores, log in bytes a second above those of the idle time."""

    names: tuple[str, ...]
    idle: Phase
    attack: Phase
    after: Phase
    frozen: float
    rss_base: int = 0
    rss_peak: int = 0
    rss_after: int = 0
    files_peak: int = 0
    room_cpu: float = 0.0
    honest_cpu: float = 0.0
    other_cpu: float = 0.0
    """What others on the machine took meanwhile; the attack is counted in `did`."""
    log_idle: float = 0.0
    log: float = 0.0
    stderr: int = 0
    stderr_head: str = ""
    alive: bool = True
    stopped: float | None = None
    """Seconds from SIGTERM to the end."""
    did: dict[str, int] = field(default_factory=dict)
    idle_calls: list[float] = field(default_factory=list, repr=False)

    @property
    def ratio(self) -> float:
        return self.attack.answers / self.idle.answers if self.idle.answers else 0.0

    def failed(self, op: str) -> int:
        return sum(getattr(part, f"failed_{op}s") for part in (self.attack, self.after))

    @property
    def lost(self) -> int:
        return self.attack.lost + self.after.lost

    @property
    def growth(self) -> int:
        return self.rss_after - self.rss_base

    @property
    def own(self) -> bool:
        return any(ATTACKS[name].own for name in self.names)

    def p99_ratio(self, idle_p99: float) -> float:
        return self.attack.p99 / max(idle_p99, P99_FLOOR)

    def as_json(self) -> dict[str, Any]:
        members = asdict(self)
        del members["idle_calls"]
        derived = {name: getattr(self, name) for name in ("ratio", "lost", "growth", "own")}
        return {**members, **derived, "failed": {op: self.failed(op) for op in ("call", "join", "visit")}}


@contextlib.contextmanager
def _attack(room: Room, listener: str, names: Sequence[str], seed: int) -> Iterator[subprocess.Popen[bytes]]:
    process = start("-m", "tests.hostile.attack", room.address, listener, str(seed), *names,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()


def run(names: Sequence[str], *, seconds: float, idle_seconds: float, seed: int = 1, plain: bool = False) -> Figures:
    """Idle, the attacks at once, after. Takes WARM_SECONDS + idle_seconds + seconds + AFTER_SECONDS and some more.

    plain: the room runs on asyncio's own loop, as where uvloop is not installed; some attacks ask for it themselves.

    Raises RuntimeError when the attack could not be made.
    """
    files = max(ATTACKS[name].files for name in names)
    with tempfile.TemporaryDirectory() as data, contextlib.ExitStack() as stack:
        room = Room(Path(data), files=files, plain=plain or any(ATTACKS[name].plain for name in names))
        stack.callback(room.close)
        honest = Honest(room.address)
        stack.callback(honest.close)
        time.sleep(WARM_SECONDS)
        idle_from = time.monotonic()
        time.sleep(idle_seconds)
        idle_until = time.monotonic()
        attack = stack.enter_context(_attack(room, honest.listener, names, seed))
        assert attack.stdin is not None and attack.stdout is not None
        if not attack.stdout.readline():
            raise RuntimeError(f"no attack: {names}")
        if any(ATTACKS[name].unread for name in names):
            room.err.hold.set()
        before = busy(), cpu_of(room.process.pid), cpu_of(honest.process.pid), cpu_of(attack.pid)
        began = time.monotonic()
        attack.stdin.write(b"go\n")
        time.sleep(seconds)
        alive = room.is_alive
        used = [b - a for a, b in zip(before, _used(room, honest, attack), strict=True)]
        attack.stdin.close()
        did = json.loads(attack.stdout.readline() or b"{}")
        attack.wait(10)
        ended = time.monotonic()
        time.sleep(AFTER_SECONDS)
        done = time.monotonic()
        honest.finish()
        alive = alive and room.is_alive
        stopped = room.stop(STOP_SECONDS)
        room.close()
        return _figures(
            tuple(names), room, honest.told, (idle_from, idle_until, began, ended, done),
            did=did, alive=alive, stopped=stopped,
            room_cpu=used[1] / seconds, honest_cpu=used[2] / seconds,
            other_cpu=max(0.0, (used[0] - used[1] - used[2] - used[3]) / seconds),
        )  # fmt: skip


def _used(room: Room, honest: Honest, attack: subprocess.Popen[bytes]) -> tuple[float, float, float, float]:
    try:
        return busy(), cpu_of(room.process.pid), cpu_of(honest.process.pid), cpu_of(attack.pid)
    except OSError:
        return busy(), 0.0, 0.0, 0.0


def _figures(names: tuple[str, ...], room: Room, told: list[Told], times: tuple[float, ...], **members: Any) -> Figures:
    idle_from, idle_until, began, ended, done = times
    base = [sample.rss for sample in room.samples if idle_from <= sample.at < idle_until]
    during = [sample for sample in room.samples if began <= sample.at < done]
    log_idle = room.bytes(idle_from, idle_until) / (idle_until - idle_from)
    return Figures(
        names,
        phase(told, idle_from, idle_until),
        phase(told, began, ended),
        phase(told, ended, done),
        frozen(told, began, done),
        rss_base=base[-1] if base else 0,
        rss_peak=max((sample.rss for sample in during), default=0),
        rss_after=during[-1].rss if during else 0,
        files_peak=max((sample.files for sample in during), default=0),
        log_idle=log_idle,
        log=room.bytes(began, done) / (done - began) - log_idle,
        stderr=room.err.bytes(0, done + STOP_SECONDS),
        stderr_head=bytes(room.err.head).decode("utf-8", "replace"),
        idle_calls=[one.took for one in told if one.op == "call" and idle_from <= one.at < idle_until],
        **members,
    )


# ---------------------------------------------------------------- what is asked for


def verdicts(figures: Figures, idle_p99: float) -> dict[str, tuple[float, float, bool]]:
    """Each criterion: what was measured, the bound, whether it holds."""
    p99_bound = 10.0 if figures.own else 3.0
    above = {"answers": (figures.ratio, 0.8)}
    below = {
        "p99": (figures.p99_ratio(idle_p99), p99_bound),
        "joins": (figures.failed("join"), 0),
        "visits": (figures.failed("visit"), 0),
        "lost": (figures.lost, 0),
        "rss": (figures.growth / MB, 10.0),
        "log": (figures.log, 1000.0),
    }
    if any(ATTACKS[name].flood for name in figures.names):
        below["connect"] = (figures.attack.join_p99 / max(figures.idle.join_p99, P99_FLOOR), p99_bound)
        below["peak"] = ((figures.rss_peak - figures.rss_base) / MB, 50.0)
    results = {name: (value, bound, value >= bound) for name, (value, bound) in above.items()}
    results |= {name: (value, bound, value <= bound) for name, (value, bound) in below.items()}
    stopped = STOP_SECONDS + 1 if figures.stopped is None else figures.stopped
    results["alive"] = (stopped, STOP_SECONDS, figures.alive and figures.stopped is not None)
    return results
