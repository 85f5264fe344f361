"""How the row of a room's web site is measured: what the site costs, and what others feel of it."""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import psutil

from benchmarks import load, processes
from benchmarks.children import NETWORK
from benchmarks.measured import Measured, Plan, digits, ratios, say, seconds, spread
from benchmarks.targets import WEB
from ssbfast import limits, native
from ssbfast.client.room_client import RoomClient
from ssbfast.keys import Keypair

_PAGES_A_SECOND: Final = 200
_BROWSERS: Final = 60
"""Addresses that the requests come from, as a proxy tells them: one address may have ten a second."""

_SOCKETS: Final = 200
_ATTENDANTS: Final = 10_000
_SETTLE_SECONDS: Final = 2.0
_DASHBOARD: Final = "/dashboard"
_PAGES: Final = (_DASHBOARD, "/members", "/invites", "/me")


def web(plan: Plan) -> Iterator[Measured]:
    """All cases; none, and a word of it, when the extra is not installed."""
    if reason := processes.why_not("ssbfast-web"):
        plan.absent["web site"] = reason
        return
    yield from _process(plan)
    yield from _sockets(plan)
    yield from _attendants(plan)
    yield from _pages(plan)
    yield from _bulk(plan)


# ---------------------------------------------------------------- the process


@dataclass(frozen=True, slots=True)
class _Started:
    """What `ssbfast room` takes. seconds: until it is ready. memory: resident bytes a moment later."""

    seconds: float
    memory: int


def _process(plan: Plan) -> Iterator[Measured]:
    say(f"{WEB.name}: start and memory")
    with tempfile.TemporaryDirectory(prefix="ssbfast-bench-") as data:
        for with_web in (False, True):  # the first start makes keys and records
            _start(data, with_web=with_web)
        rounds = max(3, plan.rounds)
        both = [(_start(data, with_web=False), _start(data, with_web=True)) for _ in range(rounds)]
    memory = [site.memory - bare.memory for bare, site in both]
    took = [site.seconds - bare.seconds for bare, site in both]
    budget = 12.0 * limits.MiB
    shown = f"{digits(statistics.median(memory) / limits.MiB)} MiB more"
    yield Measured(WEB, "memory to 12 MiB", native.BACKEND, shown, "12 MiB", spread(each / budget for each in memory))
    shown = f"{seconds(max(statistics.median(took), 1e-9))} more"
    yield Measured(WEB, "start to 0.6 s", native.BACKEND, shown, "0.6 s", spread(each / 0.6 for each in took))


def _start(data: str, *, with_web: bool) -> _Started:
    command = [sys.executable, "-m", "ssbfast", "room", "--json", "--data", data, "--listen", "127.0.0.1:0", "--no-udp"]
    began = time.perf_counter()
    room = subprocess.Popen(
        [*command, *(("--web", "127.0.0.1:0") if with_web else ())], stdout=subprocess.PIPE, text=True
    )
    try:
        wanted = "web_listening" if with_web else "listening"
        for line in room.stdout or ():
            if f'"event": "{wanted}"' in line:
                break
        took = time.perf_counter() - began
        time.sleep(_SETTLE_SECONDS)
        return _Started(took, psutil.Process(room.pid).memory_info().rss)
    finally:
        room.terminate()
        room.communicate()


# ---------------------------------------------------------------- sessions


def _sockets(plan: Plan) -> Iterator[Measured]:
    say(f"{WEB.name}: {_SOCKETS} idle WebSockets")
    found = []
    for _ in range(plan.rounds):
        with processes.room("ssbfast-web") as room:
            found.append(asyncio.run(_idle_sockets(room)))
    shown = f"{digits(statistics.median(found) / limits.KiB)} KiB of {_SOCKETS}"
    ratio = spread(each / (12.0 * limits.KiB) for each in found)
    yield Measured(WEB, "WebSocket to 12 KiB", native.BACKEND, shown, "12 KiB", ratio)


async def _idle_sockets(room: processes.Room) -> float:
    """Resident bytes of the room for each idle session over a WebSocket."""
    key = room.address.rpartition(":")[2]
    address = f"ws:127.0.0.1:{room.process.ready['web']}~shs:{key}"
    async with contextlib.AsyncExitStack() as stack:

        async def join(count: int) -> None:
            for _ in range(count):
                client = await stack.enter_async_context(RoomClient(Keypair.generate(), network=NETWORK))
                await client.join(address, announce=False)

        await join(32)
        await asyncio.sleep(_SETTLE_SECONDS)
        before = room.process.memory()
        await join(_SOCKETS)
        await asyncio.sleep(_SETTLE_SECONDS)
        return (room.process.memory() - before) / _SOCKETS


def _attendants(plan: Plan) -> Iterator[Measured]:
    count = min(plan.attendants, _ATTENDANTS)
    say(f"{WEB.name}: {count} attendants")
    found = []
    for _ in range(plan.rounds):
        with processes.room("ssbfast-web") as room:
            found.append(asyncio.run(load.idle(room, count, "announced")))
    each = [one.each for one in found]
    shown = f"{digits(statistics.median(each) / limits.KiB)} KiB of {count}"
    ratio = spread(one / (6.5 * limits.KiB) for one in each)
    yield Measured(WEB, "attendant to 6.5 KiB", native.BACKEND, shown, "6.5 KiB", ratio)


# ---------------------------------------------------------------- requests beside the room


