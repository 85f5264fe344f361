"""A session in its room and out of it: how fast it is, what that costs whom, and how long leaving takes.

    python -m benchmarks.direct_sessions            the same transfer by the relay and directly, on this machine
    python -m benchmarks.direct_sessions upgrade    how long the way out takes, step by step, between two NATs of the
                                                    lab, 10 ms each way (Linux, root)

Room, target and caller are a process each. The target compares every byte with what it has to be; each upgrade ends
with a call that is answered by way of the direct path.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, Final

from benchmarks.baselines import environment
from benchmarks.children import CALLER, NETWORK, TARGET, items_of
from benchmarks.processes import ROOT, Room, Target, room, target
from ssbfast import FeedId, load_secret
from ssbfast.client.direct_paths import Direct
from ssbfast.client.room_client import RoomClient
from ssbfast.direct.carriers import DirectCarrier
from ssbfast.direct.hole_punch import Attempt
from ssbfast.net.peer import Peer
from ssbfast.room.tunnel_auth import AllowList
from ssbfast.wire.direct import signaling

ITEM: Final = 32_768
COUNT: Final = 1_000
TURNS: Final = 5
UPGRADES: Final = 25
_PATIENCE: Final = 30.0

STEPS: Final = {
    "offer sent": "gathered, and offered",
    "answered": "the target's answer is there",
    "punched": "a probe was answered",
    "proven": "QUIC is up, both proofs have passed: the authenticated echo",
    "moved": "the session sends and listens there",
    "called": "a call was answered by way of it",
}


# ---------------------------------------------------------------- throughput


@contextlib.asynccontextmanager
async def session(where: Room, path: str) -> AsyncIterator[Peer]:
    """CALLER's session with TARGET, once it goes that way."""
    moved = asyncio.Event()

    def told(event: dict[str, Any]) -> None:
        if event["event"] == "path" and event["path"] == "direct":
            moved.set()

    direct = Direct(loopback=True) if path == "direct" else None
    friends = AllowList([TARGET.id])
    async with RoomClient(CALLER, network=NETWORK, admission=friends, direct=direct, on_event=told) as client:
        await client.join(where.address, announce=False)
        peer = await client.connect(TARGET.id)
        if direct is not None:
            await asyncio.wait_for(moved.wait(), _PATIENCE)
        yield peer


async def transfer(where: Room, there: Target, path: str) -> dict[str, float]:
    """One transfer; raises ValueError when a byte was wrong."""
    items = items_of(ITEM)
    total = ITEM * COUNT
    async with session(where, path) as peer:
        before = time.process_time(), there.process.cpu(), where.process.cpu()
        began = time.perf_counter()
        sink = peer.sink("bench.sink", ITEM)
        for number in range(COUNT):
            await sink.send(items[number % len(items)])
        await sink.end()
        while (report := await peer.call("bench.received"))["bytes"] != total:
            await asyncio.sleep(0.001)
        seconds = time.perf_counter() - began
        after = time.process_time(), there.process.cpu(), where.process.cpu()
        if report["wrong"] or peer.path != path:
            raise ValueError("the answer is wrong: nothing is to be told")
    costs = [(late - early) / total * 1e9 for early, late in zip(before, after, strict=True)]
    return {"MB/s": total / seconds / 1e6, **dict(zip(("caller", "target", "room"), costs, strict=True))}


def throughput() -> None:
    """Print the medians of both ways, and directly in times of the relay's."""
    found: dict[str, list[dict[str, float]]] = {"tunnel": [], "direct": []}
    for _ in range(TURNS):
        for path, many in found.items():
            with room("ssbfast") as where, target(where, path) as there:
                many.append(asyncio.run(transfer(where, there, path)))
    print(f"{ITEM * COUNT // 10**6} MB, backend {environment()['backend']}; CPU in ns a byte")
    for name in ("MB/s", "caller", "target", "room"):
        relay, direct = (statistics.median(one[name] for one in found[path]) for path in ("tunnel", "direct"))
        print(f"{name:8} by the relay {relay:8.2f}   directly {direct:8.2f}   ratio {direct / relay:5.2f}")


