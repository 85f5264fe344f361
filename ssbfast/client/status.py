"""A look at a running client: its rooms, and its sessions with their paths, round trips and bytes.

`RoomClient.status` takes it. What is measured is what flows anyway; only where no ping has come back yet, one is sent.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakKeyDictionary, WeakSet

from ssbfast import limits
from ssbfast.direct.options import PreferredPath
from ssbfast.direct.path_figures import PathFigures
from ssbfast.ids import FeedId
from ssbfast.net.peer import Path, Peer
from ssbfast.net.ping import measure

if TYPE_CHECKING:
    from ssbfast.client.direct_paths import DirectPaths
    from ssbfast.client.joined_room import JoinedRoom

_NO_PATHS: Final = "this process makes no direct paths"


@dataclass(frozen=True, slots=True)
class RoomStatus:
    """A room that has been joined, or is being dialled.

    Attributes:
        id: The room's id.
        host: Where it is dialled first, without the port.
        since: When the session with it began, seconds since 1970; None while there is none.
        reason: Why there is none; None while there is one, and before the first attempt has failed.
        is_external: We reach its members, and no peer reaches us through it.
    """

    id: FeedId
    host: str
    since: float | None
    reason: str | None
    is_external: bool

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return {
            "id": str(self.id),
            "host": self.host,
            "since": self.since,
            "reason": self.reason,
            "external": self.is_external,
        }


@dataclass(frozen=True, slots=True)
class SessionStatus:
    """A session with a peer.

    Attributes:
        peer: The peer's id.
        label: What names the session in events.
        path: "tunnel" or "direct".
        preferred: The path that it is to take.
        portal: The room that it began in.
        since: When it began, seconds since 1970.
        round_trips: Seconds, as measured last on each path.
        received: Bytes, with what the protocols add.
        sent: Bytes, with what the protocols add.
        receiving: Bytes a second.
        sending: Bytes a second.
        connections: Connections that it carries now.
        reason: Why it is not direct; None when it is.
        is_waiting: True while nothing carries it: the peer is silent, asleep for example.
        figures: Those of its direct path; None without one.
    """

    peer: FeedId
    label: str
    path: Path
    preferred: PreferredPath
    portal: FeedId | None
    since: float | None
    round_trips: dict[Path, float]
    received: int
    sent: int
    receiving: float
    sending: float
    connections: int
    reason: str | None
    is_waiting: bool = False
    figures: PathFigures | None = None

    @property
    def round_trip(self) -> float | None:
        """Seconds, on the path that it has; None while that is not known."""
        return self.round_trips.get(self.path)

    @property
    def faster(self) -> Path | None:
        """Path with the shorter round trip; None unless both were measured and differ by `FASTER_SECONDS`."""
        direct, tunnel = self.round_trips.get("direct"), self.round_trips.get("tunnel")
        if direct is None or tunnel is None or abs(direct - tunnel) <= limits.FASTER_SECONDS:
            return None
        return "direct" if direct < tunnel else "tunnel"

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON has it; round trips in milliseconds."""
        return {
            "peer": str(self.peer),
            "session": self.label,
            "path": self.path,
            "preferred": self.preferred.value,
            "portal": None if self.portal is None else str(self.portal),
            "since": self.since,
            "rtt_ms": {path: round(seconds * 1000, 1) for path, seconds in self.round_trips.items()},
            "faster": self.faster,
            "received": self.received,
            "sent": self.sent,
            "receiving": round(self.receiving, 1),
            "sending": round(self.sending, 1),
            "connections": self.connections,
            "reason": self.reason,
            "waiting": self.is_waiting,
            "direct": None if self.figures is None else self.figures.as_json(),
        }


@dataclass(frozen=True, slots=True)
class Status:
    """A client at one moment.

    Attributes:
        id: Our id.
        rooms: The rooms that have not been left, in the order of joining.
        sessions: The sessions with peers, the oldest first.
    """

    id: FeedId
    rooms: tuple[RoomStatus, ...]
    sessions: tuple[SessionStatus, ...]

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return {
            "id": str(self.id),
            "rooms": [room.as_json() for room in self.rooms],
            "sessions": [session.as_json() for session in self.sessions],
        }


@dataclass(frozen=True, slots=True)
class PathOutcome:
    """The outcome of a wish for a path.

    Attributes:
        label: What names the session in events.
        path: The path that it has now.
        reason: Why that is not the one that was wished for; None when it is.
    """

    label: str
    path: Path
    reason: str | None

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return {"session": self.label, "path": self.path, "reached": self.reason is None, "reason": self.reason}


