"""A session on several carriers, with its sockets: it does what `wire/direct/carriers` says, and tells it what happens.

Once a session may move, this is its link's transport. Below it are the tunnel that the session began in, direct paths
and standby tunnels, each behind the few things that a `Carrier` can do. The link notices nothing but `pause_writing`.

What happens to bytes in flight
    moving      kept until the other end has them, sent again on another carrier if need be (`wire/direct/carriers`).
    `close()`   the link has both goodbyes: everything ends as soon as the other end has ours.
    `abort()`   dropped; every carrier is cut.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final, Protocol

from ssbfast import limits
from ssbfast.direct.carriers import FIRST, Carrier, FirstTunnel
from ssbfast.errors import SSBError, TruncatedError
from ssbfast.net.link import Link
from ssbfast.net.sleep_detector import awake_clock
from ssbfast.net.tunnel_transport import TunnelTransport
from ssbfast.wire.direct.carriers.effects import (
    AskUpgrade,
    BeginRaw,
    Data,
    Deliver,
    Effect,
    EndCarrier,
    Failed,
    Forget,
    Over,
    Path,
    PathChanged,
    Ping,
    Records,
    Resume,
    ShortenDatagrams,
    StreamRecord,
    WantQuic,
    WantStandby,
)
from ssbfast.wire.direct.carriers.records import Record
from ssbfast.wire.direct.carriers.session import Carriers
from ssbfast.wire.direct.keys import Role
from ssbfast.wire.handshake_messages import CLIENT_BYTES, SERVER_BYTES

_STIR_SECONDS: Final = 0.5
"""How often the machine hears that forwarded connections move: pings come once a second then."""

_HANDSHAKE: Final = {Role.CALLER: CLIENT_BYTES, Role.TARGET: SERVER_BYTES}
"""Bytes that each end has written before the session's stream began."""


class CarrierListener(Protocol):
    """The maker of a session's carriers, told which ones the session wants."""

    def want_quic(self) -> None:
        """Make a direct path; report it by `quic_up` or `upgrade_failed`."""

    def want_standby(self) -> None:
        """Dial a standby; report it by `standby_up` or `standby_failed`."""

    def ask_upgrade(self) -> None:
        """Ask the caller for a direct path."""

    def shorten_datagrams(self) -> None:
        """Let the next direct paths have the shortest datagrams that there are."""

    def path_changed(self, path: Path, reason: str) -> None:
        """Note that both directions use that path now."""

    def silence_changed(self, silent: bool) -> None:
        """Note that nothing carries the session any more, or that something does again, or that it is over."""

    def stream_record(self, number: int, record: Record) -> None:
        """Take a record of a forwarded connection."""

    def forget(self) -> None:
        """Forget the session: it is over, for good."""


