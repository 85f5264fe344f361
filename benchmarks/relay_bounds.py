"""A room, and the bounds of what a relay can be, under the same load: CPU for each byte, and delay of one frame.

    python -m benchmarks.relay_bounds [--json] [--rounds N] [--megabytes N] [--bodies 4087,1000,64] [--only a,b]

Contenders (`contenders()`), each a process of its own that relays one connection between two others:

    room            our room, in a tunnel, on the SIMD path that runs here
    room-PATH       the same with SSBFAST_BACKEND=PATH
    room-uvloop     the same on uvloop, if that is installed
    asyncio         a BufferedProtocol relay without cryptography (`plain_relay.py`)
    uvloop          the same on uvloop
    epoll           a C relay without cryptography (`epoll_relay.c`, compiled at its first use)
    epoll-PATH      the same with our core

`moved` and `delayed` measure one of them. The payload's digest is compared at the far end: a wrong one is no figure.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import hashlib
import importlib.util
import itertools
import json
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from benchmarks.baselines import ENGINES, environment
from benchmarks.processes import ROOT, Child
from benchmarks.relay_ends import Speech, near_end
from ssbfast import native
from ssbfast.ids import FeedId
from ssbfast.wire.address import NetAddress, parse_address

BODIES: Final = (4087, 1000, 64)
_CHUNK: Final = 64 * 1024
_FRAME: Final = bytes(range(64))
_WARM: Final = 50
GB: Final = 1e9


@dataclass(frozen=True, slots=True)
class Moved:
    """A transfer. body: bytes of each packet; bytes: payload; seconds: wall; cpu: the relay's; correct: the digest."""

    contender: str
    body: int
    bytes: int
    seconds: float
    cpu: float
    correct: bool

    @property
    def cpu_per_gb(self) -> float:
        """CPU-seconds of the relay per 10^9 bytes of payload."""
        return self.cpu / self.bytes * GB


@dataclass(frozen=True, slots=True)
class Delay:
    """Median seconds of a round trip of one 64-byte frame: through the relay, and between the ends without it.

    cpu: the relay's, for each round trip.
    """

    contender: str
    through: float
    direct: float
    cpu: float

    @property
    def added(self) -> float:
        """What the relay adds to one way."""
        return (self.through - self.direct) / 2


@dataclass(frozen=True, slots=True)
class Contender:
    """speech: how the ends talk. kind: "room", "plain" or "epoll". path: SIMD path of the core, or "uvloop"."""

    speech: Speech
    kind: str
    path: str = ""


@functools.cache
def contenders() -> dict[str, Contender]:
    """By name; the C relay is compiled by the first call."""
    found = {"room": Contender("room", "room")}
    paths = [name for name in ENGINES if name not in ("ssbfast", "pure")]
    found |= {f"room-{path}": Contender("room", "room", path) for path in paths}
    found["asyncio"] = Contender("bytes", "plain")
    if importlib.util.find_spec("uvloop") is not None:
        found["room-uvloop"] = Contender("room", "room", "uvloop")
        found["uvloop"] = Contender("bytes", "plain", "uvloop")
    if compiled() is not None:
        found["epoll"] = Contender("bytes", "epoll", "plain")
        found |= {f"epoll-{path}": Contender("boxes", "epoll", path) for path in (native.BACKEND, *paths)}
    return found


@functools.cache
def compiled() -> Path | None:
    """The C relay; None without a compiler, libsodium's headers or Linux."""
    compiler = shutil.which("cc")
    if compiler is None or native.BACKEND == "pure" or not sys.platform.startswith("linux"):
        return None
    program = Path(tempfile.mkdtemp(prefix="ssbfast-epoll-")) / "epoll_relay"
    sources = [str(ROOT / "benchmarks" / "epoll_relay.c"), *map(str, sorted((ROOT / "csrc").glob("[!_]*.c")))]
    command = [compiler, "-O3", "-std=gnu11", f"-I{ROOT / 'csrc'}", *sources, "-lsodium", "-o", str(program)]
    return program if subprocess.run(command, capture_output=True, check=False).returncode == 0 else None


# ---------------------------------------------------------------- what runs


@dataclass(frozen=True, slots=True)
class _Scene:
    """A relay (None: no relay) with the far end behind it. port: what the near end dials."""

    relay: Child | None
    far: Child
    port: int
    room: FeedId | None = None


@contextlib.contextmanager
def _scene(who: Contender, work: str) -> Iterator[_Scene]:
    with contextlib.ExitStack() as stack:
        if who.kind != "room":
            far = stack.enter_context(_far(who.speech, work))
            relay = stack.enter_context(contextlib.closing(_relay(who, int(far.ready["port"]))))
            yield _Scene(relay, far, int(relay.ready["port"]))
            return
        env = {"SSBFAST_BACKEND": who.path} if who.path not in ("", "uvloop") else {}
        command = [sys.executable, "-m", "benchmarks.children", "room", *(["uvloop"] if who.path == "uvloop" else [])]
        relay = stack.enter_context(contextlib.closing(Child(command, ROOT, env)))
        found = parse_address(str(relay.ready["address"]))[0]
        if not isinstance(found.transport, NetAddress):
            raise ValueError("a room of the benchmarks listens on TCP")
        far = stack.enter_context(_far("room", work, str(relay.ready["address"])))
        yield _Scene(relay, far, found.transport.port, found.shs)


@contextlib.contextmanager
def _direct(who: Contender) -> Iterator[_Scene]:
    """The same ends with nothing in between."""
    speech: Speech = "bytes" if who.speech == "bytes" else "boxes"
    with _far(speech, "echo") as far:
        yield _Scene(None, far, int(far.ready["port"]))