class StatusTaker:
    """What a client keeps between two looks at it: bytes, for the rates, and which peers were pinged."""

    def __init__(self) -> None:
        self._moved: WeakKeyDictionary[Peer, tuple[int, int]] = WeakKeyDictionary()
        self._rates: WeakKeyDictionary[Peer, tuple[float, float]] = WeakKeyDictionary()
        self._at = float("-inf")
        self._pinged: WeakSet[Peer] = WeakSet()

    async def take(
        self, me: FeedId, rooms: Iterable[JoinedRoom], sessions: set[Peer], paths: DirectPaths | None
    ) -> Status:
        """Look at a client. It takes `STATUS_SECONDS` where a rate or a round trip has to be measured first.

        sessions: those with peers, as they are; the set may change meanwhile. paths: those of the client.
        """
        loop = asyncio.get_running_loop()
        pings = self._ping(sessions)
        if loop.time() - self._at > limits.STATUS_KEPT_SECONDS and sessions:
            self._look(sessions, loop.time())
            await asyncio.sleep(limits.STATUS_SECONDS)
        elif pings:
            await asyncio.wait(pings, timeout=limits.STATUS_SECONDS)
        self._look(sessions, loop.time())
        open_ones = sorted((peer for peer in sessions if peer.is_open), key=lambda peer: peer.since or 0.0)
        return Status(me, tuple(map(_room, rooms)), tuple(self._session(peer, paths) for peer in open_ones))

    def _look(self, sessions: Iterable[Peer], now: float) -> None:
        """Count bytes. Looks within `TOP_LEAST_SECONDS` are one, so that several watchers see the same."""
        passed = now - self._at
        if passed < limits.TOP_LEAST_SECONDS:
            return
        moved = {peer: peer.moved for peer in sessions if peer.is_open}
        for peer, (received, sent) in moved.items():
            before = self._moved.get(peer)
            is_known = before is not None and passed <= limits.STATUS_KEPT_SECONDS
            rates = (
                ((received - before[0]) / passed, (sent - before[1]) / passed) if before and is_known else (0.0, 0.0)
            )
            self._rates[peer] = rates
        self._moved = WeakKeyDictionary(moved)
        self._at = now

    def _ping(self, sessions: Iterable[Peer]) -> list[asyncio.Task[None]]:
        """Ping the peers, once each, whose round trip in the tunnel nothing else has measured."""
        silent = [
            peer
            for peer in sessions
            if peer.is_open and peer.path == "tunnel" and "tunnel" not in peer.round_trips and peer not in self._pinged
        ]
        self._pinged.update(silent)
        return [peer.background(measure(peer)) for peer in silent]

    def _session(self, peer: Peer, paths: DirectPaths | None) -> SessionStatus:
        if paths is not None:
            paths.measure(peer)
        received, sent = peer.moved
        receiving, sending = self._rates.get(peer, (0.0, 0.0))
        return SessionStatus(
            peer=peer.id,
            label=peer.label,
            path=peer.path,
            preferred=PreferredPath.TUNNEL if paths is None else paths.choice(peer),
            portal=peer.portal,
            since=peer.since,
            round_trips=dict(peer.round_trips),
            received=received,
            sent=sent,
            receiving=receiving,
            sending=sending,
            connections=peer.connections,
            reason=_NO_PATHS if paths is None else paths.why_not(peer),
            is_waiting=paths is not None and paths.is_waiting(peer),
            figures=None if paths is None else paths.figures(peer),
        )


async def choose_paths(
    sessions: Iterable[Peer], preferred: PreferredPath, paths: DirectPaths | None
) -> list[PathOutcome]:
    """Let sessions take a path; return what became of it, in their order. Raises RefusedError."""

    async def choose(peer: Peer) -> PathOutcome:
        if paths is not None:
            reason = await paths.choose(peer, preferred)
        else:
            reason = _NO_PATHS if preferred is PreferredPath.DIRECT else None
        return PathOutcome(peer.label, peer.path, reason)

    return list(await asyncio.gather(*map(choose, sessions)))


def _room(room: JoinedRoom) -> RoomStatus:
    since = room.session.since if room.is_open else None
    return RoomStatus(room.id, room.ways[0].host, since, None if since else room.problem, room.is_external)
