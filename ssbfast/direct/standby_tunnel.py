"""A tunnel that waits to carry another session, and its change from boxes to raw bytes.

A standby is a tunnel with a handshake and a session of its own, in which only records travel (`wire/direct/carriers`).
When it has to carry the session that it stands by for, each end says the standby's goodbyes; right behind the box
stream's goodbye come that session's own boxes, raw. Inside of the standby's session only the opening of its
boxes tells where that is: `Boundary` opens them a second time. A standby carries a few hundred bytes, and more than
`STANDBY_BYTES` of them end it.

    tunnel ──▶ StandbyTunnel ──▶ the standby's link           until the goodbye
                      └────────▶ owner.raw_received          behind it

The same for what goes out. Then a `RawTunnel` takes the tunnel over; the session's first tunnel is one from the start.

A change that both ends have begun has `CARRIER_SECONDS`, as all that the session waits for: the standby's own link
would not wait so long for a goodbye, and is not asked. A box that does not open ends the tunnel at once.
"""

from __future__ import annotations

import asyncio
from typing import Any, Protocol

from ssbfast import limits
from ssbfast.errors import BoxStreamError, DeadlineError, SSBError
from ssbfast.net.link import Link
from ssbfast.net.sleep_detector import awake_clock
from ssbfast.net.tunnel_transport import TunnelTransport
from ssbfast.wire.box_stream import Unboxer
from ssbfast.wire.handshake import Session


class TunnelListener(Protocol):
    """The owner of the session that a raw tunnel carries."""

    def raw_received(self, tunnel: TunnelTransport, data: bytes) -> None:
        """Take bytes."""

    def raw_writable(self, tunnel: TunnelTransport, yes: bool) -> None:
        """Note whether the tunnel takes more."""

    def raw_lost(self, tunnel: TunnelTransport, error: Exception | None) -> None:
        """Note, once or twice, that the tunnel is over, or that its other end has finished."""


class RawTunnel(asyncio.Protocol):
    """The protocol of a raw tunnel: gives what it brings to the session that it carries."""

    def __init__(self, owner: TunnelListener, tunnel: TunnelTransport) -> None:
        self._owner = owner
        self._tunnel = tunnel

    def data_received(self, data: bytes) -> None:
        self._owner.raw_received(self._tunnel, data)

    def eof_received(self) -> bool:
        self._owner.raw_lost(self._tunnel, None)
        return False

    def pause_writing(self) -> None:
        self._owner.raw_writable(self._tunnel, False)

    def resume_writing(self) -> None:
        self._owner.raw_writable(self._tunnel, True)

    def connection_lost(self, exc: Exception | None) -> None:
        self._owner.raw_lost(self._tunnel, exc)


class Boundary:
    """The finder of the end of a box stream.

    session: the handshake's result, before any box has come. Raises nothing: a broken stream never ends, and the link
    that reads it reports that.
    """

    def __init__(self, session: Session) -> None:
        self._unboxer = Unboxer(session.receive_key, session.receive_nonce)
        self._broken = False

    @property
    def is_broken(self) -> bool:
        """True when there is no end to be found."""
        return self._broken

    def find(self, data: bytes) -> int | None:
        """Return the offset behind the goodbye, when `data` has its end."""
        for offset in range(len(data)):
            if self._broken:
                return None
            try:
                self._unboxer.open(data[offset : offset + 1])
            except BoxStreamError:
                self._broken = True
            if self._unboxer.ended:
                return offset + 1
        return None