class _Browsers:
    """Requests for pages of a member, so many a second, by a process of their own: the callers' has its own work."""

    def __init__(self, room: processes.Room, pages: tuple[str, ...]) -> None:
        spawn = multiprocessing.get_context("spawn")
        self._stop, self._answered = spawn.Event(), spawn.Value("i", 0)
        asked = (int(room.process.ready["web"]), str(room.process.ready["cookie"]), pages)
        self._process = spawn.Process(target=_browse_all, args=(*asked, self._stop, self._answered), daemon=True)

    @property
    def answered(self) -> int:
        return self._answered.value

    def __enter__(self) -> _Browsers:
        self._process.start()
        end = time.monotonic() + 30.0
        while not self.answered and self._process.is_alive() and time.monotonic() < end:
            time.sleep(0.05)
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._process.join()
        if self._process.exitcode:
            raise RuntimeError("the browsers did not get their pages")


def _browse_all(port: int, cookie: str, pages: tuple[str, ...], stop: Any, answered: Any) -> None:
    async def browse(number: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        pause, asked = _BROWSERS / _PAGES_A_SECOND, 0
        await asyncio.sleep(pause * number / _BROWSERS)
        due = time.monotonic()
        while not stop.is_set():
            client = f"10.0.{number}.{asked // 500 % 250}"
            await _ask(reader, writer, port, cookie, client, pages[asked % len(pages)])
            asked += 1
            answered.value += 1
            due += pause
            await asyncio.sleep(max(0.0, due - time.monotonic()))
        writer.close()

    async def run() -> None:
        await asyncio.gather(*(browse(number) for number in range(_BROWSERS)))

    asyncio.run(run())


async def _ask(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, port: int, cookie: str, client: str, page: str
) -> None:
    """Get one page. Raises RuntimeError for anything but a page."""
    writer.write(
        f"GET {page} HTTP/1.1\r\nHost: localhost:{port}\r\nCookie: {cookie}\r\n"
        f"X-Forwarded-For: {client}\r\n\r\n".encode()
    )
    head = await reader.readuntil(b"\r\n\r\n")
    length = next(int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
    await reader.readexactly(length)
    if not head.startswith(b"HTTP/1.1 200"):
        raise RuntimeError(f"{page} was answered by {head[:40]!r}")


async def _one_by_one(room: processes.Room, count: int) -> None:
    """Get so many pages, each after the other."""
    port, cookie = int(room.process.ready["web"]), str(room.process.ready["cookie"])
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for number in range(count):
        client = f"10.1.{number // 250 % 250}.{number % 250}"
        await _ask(reader, writer, port, cookie, client, _PAGES[number % len(_PAGES)])
    writer.close()


def _pages(plan: Plan) -> Iterator[Measured]:
    say(f"{WEB.name}: calls beside pages")
    costs, alone, beside, rates = [], [], [], []
    for _ in range(plan.rounds):
        with processes.room("ssbfast-web") as room, processes.target(room):
            count = 400
            asyncio.run(_one_by_one(room, 40))
            cpu = room.process.cpu()
            asyncio.run(_one_by_one(room, count))
            costs.append((room.process.cpu() - cpu) / count)
            quiet, busy, rate = asyncio.run(_calls(room, max(plan.seconds * 4, 2.0)))
            alone.append(quiet)
            beside.append(busy)
            rates.append(rate)
    shown = seconds(statistics.median(costs))
    yield Measured(WEB, "page to 20 ms", native.BACKEND, f"{shown} of CPU", "20 ms", spread(c / 0.02 for c in costs))
    ours = f"{seconds(statistics.median(beside))} at {statistics.median(rates):.0f} pages a second"
    case = "p99 beside 200 dashboards a second to alone"
    yield Measured(WEB, case, native.BACKEND, ours, seconds(statistics.median(alone)), ratios(beside, alone))


async def _calls(room: processes.Room, length: float) -> tuple[float, float, float]:
    """p99 of calls through a tunnel alone, and beside browsers; and the pages they got a second."""
    async with load.tunnel(room) as peer:
        await load.round_trips(peer, 0.5)
        alone = await load.round_trips(peer, length)
        with _Browsers(room, (_DASHBOARD,)) as browsers:
            await asyncio.sleep(0.5)
            before, began = browsers.answered, time.perf_counter()
            beside = await load.round_trips(peer, length)
            rate = (browsers.answered - before) / (time.perf_counter() - began)
        return _p99(alone), _p99(beside), rate


def _p99(times: list[float]) -> float:
    return statistics.quantiles(times, n=100)[98]


def _bulk(plan: Plan) -> Iterator[Measured]:
    say(f"{WEB.name}: bulk with and without a site")
    cpu: dict[str, list[float]] = {"ssbfast": [], "ssbfast-web": []}
    for _ in range(max(3, plan.rounds)):
        for kind, found in cpu.items():
            with processes.room(kind) as room, processes.target(room):
                found.append(asyncio.run(_transfer(room, plan.seconds)).cpu_per_gb)
    ours, theirs = (seconds(statistics.median(found)) for found in (cpu["ssbfast-web"], cpu["ssbfast"]))
    yield Measured(WEB, "CPU a GB to without", native.BACKEND, ours, theirs, ratios(cpu["ssbfast-web"], cpu["ssbfast"]))


async def _transfer(room: processes.Room, length: float) -> load.Bulk:
    async with load.tunnel(room) as peer:
        await load.bulk(room, peer, 32768, length / 4)
        return await load.bulk(room, peer, 32768, length)
