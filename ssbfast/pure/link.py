"""One secured connection: both cipher states, the scanner, the outgoing queues."""

from __future__ import annotations

from ssbfast import limits as default
from ssbfast.engine_types import E_CLOSED, Buffer, CoreLimits, Event, Status, check_keys, fault, in_turn
from ssbfast.errors import LocalProtocolError, SSBError
from ssbfast.pure.box_stream import BoxOpener, Sealer
from ssbfast.pure.hub import Hub
from ssbfast.pure.lane import Goodbye, Lane, Outgoing
from ssbfast.pure.receive import Incoming

_BOX_BODY_MAX = 65535


class Link:
    """One secured connection on a hub.

    id: the caller's number for it, as `Hub.dirty` gives it. split: every packet head goes into a box of its own.
    Keys are 32 bytes, nonces 24; ValueError otherwise.
    """

    def __init__(
        self,
        hub: Hub,
        id: int,
        *,
        send_key: bytes,
        send_nonce: bytes,
        receive_key: bytes,
        receive_nonce: bytes,
        limits: CoreLimits = CoreLimits(),  # noqa: B008 (an immutable tuple)
        split: bool = False,
    ) -> None:
        check_keys((send_key, send_nonce), (receive_key, receive_nonce))
        self.turn = hub.turn
        limits = limits._replace(box_body=min(limits.box_body, _BOX_BODY_MAX))
        self.id = id
        self.failure: SSBError | None = None
        self._due = False  # AGAIN has not been answered
        self.out = Outgoing(hub, id, limits, Sealer(send_key, send_nonce), split)
        self.incoming = Incoming(hub, limits, BoxOpener(receive_key, receive_nonce, limits.box_body))
        self._number = hub.enter(self)

    @property
    def slabs(self) -> int:
        """Slabs of the pool that the link holds, both ways."""
        return self.incoming.slabs + len(self.out.control.slabs) + self.out.lane_slabs

    # ------------------------------------------------------------ what arrives

    @in_turn
    def receive(self, data: Buffer) -> tuple[Status, list[Event]]:
        """Take bytes from the socket: open, scan, re-number, queue at the destinations.

        OK: all was used. AGAIN: handle the events, then proceed(). BLOCKED: a destination has no room; stop reading
        and proceed() when it has drained. ENDED: the peer's goodbye. After a mistake of the peer `failure` is set,
        and what came before it is returned with OK.
        """
        if self._due:
            raise LocalProtocolError("proceed() is due")
        return self._answer(self.incoming.receive(bytes(data), default.EVENT_ROOM))

    @in_turn
    def proceed(self) -> tuple[Status, list[Event]]:
        """Go on after AGAIN or BLOCKED."""
        return self._answer(self.incoming.proceed(default.EVENT_ROOM))

    @in_turn
    def keep(self, data: Buffer = b"") -> bool:
        """Keep input inside, unopened: the rest that AGAIN has left, and `data` behind it.

        `proceed` goes on there at any time.

        False when the pool is used up: `failure` is set then.
        """
        self._due = False
        code = self.incoming.keep(bytes(data))
        if code == E_CLOSED:
            raise fault(code)
        if code < 0:
            self.failure = self.failure or fault(code)
        return code >= 0

    def _answer(self, answer: tuple[int, list[Event], int]) -> tuple[Status, list[Event]]:
        code, events, need = answer
        if code == Status.AGAIN and not events and need > default.EVENT_ROOM:
            return self._answer(self.incoming.proceed(need))
        self._due = code == Status.AGAIN
        if code == E_CLOSED:
            raise fault(code)
        if code < 0:
            self.failure = self.failure or fault(code)
            return Status.OK, events
        return Status(code), events

    @property
    @in_turn
    def blocked(self) -> Lane | None:
        """Return the lane that has no room; None when it is the pool, or nothing."""
        return self.incoming.blocked

    @property
    @in_turn
    def held(self) -> int:
        """Bytes of input kept inside."""
        return self.incoming.held

    # ------------------------------------------------------------ what leaves

    @in_turn
    def control(self, flags: int, req: int, body: Buffer) -> bool:
        """Queue a whole packet in front of all lanes; return False when there is no room.

        LocalProtocolError after goodbye() or close(), and for an empty body except that of the packet stream's
        goodbye (flags 0, req 0).
        """
        return self.out.put_control(flags, req, body)

    @in_turn
    def goodbye(self) -> None:
        """Send the box stream's goodbye behind what is queued now; nothing can be queued any more."""
        if self.out.goodbye == Goodbye.NONE:
            self.out.goodbye = Goodbye.WANTED
            self.out.dirty()

    @in_turn
    def flush(self, room: int = default.FLUSH_CHUNK) -> tuple[bytes, Status]:
        """Seal what is queued into at most `room` bytes.

        OK: nothing is left. FULL: more is queued. ENDED: nothing is left and the goodbye was written.
        """
        return self.out.flush(room)

    @property
    @in_turn
    def queued(self) -> int:
        """Bytes in lanes."""
        return self.out.lane_bytes

    @property
    @in_turn
    def control_queued(self) -> int:
        """Bytes of control packets."""
        return self.out.control.bytes

    @in_turn
    def close(self) -> None:
        """Give everything back to the pool and forget the keys; lanes and inlets are closed."""
        if self.out.goodbye == Goodbye.CLOSED:
            return
        for lane in list(self.out.lanes):
            lane.close()
        for inlet in [inlet for same in self.incoming.inlets.values() for inlet in same]:
            inlet.close()
        self._due = False
        self.incoming.close()
        self.incoming.dead = E_CLOSED
        self.out.control.keep(0)
        self.out.hub.unmark(self.out)
        self.out.hub.leave(self._number)
        self.out.sealer.close()
        self.out.goodbye = Goodbye.CLOSED