class StandbyTunnel(asyncio.Transport, asyncio.Protocol):
    """A layer between a tunnel and a standby's link: transport to the link, protocol to the tunnel.

    To be made when the handshake is done and before any box has come.
    """

    def __init__(self, tunnel: TunnelTransport, link: Link) -> None:
        super().__init__()
        self._tunnel = tunnel
        self._link = link
        self._boundary = Boundary(link.session)
        self._boxed = 0
        self._link_is_over = False
        self._said = False
        self._heard = False
        self._raw_is_over = False
        self._waiting = bytearray()  # raw bytes for behind our goodbye
        self._owner: TunnelListener | None = None
        self._clock = awake_clock()
        self._until = 0.0
        self._deadline: asyncio.TimerHandle | None = None
        tunnel.set_protocol(self)
        link.move(self)

    def change(self, owner: TunnelListener) -> TunnelTransport:
        """Say the goodbyes; what is written to `write_raw` goes behind them, and what comes behind the other
        end's is the owner's."""
        self._owner = owner
        self._until = self._clock.time() + limits.CARRIER_SECONDS
        self._await_goodbyes()
        self._link.finish()
        return self._tunnel

    def stand_down(self) -> None:
        """Make it a tunnel like others after all."""
        self._tunnel.set_protocol(self._link)
        self._link.move(self._tunnel)

    def write_raw(self, data: bytes) -> None:
        """Write bytes of the session that is carried."""
        if self._said:
            self._tunnel.write(data)
        else:
            self._waiting += data

    def close_raw(self) -> None:
        """Close the tunnel behind the last bytes of the session that it carries, which is over."""
        self._raw_is_over = True
        if self._said:
            self._tunnel.close()

    # ------------------------------------------------------------ towards the link: asyncio.Transport

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self._tunnel.get_extra_info(name, default)

    def is_closing(self) -> bool:
        return self._said or self._tunnel.is_closing()

    def is_reading(self) -> bool:
        return self._tunnel.is_reading()

    def pause_reading(self) -> None:
        self._tunnel.pause_reading()

    def resume_reading(self) -> None:
        self._tunnel.resume_reading()

    def get_write_buffer_size(self) -> int:
        return self._tunnel.get_write_buffer_size()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Ignore the choice: the limits are the tunnel's."""

    def can_write_eof(self) -> bool:
        return True

    def write(self, data: Any) -> None:
        if not self._said:
            self._tunnel.write(data)

    def write_eof(self) -> None:
        """Begin with raw bytes: the link has said its goodbyes."""
        if self._owner is None:
            self._tunnel.write_eof()
            return
        self._said = True
        if self._waiting:
            waiting, self._waiting = bytes(self._waiting), bytearray()
            self._tunnel.write(waiting)
        if self._raw_is_over:
            self._tunnel.close()
        self._settle()

    def close(self) -> None:
        """Close it for the link, which has said its goodbyes and has the other end's."""
        if self._owner is None:
            self._tunnel.close()
        else:
            self.write_eof()

    def abort(self) -> None:
        """Abort for the link, unless it is in the midst of a change: that is not the link's business."""
        if self._owner is None or self._boundary.is_broken:
            self._tunnel.abort()

    def cut(self) -> None:
        """Cut the tunnel and all that it carries."""
        self._tunnel.abort()

    # ------------------------------------------------------------ towards the tunnel: asyncio.Protocol

    def data_received(self, data: bytes) -> None:
        end = self._boundary.find(data)
        self._boxed += len(data) if end is None else end
        if self._boxed > limits.STANDBY_BYTES:
            self.cut()
            return
        rest = b""
        if end is not None:
            data, rest = data[:end], data[end:]
        self._link.data_received(bytearray(data))
        if end is None:
            return
        owner = self._owner
        if owner is None:  # a goodbye that means goodbye: nothing may follow
            if rest:
                self.cut()
            return
        self._heard = True
        self._tunnel.set_protocol(RawTunnel(owner, self._tunnel))
        self._settle()
        if rest:
            owner.raw_received(self._tunnel, rest)

    def eof_received(self) -> bool:
        return self._link.eof_received()

    def pause_writing(self) -> None:
        self._writable(False)

    def resume_writing(self) -> None:
        self._writable(True)

    def connection_lost(self, exc: Exception | None) -> None:
        self._end_link(exc)
        if self._owner is not None:
            self._owner.raw_lost(self._tunnel, exc)

    # ------------------------------------------------------------ inside

    def _settle(self) -> None:
        """End the standby's own session when both goodbyes are there and the change is done."""
        if self._said and self._heard:
            asyncio.get_running_loop().call_soon(self._end_link, None)

    def _await_goodbyes(self) -> None:
        at = self._clock.loop_time(self._until)
        self._deadline = asyncio.get_running_loop().call_at(at, self._late)

    def _late(self) -> None:
        """Give up when one of the goodbyes does not get through, or wait on when we have been asleep."""
        if self._clock.time() < self._until:
            self._await_goodbyes()
            return
        if self._owner is not None:
            self._owner.raw_lost(self._tunnel, DeadlineError("the way back did not open in time"))
        self.cut()
        self._end_link(None)

    def _writable(self, yes: bool) -> None:
        if self._owner is not None:
            self._owner.raw_writable(self._tunnel, yes)
        if self._link_is_over:
            return
        if yes:
            self._link.resume_writing()
        else:
            self._link.pause_writing()

    def _end_link(self, error: Exception | None) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
        if not self._link_is_over:
            self._link_is_over = True
            self._link.connection_lost(error if error is None or isinstance(error, SSBError) else None)