class CarrierTransport(asyncio.Transport):
    """The transport of one session. listener: is asked for carriers. link: the session's, open.

    Until `take_over` the link goes on over its tunnel, and only wishes and pauses are at work here.
    """

    def __init__(self, carriers: Carriers, link: Link, tunnel: TunnelTransport, listener: CarrierListener) -> None:
        super().__init__()
        self._loop = asyncio.get_running_loop()
        self._clock = awake_clock()
        self._carriers = carriers
        self._link = link
        self._tunnel = tunnel
        self._listener = listener
        self._live: dict[int, Carrier] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._running = False
        self._reading = True
        self._paused = False
        self._closing = False
        self._told = False
        self._unread = bytearray()
        self._why: SSBError | None = None
        self._silent = False
        self._reported = (-1, 0, 0)
        self._stirred = float("-inf")
        self.is_moved = False

    # ------------------------------------------------------------ from the negotiation

    @property
    def carriers(self) -> Carriers:
        """State machine of the carriers; call `step` after each call of it."""
        return self._carriers

    def now(self) -> float:
        """Return the machine's time: seconds awake."""
        return self._clock.time()

    def has(self, number: int) -> bool:
        """Return whether a carrier is there, lost by neither end and not ended."""
        return number in self._live

    def take_over(self) -> None:
        """Become the link's transport: from now on the session may move. Harmless when done already."""
        if self.is_moved:
            return
        self.is_moved = True
        role = self._carriers.role
        tunnel = self._tunnel
        self._carriers.went_before(
            sent=tunnel.written - _HANDSHAKE[role],
            received=tunnel.delivered - _HANDSHAKE[role.other],
        )
        self._live[FIRST] = FirstTunnel(self, tunnel)
        self._link.move(self, piece=limits.CARRIER_SLACK)

    def quic_up(self, epoch: int, carrier: Carrier) -> int:
        """Add a direct path that is proven both ways; return its number."""
        self.take_over()
        number = self._carriers.quic_up(epoch, self.now())
        self._carriers.waiting(number, {}, self.now())
        return self._add(number, carrier)

    def standby_up(self, epoch: int, carrier: Carrier) -> int:
        """Add a standby that is open; return its number."""
        return self._add(self._carriers.standby_up(epoch, self.now()), carrier)

    def step(self) -> None:
        """Carry out the effects of the machine; call this after each call of it."""
        if self._running:
            return  # we are in the midst of it, further out
        self._running = True
        try:
            while effects := self._carriers.effects():
                for effect in effects:
                    self._do(effect)
        finally:
            self._running = False
        self._report()
        self._flow()
        self._arm()
        if self._silent is not self._carriers.is_stranded:
            self._silent = not self._silent
            self._listener.silence_changed(self._silent)

    # ------------------------------------------------------------ from the carriers

    def records_received(self, number: int, data: bytes) -> None:
        self._carriers.records(number, data, self.now())
        self.step()

    def data_received(self, number: int, data: bytes) -> None:
        self._carriers.data(number, data, self.now())
        self.step()

    def sign_received(self, number: int, rtt: float) -> None:
        self._carriers.data_received(number, self.now(), rtt)

    def on_forward_activity(self) -> None:
        """Note that forwarded connections move on a direct path."""
        now = self.now()
        if now - self._stirred >= _STIR_SECONDS:
            self._stirred = now
            self._carriers.forwarding_moved(now)
            self.step()

    def carrier_lost(self, number: int, clean: bool, why: Exception | None = None) -> None:
        if self._live.pop(number, None) is None:
            return
        if isinstance(why, SSBError):
            self._why = why
        self._carriers.lost(number, self.now(), clean)
        self.step()

    def on_given_up(self, number: int) -> None:
        """Note that the other end says in a standby that the session is over."""
        self._carriers.session_dropped(number, self.now())
        self.step()

    def on_writable(self) -> None:
        """Note that a carrier takes more again, or does not."""
        self._flow()

    # ------------------------------------------------------------ asyncio.Transport

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self._tunnel.get_extra_info(name, default)

    def is_closing(self) -> bool:
        return self._closing

    def is_reading(self) -> bool:
        return self._reading

    def pause_reading(self) -> None:
        self._reading = False
        for carrier in self._live.values():
            carrier.read(False)

    def resume_reading(self) -> None:
        self._reading = True
        for carrier in self._live.values():
            carrier.read(True)
        if self._unread:
            self._loop.call_soon(self._deliver_unread)

    def get_write_buffer_size(self) -> int:
        return self._carriers.unacknowledged + self._tunnel.get_write_buffer_size()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Ignore the choice: the window decides, and each carrier's own limits."""

    def can_write_eof(self) -> bool:
        return True

    def write(self, data: Any) -> None:
        if self._closing or not data:
            return
        self._carriers.send(bytes(data), self.now())
        self._flow()  # at once, also in the midst of a step: the link goes on writing until it is told
        self.step()

    def write_eof(self) -> None:
        """Note that the link has said its goodbye."""
        self._carriers.said_goodbye(self.now())
        self.step()

    def close(self) -> None:
        """Close it: the link has said its goodbye, and has the other end's."""
        if self._closing:
            return
        self._closing = True
        self._carriers.said_goodbye(self.now())
        self._carriers.heard_goodbye(self.now())
        self.step()

    def abort(self) -> None:
        self._closing = True
        self._carriers.abort(self.now())
        self.step()
        self._end_link(None)
        self._end()

    # ------------------------------------------------------------ inside

    def _add(self, number: int, carrier: Carrier) -> int:
        self._live[number] = carrier
        if not self._reading:
            carrier.read(False)
        self.step()
        carrier.begin(number)
        return number

    def _do(self, effect: Effect) -> None:
        match effect:
            case Data(number, data):
                self._live[number].send_data(data)
            case Deliver(data):
                self._deliver(data)
            case Records(number, data):
                self._live[number].send_records(data)
            case BeginRaw(number):
                self._live[number].begin_raw()
            case Ping(number):
                self._live[number].ping()
            case EndCarrier(number, clean):
                carrier = self._live.pop(number, None)
                if carrier is not None:
                    carrier.end(clean)
            case Resume():
                pass  # `_flow` sees it
            case Failed(error):
                self._end_link((isinstance(error, TruncatedError) and self._why) or error)
                self._end()
            case Over():
                self._end_link(None)
            case _:
                self._ask(effect)

    def _ask(self, effect: Effect) -> None:
        """Tell the listener what concerns it."""
        match effect:
            case WantQuic():
                self._listener.want_quic()
            case WantStandby():
                self._listener.want_standby()
            case AskUpgrade():
                self._listener.ask_upgrade()
            case ShortenDatagrams():
                self._listener.shorten_datagrams()
            case PathChanged(path, reason):
                self._listener.path_changed(path, reason)
            case StreamRecord(number, record):
                self._listener.stream_record(number, record)
            case Forget():
                self._end()

    def _deliver(self, data: bytes) -> None:
        if not self._reading or self._unread:
            self._unread += data
            return
        self._give(bytearray(data))

    def _deliver_unread(self) -> None:
        if self._reading and self._unread and not self._told:
            unread, self._unread = self._unread, bytearray()
            self._give(unread)
            self.step()

    def _give(self, data: bytearray) -> None:
        length = len(data)
        if not self._told:
            self._link.data_received(data)
        self._carriers.consumed(length, self.now())

    def _report(self) -> None:
        """Tell the direct path how far the session has used up what came."""
        quic = self._carriers.quic
        carrier = None if quic is None else self._live.get(quic)
        if quic is None or carrier is None:
            return
        report = quic, self._carriers.used, self._carriers.unread
        if report != self._reported:
            self._reported = report
            carrier.used(*report[1:])

    def _flow(self) -> None:
        """Let the link write exactly while there is room."""
        if not self.is_moved or self._told:
            return
        sending = self._live.get(self._carriers.sending) if self._carriers.sending is not None else None
        full = self._carriers.room <= 0 or (sending is not None and sending.is_full)
        if full is not self._paused:
            self._paused = full
            if full:
                self._link.pause_writing()
            else:
                self._loop.call_soon(self._resume)

    def _resume(self) -> None:
        if not self._paused and not self._told:
            self._link.resume_writing()

    def _arm(self) -> None:
        at = self._carriers.timer()
        at = None if at is None else self._clock.loop_time(at)
        if self._timer is not None:
            if at is not None and self._timer.when() <= at:
                return  # it fires too early and is armed again: cheaper than a cancellation with each write
            self._timer.cancel()
            self._timer = None
        if at is not None:
            self._timer = self._loop.call_at(at, self._tick)

    def _tick(self) -> None:
        self._timer = None
        self._look()
        self._carriers.handle_timer(self.now())
        self.step()

    def _look(self) -> None:
        """Tell the machine how far the direct path has got."""
        quic = self._carriers.quic
        carrier = None if quic is None else self._live.get(quic)
        if quic is not None and carrier is not None:
            self._carriers.waiting(quic, carrier.waiting(), self.now())

    def _end_link(self, error: SSBError | None) -> None:
        self._closing = True
        if not self._told and self.is_moved:
            self._told = True
            self._loop.call_soon(self._link.connection_lost, error)

    def _end(self) -> None:
        """Leave nothing behind: there is nothing left to do."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for carrier in self._live.values():
            carrier.end(False)
        self._live.clear()
        self._listener.forget()
