"""A room: it listens, lets peers in, answers their calls, and splices their tunnels.

What is decided comes from `ssbfast.room` as effects; how bytes move is `ssbfast.net`'s business.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import replace
from types import TracebackType
from typing import Any

from ssbfast import limits, native
from ssbfast.budgets import Penalties, Rates, rings
from ssbfast.errors import LocalProtocolError, SessionEndedError
from ssbfast.ids import MAIN_NETWORK, FeedId, NetworkId
from ssbfast.keys import Keypair
from ssbfast.net.acceptor import Acceptor
from ssbfast.net.endpoints import DEFAULT_PORT, Endpoint, bind, is_wildcard_only, joined, publish, reflectors, shown
from ssbfast.net.inherited_sockets import InheritedSockets
from ssbfast.net.link import Link
from ssbfast.net.relay import Relay
from ssbfast.room.admission import Admission
from ssbfast.room.directory import Portal
from ssbfast.room.effects import (
    AnnounceNameplate,
    Answer,
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
from ssbfast.room.methods import RoomInfo, RoomMethods
from ssbfast.room.records import RoomRecords
from ssbfast.room.registry import AliasesChanged, Change, ModeChanged, Registry, RoleChanged, SettingsChanged
from ssbfast.room.roles import Role
from ssbfast.server.drain import drain
from ssbfast.server.events import EventSink, RoomEvents
from ssbfast.server.inbound import Inbound, MeteredInbound
from ssbfast.server.keeper import Keeper
from ssbfast.server.limit_table import NAMEPLATES, REFUSED, RoomCaps
from ssbfast.server.live_room import LiveRoom
from ssbfast.server.measures import Measures
from ssbfast.server.nameplates import Nameplates
from ssbfast.server.own_calls import OwnCalls
from ssbfast.server.presence import WebPresence
from ssbfast.server.refusals import Refusals, Why
from ssbfast.server.room_limits import RoomLimits
from ssbfast.server.session import RoomSession
from ssbfast.server.stun import Reflecting
from ssbfast.server.tunnels import Tunnels
from ssbfast.server.writes import NO_STORE, Writes
from ssbfast.tables import compact
from ssbfast.wire.address import Invite, MultiserverAddress
from ssbfast.wire.handshake import ServerHandshake
from ssbfast.wire.muxrpc import Answered, Failed

DEFAULT_LISTEN = (Endpoint("", DEFAULT_PORT),)

_CHANGED = {
    RoleChanged: "members_changed",
    AliasesChanged: "aliases_changed",
    ModeChanged: "mode_changed",
    SettingsChanged: "settings_changed",
}
"""What `watch` tells of changes of the registry."""


class RoomServer:
    """A portal. Without records it is open to every peer, and keeps nothing.

    Args:
        me: The room's own identity.
        name: The room's name, for people.
        network: The network whose handshakes the room accepts.
        listen: The TCP endpoints to listen on.
        host: The endpoint to publish, when the bound one is not dialable.
        udp: The endpoints that answer STUN binding requests; none if empty. None: the addresses and ports of `listen`
            and one more port, if it is free; if not, `without_udp` or `one_udp_port` tells why.
        admission: A policy that decides, beside the records, which peers may have a session.
        records: The store of members, mode and aliases; see `ssbfast.store`.
        alias_url: Returns the URL of an alias; unless given, one at the host of the published address.
        on_event: Called in the loop with each event, a dict with the member "event".
        stall_seconds: Seconds that a tunnel's target may take nothing while its source waits.
        pool: Bytes that all tunnels together may hold.
        caps: What its limits are set to.
        inherited: Sockets that were bound for the room; it takes those that are at its endpoints.
        log_addresses: Tell `on_event` from where keys come, too; of IPv6 it tells the /64.

    Attributes:
        me: The room's own identity.
        portal: The room's attendants and tunnels.
        registry: What is known of keys, in memory.
        keeper: What changes the records; None without records.
        measures: What was counted since the start.
        events: Tells of what happens; `events.watch` for those that look on.
        nameplates: The nameplates of pairing that peers have announced.
        live: Who is here, and what they have open.
        tunnels: The tunnels that run.
        web: What it tells of its web site.
        own_calls: The calls that it makes on peers.
        addresses: The dialable alternatives; empty before `start`.
        port: The TCP port of the first endpoint; 0 before `start`.
        is_wildcard_only: True when the published address can be dialled from this machine only.
    """

    def __init__(
        self,
        me: Keypair,
        *,
        name: str = "",
        network: NetworkId = MAIN_NETWORK,
        listen: Sequence[Endpoint] = DEFAULT_LISTEN,
        host: Endpoint | None = None,
        udp: Sequence[Endpoint] | None = None,
        admission: Admission | None = None,
        records: RoomRecords | None = None,
        alias_url: Callable[[str], str] | None = None,
        on_event: EventSink | None = None,
        stall_seconds: float = limits.STALL_SECONDS,
        pool: int = limits.POOL,
        caps: RoomCaps | None = None,
        inherited: InheritedSockets | None = None,
        log_addresses: bool = False,
    ) -> None:
        self.me = me
        self.portal = Portal(me.id)
        self._network = network
        self._listen = tuple(listen)
        self._inherited = inherited or InheritedSockets()
        self._host = host
        self._log_addresses = log_addresses
        self._admission = admission
        self.registry = Registry(me.id)
        self._caps = caps or RoomCaps()
        self.keeper: Keeper | None = None
        self._writes: Writes | None = None
        self.measures = Measures()
        self.refusals = Refusals(time.time)
        self.events = RoomEvents(on_event, self.measures)
        if records is not None:
            self.keeper = Keeper(
                records,
                self.registry,
                self._on_changes,
                lambda text: self.events.emit("records_problem", problem=text),
                self.measures.write_seconds.add,
            )
            self._writes = Writes(self, self.keeper, self._now, self._caps.allowances(REFUSED))
        self._crowd: deque[FeedId] = deque()  # keys that a new mode has not reached yet
        self._reflecting = Reflecting(udp)
        self._stall_seconds = stall_seconds
        self._pool = pool
        self._limits: RoomLimits | None = None
        self._methods = RoomMethods(
            self.portal,
            RoomInfo(name or "ssbfast room"),
            wall_ms=lambda: int(time.time() * 1000),
            registry=self.registry,
            has_records=records is not None,
        )
        self._sessions: dict[int, RoomSession] = {}
        self.web = WebPresence(self, self._methods, alias_url)
        self.live = LiveRoom(self.portal, self.registry, self._sessions)
        self.tunnels = Tunnels(self)
        self.own_calls = OwnCalls(self.portal, self._sessions)
        self.nameplates = Nameplates(Rates(self._caps.allowances(NAMEPLATES)), self._now, self.limit_reached)
        self._performers: dict[type[Effect], Callable[[RoomSession, Any], None]] = {
            Answer: lambda session, effect: session.answer(effect.req, effect.value),
            Fail: lambda session, effect: session.refuse(effect.req, effect.message),
            StreamItem: lambda session, effect: session.send_item(effect.req, effect.body, snapshot=effect.snapshot),
            StreamEnd: lambda session, effect: session.end_stream(effect.req),
            Splice: lambda session, effect: self.tunnels.open(session, self._sessions.get(effect.target), effect),
            Exclude: lambda session, effect: session.exclude(),
            EndVisits: lambda session, effect: session.end_visits(),
            RegisterAlias: self._write,
            RevokeAlias: self._write,
            EndWebSessions: self._write,
            AnnounceNameplate: self.nameplates.announce,
            FindNameplate: self.nameplates.find,
        }
        self._next_session = 1
        self._without_place: set[RoomSession] = set()  # proven, and refused because the room is full
        self._by_websocket: set[RoomSession] = set()  # also those that have not proved a key yet
        self._began = 0.0
        self._acceptors: list[Acceptor[Link]] = []
        self._sockets: tuple[socket.socket, ...] = ()
        self._is_draining = False
        self._telling: asyncio.TimerHandle | None = None
        self._sweeping: asyncio.TimerHandle | None = None
        self._tick: asyncio.TimerHandle | None = None
        self._tick_due = 0.0
        self._emptied: asyncio.Event | None = None  # there once we are closing
        self._relay: Relay | None = None
        self.addresses: tuple[MultiserverAddress, ...] = ()
        self.port = 0
        self.is_wildcard_only = False

    # ------------------------------------------------------------ life

    async def __aenter__(self) -> RoomServer:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def start(self) -> None:
        """Read the records, and listen.

        Raises:
            BadInputError: An endpoint cannot be bound.
            MissingExtraError: `udp` is given, and aioice is not installed.
            StoreError: The records cannot be read.
        """
        if self.keeper is not None:
            self.keeper.load()
            self._methods.loaded()
        sockets = bind(self._listen, self._inherited)
        try:
            udp = self._reflecting.bind(sockets, self._inherited)
        except BaseException:
            for sock in sockets:
                sock.close()
            raise
        core_limits = native.CoreLimits(
            answer_body=limits.ROOM_ANSWER, control_backlog=limits.ROOM_BACKLOG, events=limits.TICK_EVENTS
        )
        self._relay = Relay(pool=self._pool, stall_seconds=self._stall_seconds, core_limits=core_limits)
        self._began = self._now()
        self._limits = RoomLimits(self._caps, self._relay.loop.time, self.limit_reached)
        self._sockets = (*sockets, *udp)
        self.port = int(sockets[0].getsockname()[1])
        self.addresses = publish(sockets, self.me.id, self._host)
        self.is_wildcard_only = self._host is None and is_wildcard_only(sockets)
        self._methods.info = replace(self._methods.info, stun=reflectors(sockets, udp))
        self._reflecting.start()
        self._acceptors = [
            Acceptor(
                sock,
                lambda _sock, host: self._enter(host),
                failed=self.connection_failed,
                full=lambda: self.limit_reached("files"),
            )
            for sock in sockets
        ]
        if self.keeper is not None:
            self.keeper.start()
        bound = shown(udp) or None
        self.events.emit("listening", id=str(self.me.id), address=self.address, invite=str(self.invite), udp=bound)

    @property
    def sockets(self) -> tuple[socket.socket, ...]:
        """Return the sockets that it listens on, of TCP and UDP; none when it does not."""
        return self._sockets

    @property
    def is_draining(self) -> bool:
        """Return whether it takes no connections any more."""
        return self._is_draining

    async def stop_listening(self) -> None:
        """Take no connections any more; what is there goes on. Harmless when done before."""
        self._is_draining = True
        self._sockets = ()
        self._reflecting.close()
        for acceptor in self._acceptors:
            await acceptor.close()

    async def drain(self, seconds: float = limits.DRAIN_SECONDS, *, grace: float = 0.0) -> None:
        """Stop listening, and let all peers leave; `close` says goodbye to those that are still there then.

        Args:
            seconds: How long tunnels may go on. Sessions without tunnels leave spread over a few seconds.
            grace: Seconds that a session has at least since it came.
        """
        await self.stop_listening()
        self.events.emit("draining", seconds=seconds, sessions=len(self._sessions), tunnels=len(self.limits.tunnels))
        await drain(self._sessions.values, lambda: len(self.limits.connections), seconds, grace)

    async def close(self) -> None:
        """Stop listening and say goodbye to all peers; return when all are gone."""
        self._emptied = asyncio.Event()
        await self.stop_listening()
        for unproven in self.limits.connections:
            unproven.abort()
        for session in list(self._sessions.values()):
            session.link.close()
        if self._sessions:
            with contextlib.suppress(asyncio.TimeoutError):  # each link gives up by itself long before
                await asyncio.wait_for(self._emptied.wait(), 2 * limits.GOODBYE_SECONDS)
        if self._writes is not None:
            await self._writes.close()
        if self.keeper is not None:
            await self.keeper.close()
        for timer in (self._tick, self._telling, self._sweeping):
            if timer is not None:
                timer.cancel()
        self.relay.close()

    @property
    def address(self) -> str:
        """Return the dialable alternatives, joined by `;`."""
        return joined(self.addresses)

    @property
    def without_udp(self) -> str | None:
        """Return why the room answers no STUN requests although none of its options forbids it."""
        return self._reflecting.problem

    @property
    def one_udp_port(self) -> str | None:
        """Return why it has one STUN port only, although it was not told so: members cannot tell a symmetric NAT."""
        return self._reflecting.shortage

    @property
    def population(self) -> int:
        """Return how many connections, sessions and tunnels there are."""
        return len(self.limits.connections) + len(self.limits.sessions) + len(self.limits.tunnels)

    def compact(self) -> None:
        """Give memory back that a crowd has left behind."""
        compact(self._sessions)
        held = self.limits
        places = (held.connections, held.sessions, held.tunnels)
        for owner in (self._methods, self.relay, *places, held.rates, held.penalties, self.nameplates.rates):
            owner.compact()

    @property
    def invite(self) -> Invite:
        """Return a Rooms 1 invite, to paste into an SSB app."""
        return Invite(self.addresses[0])

    @property
    def relay(self) -> Relay:
        if self._relay is None:
            raise LocalProtocolError("use `async with RoomServer(...)`")
        return self._relay

    @property
    def limits(self) -> RoomLimits:
        """Return what peers hold and spend."""
        if self._limits is None:
            raise LocalProtocolError("use `async with RoomServer(...)`")
        return self._limits

    @property
    def seconds(self) -> float:
        """Return the seconds since the room was started."""
        return self._now() - self._began

    @property
    def name(self) -> str:
        """Return the room's name, as room.metadata tells it."""
        return self.registry.settings.name or self._methods.info.name

    @property
    def websockets(self) -> int:
        """Return how many sessions came over WebSockets."""
        return sum(session.number > 0 for session in self._by_websocket)

    @property
    def websockets_open(self) -> int:
        """Return how many WebSockets are open, also those that have not proved a key."""
        return len(self._by_websocket)

    # ------------------------------------------------------------ sessions

    def take_connection(self, host: str) -> Link | None:
        """Make a link for a connection that came in by another transport than our sockets.

        It has the same gate and limits as others. The caller makes the transport and calls `connection_made`; if it
        never does, it calls `connection_failed`.

        Args:
            host: The address of the peer, an IP literal.

        Returns:
            The link; None when there is no place for it.
        """
        link = self._enter(host)
        if link is not None and isinstance(link.handler, RoomSession):
            self._by_websocket.add(link.handler)
        return link

    def _enter(self, host: str) -> Link | None:
        """Take a connection from `host`; return its link, or None when it has no place."""
        if self._is_draining:
            return None
        networks = rings(host)
        if self.limits.is_refused(networks):
            return None
        session = RoomSession(self, networks)
        relay = self.relay
        kind = Inbound if self.limits.meter is None else MeteredInbound
        session.link = link = kind(
            relay,
            ServerHandshake(self.me, network=self._network, ephemeral=relay.ephemerals.take()),
            session,
            admit=session.admit,
            share=relay.turns.share(session.networks),
        )
        if isinstance(link, MeteredInbound) and self.limits.meter is not None:
            link.measure(self.limits.meter)
        if self.limits.connect(session):
            return link
        relay.turns.close(session.link.share)
        return None

    def connection_failed(self, link: Link) -> None:
        """Give back the place of a link whose transport has not come to be."""
        self.relay.turns.close(link.share)
        session = link.handler
        if isinstance(session, RoomSession):
            self.limits.connections.remove(session)
            self._by_websocket.discard(session)

    @property
    def is_closing(self) -> bool:
        return self._emptied is not None

    def admit(self, session: RoomSession, who: FeedId) -> bool | Awaitable[bool]:
        """Return whether a proven key may have this session.

        Where there are members, every refusal takes equally long, and hears nothing: it tells no key what it is here.
        """
        if self._may_enter(who) and self.limits.enter(session):
            self.measures.handshakes["proven"] += 1
            self._tell_address("connected", session, who)
            return True
        self.measures.handshakes["refused"] += 1
        why = self._why(who)
        if why is Why.NO_PLACE:
            self._without_place.add(session)
        self.measures.refused[why.label] += 1
        self.refusals.add(who, session.networks, why)
        self._tell_address("refused", session, who, why=why.value)
        return False if self.keeper is None else _refuse()

    def _tell_address(self, event: str, session: RoomSession, who: FeedId, **members: str) -> None:
        if self._log_addresses:
            self.events.tell_operator(event, id=who.short, address=session.networks[-1], **members)

    def _why(self, who: FeedId) -> Why:
        if self.registry.role(who) is Role.BLOCKED:
            return Why.BLOCKED
        return Why.NO_PLACE if self._may_enter(who) else Why.STRANGER

    def _may_enter(self, who: FeedId) -> bool:
        return self.registry.decide(who) and (self._admission is None or self._admission.decide(who))

    def has_place(self, session: RoomSession) -> bool:
        """Return whether a connection still has its place."""
        return session in self.limits.connections and not self.is_closing

    def sessions_of(self, who: FeedId) -> int:
        """Return how many sessions a key has."""
        return self.portal.count(who)

    def spend(self, session: RoomSession, kind: str) -> None:
        """Charge a session for one of a kind."""
        self.limits.spend(session, kind)

    def session_opened(self, session: RoomSession) -> int:
        """Take a session whose handshake is done; return its number, or 0 when it may not be here any more."""
        self.limits.connections.remove(session)
        if not self.registry.decide(session.link.remote):  # blocked since it was admitted
            session.exclude()
            return 0
        self.limits.sessions.add(session, session.networks)
        self._plan_sweep()
        number = self._next_session
        self._next_session += 1
        feed = session.link.remote
        for old in self.portal.sessions(feed)[self._caps.count("sessions_per_key") - 1 :]:
            link = self._sessions[old].link
            if link.is_open:
                self.limit_reached("sessions_per_key")
                link.close()
        self.portal.open(number, feed)
        self._sessions[number] = session
        return number

    def connection_lost(self, session: RoomSession) -> None:
        """Take note that a connection is gone, in any state."""
        if session in self.limits.connections and not self.is_closing:
            if session not in self._without_place:  # its handshake came to nothing, and not for want of a place
                self.limits.fail(session)
            self._plan_sweep()
        self._without_place.discard(session)
        self.limits.connections.remove(session)
        self.limits.sessions.remove(session)
        self._by_websocket.discard(session)
        self.measures.handshakes["ended"] += 1
        if session.number and self._sessions.pop(session.number, None) is not None:
            self.own_calls.session_lost(session)
            self.nameplates.forget(session)
            self.carry_out(self._methods.session_closed(session.number, self._now()))
        if self._emptied is not None and not self._sessions:
            self._emptied.set()

    # ------------------------------------------------------------ effects

    def event_received(self, session: RoomSession, event: Any) -> None:
        """Handle an event of a session's MuxRPC."""
        if isinstance(event, Answered | Failed):
            self.own_calls.take(session, event)
            return
        effects = self._methods.handle(session.number, event, self._now())
        self.limits.charge(session, effects)
        self.carry_out(effects)

    def limit_reached(self, limit: str) -> None:
        """Report to the operator that a limit was reached, together with others."""
        if self.limits.tally.add(limit) and self._telling is None:
            self._telling = self.relay.loop.call_later(limits.TALLY_SECONDS, self._tell_limits)

    def _plan_sweep(self) -> None:
        if self._sweeping is None:
            self._sweeping = self.relay.loop.call_later(limits.SWEEP_SECONDS, self._sweep)

    def _sweep(self) -> None:
        self._sweeping = None
        tables: list[Rates | Penalties] = [self.limits.rates, self.limits.penalties, self.nameplates.rates]
        if self._writes is not None:
            tables.append(self._writes.rates)
        for table in tables:
            table.sweep(self._now(), limits.SWEEP_ENTRIES)
        if any(len(table) for table in tables):
            self._plan_sweep()

    def _tell_limits(self) -> None:
        self._telling = None
        self.events.emit("limited", limits=self.limits.tally.take())

    def carry_out(self, effects: Iterable[Effect]) -> None:
        """Carry out the room's effects, in order."""
        for effect in effects:
            if isinstance(effect, Joined | Left):
                self.events.emit("joined" if isinstance(effect, Joined) else "left", id=effect.id.short)
                continue
            session = self._sessions.get(effect.session)
            if session is None or not session.link.is_open:
                continue
            try:
                self._performers[type(effect)](session, effect)
            except SessionEndedError:
                continue  # its own end is on the way
        self._plan_tick()

    def backlog_passed(self, session: RoomSession, *, lost: bool) -> None:
        self._methods.backlog_passed(session.number, lost=lost)

    def drained(self, session: RoomSession) -> None:
        self.carry_out(self._methods.drained(session.number, self._now()))

    def _plan_tick(self) -> None:
        due = self._methods.next_tick
        if self._tick is not None:
            if due is not None and self._tick_due <= due:
                return
            self._tick.cancel()
            self._tick = None
        if due is not None:
            self._tick_due = due  # uvloop's timers cannot be asked when they are due
            self._tick = self.relay.loop.call_at(due, self._on_tick)

    def _on_tick(self) -> None:
        self._tick = None
        self.carry_out(self._methods.tick(self._now()))

    def _now(self) -> float:
        return self.relay.loop.time()

    # ------------------------------------------------------------ records

    def _write(self, session: RoomSession, effect: RegisterAlias | RevokeAlias | EndWebSessions) -> None:
        if self._writes is None:
            session.refuse(effect.req, NO_STORE)
        else:
            self._writes.begin(session, effect)

    def _on_changes(self, changes: Sequence[Change]) -> None:
        """Let sessions feel what is different in the records, at once."""
        if self._relay is None:
            return
        for change in changes:
            if isinstance(change, RoleChanged) and self.web.sign_ins is not None and change.new < Role.MEMBER:
                self.web.sign_ins.forget(change.feed)
        is_under_way = bool(self._crowd)
        if any(isinstance(change, ModeChanged) for change in changes):
            self._crowd.clear()
            self._crowd.extend(self.portal.feeds())
        self.carry_out(self._methods.changed(changes, self._now()))
        if not is_under_way:
            self._reach_some()
        for name in dict.fromkeys(_CHANGED[type(change)] for change in changes) or ("records",):
            self.events.tell_watchers(name)

    def _reach_some(self) -> None:
        """Let some keys feel a new mode; the others follow in the next turns of the loop."""
        some = [self._crowd.popleft() for _ in range(min(len(self._crowd), limits.EXCLUDED_AT_ONCE))]
        if self._crowd:
            self.relay.loop.call_soon(self._reach_some)
        self.carry_out(self._methods.settle(some, self._now()))


async def _refuse() -> bool:
    await asyncio.sleep(limits.REFUSAL_SECONDS)
    return False
