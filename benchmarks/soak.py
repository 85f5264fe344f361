"""A room for an hour: `python -m benchmarks.soak --minutes 60`.

1,000 sessions come and go, beside tunnels that carry bytes and visitors of the web site. At the end resident memory,
open files and tasks have to be those of the base again, within five percent. The base is what the room has after a
warm-up of the same kind: what a library loads once is no leak. Exit code 1 if something did not come back, if a byte
was wrong, or if more than one in a thousand joins failed.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import random
import re
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import psutil

from benchmarks.load import Attendant
from ssbfast.cli.open_files import raise_file_limit
from ssbfast.errors import SSBError
from ssbfast.ids import FeedId
from ssbfast.keys import Keypair
from ssbfast.net.dial import dial
from ssbfast.net.link import Link
from ssbfast.net.relay import Relay
from ssbfast.server.limit_table import LIMITS
from ssbfast.store.room_store import RoomStore
from ssbfast.wire.handshake import ClientHandshake
from tests.helpers.rawpeer import RawPeer

MOST: Final = 1.05
"""What is left at the end may be so many times the base."""

_LIFE: Final = (5.0, 55.0)
_PIECE: Final = random.Random(7).randbytes(64 * 1024)
_SETTLE_SECONDS: Final = 20.0
_LOOK_SECONDS: Final = 30.0
_STEP_SECONDS: Final = 60.0
_PAUSE: Final = 0.25


@dataclass(frozen=True, slots=True)
class Figures:
    """The resources of a room. memory: resident bytes."""

    memory: int
    files: int
    tasks: int
    threads: int

    def over(self, base: Figures) -> list[str]:
        """Return the names of those that are not what they were."""
        names = ("memory", "files", "tasks", "threads")
        return [name for name in names if getattr(self, name) > getattr(base, name) * MOST]

    def __str__(self) -> str:
        return f"{self.memory / 1e6:.1f} MB, {self.files} files, {self.tasks} tasks, {self.threads} threads"


@dataclass(slots=True)
class Done:
    """The work of the load so far. failed: by the kind of the error."""

    joins: int = 0
    tunnels: int = 0
    bytes: int = 0
    pages: int = 0
    streams: int = 0
    wrong: int = 0
    failed: dict[str, int] = field(default_factory=dict)

    def fail(self, what: str, error: BaseException) -> None:
        """Count a failure."""
        name = f"{what}: {type(error).__name__}"
        self.failed[name] = self.failed.get(name, 0) + 1


class Room:
    """`ssbfast room` as a process, with a web site and measurements, and limits for a crowd at one address."""

    def __init__(self, process: asyncio.subprocess.Process, told: dict[str, dict[str, Any]]) -> None:
        self._meter = psutil.Process(process.pid)
        self.id = FeedId.parse(told["listening"]["id"])
        self.port = int(told["listening"]["address"].partition("~")[0].rpartition(":")[2])
        self.web = urlsplit(told["web_listening"]["url"]).port or 0
        self._metrics = urlsplit(told["metrics_listening"]["url"]).port or 0

    async def figures(self) -> Figures:
        """Return what it has now."""
        text = await http(self._metrics, "GET /metrics HTTP/1.1\r\n\r\n")
        tasks = re.search(r"^ssbfast_tasks (\S+)", text, re.MULTILINE)
        if tasks is None:
            raise RuntimeError("the room tells no tasks")
        meter = self._meter
        return Figures(meter.memory_info().rss, meter.num_fds(), int(float(tasks[1])), meter.num_threads())


async def http(port: int, request: str, seconds: float = _STEP_SECONDS) -> str:
    """Ask a server on this machine; return all that it says."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(request.encode())
        return (await asyncio.wait_for(reader.read(), seconds)).decode("utf-8", "replace")
    finally:
        writer.close()


@contextlib.asynccontextmanager
async def running() -> AsyncIterator[Room]:
    """Run a room; it has to end well."""
    wide = [f"--limit={name}={limit.most:.10g}" for name, limit in LIMITS.items() if "_per_address" in name]
    ports = ("--listen", "127.0.0.1:0", "--no-udp", "--web", "127.0.0.1:0", "--metrics", "127.0.0.1:0")
    with tempfile.TemporaryDirectory() as data:
        RoomStore(Path(data)).close()  # a room that is new with a web site is not open
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "ssbfast", "room", "--data", data, "--json", "--name", "soak", *ports, *wide),
            stdout=asyncio.subprocess.PIPE,
        )
        try:
            told: dict[str, dict[str, Any]] = {}
            while len(told) < 3:
                line = await asyncio.wait_for(_line(process), _STEP_SECONDS)
                if line["event"] in ("listening", "web_listening", "metrics_listening"):
                    told[line["event"]] = line
            reading = asyncio.ensure_future(_drop(process))
            yield Room(process, told)
            process.terminate()
            await asyncio.wait_for(process.wait(), _STEP_SECONDS)
            await reading
            if process.returncode:
                raise RuntimeError(f"the room has ended with {process.returncode}")
        finally:
            if process.returncode is None:
                process.kill()


async def _line(process: asyncio.subprocess.Process) -> dict[str, Any]:
    line = b"" if process.stdout is None else await process.stdout.readline()
    if not line:
        raise RuntimeError("the room has ended")
    found: dict[str, Any] = json.loads(line)
    return found


async def _drop(process: asyncio.subprocess.Process) -> None:
    while process.stdout is not None and await process.stdout.readline():
        pass


# ---------------------------------------------------------------- the load


