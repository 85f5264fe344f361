"""Sessions that leave their room, come back and end, each of them cut at one moment: by the room or by an end.

    async with cutting() as blade, meeting(connect=False) as met:
        lives = Lives(met, blade)
        total = await lives.whole()                    # moments of a life that nobody cuts
        await lives.cut(Cut(at=7, how="room"))

A moment is something that passes the room in the session's tunnels, or a datagram that leaves.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any, Final

from ssbfast.errors import SSBError
from ssbfast.net.peer import Peer
from ssbfast.net.relayed_tunnel import Ending, RelayedTunnel
from ssbfast.wire.muxrpc_body import error_body
from tests.helpers.clients import RecordingClient
from tests.helpers.meeting import Meddler, MeetingClients, meddling, paths_of
from tests.helpers.rawpeer import eventually

HOW: Final = (
    "room", "room, clean", "room to caller", "room to target", "room, late datagrams",
    "caller aborts", "target aborts", "caller aborts, late datagrams", "target aborts, late datagrams",
    "caller closes", "target closes", "standby", "path of caller", "path of target",
)  # fmt: skip
"""Who cuts what. Late datagrams: those of after the cut arrive when both ends have noticed it."""

LOST: Final = ("caller loses the room", "target loses the room")
"""The session with the room dies, and with it all tunnels; it is back after half a second."""

KEPT: Final = ("standby", "path of caller", "path of target")
"""Cuts that a session on a direct path outlives."""

LATE_SECONDS: Final = 0.3


@dataclass(frozen=True, slots=True)
class Cut:
    """at: the number of the moment, from 0. after: seconds behind it; 0 in the same turn of the loop."""

    at: int
    how: str
    after: float = 0.0


class CuttingMeddler(Meddler):
    """Counts the moments of one life, and calls `act` at one of them."""

    def __init__(self) -> None:
        super().__init__()
        self.seen = 0
        self.first = 0
        self._at: int | None = None
        self._after = 0.0
        self._act: Callable[[], None] = lambda: None

    def begin(self, at: int | None = None, after: float = 0.0, act: Callable[[], None] = lambda: None) -> None:
        """A new life begins."""
        self.first, self.seen = len(self.splices), 0
        self._at, self._after, self._act = at, after, act

    @property
    def tunnels(self) -> list[RelayedTunnel]:
        """Those of this life."""
        return self.splices[self.first :]

    def pass_on(self, number: int, to_target: bool, data: bytes) -> tuple[bytes]:
        self.happened()
        return (data,)

    def happened(self) -> None:
        """A moment."""
        self.seen += 1
        if self._at is not None and self.seen > self._at:
            self._at = None
            loop = asyncio.get_running_loop()
            loop.call_later(self._after, self._act) if self._after else loop.call_soon(self._act)


@asynccontextmanager
async def cutting() -> AsyncIterator[CuttingMeddler]:
    blade = CuttingMeddler()
    async with meddling(blade):
        yield blade


class SessionRuns:
    """Runs of sessions between the two clients of a meeting, one after the other."""

    def __init__(self, met: MeetingClients, blade: CuttingMeddler) -> None:
        self._met = met
        self._blade = blade
        self._peer: Peer | None = None
        self._theirs: list[Peer] = []
        self._was_direct = False
        self._closing: list[asyncio.Task[None]] = []
        self._wires: list[asyncio.StreamWriter] = []
        met.net.watch = lambda data: blade.happened()

    async def whole(self) -> int:
        """Moments of a life that nobody cuts."""
        self._blade.begin()
        await self._live()
        return self._blade.seen

    async def cut(self, cut: Cut) -> None:
        """A life with a cut. AssertionError when it ends although the rules keep it."""
        self._was_direct = False
        await eventually(lambda: self._met.caller.rooms and self._met.target.rooms)
        self._blade.begin(cut.at, cut.after, lambda: self._do(cut.how))
        kept = await self._live()
        assert kept or not self._was_direct or cut.how not in KEPT, f"{cut} ended a session on a direct path"

    # ------------------------------------------------------------ a life

    async def _live(self) -> bool:
        """Whether the session got to its own end."""
        met = self._met
        self._peer, self._theirs = None, []
        arrivals = asyncio.create_task(self._arrivals())
        try:
            self._peer = await met.caller.connect(met.target.me.id)
            await self._forward()
            if not await self._until(lambda: all(map(self._stands, (met.caller, met.target)))):
                return False
            await self._forward()
            self._break("caller" if self._blade.seen % 2 else "target")
            if not await self._until(lambda: {peer.path for peer in (self._peer, *self._theirs)} == {"tunnel"}):
                return False
            await self._peer.call("add", 1, 1, timeout=10)
            await self._peer.close()
            return self._peer.error is None
        except SSBError:
            return False
        finally:
            await self._end(arrivals)

    async def _forward(self) -> None:
        """A TCP connection, by whatever path there is; it is left as it is."""
        self._met.listener.peer = self._peer
        _, writer = await asyncio.open_connection(*self._met.listener.address)
        writer.write(bytes(1000))
        self._wires.append(writer)

    async def _arrivals(self) -> None:
        async for peer in self._met.target.incoming():
            self._theirs.append(peer)

    async def _until(self, condition: Callable[[], bool]) -> bool:
        """Wait; False when an end is over before."""
        await eventually(lambda: self._is_over() or condition())
        return not self._is_over()

    def _is_over(self) -> bool:
        return self._peer is None or not all(peer.is_open for peer in (self._peer, *self._theirs))

    def _stands(self, client: RecordingClient) -> bool:
        """Whether a session of this life is direct, with a standby."""
        return any(
            negotiation.carrier_transport.carriers._standby is not None and negotiation.peer.path == "direct"
            for negotiation in paths_of(client)._by_peer.values()
        )

    async def _end(self, arrivals: asyncio.Task[None]) -> None:
        """Nothing more happens; what the room told one end only is told the other."""
        if self._met.net.late is not None:
            await asyncio.sleep(0.01)
            self._met.net.let_go()
            await asyncio.sleep(0.01)
        await asyncio.gather(*self._closing)
        self._closing.clear()
        for splice in self._blade.tunnels:
            splice.fail("the room says so", Ending.CLOSED)
        for peer in (self._peer, *self._theirs):
            if peer is not None:
                peer.link.abort() if peer.is_open else None
                await asyncio.wait_for(peer.wait_closed(), 20)
        while not self._met.service.connections.empty():
            self._wires.append(self._met.service.connections.get_nowait().writer)
        for wire in self._wires:  # a writer that goes before its transport has been aborted warns (Python 3.13)
            wire.transport.abort()
        self._wires.clear()
        arrivals.cancel()
        with suppress(asyncio.CancelledError):
            await arrivals

    # ------------------------------------------------------------ cuts

    def _do(self, how: str) -> None:
        who, _, what = how.partition(" ")
        machines = [r.carrier_transport.carriers for c in (self._met.caller, self._met.target) for r in self._of(c)]
        self._was_direct = len(machines) == 2 and all(
            machine.path == "direct" and machine._change is None and machine._stranded is None for machine in machines
        )
        if how.endswith("late datagrams"):
            self._met.net.late = []
            asyncio.get_running_loop().call_later(LATE_SECONDS, self._met.net.let_go)
        if who.startswith("room"):
            self._room(what)
        elif how == "standby":
            for splice in self._blade.tunnels[1:]:
                splice.fail("the room says so", Ending.CLOSED)
        elif who == "path":
            self._break(what.removeprefix("of "))
        elif what == "loses the room":
            for room in (self._met.caller if who == "caller" else self._met.target).rooms:
                room.session.link.abort()
        else:
            self._leave(who, what)

    def _room(self, what: str) -> None:
        for splice in self._blade.tunnels:
            if what.startswith("to "):
                splice._tell(splice._legs[what == "to target"], error_body("the room says so"))
                splice._relay.touched()
            elif what == "clean":
                for leg in splice._legs:
                    splice._tell(leg, b"true")
                splice._finish(Ending.CLOSED)
            else:
                splice.fail("the room says so", Ending.CLOSED)

    def _leave(self, who: str, what: str) -> None:
        ends = [self._peer] if who == "caller" else self._theirs
        for peer in ends:
            if peer is None:
                continue
            if what.startswith("aborts"):
                peer.link.abort()
            else:
                self._closing.append(asyncio.create_task(peer.close()))

    def _break(self, who: str) -> None:
        """End the direct path at one end, as if its socket had died."""
        for negotiation in self._of(self._met.caller if who == "caller" else self._met.target):
            if negotiation._path is not None and negotiation._path.path is not None:
                negotiation._path.path.abort("the test says so")

    def _of(self, client: RecordingClient) -> list[Any]:
        ends = (self._peer, *self._theirs)
        return [found for peer, found in paths_of(client)._by_peer.items() if peer in ends]


def descriptors() -> int:
    """Open ones of this process."""
    return len(os.listdir("/proc/self/fd"))
