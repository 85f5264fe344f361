"""Driver of one QUIC connection: our UDP socket and the loop's clock; datagrams of strangers are dropped.

A batch of datagrams is followed by one pass: the owner looks at the events, then everything goes out. Writes of one
turn of the loop share a pass, too. aioquic's connection moves datagram by datagram, the engine's, which may take it
over (`settle`), train by train.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable
from typing import Final, Protocol

from ssbfast import limits
from ssbfast.direct.quic_connection import VERSION, Connection
from ssbfast.direct.quic_engine import FastConnection, hand_over
from ssbfast.direct.udp import Address, Buffer, UdpSocket

ABORTED: Final = 1
"""QUIC's application error code of everything but an orderly close."""

BROKEN: Final = "QUIC cannot go on"
"""Why a connection ended over a mistake of aioquic's."""

Train = tuple[Buffer, int, Address]
"""Datagrams one behind the other, how long each of them is but for the last, and where they go."""

_ALLOWED: Final = limits.CANDIDATES + limits.PEER_REFLEXIVE
_LONG, _RETRY = 0x80, 0x30
_FULL_SECONDS: Final = 0.01
"""Between two looks at the timer while the socket is full: what is due cannot be sent, and stays due."""


class QuicListener(Protocol):
    """Listener to the events of one QUIC connection."""

    def quic_events(self) -> None:
        """Look at the connection's events: something has come, or a timer has fired. It must not raise."""

    def quic_ended(self, code: int, reason: str) -> None:
        """Note, once and from within any call, that it has ended; code: what it was closed with, by either end."""

    def quic_settled(self, quic: Connection | FastConnection) -> None:
        """Note, once after `settle` and in a pass, what the connection goes on with."""


