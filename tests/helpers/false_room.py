"""A room that does what a test tells it: it forges origins, floods its clients with lists, cuts tunnels where it likes.

It stands on `RawPeer`, so that nothing of the room server's own caution stands between it and the client under test.
Left alone it is an honest, if simple, Rooms 2 server.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from ssbfast.ids import FeedId
from ssbfast.keys import Keypair
from ssbfast.net.link import Link
from ssbfast.net.relay import Relay
from ssbfast.wire.address import MultiserverAddress, NetAddress, format_address
from ssbfast.wire.handshake import ClientHandshake, ServerHandshake
from ssbfast.wire.muxrpc import JSON, Called, CallKind, Ended, unknown_method_message
from tests.helpers.rawpeer import RawPeer, RawTunnel, eventually

LISTS = ("room.attendants", "tunnel.endpoints")
EXTERNAL = "external user are not allowed to enumerate members"
"""What go-ssb-room says."""


class FalseRoom:
    """sessions: its clients' newest sessions, by key. present: whom it lists.

    is_old: it knows tunnel.endpoints only. members: whom it lists and tells of others, as go-ssb-room in its mode
    "Community"; None: everybody.
    """

    is_old = False
    members: set[FeedId] | None = None

    def __init__(self) -> None:
        self.me = Keypair.generate()
        self.relay = Relay(pool=64 * 1024 * 1024, stall_seconds=60)
        self.sessions: dict[FeedId, RoomSide] = {}
        self.all: list[RoomSide] = []
        self.present: list[str] = []
        self.port = 0

    @property
    def id(self) -> FeedId:
        return self.me.id

    @property
    def address(self) -> str:
        return format_address(MultiserverAddress(NetAddress("127.0.0.1", self.port), self.me.id))

    def link(self) -> Link:
        side = RoomSide(self)
        self.all.append(side)
        return Link(self.relay, ServerHandshake(self.me), side)

    def knock(self, target: FeedId, origin: FeedId | None) -> RawTunnel:
        """Open a tunnel to a client in somebody's name. Our end of it is bare."""
        args: dict[str, Any] = {"portal": str(self.id), "target": str(target)}
        if origin is not None:
            args["origin"] = str(origin)
        side = self.sessions[target]
        req = side.open(CallKind.DUPLEX, "tunnel.connect", args)
        side.tunnels[req] = tunnel = RawTunnel(side, req)
        return tunnel

    async def prove(self, target: FeedId, origin: FeedId | None, key: Keypair) -> RawTunnel:
        """The same, and shake hands up to message 3 as `key`."""
        tunnel = self.knock(target, origin)
        handshake = ClientHandshake(key, target)
        tunnel.write(handshake.start())
        hello = await tunnel.read(64)
        if len(hello) == 64:
            tunnel.write(handshake.receive(hello)[0].data)  # type: ignore[union-attr]
        return tunnel


class RoomSide(RawPeer):
    """The room's end of one session. lists: room.attendants or tunnel.endpoints streams of the client."""

    def __init__(self, room: FalseRoom) -> None:
        super().__init__(room.me, room.relay)
        self.room = room
        self.lists: list[int] = []
        self.partners: dict[RawTunnel, RawTunnel] = {}

    def on_open(self, link: Link) -> None:
        super().on_open(link)
        self.room.sessions[link.remote] = self

    def item(self, req: int, value: Any) -> None:
        """Send an item of a stream, whatever waits already."""
        self.link.control(*self.mux.item(req, value))

    def _called(self, event: Called) -> None:
        name = ".".join(event.name)
        members = self.room.members
        if name == "room.metadata":
            told: dict[str, JSON] = {"name": "false", "features": ["tunnel", "room2"]}
            if members is not None:
                told["membership"] = self.link.remote in members
            self.link.control(*self.mux.answer(event.req, told))
        elif name in LISTS and members is not None and self.link.remote not in members:
            self.calls.append(event)
            self.link.control(*self.mux.fail(event.req, EXTERNAL))
        elif name == "room.attendants" and self.room.is_old:
            self.link.control(*self.mux.fail(event.req, unknown_method_message(event.name)))
        elif name == "tunnel.endpoints":
            self.lists.append(event.req)
            self.item(event.req, self.room.present)
        elif name == "room.attendants":
            self.lists.append(event.req)
            self.item(event.req, {"type": "state", "ids": self.room.present})
        elif name == "tunnel.connect":
            self._splice(event)
        else:
            self.calls.append(event)

    def _splice(self, event: Called) -> None:
        here = self.tunnels[event.req] = RawTunnel(self, event.req)
        target = FeedId.parse(event.args[0]["target"])  # type: ignore[call-overload, index]
        if target not in self.room.sessions:
            here.end(f"could not connect to: {target}")
            return
        there = self.room.knock(target, self.link.remote)
        here.on_data, there.on_data = there.write, here.write
        here.keep = there.keep = False
        self.partners[here] = there
        other = there.peer
        assert isinstance(other, RoomSide)
        other.partners[there] = here

    def _ended(self, event: Ended) -> None:
        super()._ended(event)
        tunnel = self.tunnels.get(event.req)
        partner = None if tunnel is None else self.partners.pop(tunnel, None)
        if partner is not None and not partner.peer.gone.is_set():
            partner.end(None if event.error is None else str(event.error))


@asynccontextmanager
async def false_room(room: FalseRoom | None = None) -> AsyncIterator[FalseRoom]:
    """Open one on this machine; at the end all its sessions are cut."""
    room = room or FalseRoom()
    sock = socket.create_server(("127.0.0.1", 0))
    room.port = sock.getsockname()[1]
    server = await asyncio.get_running_loop().create_server(room.link, sock=sock)
    try:
        yield room
    finally:
        server.close()
        for side in room.all:
            if side.is_open.is_set() and not side.gone.is_set():
                side.link.abort()
        await eventually(lambda: all(side.gone.is_set() for side in room.all))
        room.relay.close()
