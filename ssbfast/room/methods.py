"""The methods of a room: one table, for the three generations of clients.

====================================  =====================================================================
Rooms 2 (ssb-room-client 2)           gossip.ping; room.metadata; room.attendants
Rooms 1                               gossip.ping; tunnel.isRoom; tunnel.endpoints
ssb-tunnel of 2018                    gossip.ping; tunnel.announce [null]; tunnel.connect without `portal`
====================================  =====================================================================

Subscribing to attendants or endpoints announces the subscriber, unless it passes {"announce": false}. The announcement
lasts until tunnel.leave or the end of the session; that the subscription ends does not end it (as in the JS and Go
rooms, whose clients rely on it when they re-subscribe).

A room that keeps records serves aliases, members and sign-in as well, and asks its registry at each call what the
caller may do: a change of role or mode acts at once (`changed`).

Rooms of ssbfast alone keep the nameplates of pairing as well: docs/protocol/pairing.md.

Source: SIP 6 and 7; ssb-room 1.3, go-ssb-room, ssb-tunnel 2.0.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from ssbfast import limits
from ssbfast.errors import FeedIdError, RefusedError
from ssbfast.ids import FeedId
from ssbfast.room import alias_rules
from ssbfast.room.attendants import Attendance
from ssbfast.room.directory import Portal, refusal
from ssbfast.room.effects import (
    AnnounceNameplate,
    Answer,
    Changes,
    Effect,
    EndVisits,
    EndWebSessions,
    Exclude,
    Fail,
    FindNameplate,
    Joined,
    Left,
    RegisterAlias,
    RevokeAlias,
    Splice,
    StreamEnd,
    StreamItem,
)
from ssbfast.room.member_list import MemberList
from ssbfast.room.ping import Pings
from ssbfast.room.registry import Change, Registry, RoleChanged
from ssbfast.room.roles import Action, features, has_aliases
from ssbfast.wire.alias import decode_signature
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
from ssbfast.wire.words import is_nameplate

_INSTANCES = 2**31
"""Instances of ssb-tunnel (several programs of one key at one portal) count from 0 and are below this."""


MEMBERS_ONLY = "only members of this room may see who is there"
NOT_LISTED = "only members of this room may be announced in it"
NO_LIST = "only members of this room may list aliases"
NO_NAMEPLATE = "that is no nameplate"


@dataclass(frozen=True, slots=True)
class RoomInfo:
    """What room.metadata tells of a room itself.

    name: for people to read; a domain, if there is one.
    stun: where the room answers STUN binding requests: ports of the address at which one has reached the room, and
    HOST:PORT for what is at one of its addresses only.
    addresses: multiserver addresses, where there are others than the one that every client has dialled: WebSockets.

    No other room knows the last two members, and clients that do not, ignore them.
    """

    name: str
    stun: tuple[int | str, ...] = ()
    addresses: tuple[str, ...] = ()

    def as_json(
        self, *, membership: bool = True, features: Iterable[str] = ("tunnel", "room1", "room2"), name: str = ""
    ) -> dict[str, JSON]:
        """Return the answer of room.metadata and tunnel.isRoom.

        Args:
            membership: Whether the caller has a tunnel address here.
            features: What the room serves.
            name: Another name than the one it was started with.
        """
        told: dict[str, JSON] = {
            "name": name or self.name,
            "membership": membership,
            "features": list(features),
        }
        if self.stun:
            told["stun"] = list(self.stun)
        if self.addresses:
            told["addresses"] = list(self.addresses)
        return told


class SolutionTaker(Protocol):
    """The challenges of a web site, as far as httpAuth.sendSolution needs them."""

    def solve(self, feed: FeedId, sc: str, cc: str, sol: str, now: float) -> bool:
        """Take a peer's solution of the challenge `sc`; return whether it is one."""

    def forget(self, feed: FeedId) -> None:
        """Drop what a peer has solved and no browser has used yet."""


_Handler: TypeAlias = Callable[[int, Called, float], list[Effect]]