class Load:
    """Peers and visitors of one room. relay: of all peers here."""

    def __init__(self, room: Room, done: Done) -> None:
        self._room = room
        self._done = done
        self._relay = Relay()
        self._visitors = 0

    async def run(self, sessions: int, seconds: float) -> None:
        """Keep so many sessions, a tenth as many tunnels and a few visitors for so long; then all have left."""
        until = time.monotonic() + seconds
        parts = [self._attendant(until) for _ in range(sessions)]
        parts += [self._pair(until) for _ in range(max(sessions // 20, 1))]
        parts += [self._visitor(until) for _ in range(4)]
        await asyncio.gather(*parts)

    async def _attendant(self, until: float) -> None:
        await asyncio.sleep(random.uniform(0, _LIFE[0]))
        while (left := until - time.monotonic()) > 0:
            peer = Attendant("announced", "async")
            try:
                handshake = ClientHandshake(Keypair.generate(), self._room.id)
                await dial("127.0.0.1", self._room.port, partial(Link, self._relay, handshake, peer))
                await asyncio.wait_for(peer.ready, _STEP_SECONDS)
                self._done.joins += 1
                await asyncio.sleep(min(random.uniform(*_LIFE), left))
            except (SSBError, OSError, asyncio.TimeoutError) as error:
                self._done.fail("join", error)
                await asyncio.sleep(1)
            finally:
                if peer.link is not None:
                    peer.link.abort() if random.random() < 0.3 else peer.link.close()

    async def _pair(self, until: float) -> None:
        await asyncio.sleep(random.uniform(0, _LIFE[0]))
        while time.monotonic() < until:
            ends = [RawPeer(Keypair.generate(), self._relay) for _ in range(2)]
            try:
                for end, announce in zip(ends, (False, True), strict=True):
                    await end.join(self._room.port, self._room.id, announce=announce)
                here = ends[0].connect(self._room.id, ends[1].id)
                there = await asyncio.wait_for(ends[1].accept(), _STEP_SECONDS)
                for _ in range(random.randrange(1, 20)):
                    before = there.count
                    here.write(_PIECE)
                    await there.read(before + len(_PIECE))
                    if bytes(there.received[before:]) != _PIECE:
                        self._done.wrong += 1
                    self._done.bytes += len(_PIECE)
                    await asyncio.sleep(_PAUSE)
                self._done.tunnels += 1
            except (SSBError, OSError, AssertionError, asyncio.TimeoutError) as error:
                self._done.fail("tunnel", error)
                await asyncio.sleep(1)
            finally:
                for end in ends:
                    if not end.gone.is_set() and getattr(end, "link", None) is not None:
                        end.link.release(end)
                        end.link.abort()

    async def _visitor(self, until: float) -> None:
        while time.monotonic() < until:
            self._visitors += 1
            address = f"198.{18 + self._visitors // 62_500}.{self._visitors // 250 % 250}.{self._visitors % 250}"
            head = f"Host: localhost:{self._room.web}\r\nConnection: close\r\nX-Forwarded-For: {address}\r\n"
            try:
                cookie = ""
                for path in ("/", "/login", "/nobody-is-here", "/login/wait"):
                    request = f"GET {path} HTTP/1.1\r\n{head}{cookie}\r\n"
                    if path == "/login/wait":
                        with contextlib.suppress(asyncio.TimeoutError):
                            await http(self._room.web, request, random.uniform(0.1, 3.0))
                        self._done.streams += 1
                        continue
                    found = re.search(r"(?i)set-cookie: ([^;\r]+)", await http(self._room.web, request))
                    cookie = f"Cookie: {found[1]}\r\n" if found else cookie
                    self._done.pages += 1
            except (OSError, asyncio.TimeoutError) as error:
                self._done.fail("page", error)
            await asyncio.sleep(_PAUSE)


async def soak(seconds: float, sessions: int, warm_up: float) -> int:
    """Run it, and say what came of it. Returns the exit code."""
    done = Done()
    async with running() as room:
        say(f"at the start      {await room.figures()}")
        await Load(room, Done()).run(sessions, warm_up)
        await asyncio.sleep(_SETTLE_SECONDS)
        base = await room.figures()
        say(f"base              {base}")
        looking = asyncio.ensure_future(_look(room, done))
        await Load(room, done).run(sessions, seconds)
        looking.cancel()
        await asyncio.gather(looking, return_exceptions=True)
        await asyncio.sleep(_SETTLE_SECONDS)
        end = await room.figures()
        say(f"at the end        {end}")
    over = end.over(base)
    failures = sum(done.failed.values())
    say(f"done              {done}")
    for name in over:
        say(f"did not come back {name}: {getattr(end, name) / getattr(base, name):.3f} of the base")
    return 1 if over or done.wrong or failures > 0.001 * done.joins else 0


async def _look(room: Room, done: Done) -> None:
    while True:
        await asyncio.sleep(_LOOK_SECONDS)
        say(f"under load        {await room.figures()}; {done.joins} joins, {done.tunnels} tunnels")


def say(text: str) -> None:
    """Print a line with its time."""
    print(f"{time.strftime('%H:%M:%S')}  {text}", flush=True)


def main() -> None:
    """Read the options and run."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--sessions", type=int, default=1_000)
    parser.add_argument("--warm-up", type=float, default=60.0, metavar="SECONDS")
    given = parser.parse_args()
    raise_file_limit()
    code = asyncio.run(soak(given.minutes * 60, given.sessions, given.warm_up))
    sys.stdout.flush()
    os._exit(code)  # not the seconds that a thousand links take to be collected


if __name__ == "__main__":
    main()
