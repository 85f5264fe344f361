"""What both ends of carried TCP connections have in common: the calls, the connections, their count and their end.

`net/forward/tcp_server.py` offers services, `net/forward/tcp_listener.py` is where programs reach those of a peer. For
what a duplex carries see `net/forward/window.py`.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Final, TypeVar
from weakref import WeakKeyDictionary

from ssbfast import limits
from ssbfast.ids import FeedId
from ssbfast.net.forward.connection import Carried
from ssbfast.net.forward.failures import Complaint, Complaints
from ssbfast.net.peer import Peer

METHOD: Final = "forward.open"
SERVICE: Final = "forward.service"
SERVICES: Final = "forward.services"
GONE: Final = "the service is not offered any more"

_Self = TypeVar("_Self", bound="Forward")


@dataclass(slots=True)
class Traffic:
    """Counters of what was carried.

    Attributes:
        open: Connections now.
        opened: Connections that were carried so far, those that are open included.
        failed: Connections that were turned away, or for which there was no service.
        sent: Bytes to the peer, as the TCP connections see them.
        got: Bytes from the peer, as the TCP connections see them.
    """

    open: int = 0
    opened: int = 0
    failed: int = 0
    sent: int = 0
    got: int = 0


class Forward:
    """The common part of both ends of a forward: connections, their count and their end."""

    def __init__(self, per_peer: int, patience: float, told: Callable[[Complaint], None] | None) -> None:
        self.buffer = memoryview(bytearray(limits.FORWARD_READ))
        self._per_peer = per_peer
        self._patience = patience
        self._complaints = None if told is None else Complaints(told)
        self._waiting: dict[Carried, None] = {}
        self._connections: dict[Carried, None] = {}
        self._by_peer: WeakKeyDictionary[Peer, Traffic] = WeakKeyDictionary()
        self._all = Traffic()
        self._held: Counter[FeedId] = Counter()
        self._idle: asyncio.Event = asyncio.Event()
        self._idle.set()
        self._is_closed = False

    async def __aenter__(self: _Self) -> _Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def traffic(self, peer: Peer | None = None) -> Traffic:
        """Return counters as they stand.

        Args:
            peer: The session to count, as long as its `Peer` is kept; None: all together.
        """
        past = self._all if peer is None else self._by_peer.get(peer, Traffic())
        now = Traffic(past.open, past.opened, past.failed, past.sent, past.got)
        for connection in self._connections:
            if connection.stream is not None and (peer is None or connection.peer is peer):
                now.sent += connection.stream.sent
                now.got += connection.stream.got
        return now

    async def close(self) -> None:
        """Reset every connection; returns when nothing is left of them."""
        self._is_closed = True
        for connection in list(self._connections):
            connection.reset(GONE)
        await self._idle.wait()
        if self._complaints is not None:
            self._complaints.close()

    # ------------------------------------------------------------ ConnectionListener

    def on_connected(self, connection: Carried) -> None:
        """Note that the TCP connection is there."""

    def on_refused(self, connection: Carried, reason: str) -> None:
        """Note that the other end has cut it before a byte came."""

    def on_closed(self, connection: Carried) -> None:
        del self._connections[connection]
        self._waiting.pop(connection, None)
        if connection.counts and connection.peer is not None and connection.stream is not None:
            who = connection.peer.id
            self._held[who] -= 1
            if not self._held[who]:
                del self._held[who]
            for traffic in self._books(connection.peer):
                traffic.open -= 1
                traffic.sent += connection.stream.sent
                traffic.got += connection.stream.got
        if not self._connections:
            self._idle.set()

    # ------------------------------------------------------------ inside

    def _add(self, connection: Carried) -> None:
        self._connections[connection] = None
        self._idle.clear()

    def _begun(self, connection: Carried, peer: Peer) -> None:
        if connection.patience is not None:
            connection.patience.cancel()
        connection.counts = True
        self._held[peer.id] += 1
        for traffic in self._books(peer):
            traffic.open += 1
            traffic.opened += 1

    def _failed(self, peer: Peer | None) -> None:
        for traffic in self._books(peer) if peer is not None else (self._all,):
            traffic.failed += 1

    def _complain(self, peer: Peer | None, reason: str) -> None:
        if self._complaints is not None:
            self._complaints.add(None if peer is None else peer.id, reason)

    def _wait(self, connection: Carried, give_up: Callable[[Carried], None]) -> None:
        """Let it wait, for a session or for a place."""
        self._waiting[connection] = None
        connection.patience = asyncio.get_running_loop().call_later(self._patience, give_up, connection)

    def _books(self, peer: Peer) -> tuple[Traffic, Traffic]:
        return self._all, self._by_peer.setdefault(peer, Traffic())

    def _is_full(self, peer: Peer) -> bool:
        free = limits.FORWARDS_PEERS * self._per_peer - self._all.open
        return self._held[peer.id] >= min(self._per_peer, free)

    def _many(self, peer: Peer) -> str:
        return f"{self._held[peer.id]} connections are open"