class RoomMethods:
    """The calls of all sessions of one room: events in, effects out.

    wall_ms: the wall clock, milliseconds since 1970; `now` is any clock that does not jump, in seconds.
    registry: what each key may do; in an open room, unless given, everything. has_records: there is a store behind it.
    is_web: a web site runs. sign_ins: its challenges.
    Sessions are opened with portal.open(); everything else about the portal goes through here, so that subscribers
    hear of it. Events of spliced tunnels belong to the shell (passing them here does nothing), and so do the numbers of
    sessions and tunnels that a peer may have. Items for a stream that is over by then are to be dropped.
    """

    def __init__(
        self,
        portal: Portal,
        info: RoomInfo,
        *,
        wall_ms: Callable[[], int],
        registry: Registry | None = None,
        has_records: bool = False,
    ) -> None:
        self._portal = portal
        self._registry = registry or Registry(portal.me)
        self._has_records = has_records
        self._members = MemberList()
        self.info = info
        self.is_web = False
        self.sign_ins: SolutionTaker | None = None
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
            ("pairing", "announce"): ("async", self._announce_nameplate),
            ("pairing", "find"): ("async", self._find_nameplate),
            ("createHistoryStream",): ("source", self._nothing),
            ("manifest",): ("sync", self._manifest),
            ("whoami",): ("sync", self._whoami),
        }
        if has_records:
            self._table |= {
                ("room", "registerAlias"): ("async", self._register_alias),
                ("room", "revokeAlias"): ("async", self._revoke_alias),
                ("room", "listAliases"): ("async", self._list_aliases),
                ("room", "members"): ("source", self._list_members),
                ("httpAuth", "sendSolution"): ("async", self._send_solution),
                ("httpAuth", "invalidateAllSolutions"): ("async", self._invalidate_solutions),
            }
            self.loaded()

    def manifest(self) -> dict[str, JSON]:
        """Return the nested manifest: group → method → async, sync, source or duplex."""
        return build_manifest({name: kind for name, (kind, _) in self._table.items()})

    def compact(self) -> None:
        """Give back the memory that a crowd has left behind."""
        self._portal.compact()
        self._attendance.compact()

    def loaded(self) -> None:
        """Take note that the registry has been filled, before the room opens."""
        self._members.load(self._registry)

    # ------------------------------------------------------------ what happens

    def handle(self, session: int, event: MuxEvent, now: float) -> list[Effect]:
        """Handle one event of a session's MuxRPC. No input of a peer raises."""
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

    def session_closed(self, session: int, now: float) -> list[Effect]:
        """Forget a session that is over and tell the others. Idempotent."""
        self._attendance.session_closed(session)
        self._pings.session_closed(session)
        self._of_2018.discard(session)
        return self._publish(self._portal.close(session), now)

    def changed(self, changes: Iterable[Change], now: float) -> list[Effect]:
        """Let sessions feel what is different in the registry, which has taken it over already.

        Where the mode is another one, the caller lets all keys that have sessions feel it, by `settle`.
        """
        feeds: dict[FeedId, None] = {}
        for change in changes:
            if isinstance(change, RoleChanged):
                self._members.put(change.feed, self._registry.role(change.feed))
                feeds[change.feed] = None
        return self.settle(feeds, now)

    def settle(self, feeds: Iterable[FeedId], now: float) -> list[Effect]:
        """Let the sessions of keys feel what these may do now.

        A key that may have no session is cut. One that is external now is not listed any more, hears no more of
        attendants, and no tunnels lead to it; those that it opened stay. Idempotent.
        """
        affected = [feed for feed in feeds if self._portal.count(feed) and not self._registry.is_internal(feed)]
        left: list[Joined | Left] = []
        effects: list[Effect] = []
        for feed in affected:
            stays = self._registry.decide(feed)
            for session in self._portal.sessions(feed):
                left += self._portal.leave(session)
                effects += self._demote(session, feed) if stays else [Exclude(session, feed)]
        return [*self._publish(tuple(left), now), *effects]

    def _demote(self, session: int, feed: FeedId) -> list[Effect]:
        self._of_2018.discard(session)
        requests = self._attendance.requests(session)
        for req in requests:
            self._attendance.unsubscribe(session, req)
        return [*(Fail(session, req, MEMBERS_ONLY) for req in requests), EndVisits(session, feed)]

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
        registry, mode = self._registry, self._registry.mode if self._has_records else None
        answer = self.info.as_json(
            membership=registry.is_internal(self._portal.feed(session)),
            features=features(mode, is_web=self.is_web),
            name=registry.settings.name,
        )
        return [Answer(session, call.req, answer)]

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
        if not self._may(session, Action.ANNOUNCE):
            return [Fail(session, call.req, NOT_LISTED)]
        self._of_2018.add(session)
        # ssb-room answers false here only because JS cannot send `undefined`; true reads as success everywhere.
        return [Answer(session, call.req, True), *self._publish(self._portal.announce(session), now)]

    def _leave(self, session: int, call: Called, now: float) -> list[Effect]:
        return [Answer(session, call.req, True), *self._publish(self._portal.leave(session), now)]

    def _may(self, session: int, action: Action) -> bool:
        return self._registry.may(self._portal.feed(session), action)

    def _subscribe(self, session: int, call: Called, now: float) -> list[Effect]:
        if not self._may(session, Action.ATTENDANTS):
            return [Fail(session, call.req, MEMBERS_ONLY)]
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
        if not self._may(session, Action.CONNECT):
            return [Fail(session, call.req, refusal(_named(options.get("target"))))]
        wanted, instance = options.get("target"), options.get("instance")
        try:
            target = _feed(wanted)
            portal = None if options.get("portal") is None else _feed(options["portal"])
            to = self._portal.route(session, portal, target)
        except FeedIdError:
            return [Fail(session, call.req, refusal(_named(wanted)))]
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

    def _announce_nameplate(self, session: int, call: Called, now: float) -> list[Effect]:
        nameplate = call.args[0] if call.args else ""
        if nameplate is not None and not is_nameplate(nameplate):
            return [Fail(session, call.req, NO_NAMEPLATE)]
        if not self._may(session, Action.ANNOUNCE):
            return [Fail(session, call.req, NOT_LISTED)]
        return [AnnounceNameplate(session, call.req, nameplate if isinstance(nameplate, str) else None)]

    def _find_nameplate(self, session: int, call: Called, now: float) -> list[Effect]:
        nameplate = call.args[0] if call.args else None
        if not isinstance(nameplate, str) or not is_nameplate(nameplate) or not self._may(session, Action.CONNECT):
            return [Fail(session, call.req, NO_NAMEPLATE)]
        return [FindNameplate(session, call.req, nameplate)]

    # ------------------------------------------------------------ aliases, members, sign-in

    def _register_alias(self, session: int, call: Called, now: float) -> list[Effect]:
        feed = self._portal.feed(session)
        name, text = (*call.args[:2], None, None)[:2]
        problem = self._registration_problem(feed, name)
        signature = decode_signature(text) if isinstance(text, str) else None
        if problem is not None or signature is None:
            return [Fail(session, call.req, problem or alias_rules.BAD_SIGNATURE)]
        return [RegisterAlias(session, call.req, feed, str(name), signature)]

    def _registration_problem(self, feed: FeedId, name: JSON) -> str | None:
        registry = self._registry
        if not has_aliases(registry.mode):
            return alias_rules.NO_ALIASES
        if not registry.may(feed, Action.REGISTER_ALIAS):
            return alias_rules.MEMBERS_ONLY
        if not isinstance(name, str) or not alias_rules.may_be_registered(name):
            return alias_rules.NOT_VALID
        known = registry.alias(name)
        return None if known is None or known.feed == feed else alias_rules.TAKEN

    def _revoke_alias(self, session: int, call: Called, now: float) -> list[Effect]:
        feed = self._portal.feed(session)
        name = call.args[0] if call.args else None
        known = self._registry.alias(name) if isinstance(name, str) else None
        if known is None or known.feed != feed:
            return [Fail(session, call.req, alias_rules.UNKNOWN)]
        return [RevokeAlias(session, call.req, feed, known.name)]

    def _list_aliases(self, session: int, call: Called, now: float) -> list[Effect]:
        own = self._portal.feed(session)
        try:
            feed = _feed(call.args[0]) if call.args else own
        except FeedIdError:
            return [Fail(session, call.req, "not a feed id")]
        if feed != own and not self._registry.may(own, Action.LIST_ALIASES):
            return [Fail(session, call.req, NO_LIST)]
        names: list[JSON] = [alias.name for alias in self._registry.aliases_of(feed)]
        return [Answer(session, call.req, names)]

    def _list_members(self, session: int, call: Called, now: float) -> list[Effect]:
        if not self._may(session, Action.ATTENDANTS):
            return [Fail(session, call.req, MEMBERS_ONLY)]
        items = [StreamItem(session, call.req, body, snapshot=True) for body in self._members.packets()]
        return [*items, StreamEnd(session, call.req)]

    def _send_solution(self, session: int, call: Called, now: float) -> list[Effect]:
        texts = [text for text in call.args if isinstance(text, str)]
        is_right = False
        if self.sign_ins is not None and len(texts) == len(call.args) == 3:
            sc, cc, solution = texts
            is_right = self.sign_ins.solve(self._portal.feed(session), sc, cc, solution, now)
        return [Answer(session, call.req, is_right)]

    def _invalidate_solutions(self, session: int, call: Called, now: float) -> list[Effect]:
        feed = self._portal.feed(session)
        if not self._registry.may(feed, Action.SIGN_IN):
            return [Answer(session, call.req, True)]  # no browser is signed in by its key
        return [EndWebSessions(session, call.req, feed)]


def _named(value: JSON) -> str:
    return clean_text(value, limits.ERROR_NAME) if isinstance(value, str) else "nobody"


def _feed(value: JSON) -> FeedId:
    if not isinstance(value, str):
        raise FeedIdError("not a feed id")
    return FeedId.parse(value)
