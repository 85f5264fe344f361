"""Measure the row of a room's update: connections and tunnels while `ssbfast room restart` is at work."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from typing import Final

import psutil

from benchmarks.measured import Measured, Plan, say, seconds, spread
from benchmarks.targets import UPDATE
from ssbfast import native
from ssbfast.client.room_client import RoomClient
from ssbfast.errors import SSBError
from ssbfast.keys import Keypair
from ssbfast.net.api import Api
from ssbfast.net.peer import Peer
from ssbfast.net.stream import Stream
from ssbfast.room.tunnel_auth import AllowList

_CONNECTS_A_SECOND: Final = 100
_TARGETS: Final = 10
_CALLERS: Final = 5
_ITEM: Final = os.urandom(4096)
_ITEM_SECONDS: Final = 0.1
_AROUND_SECONDS: Final = 2.0
"""How long all of it goes on before the restart, and after it."""

_PATIENCE: Final = 60.0


@dataclass(slots=True)
class Update:
    """The course of one update. before, during: seconds of each connect, until the room has answered a call.

    took: until the new process served. ended: tunnels that did not end by themselves. wrong: those with another digest.
    """

    before: list[float] = field(default_factory=list)
    during: list[float] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    took: float = 0.0
    tunnels: int = 0
    ended: list[str] = field(default_factory=list)
    wrong: int = 0


def update(plan: Plan) -> Iterator[Measured]:
    """All cases."""
    say(f"{UPDATE.name}: {plan.rounds} updates")
    found = [asyncio.run(_update()) for _ in range(plan.rounds)]
    backend = native.BACKEND
    connects = sum(len(one.before) + len(one.during) for one in found)
    tunnels = sum(one.tunnels for one in found)

    def none_of(case: str, counts: list[int], what: str) -> Measured:
        return Measured(UPDATE, case, backend, f"{sum(counts)} of {what}", "none", spread(map(float, counts)))

    yield none_of("connections refused", [len(one.refused) for one in found], f"{connects:,}")
    yield none_of("tunnels cut", [len(one.ended) for one in found], str(tunnels))
    yield none_of("tunnels with a wrong byte", [one.wrong for one in found], str(tunnels))
    slowest = [max(one.during) for one in found]
    usual = [max(one.before) for one in found]
    ratio = spread(a / b for a, b in zip(slowest, usual, strict=True))
    yield Measured(UPDATE, "slowest connect to before", backend, seconds(max(slowest)), seconds(max(usual)), ratio)
    took = spread(one.took for one in found)
    yield Measured(UPDATE, "seconds to the new process", backend, seconds(took[0]), "the command itself", took)


async def _update() -> Update:
    found = Update()
    with tempfile.TemporaryDirectory(prefix="ssbfast-bench-") as data:
        command = [sys.executable, "-m", "ssbfast", "room", "--data", data, "--json", "--listen", "127.0.0.1:0"]
        room = subprocess.Popen([*command, "--no-udp"], stdout=subprocess.PIPE, text=True)
        new: psutil.Process | None = None
        try:
            if room.stdout is None:
                raise AssertionError("no pipe")
            address = json.loads(room.stdout.readline())["address"]
            while not os.path.exists(os.path.join(data, "control")):
                await asyncio.sleep(0.01)
            over, restarting = asyncio.Event(), asyncio.Event()
            async with _tunnels(address, over, found) as tunnels:
                connecting = asyncio.create_task(_connects(address, over, restarting, found))
                await asyncio.sleep(_AROUND_SECONDS)
                restarting.set()
                began = time.perf_counter()
                restart = await asyncio.create_subprocess_exec(
                    *(sys.executable, "-m", "ssbfast", "room", "restart", "--data", data, "--json"),
                    stdout=subprocess.PIPE,
                )
                told, _ = await restart.communicate()
                found.took = time.perf_counter() - began
                new = psutil.Process(json.loads(told)["pid"])
                await asyncio.sleep(_AROUND_SECONDS)
                over.set()
                await asyncio.gather(connecting, *tunnels)
        finally:
            for process in (room, new):
                if process is not None:
                    with contextlib.suppress(psutil.NoSuchProcess):
                        process.send_signal(signal.SIGKILL)
            room.wait()
    return found


async def _connects(address: str, over: asyncio.Event, restarting: asyncio.Event, found: Update) -> None:
    """Connect a hundred times a second, each time as another peer."""

    async def one() -> None:
        times = found.during if restarting.is_set() else found.before
        began = time.perf_counter()
        try:
            async with RoomClient(Keypair.generate()) as client:
                await asyncio.wait_for(client.join(address), _PATIENCE)
                times.append(time.perf_counter() - began)
        except (SSBError, OSError, asyncio.TimeoutError) as error:
            found.refused.append(repr(error))

    tasks = []
    began, count = time.perf_counter(), 0
    while not over.is_set():
        count += 1
        tasks.append(asyncio.create_task(one()))
        await asyncio.sleep(max(0.0, began + count / _CONNECTS_A_SECOND - time.perf_counter()))
    await asyncio.gather(*tasks)


@contextlib.asynccontextmanager
async def _tunnels(address: str, over: asyncio.Event, found: Update) -> AsyncIterator[list[asyncio.Task[None]]]:
    """Fifty tunnels that carry bytes until it is over, and compare digests then."""
    api = Api()

    @api.duplex("bench.digest")
    async def digest(_peer: Peer, stream: Stream) -> None:
        sha = hashlib.sha256()
        async for item in stream:
            sha.update(item)
        await stream.send(sha.hexdigest().encode())

    callers = [Keypair.generate() for _ in range(_CALLERS)]
    friends = AllowList([caller.id for caller in callers])
    async with contextlib.AsyncExitStack() as stack:
        targets = []
        for _ in range(_TARGETS):
            target = RoomClient(Keypair.generate(), admission=friends, api=api)
            await (await stack.enter_async_context(target)).join(address)
            targets.append(target.me.id)
        tasks = []
        for caller in callers:
            client = await stack.enter_async_context(RoomClient(caller))
            portal = await client.join(address)
            for target in targets:
                peer = await client.connect(target, room=portal)
                tasks.append(asyncio.create_task(_carry(peer, over, found)))
        found.tunnels = len(tasks)
        yield tasks


async def _carry(peer: Peer, over: asyncio.Event, found: Update) -> None:
    sha = hashlib.sha256()
    try:
        stream = peer.duplex("bench.digest")
        while not over.is_set():
            await stream.send(_ITEM)
            sha.update(_ITEM)
            await asyncio.sleep(_ITEM_SECONDS)
        await stream.end()
        found.wrong += await asyncio.wait_for(stream.__anext__(), _PATIENCE) != sha.hexdigest().encode()
    except (SSBError, OSError, asyncio.TimeoutError) as error:
        found.ended.append(repr(error))
