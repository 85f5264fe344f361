"""The load on a room: our own clients, the same ones whatever the room is, so that only the room differs."""

from __future__ import annotations

import asyncio
import contextlib
import resource
import statistics
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Final, Literal

from benchmarks.children import CALLER, ITEMS, NETWORK, TARGET, items_of
from benchmarks.processes import Room, Target
from ssbfast.client.room_client import RoomClient
from ssbfast.errors import SSBError
from ssbfast.ids import FeedId
from ssbfast.keys import Keypair
from ssbfast.net.dial import dial
from ssbfast.net.link import Link
from ssbfast.net.peer import Peer
from ssbfast.net.relay import Relay
from ssbfast.wire.handshake import ClientHandshake
from ssbfast.wire.muxrpc import CallKind, MuxRPC

Mode = Literal["bare", "announced", "subscribed"]
"""What an idle attendant has done: shaken hands; called tunnel.announce; or subscribed to the room's list."""

GB: Final = 1e9
_BATCH: Final = 32
"""Handshakes under way at a time: rooms of ours allow 64 from one address."""
_TRIPS: Final = 100
_SETTLE_SECONDS: Final = 3.0
_STEP_SECONDS: Final = 120.0


@dataclass(frozen=True, slots=True)
class Bulk:
    """A transfer through a tunnel. bytes: payload; seconds: until the last byte was confirmed; cpu: the room's."""

    item: int
    bytes: int
    seconds: float
    cpu: float
    correct: bool

    @property
    def mb_per_s(self) -> float:
        return self.bytes / self.seconds / 1e6

    @property
    def cpu_per_gb(self) -> float:
        """CPU-seconds of the room per 10^9 bytes of payload."""
        return self.cpu / self.bytes * GB


@dataclass(frozen=True, slots=True)
class Latency:
    """Round trips of one small call, in seconds: through the room, and between the same processes without it.

    cpu: the room's, for each round trip.
    """

    through: float
    through_p99: float
    direct: float
    cpu: float

    @property
    def added(self) -> float:
        """What the room adds to one way, median."""
        return (self.through - self.direct) / 2


@dataclass(frozen=True, slots=True)
class Sessions:
    """Sessions opened and closed, one handshake each. cpu: the room's."""

    count: int
    seconds: float
    cpu: float


@dataclass(frozen=True, slots=True)
class Idle:
    """A crowd that does nothing. before, after: resident bytes of the room. cpu: the room's, for all their joining."""

    count: int
    mode: Mode
    before: int
    after: int
    cpu: float
    correct: bool

    @property
    def each(self) -> float:
        """Resident bytes per attendant."""
        return (self.after - self.before) / self.count


# ---------------------------------------------------------------- through a tunnel


@contextlib.asynccontextmanager
async def tunnel(room: Room) -> AsyncIterator[Peer]:
    """A tunnel from CALLER to TARGET."""
    async with RoomClient(CALLER, network=NETWORK) as client:
        await client.join(room.address)
        yield await client.connect(TARGET.id)


async def bulk(room: Room, peer: Peer, item: int, seconds: float) -> Bulk:
    """Send items of `item` bytes to the target for so many seconds, and wait until it has them all."""
    items = items_of(item)
    stream = peer.sink("bench.sink", item)
    cpu, began, sent = room.process.cpu(), time.perf_counter(), 0
    while time.perf_counter() - began < seconds:
        for each in items:
            await stream.send(each)
        sent += ITEMS * item
    await stream.end()
    with contextlib.suppress(StopAsyncIteration):
        await asyncio.wait_for(stream.__anext__(), _STEP_SECONDS)  # the target ends its direction when it has read all
    took, used = time.perf_counter() - began, room.process.cpu() - cpu
    received = await peer.call("bench.received", timeout=_STEP_SECONDS)
    return Bulk(item, sent, took, used, received == {"bytes": sent, "wrong": 0})


async def round_trips(peer: Peer, seconds: float) -> list[float]:
    """Seconds of each call with 64 characters, one after the other, for so long and at least 100 times."""
    text, times = "x" * 64, list[float]()
    end = time.perf_counter() + seconds
    while len(times) < _TRIPS or time.perf_counter() < end:
        began = time.perf_counter()
        if await peer.call("bench.echo", text, timeout=_STEP_SECONDS) != text:
            raise RuntimeError("a wrong echo")
        times.append(time.perf_counter() - began)
    return times