# ---------------------------------------------------------------- the way out


class Stamps:
    """When which step of the one upgrade under way was done: seconds since the session opened."""

    def __init__(self) -> None:
        self.began = 0.0
        self.at: dict[str, float] = {}

    def __call__(self, step: str) -> None:
        self.at.setdefault(step, time.perf_counter() - self.began)

    def watch(self) -> None:
        """Have the parts of ssbfast tell."""
        call, punch, proven = Peer.call, Attempt.punch, DirectCarrier.path_ready

        async def called(peer: Peer, name: str, *args: Any, timeout: float | None = None) -> Any:
            if name != signaling.OFFER:
                return await call(peer, name, *args, timeout=timeout)
            self("offer sent")
            answer = await call(peer, name, *args, timeout=timeout)
            self("answered")
            return answer

        async def punched(attempt: Attempt, *args: Any, **more: Any) -> Any:
            found = await punch(attempt, *args, **more)
            self("punched")
            return found

        def ready(carrier: DirectCarrier, path: Any) -> None:
            self("proven")
            proven(carrier, path)

        changes: list[tuple[Any, str, Callable[..., Any]]] = [
            (Peer, "call", called), (Attempt, "punch", punched), (DirectCarrier, "path_ready", ready)
        ]  # fmt: skip
        for owner, name, replacement in changes:
            setattr(owner, name, replacement)


async def leave(address: str, data: str, whom: str, count: int) -> None:
    """The caller in the lab: that many sessions, one after the other; prints the stamps of each."""
    stamps, moved = Stamps(), asyncio.Event()
    stamps.watch()

    def told(event: dict[str, Any]) -> None:
        if event["event"] == "path" and event["path"] == "direct":
            stamps("moved")
            moved.set()

    friend = FeedId.parse(whom)
    me = load_secret(Path(data) / "secret")
    async with RoomClient(me, admission=AllowList([friend]), direct=Direct(), on_event=told) as client:
        await client.join(address, announce=False)
        for _ in range(count):
            moved.clear()
            stamps.at = {}
            stamps.began = time.perf_counter()
            peer = await client.connect(friend)
            await asyncio.wait_for(moved.wait(), _PATIENCE)
            await peer.call("manifest", timeout=_PATIENCE)
            stamps("called")
            print(json.dumps(stamps.at), flush=True)
            await peer.close()
            await asyncio.sleep(0.3)  # reflectors answer a net ten times a second


def upgrade() -> None:
    """Print when each step was done, counted from the offer: median and worst."""
    from tests.nat.neighbours import lab_programs

    with tempfile.TemporaryDirectory() as directory, lab_programs(Path(directory), "port", "port") as street:
        street.room()
        street.follow("B", "A")
        street.listen("A")
        order = ["caller", street.address(), str(street.path("B")), str(street.id("A")), str(UPGRADES)]
        command = [*street.lab.prefix("B"), sys.executable, "-m", "benchmarks.direct_sessions", *order]
        done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True, timeout=300)
    runs = [json.loads(line) for line in done.stdout.splitlines()]
    print(f"{len(runs)} upgrades, 10 ms each way to everybody, both behind port-restricted NATs; ms from the offer on")
    for step, meaning in STEPS.items():
        times = [1000 * (run[step] - run["offer sent"]) for run in runs]
        print(f"{step:11} median {statistics.median(times):7.1f}   worst {max(times):7.1f}   {meaning}")


def main(args: list[str]) -> None:
    if args[:1] == ["caller"]:
        asyncio.run(leave(args[1], args[2], args[3], int(args[4])))
    elif args == ["upgrade"]:
        upgrade()
    else:
        throughput()


if __name__ == "__main__":
    main(sys.argv[1:])
