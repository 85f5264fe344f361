"""The links of a room: connections that came in."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from ssbfast.net.link import Link
from ssbfast.net.sockets import tune_transport
from ssbfast.server.meter import Flow, Meter
from ssbfast.server.session import RoomSession

_NO_FLOWS: Final[Mapping[int, Flow]] = MappingProxyType({})


class Inbound(Link):
    """A connection that came in."""

    __slots__ = ()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        tune_transport(transport)
        super().connection_made(transport)
        session = self.handler
        if isinstance(session, RoomSession) and not session.is_wanted:
            self.abort()  # it had to leave before it was there


class MeteredInbound(Inbound):
    """The same where bytes are limited: it is not read while it has sent too many."""

    __slots__ = ("_due", "_flows", "_meter", "_unseen", "_wait")

    _meter: Meter

    def measure(self, meter: Meter) -> None:
        """Count what it sends. To be called once, at first."""
        self._meter = meter
        self._flows = _NO_FLOWS
        self._unseen = 0
        self._wait: asyncio.TimerHandle | None = None
        self._due = 0.0

    def get_buffer(self, sizehint: int) -> memoryview:
        return super().get_buffer(sizehint)[: self._meter.piece]

    def buffer_updated(self, nbytes: int) -> None:
        super().buffer_updated(nbytes)
        session = self.handler
        if not self.is_open or not isinstance(session, RoomSession):
            return
        seconds = self._meter.sent(self.remote, session.networks[0], nbytes)
        self._unseen += nbytes
        if session.splices and self._meter.is_due(session, self._unseen):
            self._unseen = 0
            self._flows, longest = self._meter.look(session, self._flows)
            seconds = max(seconds, longest)
        if seconds > 0:
            self._hold_for(seconds)

    def connection_lost(self, exc: Exception | None) -> None:
        self._read_on()
        super().connection_lost(exc)

    def close(self) -> None:
        self._read_on()  # the goodbye may come
        super().close()

    def _hold_for(self, seconds: float) -> None:
        loop = self._loop
        due = loop.time() + seconds
        if self._wait is not None:
            if due <= self._due:
                return
            self._wait.cancel()
        self._due = due
        self.hold(self._meter)
        self._wait = loop.call_at(due, self._read_on)

    def _read_on(self) -> None:
        if self._wait is not None:
            self._wait.cancel()
            self._wait = None
            self.release(self._meter)