class QuicDriver:
    """The driver of one connection on one socket, which is ours to close from `start` on, however the connection ends.

    handshaken: QUIC's handshake is complete; the owner sets it. ended: nothing moves any more.
    """

    def __init__(self, quic: Connection, owner: QuicListener) -> None:
        self.handshaken = False
        self.ended = False
        self._loop = asyncio.get_running_loop()
        self._udp: UdpSocket | None = None
        self._handshake = quic
        self._quic: Connection | FastConnection = quic
        self._settling: asyncio.TimerHandle | None = None
        self._held: Train | None = None  # the socket was full
        self._remote: Address | None = None
        self._owner = owner
        self._allowed: dict[Address, None] = {}
        self._ids = {quic.host_cid}
        self._in_pass = False
        self._soon: asyncio.Handle | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._farewell: list[Train] = []
        self._farewells = limits.DIRECT_FAREWELLS

    def start(self, udp: UdpSocket, remote: Address | None) -> None:
        """Take QUIC's part of the socket. remote: the address to dial; None for the target, which waits."""
        self._udp, self._remote = udp, remote
        udp.quic = self
        if remote is None:
            self._ids.add(self._handshake.original_destination_connection_id)
            return
        try:
            self._handshake.connect(remote, self._loop.time())
        except Exception:
            self.close(ABORTED, "QUIC cannot begin")
            raise
        self._transmit()

    def allow(self, address: Address) -> None:
        """Listen to that address even before the handshake is complete. The newest dozen counts."""
        self._allowed.pop(address, None)
        self._allowed[address] = None
        if len(self._allowed) > _ALLOWED:
            del self._allowed[next(iter(self._allowed))]

    def settle(self, within: float) -> None:
        """Let the engine take over at the first quiet moment, at the latest after so long; then `quic_settled`."""
        self._settling = self._loop.call_later(within, self._settle, None)

    def transmit_soon(self) -> None:
        """Send what has been written at the end of this turn of the loop, or of the pass."""
        if self._soon is None and not self._in_pass and not self.ended:
            self._soon = self._loop.call_soon(self._transmit)

    def close(self, code: int, reason: str) -> None:
        """End it here. With code 0 what may be sent at once goes out before."""
        if self.ended:
            return
        if code == 0:
            with contextlib.suppress(Exception):  # a mistake of aioquic's: nothing more is lost
                self._send()
        self._quic.close(error_code=code)
        self._end(code, reason)

    # ------------------------------------------------------------ from the socket

    def datagram(self, data: bytes, source: Address) -> None:
        """Give QUIC what is for this connection, and keep nothing of the rest."""
        if self.ended or not self._is_for_us(data, source):
            return
        if isinstance(self._quic, FastConnection):
            self._quic.receive(bytearray(data), len(data), source, self._loop.time())
            return
        try:
            self._quic.receive_datagram(data, source, self._loop.time())
        except Exception:  # a mistake of aioquic's that the other end found must not stop the reading of the socket
            self.close(ABORTED, BROKEN)

    def train(self, data: memoryview, segment: int, source: Address) -> None:
        """Give the engine what may be for this connection."""
        if self.ended or (self._remote is not None and source != self._remote):
            return
        if isinstance(self._quic, FastConnection):
            self._quic.receive(data, segment, source, self._loop.time())

    def batch_done(self) -> None:
        if self.ended:
            self._repeat_farewell()
        else:
            self._pass()

    # ------------------------------------------------------------ inside

    def _is_for_us(self, data: bytes, source: Address) -> bool:
        if self._remote is not None:
            if source != self._remote:
                return False
        elif not self.handshaken and source not in self._allowed:
            return False
        if not data[0] & _LONG:
            return True  # of no use to QUIC before it has keys, and QUIC looks at the id before all else
        # RFC 8999: version, then the destination's id with its length in front. RFC 9000: the type in two bits.
        return (
            len(data) > 5
            and int.from_bytes(data[1:5], "big") == VERSION
            and data[0] & _RETRY != _RETRY
            and data[6 : 6 + data[5]] in self._ids
        )

    def _pass(self) -> None:
        """Let the owner act upon what has come, and send."""
        self._tell(self._owner.quic_events)
        self._transmit()

    def _tell(self, what: Callable[[], None]) -> None:
        """Let the owner act, as a part of a pass. One that raises all the same loses the connection."""
        self._in_pass = True
        try:
            what()
        except BaseException:
            self.close(ABORTED, "what came could not be dealt with")
            raise
        finally:
            self._in_pass = False

    def _transmit(self) -> None:
        if self._soon is not None:
            self._soon.cancel()
            self._soon = None
        if self.ended:
            return
        try:
            self._send()
        except Exception:  # a mistake of aioquic's, as in `datagram`
            self.close(ABORTED, BROKEN)
            return
        closed = self._quic.closed
        if closed is not None:
            self._end(closed.error_code, f"QUIC was closed with code {closed.error_code:#x}")
            return
        if self._settling is not None:
            self._look_for_quiet()
        self._arm()

    def _send(self) -> None:
        """Send all that may be sent now. What finds the socket full goes first when there is room again."""
        udp, held = self._udp, self._held
        if udp is None:
            return
        self._held = None
        if held is not None and not udp.send_train(*held):
            self._held = held
            return
        for train in self._outgoing():
            if self._remote is not None and train[2] != self._remote:
                continue  # a target must not send its caller elsewhere
            if not udp.send_train(*train):
                self._held = bytes(train[0]), *train[1:]
                return

    def _outgoing(self) -> Iterable[Train]:
        quic, now = self._quic, self._loop.time()
        if isinstance(quic, FastConnection):
            return quic.trains(now)
        if quic.get_peer_address() is None:
            return ()  # a target: the caller has not come yet
        return [(data, len(data), to) for data, to in quic.datagrams_to_send(now)]

    def _look_for_quiet(self) -> None:
        fast = hand_over(self._handshake, self._loop.time())
        if fast is not None:
            self._settle(fast)

    def _settle(self, fast: FastConnection | None) -> None:
        """Go on with the engine's connection, or with what there is."""
        if self._settling is not None:
            self._settling.cancel()
            self._settling = None
        if self.ended:
            return
        if fast is not None and self._udp is not None:
            self._quic = fast
            self._udp.on_writable = self._transmit
            self._udp.take_trains()
        self._tell(lambda: self._owner.quic_settled(self._quic))
        self.transmit_soon()

    def _arm(self) -> None:
        at = self._quic.get_timer()
        if at is None:
            return
        if self._held is not None:
            at = max(at, self._loop.time() + _FULL_SECONDS)
        if self._timer is not None:
            if self._timer.when() <= at:
                return  # it fires too early and is armed again: cheaper than a cancellation in every pass
            self._timer.cancel()
        self._timer = self._loop.call_at(at, self._timer_fired)

    def _timer_fired(self) -> None:
        self._timer = None
        at, now = self._quic.get_timer(), self._loop.time()
        if at is None or at > now:
            self._arm()
            return
        try:
            self._quic.handle_timer(now)
        except Exception:  # a mistake of aioquic's, as in `datagram`
            self.close(ABORTED, BROKEN)
            return
        self._pass()

    def _end(self, code: int, reason: str) -> None:
        self.ended = True
        for handle in (self._soon, self._timer, self._settling):
            if handle is not None:
                handle.cancel()
        self._farewell = self._last_words()
        if isinstance(self._quic, FastConnection):
            self._quic.wipe()
        self._repeat_farewell()
        if self._udp is not None and self.handshaken:
            self._udp.linger(limits.DIRECT_FAREWELL_SECONDS)
        elif self._udp is not None:
            self._udp.close()  # the other end has nothing to lose
        self._owner.quic_ended(code, reason)

    def _last_words(self) -> list[Train]:
        """Return what still can be sent, if QUIC can say it."""
        try:
            return [(bytes(data), segment, to) for data, segment, to in self._outgoing()]
        except Exception:
            return []

    def _repeat_farewell(self) -> None:
        """Repeat our close, now and as an answer to some of what still comes: it may have been lost."""
        udp = self._udp
        if self._farewells and udp is not None:
            self._farewells -= 1
            for train in self._farewell:
                if self._remote is None or train[2] == self._remote:
                    udp.send_train(*train)
