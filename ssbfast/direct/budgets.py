"""Budgets that all direct paths of an event loop share: pace of probes, number of attempts and sockets, memory.

A program has one event loop, so this is the whole program's. Each attempt says which peer it is with: a peer has its
part of everything, however many sessions it opens, and by whichever rooms.
"""

from __future__ import annotations

import asyncio
import socket
import sys
import weakref
from collections.abc import Callable
from typing import Final

from ssbfast import limits
from ssbfast.direct.port_mapper import PortMapper
from ssbfast.direct.udp import UdpSocket
from ssbfast.wire.direct.carriers.timers import Kept
from ssbfast.wire.direct.memory import MemoryBudget
from ssbfast.wire.direct.punch.budgets import AttemptPlaces, SocketPlaces, Unanswered
from ssbfast.wire.direct.punch.pace import ProbePace, Turn

_FILES: Final = 1_024
"""Descriptors that a process may have where the system does not tell."""

_FAMILIES: Final = 2
"""Sockets of an attempt: IPv4, IPv6."""

_by_loop: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Resources] = weakref.WeakKeyDictionary()


class Resources:
    """Resources of one event loop. sockets: UDP sockets that there may be; None: the share of its descriptors."""

    def __init__(self, sockets: int | None = None) -> None:
        self.attempts = AttemptPlaces()
        self.unanswered = Unanswered()
        self.sockets = SocketPlaces(_most_sockets() if sockets is None else sockets)
        self.kept = Kept()
        self.memory = MemoryBudget()
        self.ports = PortMapper()
        self._pace = ProbePace()
        self._lingering: list[tuple[bytes, UdpSocket]] = []  # the oldest first
        self._timer: asyncio.TimerHandle | None = None

    @classmethod
    def shared(cls) -> Resources:
        """Return the resources of the running event loop."""
        loop = asyncio.get_running_loop()
        found = _by_loop.get(loop)
        if found is None:
            found = _by_loop[loop] = cls()
        return found

    # ------------------------------------------------------------ probes

    def enter(self, key: bytes, send: Callable[[float], None]) -> Turn:
        """Add an attempt to those that send probes. send: as in `wire.direct.punch.pace.Turn`."""
        return self._pace.enter(key, send)

    def leave(self, turn: Turn) -> None:
        """Remove it; harmless when it was removed."""
        self._pace.leave(turn)
        self._arm()

    def run(self) -> None:
        """Send what is due, as far as the pace allows. Asked for after each change of a turn."""
        self._pace.run(asyncio.get_running_loop().time())
        self._arm()

    def _arm(self) -> None:
        at = self._pace.timer()
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None if at is None else asyncio.get_running_loop().call_at(at, self.run)

    # ------------------------------------------------------------ sockets

    def open(self, key: bytes, family: socket.AddressFamily) -> UdpSocket | None:
        """Open a socket for an attempt with that peer; None when it has enough of them, or there are none.

        Its closing gives its place back.
        """
        if not self.sockets.take(key):
            self._close_lingering(key)
            if not self.sockets.take(key):
                return None
        try:
            udp = UdpSocket.open(family)
        except OSError:  # no IPv6 here, or no descriptor left: another socket may do
            self.sockets.give_back(key)
            return None
        self._count(key, udp)
        return udp

    def keep(self, key: bytes, udp: UdpSocket) -> bool:
        """Count a search's socket for its peer from now on, because it leads to it. False: the peer has enough."""
        if not self.sockets.take(key):
            return False
        self._count(key, udp)
        return True

    def _count(self, key: bytes, udp: UdpSocket) -> None:
        udp.on_closed = lambda: self._closed(key, udp)
        udp.on_lingering = lambda: self._lingering.append((key, udp))

    def _closed(self, key: bytes, udp: UdpSocket) -> None:
        self.sockets.give_back(key)
        self._lingering = [item for item in self._lingering if item[1] is not udp]

    def _close_lingering(self, key: bytes) -> None:
        """Close the oldest socket that only says farewell: one of that peer's, or any peer's if that one has none."""
        found = sorted(self._lingering, key=lambda item: item[0] != key)
        if found and (found[0][0] == key or self.sockets.held(key) < _FAMILIES):
            found[0][1].close()


def _most_sockets() -> int:
    files = _FILES
    if sys.platform != "win32":
        import resource

        soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        files = limits.UDP_SOCKETS * limits.UDP_SOCKETS_SHARE if soft == resource.RLIM_INFINITY else soft
    return min(files // limits.UDP_SOCKETS_SHARE, limits.UDP_SOCKETS)
