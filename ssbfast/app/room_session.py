"""One peer's session with a room."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ssbfast import limits, native
from ssbfast.errors import MuxRPCError, SSBError
from ssbfast.net.link import Link
from ssbfast.net.splice import Splice
from ssbfast.wire.muxrpc import JSON, MuxRPC, Reply

if TYPE_CHECKING:
    from ssbfast.app.room_server import RoomServer

_ITEM = native.STREAM | native.JSON


class RoomSession:
    """From the first byte of a connection to its last. Thousands of them idle: it holds little.

    number: the room's number for it, 0 until the handshake is done.
    splices: tunnels that begin or end here, by the number the peer writes.
    """

    __slots__ = ("_lanes", "_room", "_ticket", "link", "mux", "number", "splices")

    link: Link

    def __init__(self, room: RoomServer) -> None:
        self._room = room
        self._ticket: str | None = None
        self.number = 0
        self.mux = MuxRPC()
        self.splices: dict[int, Splice] = {}
        self._lanes: dict[int, native.Lane] = {}

    def enter(self, link: Link, host: str) -> bool:
        """The connection is there; False when too many are unproven."""
        self.link = link
        if self._room.is_closing:
            return False  # it was accepted a moment before
        self._ticket = self._room.gate.enter(host)
        if self._ticket is None:
            return False
        self._room.arrived(self)
        return True

    def abort(self) -> None:
        self.link.abort()

    # ------------------------------------------------------------ LinkHandler

    def opened(self, link: Link) -> None:
        self._leave_gate()
        self.number = self._room.proven(self)

    def packet(self, link: Link, flags: int, req: int, body: bytes) -> None:
        splice = self.splices.get(req)
        if splice is not None:
            splice.packet(link, flags, req, body)
            return
        try:
            events = self.mux.receive(flags, req, body)
        except MuxRPCError as error:
            link.fail(error)
            return
        for event in events:
            if isinstance(event, Reply):
                if link.is_open:
                    link.control(*event.packet)
            else:
                self._room.happened(self, event)

    def chunk(self, link: Link, req: int, data: bytes) -> None:
        """Never: a room has no delivering inlets."""

    def closed(self, link: Link, error: SSBError | None) -> None:
        self._leave_gate()
        for splice in list(self.splices.values()):
            splice.link_closed(link)
        self._room.gone(self)

    def _leave_gate(self) -> None:
        if self._ticket is not None:
            self._room.gate.leave(self._ticket)
            self._ticket = None

    # ------------------------------------------------------------ what the room sends

    def answer(self, req: int, value: JSON) -> None:
        if self.mux.is_open(req):
            self.link.control(*self.mux.answer(req, value))

    def refuse(self, req: int, message: str) -> None:
        if self.mux.is_open(req):
            self.link.control(*self.mux.fail(req, message))

    def send_item(self, req: int, body: bytes) -> None:
        """One item of a subscription. Items are bulk: they take turns with tunnels, behind control packets."""
        if not self.mux.is_open(req):
            return
        lane = self._lanes.get(req)
        is_new = lane is None
        if lane is None:
            lane = self._lanes[req] = native.Lane(self.link.core, req, limits.TUNNEL_SHARE)
        kept = lane.packet(_ITEM, body)
        self.link.touched()
        if is_new:
            self._watch(req, lane)
        if not kept or lane.queued > limits.SUBSCRIBER_BACKLOG:
            self._room.backlog_passed(self, lost=not kept)

    def end_stream(self, req: int) -> None:
        packet = self.mux.end(req)
        if packet is None:
            return
        lane = self._lanes.get(req)
        if lane is None or not lane.packet(packet[0], packet[2]):
            self.link.control(*packet)
        self.link.touched()

    def _watch(self, req: int, lane: native.Lane) -> None:
        self.link.when(lambda: not lane.queued, lambda: self._drained(req, lane))

    def _drained(self, req: int, lane: native.Lane) -> None:
        """Nothing of a subscription waits any more: give its lane back, which is cheaper than keeping it."""
        if lane.queued and self.link.is_open:
            self._watch(req, lane)
            return
        self._lanes.pop(req, None)
        lane.close()
        if self.link.is_open and not self._lanes:
            self._room.drained(self)
