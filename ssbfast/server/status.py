"""The state of a running room as plain data, for commands, web site and metrics: no addresses of peers."""

from __future__ import annotations

import math
import time
from typing import Any

from ssbfast import limits
from ssbfast.ids import FeedId
from ssbfast.net.control_socket import Handler
from ssbfast.net.relayed_tunnel import RelayedTunnel
from ssbfast.room.roles import Role
from ssbfast.server.busiest import Busiest
from ssbfast.server.limit_table import limit_rows
from ssbfast.server.presence import CertificateState
from ssbfast.server.room_server import RoomServer


def status(room: RoomServer) -> dict[str, Any]:
    """Return the room in figures.

    Returns:
        id, name, mode, address, seconds (since its start), connections (that have not proved a key), sessions,
        visitors (sessions' keys that are no internal users), attendants, tunnels, bytes (relayed, both directions,
        running tunnels included), limits (how often each was reached), and members by role when the room keeps them.
    """
    registry = room.registry
    found: dict[str, Any] = {
        "id": str(room.me.id),
        "name": room.name,
        "mode": registry.mode.value,
        "address": room.address,
        "seconds": round(room.seconds, 3),
        "connections": len(room.limits.connections),
        "sessions": len(room.limits.sessions),
        "visitors": len(room.live.visitors()),
        "attendants": len(room.live.online()),
        "tunnels": len(room.tunnels),
        "bytes": room.tunnels.bytes_relayed,
        "limits": dict(room.limits.tally.total),
    }
    if room.keeper is not None:
        roles = (Role.MEMBER, Role.MODERATOR, Role.ADMIN, Role.BLOCKED)
        found["members"] = {role.word: registry.count(role) for role in roles}
        found["aliases"] = sum(len(standing.aliases) for standing in registry.keys().values())
    if room.web.certificate is not None:
        found["certificate"] = _certificate(room.web.certificate())
    return found


def _certificate(state: CertificateState) -> dict[str, Any]:
    """Return days that are left (None without a certificate), the last problem, and certificates of aliases."""
    days = None if state.ends is None else math.floor((state.ends - time.time()) / 864) / 100
    return {"days": days, "problem": state.problem or None, "aliases": state.aliases}


def attendants(room: RoomServer) -> list[dict[str, Any]]:
    """Return the announced keys in the order of joining: id, role, aliases, sessions, tunnels."""
    return [_attendant(room, feed) for feed in room.live.online()]


def _attendant(room: RoomServer, feed: FeedId) -> dict[str, Any]:
    load = room.live.load(feed)
    return {
        "id": str(feed),
        "role": room.registry.role(feed).word,
        "aliases": [alias.name for alias in room.registry.aliases_of(feed)],
        "sessions": load.sessions,
        "tunnels": load.tunnels,
    }


def tunnels(room: RoomServer) -> list[dict[str, Any]]:
    """Return the running tunnels, the one with most bytes first: origin, target, seconds, bytes."""
    found = [_tunnel(room, tunnel) for tunnel in room.limits.tunnels]
    return sorted(found, key=lambda tunnel: -int(tunnel["bytes"]))


def top(room: RoomServer, busiest: Busiest, most: object) -> dict[str, Any]:
    """Return the tunnels that carry most just now.

    Returns:
        room (see `status`), rate (bytes a second of all tunnels), and tunnels, each with its rate; `most` of them.
    """
    count = most if isinstance(most, int) and 0 < most <= limits.TOP_TUNNELS else limits.TOP_TUNNELS
    found = busiest.look(room.limits.tunnels, count)
    listed = [{**_tunnel(room, one.tunnel), "rate": round(one.rate, 1)} for one in found]
    return {"room": status(room), "rate": round(busiest.rate, 1), "tunnels": listed}


def _tunnel(room: RoomServer, tunnel: RelayedTunnel) -> dict[str, Any]:
    return {
        "origin": tunnel.caller.remote.short,
        "target": tunnel.target.remote.short,
        "seconds": round(room.relay.loop.time() - tunnel.began, 3),
        "bytes": sum(tunnel.moved),
    }


def handlers(room: RoomServer) -> dict[str, Handler]:
    """Return what the control socket of a room answers."""
    busiest = Busiest()
    return {
        "status": lambda _request: status(room),
        "attendants": lambda _request: attendants(room),
        "tunnels": lambda _request: tunnels(room),
        "top": lambda request: top(room, busiest, request.get("most")),
        "limits": lambda _request: limit_rows(room.limits.caps, room.limits.tally.total),
    }
