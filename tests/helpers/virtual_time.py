"""An event loop on a virtual clock, and UDP sockets that a cable of a given length joins: what a path costs in flights.

The clock goes on when nothing is left to do, and then at once: work takes no time, and busy machines change nothing.
Sockets of the loopback interface may be used; what is written to them is given a moment to come.
"""

from __future__ import annotations

import asyncio
import selectors
from typing import Any, Final

from ssbfast.direct.udp import Address, Buffer, QuicSide

_MOMENT: Final = 0.002
"""Real seconds in which the system may deliver what was written to a socket before."""


class _Selector(selectors.DefaultSelector):
    """One that does not wait for timers: it moves the clock instead."""

    now = 1_000.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        has_sockets = len(self.get_map()) > 1  # beside the loop's own
        ready = super().select(timeout and (_MOMENT if has_sockets else 0))
        if not ready and timeout is not None:
            self.now += max(timeout, 0)
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """A loop whose time passes by timers alone."""

    def __init__(self) -> None:
        self._clock = _Selector()
        super().__init__(self._clock)

    def time(self) -> float:
        return self._clock.now


class VirtualUdp:
    """One end of a cable, as a path knows a `UdpSocket`. delay: seconds one way. sent: when each datagram left."""

    def __init__(self, local: Address, delay: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._delay = delay
        self.local = local
        self.other: VirtualUdp | None = None
        self.quic: QuicSide | None = None
        self.on_writable: Any = None
        self.sent: list[float] = []
        self.is_closed = False

    def send_train(self, data: Buffer, segment: int, to: Address) -> bool:
        for at in range(0, len(data), segment):
            self.sent.append(self._loop.time())
            self._loop.call_later(self._delay, self._arrive, bytes(data[at : at + segment]))
        return True

    def _arrive(self, data: bytes) -> None:
        there = self.other
        if there is not None and there.quic is not None:
            there.quic.datagram(data, self.local)
            if there.quic is not None:
                there.quic.batch_done()

    def take_trains(self) -> None:
        """Do nothing: datagrams come one by one."""

    def linger(self, _seconds: float) -> None:
        self.close()

    def close(self) -> None:
        self.is_closed = True
        self.quic = None


def cable(delay: float) -> tuple[VirtualUdp, VirtualUdp]:
    """Return both ends of a new one."""
    ends = VirtualUdp(("192.0.2.1", 1), delay), VirtualUdp(("192.0.2.2", 2), delay)
    ends[0].other, ends[1].other = ends[1], ends[0]
    return ends
