"""muxrpc, both roles, without I/O: packets in, events out; calls, answers, items and ends become packets.

::

    async or sync call   02  {"name":[…],"args":[…]}                 answer 02/01/00 -req     error 06 -req
    stream call          0a  {"name":[…],"args":[…],"type":"source" | "sink" | "duplex"}
    stream item          08 bytes, 09 text, 0a JSON
    end                  0e  true, or an error object; answered in kind by the other side

A call or stream is named by `req`, the number that *we* write in our packets: > 0 for our calls, < 0 for the
peer's. A stream is kept until both directions have ended. What a peer gets wrong costs it that call or stream,
not the session; packets that belong to nothing are dropped.

A duplex stream of JS (pull-weird.js of muxrpc 6.7) that receives an end, normal or not, before it sent its own never
answers it. So streams that we are done with linger: they wait for an end that may not come, count for no limit, and
the oldest is forgotten when there are too many.

Source: packet-stream 2.0 and muxrpc 6.7 (npm), observed on the wire.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from ssbfast import limits
from ssbfast.errors import (
    LimitError,
    LocalProtocolError,
    MuxRPCError,
    RemoteError,
    SessionEndedError,
)
from ssbfast.wire.muxrpc_body import (
    JSON,
    NOT_ALLOWED,
    build_manifest,
    call_body,
    decode_json,
    encode_json,
    error_body,
    read_call,
    read_error,
    unknown_method_message,
)
from ssbfast.wire.muxrpc_events import Answered, Called, CallKind, Ended, Failed, Item, MuxEvent, Out, Reply

__all__ = [
    "END",
    "JSON",
    "NOT_ALLOWED",
    "STREAM",
    "Answered",
    "CallKind",
    "Called",
    "Ended",
    "Failed",
    "Item",
    "MuxEvent",
    "MuxRPC",
    "Out",
    "Reply",
    "build_manifest",
    "encode_json",
    "unknown_method_message",
]

STREAM: Final = 0x08
END: Final = 0x04
BYTES: Final = 0x00
TEXT: Final = 0x01
OBJECT: Final = 0x02
_TYPE: Final = 0x03

_LAST_REQ: Final = 2**31 - 1

MALFORMED: Final = "malformed error"

_STREAMS: Final = {kind.value: kind for kind in CallKind if kind is not CallKind.ASYNC}


@dataclass(slots=True)
class _Open:
    """A call or stream that is not over."""

    kind: CallKind
    writes: bool  # our direction carries items (it can be ended either way)
    reads: bool  # the peer's direction carries items with a reader here
    sending: bool = True  # our direction has not ended
    ended: bool = False  # the peer's end has come
    told: bool = False  # the application knows that nothing more comes (before that end, if an item was malformed)


def _encode(value: bytes | JSON) -> tuple[int, bytes]:
    """Return type bits and body. JS sends every string as text, so do we. Raise ValueError."""
    if isinstance(value, bytes):
        kind, body = BYTES, value
    elif isinstance(value, str):
        kind, body = TEXT, value.encode("utf-8", "replace")
    else:
        kind, body = OBJECT, encode_json(value)
    if not body:
        raise ValueError("empty bytes or text cannot be sent: JS peers take them for the end of the session")
    return kind, body


def _decode(flags: int, body: bytes) -> bytes | JSON:
    """Return the value in a packet. Raise ValueError."""
    kind = flags & _TYPE
    if kind == BYTES:
        return body
    return body.decode("utf-8") if kind == TEXT else decode_json(body)


def _end_error(flags: int, body: bytes) -> RemoteError | None:
    """Return the error in an end packet: None for a normal end. An empty body counts as `true`."""
    if not body:
        return None
    try:
        value = _decode(flags, body)
    except ValueError:
        return RemoteError(MALFORMED)
    if isinstance(value, bytes):
        return RemoteError(MALFORMED)
    return None if value is True or value is False or value is None else read_error(value)


class MuxRPC:
    """One session's calls and streams, ours and the peer's.

    open_calls: how many the peer may have open on us, and we on it.
    """

    __slots__ = ("_closed", "_limit", "_lingering", "_next", "_open", "_ours", "_refused", "_theirs")

    def __init__(self, *, open_calls: int = limits.OPEN_CALLS) -> None:
        self._limit = open_calls
        self._open: dict[int, _Open] = {}
        self._lingering: dict[int, None] | None = None  # of those, the ones that we are done with; oldest first
        self._ours = 0  # counts of those that do not linger
        self._theirs = 0
        self._next = 1
        self._refused = 0
        self._closed = False

    def __repr__(self) -> str:
        return f"<MuxRPC {self._ours} own calls, {self._theirs} of the peer's>"

    @property
    def open_streams(self) -> int:
        """Calls and streams that are not over, of both sides; those that only await the peer's answer not counted."""
        return self._ours + self._theirs

    def is_open(self, req: int) -> bool:
        """Return whether answer(), fail(), item() or end() still makes a packet: our direction has not ended."""
        entry = self._open.get(req)
        return entry is not None and entry.sending

    # ------------------------------------------------------------ what we send

    def call(self, kind: CallKind, name: tuple[str, ...], args: list[JSON]) -> tuple[int, Out]:
        """Call the peer (ASYNC also for sync methods); return the req and the packet.

        Raises LimitError, SessionEndedError; ValueError for arguments that are not JSON.
        """
        if self._closed:
            raise SessionEndedError("the session has ended")
        if self._ours >= self._limit:
            raise LimitError("too many open calls")
        if kind is CallKind.ASYNC:
            flags, body = OBJECT, call_body(name, args, None)
        else:
            flags, body = STREAM | OBJECT, call_body(name, args, kind.value)
        while self._next in self._open:
            self._next = self._after(self._next)
        req, self._next = self._next, self._after(self._next)
        self._open[req] = _Open(kind, writes=kind is not CallKind.SOURCE, reads=kind is not CallKind.SINK)
        self._ours += 1
        return req, (flags, req, body)

    @staticmethod
    def _after(req: int) -> int:
        return req + 1 if req < _LAST_REQ else 1

    def answer(self, req: int, value: bytes | JSON) -> Out:
        """Answer the peer's async call. Raise LocalProtocolError if it is not open, ValueError as item()."""
        self._asked(req)
        flags, body = _encode(value)
        self._forget(req)
        return flags, req, body

    def fail(self, req: int, message: str, name: str = "Error") -> Out:
        """Answer the peer's async call, or end a stream, with an error. Raise LocalProtocolError if it is over."""
        entry = self._open.get(req)
        if entry is not None and entry.kind is not CallKind.ASYNC:
            if not entry.sending:
                raise LocalProtocolError("our direction of the stream has ended")
            return self._close(req, entry, error_body(message, name), deaf=True)
        self._asked(req)
        self._forget(req)
        return OBJECT | END, req, error_body(message, name)

    def item(self, req: int, value: bytes | JSON) -> Out:
        """Return one item for a stream.

        Raise ValueError for empty bytes or text, LocalProtocolError if it cannot be sent.
        """
        entry = self._open.get(req)
        if entry is None or entry.kind is CallKind.ASYNC or not (entry.sending and entry.writes):
            raise LocalProtocolError("our direction of the stream has ended")
        flags, body = _encode(value)
        return STREAM | flags, req, body

    def end(self, req: int, error: str | None = None) -> Out | None:
        """End our direction of a stream (cancel a source that we read); return None when it had ended already.

        After an error, and for a source or sink that we only read, the peer's items are dropped until its own end.
        An async call of ours is forgotten (None: the peer cannot be told), one of the peer's fails.
        """
        entry = self._open.get(req)
        if entry is None or not entry.sending:
            return None
        if entry.kind is CallKind.ASYNC:
            if req < 0:
                return self.fail(req, error or "cancelled")
            self._forget(req)
            return None
        body = b"true" if error is None else error_body(error)
        return self._close(req, entry, body, deaf=error is not None or not entry.writes)

    def forget(self, req: int) -> None:
        """Leave the rest of this call to another owner (a splice, the end of a tunnel). Harmless if it is over."""
        if req in self._open:
            self._forget(req)

    def abandon(self, req: int) -> Out | None:
        """Abandon a stream: end our direction if it has not ended (the packet), drop what still comes.

        For duplex streams that ended cleanly here and where the peer, JS for one, does not end its direction.
        """
        packet = self.end(req)
        entry = self._open.get(req)
        if entry is not None:
            entry.reads = False
            self._linger(req)
        return packet

    def close(self) -> list[MuxEvent]:
        """End the session: every open call fails, every stream ends. Later calls raise, later packets are dropped."""
        self._closed = True
        events: list[MuxEvent] = []
        error = SessionEndedError("the session has ended")
        for req, entry in self._open.items():
            if entry.kind is CallKind.ASYNC and req > 0:
                events.append(Failed(req, error))
            elif not entry.told:
                events.append(Ended(req, error))
        self._open.clear()
        self._lingering = None
        self._ours = self._theirs = 0
        return events

    def _asked(self, req: int) -> None:
        entry = self._open.get(req)
        if entry is None or entry.kind is not CallKind.ASYNC or req > 0:
            raise LocalProtocolError("no such call of the peer's is open")

    def _close(self, req: int, entry: _Open, body: bytes, *, deaf: bool) -> Out:
        entry.sending = False
        if deaf:
            entry.reads = False
        if entry.ended:
            self._forget(req)
        elif not entry.reads:
            self._linger(req)
        return STREAM | END | OBJECT, req, body

    def _linger(self, req: int) -> None:
        if self._lingering is None:
            self._lingering = {}
        if req not in self._lingering:
            self._uncount(req)
            self._lingering[req] = None
        if len(self._lingering) > limits.LINGERING_STREAMS:
            self._forget(next(iter(self._lingering)))

    def _forget(self, req: int) -> None:
        del self._open[req]
        if self._lingering is not None and req in self._lingering:
            del self._lingering[req]
            self._lingering = self._lingering or None
        else:
            self._uncount(req)

    def _uncount(self, req: int) -> None:
        if req > 0:
            self._ours -= 1
        else:
            self._theirs -= 1

    # ------------------------------------------------------------ what the peer sends

    def receive(self, flags: int, req: int, body: bytes) -> list[MuxEvent]:
        """Handle one whole packet from the peer (tunnel data never come here).

        Raises MuxRPCError when the peer goes on opening calls above the limit.
        """
        if self._closed or req == 0:
            return []
        entry = self._open.get(-req)
        if entry is None:
            return self._called(flags, req, body)
        if entry.kind is CallKind.ASYNC:
            return self._answered(flags, -req, body) if req < 0 else []
        if flags & END:
            return self._ended(flags, -req, entry, body)
        return self._item(flags, -req, entry, body) if flags & STREAM else []

    def _called(self, flags: int, req: int, body: bytes) -> list[MuxEvent]:
        if req < 0 or flags & END or flags & _TYPE != OBJECT:
            return []  # for something that is over
        streaming = bool(flags & STREAM)
        try:
            name, args, type_ = read_call(body)
        except ValueError:
            return [self._refuse(streaming, req, "malformed call")]
        kind = CallKind.ASYNC
        if streaming:
            if not isinstance(type_, str) or type_ not in _STREAMS:
                return [self._refuse(True, req, "unsupported stream type")]
            kind = _STREAMS[type_]
        if self._theirs >= self._limit:
            self._refused += 1
            if self._refused > self._limit:
                raise MuxRPCError("the peer goes on making calls above the limit")
            return [self._refuse(streaming, req, "too many open calls")]
        self._refused = 0
        self._theirs += 1
        self._open[-req] = _Open(kind, writes=kind is not CallKind.SINK, reads=kind is not CallKind.SOURCE)
        return [Called(-req, kind, name, args)]

    @staticmethod
    def _refuse(streaming: bool, req: int, message: str) -> Reply:
        flags = STREAM | END | OBJECT if streaming else END | OBJECT
        return Reply((flags, -req, error_body(message)))

    def _answered(self, flags: int, req: int, body: bytes) -> list[MuxEvent]:
        self._forget(req)
        if flags & END:
            return [Failed(req, _end_error(flags, body) or RemoteError("the call ended without an answer"))]
        try:
            return [Answered(req, _decode(flags, body))]
        except ValueError:
            return [Failed(req, RemoteError("malformed answer"))]

    def _item(self, flags: int, req: int, entry: _Open, body: bytes) -> list[MuxEvent]:
        if not entry.reads:
            return []
        try:
            return [Item(req, _decode(flags, body))]
        except ValueError:
            pass
        message = "malformed item"
        entry.told = True
        ended = Ended(req, RemoteError(message))
        if entry.sending:
            return [Reply(self._close(req, entry, error_body(message), deaf=True)), ended]
        entry.reads = False
        self._linger(req)
        return [ended]

    def _ended(self, flags: int, req: int, entry: _Open, body: bytes) -> list[MuxEvent]:
        if entry.ended:
            return []
        error = _end_error(flags, body)
        events: list[MuxEvent] = [] if entry.told else [Ended(req, error)]
        entry.ended = entry.told = True
        if not entry.sending:
            self._forget(req)
        elif error is not None:
            events.insert(0, Reply(self._close(req, entry, self._same(flags, body, error), deaf=True)))
        elif self._one_way(req, entry):  # the peer no longer reads what we could still send
            events.insert(0, Reply(self._close(req, entry, b"true", deaf=True)))
        return events

    @staticmethod
    def _one_way(req: int, entry: _Open) -> bool:
        return entry.kind is CallKind.SOURCE or (entry.kind is CallKind.SINK and req > 0)

    @staticmethod
    def _same(flags: int, body: bytes, error: RemoteError) -> bytes:
        """Answer an error end with the same error; if that is long or no JSON, with our reading of it."""
        if flags & _TYPE == OBJECT and len(body) <= limits.ERROR_ECHO and error.message != MALFORMED:
            return body
        return error_body(error.message, error.name)