async def latency(room: Room, peer: Peer, target: Target, seconds: float) -> Latency:
    """Round trips through the tunnel, and over a connection of its own to the same process."""
    relay, direct = Relay(), Peer()
    await dial("127.0.0.1", target.port, lambda: Link(relay, _client(CALLER, TARGET.id), direct))
    await direct.wait_opened()
    plain = await round_trips(direct, seconds)
    cpu = room.process.cpu()
    through = await round_trips(peer, seconds)
    used = (room.process.cpu() - cpu) / len(through)
    await direct.close()
    return Latency(statistics.median(through), statistics.quantiles(through, n=100)[98], statistics.median(plain), used)


# ---------------------------------------------------------------- crowds


class Attendant:
    """One idle member of a crowd: as little as can shake hands, make one call and then keep quiet."""

    __slots__ = ("_call", "link", "ready")

    def __init__(self, mode: Mode, kind: str) -> None:
        self._call = _first_call(mode, kind)
        self.link: Link | None = None
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def on_open(self, link: Link) -> None:
        self.link = link
        if self._call is None:
            self._done(None)
        else:
            link.control(*MuxRPC().call(self._call[0], self._call[1], [])[1])

    def on_packet(self, link: Link, flags: int, req: int, body: bytes) -> None:
        if req < 0:  # the answer to our only call
            self._done(None)

    def on_chunk(self, link: Link, req: int, data: bytes) -> None:
        """Never: there are no inlets."""

    def on_close(self, link: Link, error: SSBError | None) -> None:
        self._done(error or SSBError("the room has closed the session"))

    def _done(self, error: SSBError | None) -> None:
        if self.ready.done():
            return
        if error is None:
            self.ready.set_result(None)
        else:
            self.ready.set_exception(error)


class Crowd:
    """Attendants in one process, all over one relay."""

    def __init__(self, room: Room, mode: Mode) -> None:
        self._room = room
        self._mode = mode
        self._relay = Relay()
        self._members: list[Attendant] = []

    async def grow(self, count: int) -> None:
        """Let so many more join, some at a time."""
        _allow_descriptors(count + 200)
        while count > 0:
            batch = [self._join() for _ in range(min(_BATCH, count))]
            await asyncio.wait_for(asyncio.gather(*batch), _STEP_SECONDS)
            count -= len(batch)

    async def leave(self) -> None:
        """Cut all connections."""
        links = [member.link for member in self._members if member.link is not None]
        self._members.clear()
        for link in links:
            link.abort()
        await asyncio.sleep(0)

    @property
    def present(self) -> int:
        return sum(member.link is not None and member.link.is_open for member in self._members)

    async def _join(self) -> None:
        host, port, key = self._room.endpoint
        member = Attendant(self._mode, self._room.kind)
        self._members.append(member)
        handshake = _client(Keypair.generate(), key)
        await dial(host, port, lambda: Link(self._relay, handshake, member), seconds=_STEP_SECONDS)
        await member.ready


async def idle(room: Room, count: int, mode: Mode, settle: float = _SETTLE_SECONDS) -> Idle:
    """Resident memory of a room with `count` idle attendants, beyond what it has with none (but has had some)."""
    warm = Crowd(room, mode)
    await warm.grow(_BATCH)
    await warm.leave()
    await asyncio.sleep(settle)
    before, cpu = room.process.memory(), room.process.cpu()
    crowd = Crowd(room, mode)
    await crowd.grow(count)
    await asyncio.sleep(settle)
    after, used = room.process.memory(), room.process.cpu() - cpu
    correct = crowd.present == count and (mode == "bare" or await _listed(room) == count)
    await crowd.leave()
    return Idle(count, mode, before, after, used, correct)


async def sessions(room: Room, count: int) -> Sessions:
    """Open so many sessions, some at a time, and close them."""
    crowd = Crowd(room, "bare")
    await crowd.grow(_BATCH)
    cpu, began = room.process.cpu(), time.perf_counter()
    await crowd.grow(count)
    took, used = time.perf_counter() - began, room.process.cpu() - cpu
    await crowd.leave()
    return Sessions(count, took, used)


async def _listed(room: Room) -> int:
    """How many a newcomer is told are there, himself not counted."""
    async with RoomClient(CALLER, network=NETWORK) as client:
        joined = await client.join(room.address)
        return len(joined.attendants - {CALLER.id})


def _first_call(mode: Mode, kind: str) -> tuple[CallKind, tuple[str, ...]] | None:
    if mode == "bare":
        return None
    if mode == "announced":
        return CallKind.ASYNC, ("tunnel", "announce")
    return CallKind.SOURCE, ("tunnel", "endpoints") if kind == "ssb-room" else ("room", "attendants")


def _client(me: Keypair, server: FeedId) -> ClientHandshake:
    return ClientHandshake(me, server, network=NETWORK)


def _allow_descriptors(count: int) -> None:
    """Raise the soft limit of open files; rooms that are started later inherit it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < count:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(count, hard), hard))