def _relay(who: Contender, target: int) -> Child:
    if who.kind == "epoll":
        return Child([str(compiled()), str(target), who.path], ROOT)
    return Child([sys.executable, "-m", "benchmarks.plain_relay", str(target), *([who.path] if who.path else [])], ROOT)


@contextlib.contextmanager
def _far(speech: Speech, work: str, *address: str) -> Iterator[Child]:
    child = Child([sys.executable, "-m", "benchmarks.relay_ends", speech, work, *address], ROOT)
    try:
        yield child
    finally:
        child.close()


# ---------------------------------------------------------------- what is measured


@functools.lru_cache(maxsize=4)
def _payload(body: int, total: int) -> tuple[list[bytes], str]:
    """Bodies of a transfer, and the digest of them all."""
    some = [hashlib.shake_128(b"%d" % i).digest(body) for i in range(257)]
    bodies = list(itertools.islice(itertools.cycle(some), total // body))
    return bodies, hashlib.sha256(b"".join(bodies)).hexdigest()


def moved(contender: str, body: int, total: int) -> Moved:
    """Send `total` bytes in packets of `body` bytes through a contender."""
    who, (bodies, digest) = contenders()[contender], _payload(body, total)
    with _scene(who, "bulk") as scene:
        end = near_end(who.speech, scene.port, scene.room)
        wire = memoryview(b"".join([*map(end.encode, bodies), end.end()]))
        relay = scene.relay
        if relay is None:
            raise ValueError("a transfer needs a relay")
        cpu, began = relay.cpu(), time.perf_counter()
        for at in range(0, len(wire), _CHUNK):
            end.sock.sendall(wire[at : at + _CHUNK])
        if who.speech == "bytes":
            end.sock.shutdown(socket.SHUT_WR)
        said = scene.far.said()
        took, used = time.perf_counter() - began, relay.cpu() - cpu
        end.sock.close()
    count = len(bodies) * body
    return Moved(contender, body, count, took, used, said == {"event": "received", "bytes": count, "digest": digest})


def delayed(contender: str, trips: int = 2000) -> Delay:
    """Round trips of one frame through a contender and without it."""
    who = contenders()[contender]
    with _direct(who) as scene:
        direct = _trips(who.speech if who.speech != "room" else "boxes", scene, trips)
    with _scene(who, "echo") as scene:
        relay = scene.relay
        if relay is None:
            raise ValueError("a delay needs a relay")
        cpu = relay.cpu()
        through = _trips(who.speech, scene, trips)
        return Delay(contender, through, direct, (relay.cpu() - cpu) / (_WARM + trips))


def _trips(speech: Speech, scene: _Scene, trips: int) -> float:
    end = near_end(speech, scene.port, scene.room)
    times = []
    for _ in range(_WARM + trips):
        began, left = time.perf_counter(), _FRAME
        end.sock.sendall(end.encode(_FRAME))
        while left:
            data = end.read()
            if data is None or not left.startswith(data):
                raise RuntimeError("a wrong echo")
            left = left[len(data) :]
        times.append(time.perf_counter() - began)
    end.sock.close()
    return statistics.median(times[_WARM:])


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.relay_bounds", description="A room and its bounds.")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--rounds", type=int, default=5, help="transfers and delays of each (default 5)")
    parser.add_argument("--megabytes", type=int, default=200, help="payload of each transfer (default 200)")
    parser.add_argument("--bodies", default=",".join(map(str, BODIES)), help="bytes of each packet")
    parser.add_argument("--only", default=",".join(contenders()), help="contenders")
    options = parser.parse_args()
    names, bodies = options.only.split(","), [int(body) for body in options.bodies.split(",")]
    transfers: list[Moved] = []
    delays: list[Delay] = []
    for _ in range(options.rounds):  # they take turns: what else the machine does hits all alike
        for body in bodies:
            total = options.megabytes * 1_000_000 // (4 if body < 500 else 1)
            transfers += [moved(name, body, total) for name in names]
        delays += [delayed(name) for name in names]
    report = [_summary(name, bodies, transfers, delays) for name in names]
    if options.json:
        raw = [*map(asdict, transfers), *map(asdict, delays)]
        print(json.dumps({"environment": environment(), "summary": report, "raw": raw}, indent=1))
    else:
        print(_table(report, bodies))
    return 0 if all(result.correct for result in transfers) else 1


def _summary(name: str, bodies: list[int], transfers: list[Moved], delays: list[Delay]) -> dict[str, Any]:
    """Medians of one contender: s/GB by body, its least and largest, wall MB/s, and microseconds added to one way."""
    row: dict[str, Any] = {"contender": name}
    for body in bodies:
        mine = [each for each in transfers if (each.contender, each.body) == (name, body)]
        costs = [each.cpu_per_gb for each in mine]
        row[f"{body} s/GB"] = round(statistics.median(costs), 3)
        row[f"{body} spread"] = f"{min(costs):.2f}-{max(costs):.2f}"
        row[f"{body} MB/s"] = round(statistics.median(each.bytes / each.seconds / 1e6 for each in mine))
    row["added us"] = round(statistics.median(each.added for each in delays if each.contender == name) * 1e6, 1)
    row["correct"] = all(each.correct for each in transfers if each.contender == name)
    return row


def _table(report: list[dict[str, Any]], bodies: list[int]) -> str:
    about = environment()
    lines = [f"{about['cpu']}, SIMD {about['simd']}, Python {about['python']}", ""]
    columns = [*(f"{body} {what}" for body in bodies for what in ("s/GB", "spread", "MB/s")), "added us", "correct"]
    lines.append(f"{'':16}" + "".join(f"{column:>12}" for column in columns))
    lines += [f"{row['contender']:16}" + "".join(f"{row[column]!s:>12}" for column in columns) for row in report]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
