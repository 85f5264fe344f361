"""A duplex of bytes with flow control of its own, so that one slow reader neither stalls the session nor is cut off.

muxrpc has flow control for whole sessions only. Here each end lets the other know how much it has used up, and
sends at most `FORWARD_WINDOW` bytes more than the other has used up. Beside bytes, either direction carries::

    0a  {"consumed":N}   of what came so far (in the other direction) N bytes are used up; N only grows
    0a  {"fin":true}     no more bytes in this direction; behind the last of them
    0e  true             this end is done: both directions have finished and everything has been used up
    0e  error            reset; may come at any time

`fin` is no end packet, because a direction that has ended could not say `consumed` any more. Other items are
ignored. An end without `fin` counts as one; that end then grants no more bytes.

A peer that sends more than the window, or uses up what was never sent, loses that stream and nothing else.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

from ssbfast import limits, native
from ssbfast.errors import MuxRPCError, SessionEndedError, SSBError
from ssbfast.net.duplex_transport import DuplexSession, DuplexTransport
from ssbfast.wire.muxrpc_body import encode_json

_ITEM: Final = native.STREAM | native.JSON
_FIN: Final = encode_json({"fin": True})


class WindowedTransport(DuplexTransport):
    """One end of such a duplex.

    carrier: the session. req: the number we write on it. protocol: gets the bytes, and tells by `waiting` how many
    it has not used up yet. sent, got: bytes so far.
    """

    def __init__(self, carrier: DuplexSession, req: int, protocol: asyncio.Protocol) -> None:
        self.sent = 0
        self.got = 0
        self._window = limits.FORWARD_WINDOW
        self._used_there = 0  # by the other end, of what we sent
        self._told = 0  # used up here, as far as the other end knows
        self._fin_queued = False
        self._grants = True
        self._reader = protocol
        super().__init__(carrier, req, protocol, {})

    @property
    def finished(self) -> bool:
        """True when both directions have ended."""
        return self._ended_local and self._ended_remote

    def write(self, data: Any) -> None:
        super().write(data)
        self._check_grant()

    def waiting(self, n: int) -> None:
        """Note that n of the bytes received are not used up; the other end may send as many more as are."""
        used = self.got - n
        if used - self._told < self._window // 4 or self._ended_remote or self._closing:
            return
        self._told = used
        try:
            # In front of all bytes: what the other end may send must not depend on what we have to send.
            self._link.control(_ITEM, self._req, encode_json({"consumed": used}))
        except SessionEndedError:
            return  # its end is on the way here

    def reset(self, message: str) -> None:
        """Cut it and tell the other end why."""
        self._cut(message, None)

    # ------------------------------------------------------------ from the carrier

    def received(self, data: bytes) -> None:
        if self._closing:
            return
        self.got += len(data)
        if self._ended_remote or self.got - self._told > self._window:
            self._wrong("more bytes than allowed")
            return
        self._reader.data_received(data)

    def item(self, value: Any) -> None:
        if self._end_queued or self._lost or not isinstance(value, dict):
            return
        if "consumed" in value:
            self._consumed(value["consumed"])
        elif value.get("fin") is True and not self._ended_remote:
            self._ended_remote = True
            self._reader.eof_received()

    def remote_ended(self, error: SSBError | None) -> None:
        had_finished = self._ended_remote
        super().remote_ended(error)
        if error is None:
            self._grants = False
            if not had_finished:
                self._reader.eof_received()
            self._check_grant()

    # ------------------------------------------------------------ inside

    def _remote_finished(self) -> None:
        """Do nothing at the end packet: `fin` or `remote_ended` has done what there is to do."""

    def _check_grant(self) -> None:
        """Cut it when the other end is done and bytes of ours that it has not allowed would wait for ever."""
        if self._grants or self._closing:
            return
        if len(self._unsent) > self._allowed() or not (self._ended_local or self._allowed()):
            self._cut("the connection was closed", SessionEndedError("the other end is done"))

    def _allowed(self) -> int:
        return self._used_there + self._window - self.sent

    def _pushed(self, n: int) -> None:
        self.sent += n

    def _consumed(self, used: Any) -> None:
        if type(used) is not int or not self._used_there <= used <= self.sent:
            self._wrong("more bytes consumed than sent")
            return
        self._used_there = used
        if self._protocol_paused or self._unsent:
            self._await_low()

    def _wrong(self, message: str) -> None:
        self._cut(message, MuxRPCError(f"the peer sent {message}"))

    def _send_end(self, error: str | None) -> None:
        if self._unsent:
            return  # `_drained` sends it behind them
        if error is None and not self._fin_queued:
            self._fin_queued = True
            self._queue(_ITEM, _FIN)
        if error is not None or self._closing:
            super()._send_end(error)
