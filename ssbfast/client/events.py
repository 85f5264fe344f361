"""The events that a `RoomClient` reports: one dict an event. Ids are complete, since they are one's own peer's.

    announced     portal, id, address           we are listed in a room (again); address: what others dial
    external      portal, id, address           we are in a room that does not list us: its members alone are reached
    reconnecting  portal, id, address, reason, seconds
                                                a room is lost, or was not reached; seconds until the next attempt
    connected     peer, path, portal            a tunnel that we opened
    accepted      peer, path, portal            a tunnel to us
    path          peer, path, rtt_ms, took_ms, reason
                                                a session goes another way now, or could not
    away          peer, seconds                 nothing comes from the other end; how long the session waits at most
    back          peer                          the session goes on, after that
    closed        peer, path, portal, reason    its end
    denied        portal, origin, address, proven, reason, time, n    a tunnel that we refused, or did not open
    denied_alias  portal, origin, alias, verified_at, n   the name of a peer that we refused, found and verified later

All but these two have `session`, too: what the events of one session have in common, for `announced` and `reconnecting`
the session with the room (None as long as there was none).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from ssbfast.client.joined_room import JoinedRoom
from ssbfast.direct.options import PathNews
from ssbfast.ids import FeedId
from ssbfast.net.peer import Peer
from ssbfast.room.denials import Denial
from ssbfast.wire.address import TunnelAddress, format_address


def tunnel_address(portal: FeedId, target: FeedId) -> str:
    """Return the address that other peers dial to reach `target` through a room."""
    return format_address(TunnelAddress(portal, target))


class ClientEvents:
    """The sender of a client's events. me: the client's id. listener: called in the loop with each event, or None."""

    def __init__(self, me: FeedId, listener: Callable[[dict[str, Any]], None] | None) -> None:
        self._me = me
        self._listener = listener

    def room(self, event: str, room: JoinedRoom, **members: Any) -> None:
        """Report `announced`, `external`, or `reconnecting`, which has `reason` and `seconds`."""
        announced = event == "announced"
        address = tunnel_address(room.id, self._me) if announced else ";".join(map(str, room.ways))
        self._tell(event, portal=str(room.id), id=str(self._me), address=address, session=room.label, **members)

    def on_open(self, event: str, peer: Peer) -> None:
        """Report `connected` or `accepted`."""
        self._tell(event, peer=str(peer.id), path=peer.path, portal=str(peer.portal), session=peer.label)

    def path(self, peer: Peer, news: PathNews) -> None:
        rtt, took = (None if seconds is None else round(seconds * 1000, 1) for seconds in (news.rtt, news.took))
        members = {"path": news.path, "rtt_ms": rtt, "took_ms": took, "reason": news.reason, "session": peer.label}
        self._tell("path", peer=str(peer.id), **members)

    def away(self, peer: Peer, seconds: float | None) -> None:
        """Report `away`, or `back` when seconds is None."""
        if seconds is None:
            self._tell("back", peer=str(peer.id), session=peer.label)
        else:
            self._tell("away", peer=str(peer.id), seconds=seconds, session=peer.label)

    def on_close(self, peer: Peer) -> None:
        reason = "goodbye" if peer.error is None else str(peer.error)
        members = {"path": peer.path, "portal": str(peer.portal), "reason": reason, "session": peer.label}
        self._tell("closed", peer=str(peer.id), **members)

    def denied(self, denial: Denial) -> None:
        self._tell(
            "denied",
            portal=str(denial.room),
            origin=str(denial.origin),
            address=denial.address,
            proven=denial.proven,
            reason=denial.reason.value,
            time=denial.time,
            n=denial.number,
        )

    def denied_alias(self, denial: Denial) -> None:
        """Report that the alias of a refused peer is known now."""
        members = {"alias": denial.alias, "verified_at": denial.verified_at, "n": denial.number}
        self._tell("denied_alias", portal=str(denial.room), origin=str(denial.origin), **members)

    def _tell(self, event: str, **members: Any) -> None:
        if self._listener is None:
            return
        try:
            self._listener({"event": event, **members})
        except Exception as error:  # a listener must not break the client
            context = {"message": "an event could not be told", "exception": error}
            asyncio.get_running_loop().call_exception_handler(context)
