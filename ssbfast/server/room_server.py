"""A room: it listens, lets peers in, answers their calls, and splices their tunnels.

What is decided comes from `ssbfast.room` as effects; how bytes move is `ssbfast.net`'s business.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any

from ssbfast import limits, native
from ssbfast.budgets import rings
from ssbfast.errors import LimitError, LocalProtocolError, RefusedError, SessionEndedError
from ssbfast.ids import MAIN_NETWORK, FeedId, NetworkId
from ssbfast.keys import Keypair
from ssbfast.net.acceptor import Acceptor
from ssbfast.net.endpoints import DEFAULT_PORT, Endpoint, bind, is_wildcard_only, joined, publish, reflectors, shown
from ssbfast.net.link import Link
from ssbfast.net.relay import Relay
from ssbfast.net.relayed_tunnel import Ending, RelayedTunnel
from ssbfast.net.sockets import tune_transport
from ssbfast.room.admission import Admission
from ssbfast.room.alias_rules import alias_url
from ssbfast.room.directory import Portal, refusal
from ssbfast.room.effects import (
    Answer,
    Effect,
    EndVisits,
    EndWebSessions,
    Exclude,
    Fail,
    Joined,
    Left,
    RegisterAlias,
    RevokeAlias,
    Splice,
    StreamEnd,
    StreamItem,
)
from ssbfast.room.methods import RoomInfo, RoomMethods, SolutionTaker
from ssbfast.room.records import RoomRecords
from ssbfast.room.registry import AliasesChanged, Change, ModeChanged, Registry, RoleChanged, SettingsChanged
from ssbfast.room.roles import Mode, Role
from ssbfast.server.keeper import Keeper
from ssbfast.server.measures import Measures
from ssbfast.server.own_calls import OwnCalls
from ssbfast.server.room_limits import RoomCaps, RoomLimits
from ssbfast.server.session import RoomSession
from ssbfast.server.stun import Reflecting
from ssbfast.server.writes import NO_STORE, Writes
from ssbfast.tables import compact
from ssbfast.wire.address import Invite, MultiserverAddress
from ssbfast.wire.address_types import NetAddress
from ssbfast.wire.handshake import ServerHandshake
from ssbfast.wire.muxrpc import Answered, CallKind, Failed

DEFAULT_LISTEN = (Endpoint("", DEFAULT_PORT),)
EventSink = Callable[[dict[str, Any]], None]

_CHANGED = {
    RoleChanged: "members_changed",
    AliasesChanged: "aliases_changed",
    ModeChanged: "mode_changed",
    SettingsChanged: "settings_changed",
}
"""What `watch` tells of changes of the registry."""


@dataclass(frozen=True, slots=True)
class Load:
    """What one key has open at a room: sessions, and tunnels that begin or end at them."""

    sessions: int
    tunnels: int


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
        caps: The numbers of connections, sessions and tunnels that are allowed, in all and from one address.

    Attributes:
        me: The room's own identity.
        portal: The room's attendants and tunnels.
        registry: What is known of keys, in memory.
        keeper: What changes the records; None without records.
        measures: What was counted since the start.
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
    ) -> None:
        self.me = me
        self.portal = Portal(me.id)
        self._network = network
        self._listen = tuple(listen)
        self._host = host
        self._admission = admission
        self._alias_url = alias_url
        self.registry = Registry(me.id)
        self.keeper: Keeper | None = None
        self._writes: Writes | None = None
        self.measures = Measures()
        if records is not None:
            self.keeper = Keeper(
                records, self.registry, self._on_changes, self._on_records_problem, self.measures.write_seconds.add
            )
            self._writes = Writes(self, self.keeper, self._now)
        self._own_calls = OwnCalls()
        self._crowd: deque[FeedId] = deque()  # keys that a new mode has not reached yet
        self._watchers: list[EventSink] = []
        self._reflecting = Reflecting(udp)
        self._on_event = on_event
        self._stall_seconds = stall_seconds
        self._pool = pool
        self._caps = caps or RoomCaps()
        self._books: RoomLimits | None = None
        self._methods = RoomMethods(
            self.portal,
            RoomInfo(name or "ssbfast room"),
            wall_ms=lambda: int(time.time() * 1000),
            registry=self.registry,
            has_records=records is not None,
        )
        self._performers: dict[type[Effect], Callable[[RoomSession, Any], None]] = {
            Answer: lambda session, effect: session.answer(effect.req, effect.value),
            Fail: lambda session, effect: session.refuse(effect.req, effect.message),
            StreamItem: lambda session, effect: session.send_item(
                effect.req, effect.body, snapshot=effect.snapshot
            ),
            StreamEnd: lambda session, effect: session.end_stream(effect.req),
            Splice: self._splice,
            Exclude: lambda session, effect: session.exclude(),
            EndVisits: lambda session, effect: session.end_visits(),
            RegisterAlias: self._write,
            RevokeAlias: self._write,
            EndWebSessions: self._write,
        }
        self._sessions: dict[int, RoomSession] = {}
        self._next_session = 1
        self._adopted: set[RoomSession] = set()  # those that came by another transport
        self._bytes_ended = 0  # of tunnels that are over
        self._began = 0.0
        self._acceptors: list[Acceptor[Link]] = []
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
        sockets = bind(self._listen)
        try:
            udp = self._reflecting.bind(sockets)
        except BaseException:
            for sock in sockets:
                sock.close()
            raise
        core_limits = native.CoreLimits(
            answer_body=limits.ROOM_ANSWER, control_backlog=limits.ROOM_BACKLOG, events=limits.TICK_EVENTS
        )
        self._relay = Relay(pool=self._pool, stall_seconds=self._stall_seconds, core_limits=core_limits)
        self._began = self._now()
        self._books = RoomLimits(self._caps, self._relay.loop.time, self.limit_reached)
        self.port = int(sockets[0].getsockname()[1])
        self.addresses = publish(sockets, self.me.id, self._host)
        self.is_wildcard_only = self._host is None and is_wildcard_only(sockets)
        self._methods.info = replace(self._methods.info, stun=reflectors(sockets, udp))
        self._reflecting.start()
        self._acceptors = [
            Acceptor(
                sock,
                lambda _sock, host: self._enter(host),
                failed=self._on_never_began,
                full=lambda: self.limit_reached("files"),
            )
            for sock in sockets
        ]
        if self.keeper is not None:
            self.keeper.start()
        bound = shown(udp) or None
        self.emit("listening", id=str(self.me.id), address=self.address, invite=str(self.invite), udp=bound)

    async def close(self) -> None:
        """Stop listening and say goodbye to all peers; return when all are gone."""
        self._emptied = asyncio.Event()
        self._reflecting.close()
        for acceptor in self._acceptors:
            await acceptor.close()
        for unproven in self.books.connections:
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
        return len(self.books.connections) + len(self.books.sessions) + len(self.books.tunnels)

    def compact(self) -> None:
        """Give memory back that a crowd has left behind."""
        compact(self._sessions)
        books = self.books
        for owner in (self._methods, self.relay, books.connections, books.sessions, books.tunnels, books.rates):
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
    def books(self) -> RoomLimits:
        """Return what peers hold and spend."""
        if self._books is None:
            raise LocalProtocolError("use `async with RoomServer(...)`")
        return self._books

    # ------------------------------------------------------------ for a web site, and whoever else looks on

    @property
    def is_web(self) -> bool:
        """True while a web site runs: what the room tells of its features."""
        return self._methods.is_web

    @is_web.setter
    def is_web(self, runs: bool) -> None:
        self._methods.is_web = runs

    @property
    def sign_ins(self) -> SolutionTaker | None:
        """The challenges of the web site, which peers solve by httpAuth.sendSolution."""
        return self._methods.sign_ins

    @sign_ins.setter
    def sign_ins(self, sign_ins: SolutionTaker | None) -> None:
        self._methods.sign_ins = sign_ins

    @property
    def web_addresses(self) -> tuple[str, ...]:
        """Multiserver addresses beside those of TCP, such as `wss:HOST:443~shs:KEY`; room.metadata tells them."""
        return self._methods.info.addresses[1:]

    @web_addresses.setter
    def web_addresses(self, addresses: Sequence[str]) -> None:
        told = (*map(str, self.addresses[:1]), *addresses) if addresses else ()
        self._methods.info = replace(self._methods.info, addresses=told)

    @property
    def tunnels(self) -> int:
        """Return how many tunnels there are."""
        return len(self.books.tunnels)

    @property
    def bytes_relayed(self) -> int:
        """Return the bytes of all tunnels since the start, both directions."""
        return self._bytes_ended + sum(sum(tunnel.moved) for tunnel in self.books.tunnels)

    @property
    def seconds(self) -> float:
        """Return the seconds since the room was started."""
        return self._now() - self._began

    @property
    def name(self) -> str:
        """Return the room's name, as room.metadata tells it."""
        return self.registry.settings.name or self._methods.info.name

    @property
    def adopted(self) -> int:
        """Return how many sessions came by another transport than our sockets: WebSockets."""
        return sum(session.number > 0 for session in self._adopted)

    def load(self, feed: FeedId) -> Load:
        """Return what a key has open."""
        sessions = [self._sessions[number] for number in self.portal.sessions(feed)]
        return Load(len(sessions), sum(len(session.splices) for session in sessions))

    def online(self) -> list[FeedId]:
        """Return the keys that are announced, in the order of joining."""
        return self.portal.attendants()

    def visitors(self) -> list[FeedId]:
        """Return the external keys that have a session."""
        if self.registry.mode is Mode.OPEN:
            return []
        role = self.registry.role
        return [feed for feed in self.portal.feeds() if role(feed) < Role.MEMBER]

    def watch(self, on_event: EventSink) -> Callable[[], None]:
        """Tell a function of each event of the room, and of changes of members, aliases, mode and settings.

        Args:
            on_event: Called in the loop with a dict with the member "event"; it must be quick.

        Returns:
            A function that ends it.
        """

        def told(event: dict[str, Any]) -> None:  # an object of its own: the same function may watch twice
            on_event(event)

        self._watchers.append(told)
        return lambda: self._watchers.remove(told) if told in self._watchers else None

    async def request_solution(self, feed: FeedId, sc: str, cc: str) -> str:
        """Ask the newest session of a key to solve the challenge of a sign-in.

        Args:
            feed: The key that wants to sign in.
            sc: Our nonce.
            cc: The peer's nonce.

        Returns:
            What it says is the solution; whether it is one is for the caller to find out.

        Raises:
            RefusedError: The key has no session, or too many challenges wait there.
            RemoteError: The peer refuses.
            DeadlineError: It does not answer in time.
        """
        numbers = self.portal.sessions(feed)
        session = self._sessions.get(numbers[0]) if numbers else None
        if session is None or not session.link.is_open:
            raise RefusedError("the peer is not here")
        return await self._own_calls.request_solution(session, sc, cc)

    def alias_url(self, name: str) -> str:
        """Return the URL of an alias."""
        if self._alias_url is not None:
            return self._alias_url(name)
        transport = self.addresses[0].transport
        host = transport.host if isinstance(transport, NetAddress) else "localhost"
        host = f"[{host}]" if ":" in host else host
        return alias_url(f"https://{host}", name, self.registry.settings.alias_style)

    def adopt(self, host: str) -> Link | None:
        """Make a link for a connection that came in by another transport than our sockets.

        It has the same gate and limits as others. The caller makes the transport and calls `connection_made`; if it
        never does, it calls `never_began`.

        Args:
            host: The address of the peer, an IP literal.

        Returns:
            The link; None when there is no place for it.
        """
        link = self._enter(host)
        if link is not None and isinstance(link.handler, RoomSession):
            self._adopted.add(link.handler)
        return link

    def never_began(self, link: Link) -> None:
        """Give back the place of a link whose transport has not come to be."""
        self._on_never_began(link)

    # ------------------------------------------------------------ sessions

    def _enter(self, host: str) -> Link | None:
        """Take a connection from `host`; return its link, or None when it has no place."""
        if self.is_closing:
            return None
        session = RoomSession(self, rings(host))
        relay = self.relay
        session.link = _Inbound(
            relay,
            ServerHandshake(self.me, network=self._network, ephemeral=relay.ephemerals.take()),
            session,
            admit=session.admit,
            share=relay.turns.share(session.networks),
        )
        if self.books.connect(session):
            return session.link
        relay.turns.close(session.link.share)
        return None

    def _on_never_began(self, link: Link) -> None:
        self.relay.turns.close(link.share)
        session = link.handler
        if isinstance(session, RoomSession):
            self.books.connections.remove(session)
            self._adopted.discard(session)

    @property
    def is_closing(self) -> bool:
        return self._emptied is not None

    def admit(self, session: RoomSession, who: FeedId) -> bool | Awaitable[bool]:
        """Return whether a proven key may have this session.

        Where there are members, every refusal takes equally long, and hears nothing: it tells no key what it is here.
        """
        if self._may_enter(who) and self.books.enter(session):
            self.measures.handshakes["proven"] += 1
            return True
        self.measures.handshakes["refused"] += 1
        return False if self.keeper is None else _refuse()

    def _may_enter(self, who: FeedId) -> bool:
        return self.registry.decide(who) and (self._admission is None or self._admission.decide(who))

    def has_place(self, session: RoomSession) -> bool:
        """Return whether a connection still has its place."""
        return session in self.books.connections and not self.is_closing

    def sessions_of(self, who: FeedId) -> int:
        """Return how many sessions a key has."""
        return self.portal.count(who)

    def spend(self, session: RoomSession, kind: str) -> None:
        """Charge a session for one of a kind."""
        self.books.spend(session, kind)

    def session_opened(self, session: RoomSession) -> int:
        """Take a session whose handshake is done; return its number, or 0 when it may not be here any more."""
        self.books.connections.remove(session)
        if not self.registry.decide(session.link.remote):  # blocked since it was admitted
            session.exclude()
            return 0
        self.books.sessions.add(session, session.networks)
        self._plan_sweep()
        number = self._next_session
        self._next_session += 1
        feed = session.link.remote
        for old in self.portal.sessions(feed)[limits.SESSIONS_PER_FEED - 1 :]:
            self._sessions[old].link.close()
        self.portal.open(number, feed)
        self._sessions[number] = session
        return number

    def connection_lost(self, session: RoomSession) -> None:
        """Take note that a connection is gone, in any state."""
        self.books.connections.remove(session)
        self.books.sessions.remove(session)
        self._adopted.discard(session)
        self.measures.handshakes["ended"] += 1
        if session.number and self._sessions.pop(session.number, None) is not None:
            self._own_calls.session_lost(session)
            self.carry_out(self._methods.session_closed(session.number, self._now()))
        if self._emptied is not None and not self._sessions:
            self._emptied.set()

    # ------------------------------------------------------------ effects

    def event_received(self, session: RoomSession, event: Any) -> None:
        """Handle an event of a session's MuxRPC."""
        if isinstance(event, Answered | Failed):
            self._own_calls.take(session, event)
            return
        effects = self._methods.handle(session.number, event, self._now())
        self._charge(session, effects)
        self.carry_out(effects)

    def _charge(self, session: RoomSession, effects: Iterable[Effect]) -> None:
        """Charge a session for what its call costs others."""
        is_list_charged = False
        for effect in effects:
            if isinstance(effect, Joined | Left):
                self.books.spend(session, "announcements")
            elif isinstance(effect, StreamItem):
                if effect.snapshot and effect.session == session.number and not is_list_charged:
                    is_list_charged = True  # the list of members comes in pieces
                    self.books.spend(session, "lists")
            elif isinstance(effect, Splice):
                self.books.spend(session, "opens")
                self.books.spend(session, "visits", effect.to)

    def limit_reached(self, limit: str) -> None:
        """Report to the operator that a limit was reached, together with others."""
        if self.books.tally.add(limit) and self._telling is None:
            self._telling = self.relay.loop.call_later(limits.TALLY_SECONDS, self._tell_limits)

    def _plan_sweep(self) -> None:
        if self._sweeping is None:
            self._sweeping = self.relay.loop.call_later(limits.SWEEP_SECONDS, self._sweep)

    def _sweep(self) -> None:
        self._sweeping = None
        rates = [self.books.rates] if self._writes is None else [self.books.rates, self._writes.rates]
        for rate in rates:
            rate.sweep(self._now(), limits.SWEEP_ENTRIES)
        if any(map(len, rates)):
            self._plan_sweep()

    def _tell_limits(self) -> None:
        self._telling = None
        self.emit("limited", limits=self.books.tally.take())

    def carry_out(self, effects: Iterable[Effect]) -> None:
        """Carry out the room's effects, in order."""
        for effect in effects:
            if isinstance(effect, Joined | Left):
                self.emit("joined" if isinstance(effect, Joined) else "left", id=effect.id.short)
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

    # ------------------------------------------------------------ tunnels

    def _splice(self, caller: RoomSession, effect: Splice) -> None:
        target = self._sessions.get(effect.target)
        if target is None or not target.link.is_open or not self.books.open(caller, target):
            caller.refuse(effect.req, refusal(effect.to))
            return
        try:
            req, packet = target.mux.call(CallKind.DUPLEX, effect.name, effect.args)
            target.link.control(*packet)
        except (LimitError, SessionEndedError):
            caller.refuse(effect.req, refusal(effect.to))
            return
        began = self._now()
        names = {"origin": effect.origin.short, "target": effect.to.short, "session": secrets.token_hex(4)}
        splice = RelayedTunnel(
            self.relay,
            caller.link,
            effect.req,
            target.link,
            req,
            lambda splice, ending: self._on_tunnel_closed(splice, ending, caller, target, names, began),
        )
        self.books.tunnels.add(splice, caller.networks)
        caller.attach(-effect.req, splice)
        target.attach(-req, splice)
        self.emit("tunnel_opened", **names)

    def _on_tunnel_closed(
        self,
        splice: RelayedTunnel,
        ending: Ending,
        caller: RoomSession,
        target: RoomSession,
        names: dict[str, str],
        began: float,
    ) -> None:
        self.books.tunnels.remove(splice)
        self._bytes_ended += sum(splice.moved)
        for session, req in zip((caller, target), splice.reqs, strict=True):
            session.detach(-req)
            session.mux.forget(req)
        self.emit(
            "tunnel_closed",
            **names,
            bytes=sum(splice.moved),
            seconds=round(self._now() - began, 3),
            reason=ending.value,
        )

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
            if isinstance(change, RoleChanged) and self.sign_ins is not None and change.new < Role.MEMBER:
                self.sign_ins.forget(change.feed)
        is_under_way = bool(self._crowd)
        if any(isinstance(change, ModeChanged) for change in changes):
            self._crowd.clear()
            self._crowd.extend(self.portal.feeds())
        self.carry_out(self._methods.changed(changes, self._now()))
        if not is_under_way:
            self._reach_some()
        for name in dict.fromkeys(_CHANGED[type(change)] for change in changes):
            self._tell_watchers({"event": name})

    def _on_records_problem(self, text: str) -> None:
        self.emit("records_problem", problem=text)

    def _reach_some(self) -> None:
        """Let some keys feel a new mode; the others follow in the next turns of the loop."""
        some = [self._crowd.popleft() for _ in range(min(len(self._crowd), limits.EXCLUDED_AT_ONCE))]
        if self._crowd:
            self.relay.loop.call_soon(self._reach_some)
        self.carry_out(self._methods.settle(some, self._now()))

    # ------------------------------------------------------------ events

    def emit(self, event: str, **members: Any) -> None:
        """Report an event to the operator, and to all watchers."""
        self.measures.event(event, members)
        if self._on_event is not None:
            self._on_event({"event": event, **members})
        if self._watchers:
            self._tell_watchers({"event": event, **members})

    def _tell_watchers(self, event: dict[str, Any]) -> None:
        for watcher in tuple(self._watchers):
            try:
                watcher(event)
            except Exception as error:  # it looks on only: no session and no write may fail for it
                context = {"message": "an event of the room could not be told", "exception": error}
                self.relay.loop.call_exception_handler(context)


async def _refuse() -> bool:
    await asyncio.sleep(limits.REFUSAL_SECONDS)
    return False


class _Inbound(Link):
    """A connection that came in."""

    __slots__ = ()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        tune_transport(transport)
        super().connection_made(transport)
        session = self.handler
        if isinstance(session, RoomSession) and not session.is_wanted:
            self.abort()  # it had to leave before it was there
