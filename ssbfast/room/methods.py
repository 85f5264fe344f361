"""The methods of a room: one table, for the three generations of clients.

====================================  =====================================================================
Rooms 2 (ssb-room-client 2)           gossip.ping; room.metadata; room.attendants
Rooms 1                               gossip.ping; tunnel.isRoom; tunnel.endpoints
ssb-tunnel of 2018                    gossip.ping; tunnel.announce [null]; tunnel.connect without `portal`
====================================  =====================================================================

Subscribing to attendants or endpoints announces the subscriber, unless it passes {"announce": false}. The announcement
lasts until tunnel.leave or the end of the session; that the subscription ends does not end it (as in the JS and Go
rooms, whose clients rely on it when they re-subscribe).

Source: SIP 7; ssb-room 1.3, go-ssb-room, ssb-tunnel 2.0.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from ssbfast import limits
from ssbfast.errors import FeedIdError, RefusedError
from ssbfast.ids import FeedId
from ssbfast.room.attendants import Attendance
from ssbfast.room.directory import Portal, refusal
from ssbfast.room.effects import Answer, Changes, Effect, Fail, Splice, StreamEnd
from ssbfast.room.ping import Pings
from ssbfast.wire.muxrpc import (
    JSON,
    Answered,
    Called,
    Ended,
    Failed,
    Item,
    MuxEvent,
    Reply,
    build_manifest,
    unknown_method_message,
)
from ssbfast.wire.muxrpc_body import clean_text

_INSTANCES = 2**31
"""Instances of ssb-tunnel (several programs of one key at one portal) count from 0 and are below this."""


@dataclass(frozen=True, slots=True)
class RoomInfo:
    """The answer of room.metadata. name: for people to read; a domain, if there is one.

    stun: where the room answers STUN binding requests: ports of the address at which one has reached the room, and
    HOST:PORT for what is at one of its addresses only. No other room knows this member, and clients that do not, ignore
    it.
    """

    name: str
    membership: bool = True
    features: tuple[str, ...] = ("tunnel", "room1", "room2")
    stun: tuple[int | str, ...] = ()

    def as_json(self) -> dict[str, JSON]:
        """Return the answer of room.metadata and tunnel.isRoom."""
        told: dict[str, JSON] = {
            "name": self.name,
            "membership": self.membership,
            "features": list(self.features),
        }
        return {**told, "stun": list(self.stun)} if self.stun else told


_Handler: TypeAlias = Callable[[int, Called, float], list[Effect]]


class RoomMethods:
    """The calls of all sessions of one room: events in, effects out.

    wall_ms: the wall clock, milliseconds since 1970; `now` is any clock that does not jump, in seconds.
    Sessions are opened with portal.open(); everything else about the portal goes through here, so that subscribers
    hear of it. Events of spliced tunnels belong to the shell (passing them here does nothing), and so do the numbers of
    sessions and tunnels that a peer may have. Items for a stream that is over by then are to be dropped.
    """

    def __init__(self, portal: Portal, info: RoomInfo, *, wall_ms: Callable[[], int]) -> None:
        self._portal = portal
        self.info = info
        self._wall_ms = wall_ms
        self._attendance = Attendance(portal.attendants())
        self._of_2018: set[int] = set()  # sessions that announced themselves by a call
        self._pings = Pings(wall_ms)
        self._table: dict[tuple[str, ...], tuple[str, _Handler]] = {
            ("room", "metadata"): ("async", self._metadata),
            ("room", "attendants"): ("source", self._subscribe),
            ("room", "connect"): ("duplex", self._connect),
            ("room", "ping"): ("sync", self._time),
            ("tunnel", "announce"): ("sync", self._announce),
            ("tunnel", "leave"): ("sync", self._leave),
            ("tunnel", "isRoom"): ("async", self._metadata),
            ("tunnel", "endpoints"): ("source", self._subscribe),
            ("tunnel", "connect"): ("duplex", self._connect),
            ("tunnel", "ping"): ("sync", self._time),
            ("gossip", "ping"): ("duplex", self._ping),
            ("invite", "use"): ("async", self._true),
            ("createHistoryStream",): ("source", self._nothing),
            ("manifest",): ("sync", self._manifest),
            ("whoami",): ("sync", self._whoami),
        }

    def manifest(self) -> dict[str, JSON]:
        """Return the nested manifest: group → method → async, sync, source or duplex."""
        return build_manifest({name: kind for name, (kind, _) in self._table.items()})

    def compact(self) -> None:
        """Give back the memory that a crowd has left behind."""
        self._portal.compact()
        self._attendance.compact()

    # ------------------------------------------------------------ what happens

    def handle(self, session: int, event: MuxEvent, now: float) -> list[Effect]:
        """Handle one event of a session's MuxRPC. Whatever the peer sent, nothing is raised."""
        if session not in self._portal:
            return []
        match event:
            case Called():
                return self._called(session, event, now)
            case Item():
                return [*self._pings.received(session, event.req, now)]
            case Ended():
                self._attendance.unsubscribe(session, event.req)
                return [StreamEnd(session, event.req)] if self._pings.ended(session, event.req) else []
            case Answered() | Failed() | Reply():
                return []

    def closed(self, session: int, now: float) -> list[Effect]:
        """Forget a session that is over and tell the others. Idempotent."""
        self._attendance.closed(session)
        self._pings.closed(session)
        self._of_2018.discard(session)
        return self._publish(self._portal.close(session), now)

    def backlog_passed(self, session: int, *, lost: bool = False) -> None:
        """Send a session's subscribers nothing more until drained().

        What waits for it (snapshots not counted) is over limits.SUBSCRIBER_BACKLOG, or a StreamItem found no room at
        all (lost).
        """
        if session in self._portal:
            self._attendance.backlog_passed(session, lost=lost)

    def drained(self, session: int, now: float) -> list[Effect]:
        """Send subscribers of a drained session one fresh state, if they missed anything: nothing waits for it now."""
        return [*self._attendance.drained(session, now)]

    def tick(self, now: float) -> list[Effect]:
        """Do what is due by time."""
        return [*self._attendance.tick(now), *self._pings.tick(now)]

    @property
    def next_tick(self) -> float | None:
        """Return the time when tick() has something to do, None when never."""
        times = [time for time in (self._attendance.next_tick, self._pings.next_tick) if time is not None]
        return min(times, default=None)

    # ------------------------------------------------------------ calls

    def _called(self, session: int, call: Called, now: float) -> list[Effect]:
        kind, handler = self._table.get(call.name, ("", None))
        if handler is None or call.kind.value != ("async" if kind == "sync" else kind):
            return [Fail(session, call.req, unknown_method_message(call.name))]
        return handler(session, call, now)

    def _publish(self, changes: Changes, now: float) -> list[Effect]:
        return [*changes, *self._attendance.publish(changes, now)]

    def _metadata(self, session: int, call: Called, now: float) -> list[Effect]:
        return [Answer(session, call.req, self.info.as_json())]

    def _time(self, session: int, call: Called, now: float) -> list[Effect]:
        return [Answer(session, call.req, self._wall_ms())]

    def _true(self, session: int, call: Called, now: float) -> list[Effect]:
        return [Answer(session, call.req, True)]

    def _manifest(self, session: int, call: Called, now: float) -> list[Effect]:
        return [Answer(session, call.req, self.manifest())]

    def _whoami(self, session: int, call: Called, now: float) -> list[Effect]:
        return [Answer(session, call.req, {"id": str(self._portal.me)})]

    def _nothing(self, session: int, call: Called, now: float) -> list[Effect]:
        return [StreamEnd(session, call.req)]

    def _announce(self, session: int, call: Called, now: float) -> list[Effect]:
        self._of_2018.add(session)
        # ssb-room answers false here only because JS cannot send `undefined`; true reads as success everywhere.
        return [Answer(session, call.req, True), *self._publish(self._portal.announce(session), now)]

    def _leave(self, session: int, call: Called, now: float) -> list[Effect]:
        return [Answer(session, call.req, True), *self._publish(self._portal.leave(session), now)]

    def _subscribe(self, session: int, call: Called, now: float) -> list[Effect]:
        if self._attendance.count(session) >= limits.SUBSCRIPTIONS_PER_SESSION:
            return [Fail(session, call.req, "too many subscriptions")]
        options = call.args[0] if call.args else None
        effects: list[Effect] = []
        if not (isinstance(options, dict) and options.get("announce") is False):
            effects = self._publish(self._portal.announce(session), now)
        lists = call.name[-1] == "endpoints"
        return [*effects, *self._attendance.subscribe(session, call.req, lists=lists, now=now)]

    def _ping(self, session: int, call: Called, now: float) -> list[Effect]:
        if self._pings.count(session) >= limits.SUBSCRIPTIONS_PER_SESSION:
            return [Fail(session, call.req, "too many pings")]
        self._pings.open(session, call.req)
        return []

    def _connect(self, session: int, call: Called, now: float) -> list[Effect]:
        options = call.args[0] if call.args else None
        if not isinstance(options, dict):
            return [Fail(session, call.req, refusal("nobody"))]
        wanted, instance = options.get("target"), options.get("instance")
        try:
            target = _feed(wanted)
            portal = None if options.get("portal") is None else _feed(options["portal"])
            to = self._portal.route(session, portal, target)
        except FeedIdError:
            text = clean_text(wanted, limits.ERROR_NAME) if isinstance(wanted, str) else "nobody"
            return [Fail(session, call.req, refusal(text))]
        except RefusedError as error:
            return [Fail(session, call.req, str(error))]
        # A fresh object: nothing of the caller's passes but the number of the instance. The origin is what the
        # caller's own handshake with us has proved.
        origin = self._portal.feed(session)
        forward: dict[str, JSON] = {"portal": str(self._portal.me), "target": str(target), "origin": str(origin)}
        if isinstance(instance, int) and not isinstance(instance, bool) and 0 <= instance < _INSTANCES:
            forward["instance"] = instance
        elif to in self._of_2018:
            forward["instance"] = 0  # its ssb-tunnel finds no peer without one; newer callers do not know it
        return [Splice(session, call.req, to, ("tunnel", "connect"), [forward], origin, target)]


def _feed(value: JSON) -> FeedId:
    if not isinstance(value, str):
        raise FeedIdError("not a feed id")
    return FeedId.parse(value)
