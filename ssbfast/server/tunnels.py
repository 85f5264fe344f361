"""The tunnels of a room: the streams of two sessions are spliced, and their bytes are counted."""

from __future__ import annotations

import secrets
from functools import partial
from typing import Protocol

from ssbfast.errors import LimitError, SessionEndedError
from ssbfast.net.relay import Relay
from ssbfast.net.relayed_tunnel import Ending, RelayedTunnel
from ssbfast.room.directory import refusal
from ssbfast.room.effects import Splice
from ssbfast.server.events import RoomEvents
from ssbfast.server.room_limits import RoomLimits
from ssbfast.server.session import RoomSession
from ssbfast.wire.muxrpc import CallKind


class TunnelRoom(Protocol):
    """The room as far as its tunnels need it."""

    @property
    def relay(self) -> Relay:
        """Return the room's relay."""

    @property
    def limits(self) -> RoomLimits:
        """Return what peers hold and spend."""

    @property
    def events(self) -> RoomEvents:
        """Return what tells of events."""


class Tunnels:
    """The tunnels of one room. Its length is the number of those that run."""

    def __init__(self, room: TunnelRoom) -> None:
        self._room = room
        self._bytes_ended = 0  # of tunnels that are over

    def __len__(self) -> int:
        return len(self._room.limits.tunnels)

    @property
    def bytes_relayed(self) -> int:
        """Return the bytes of all tunnels since the start, both directions."""
        return self._bytes_ended + sum(sum(tunnel.moved) for tunnel in self._room.limits.tunnels)

    def open(self, caller: RoomSession, target: RoomSession | None, effect: Splice) -> None:
        """Open a tunnel, or refuse it. target: the session that it leads to, if it is still there."""
        room = self._room
        if target is None or not target.link.is_open or not room.limits.open(caller, target):
            caller.refuse(effect.req, refusal(effect.to))
            return
        try:
            req, packet = target.mux.call(CallKind.DUPLEX, effect.name, effect.args)
            target.link.control(*packet)
        except (LimitError, SessionEndedError):
            caller.refuse(effect.req, refusal(effect.to))
            return
        names = {"origin": effect.origin.short, "target": effect.to.short, "session": secrets.token_hex(4)}
        on_closed = partial(self._on_closed, caller=caller, target=target, names=names, began=room.relay.loop.time())
        tunnel = RelayedTunnel(room.relay, caller.link, effect.req, target.link, req, on_closed)
        room.limits.tunnels.add(tunnel, caller.networks)
        caller.attach(-effect.req, tunnel)
        target.attach(-req, tunnel)
        room.events.emit("tunnel_opened", **names)

    def _on_closed(
        self,
        tunnel: RelayedTunnel,
        ending: Ending,
        *,
        caller: RoomSession,
        target: RoomSession,
        names: dict[str, str],
        began: float,
    ) -> None:
        room = self._room
        room.limits.tunnels.remove(tunnel)
        self._bytes_ended += sum(tunnel.moved)
        for session, req in zip((caller, target), tunnel.reqs, strict=True):
            session.detach(-req)
            session.mux.forget(req)
        room.events.emit(
            "tunnel_closed",
            **names,
            bytes=sum(tunnel.moved),
            seconds=round(room.relay.loop.time() - began, 3),
            reason=ending.value,
        )
