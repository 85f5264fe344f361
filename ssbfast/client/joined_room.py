"""A joined room: its metadata, its attendants, and the session with it, or one after the other."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, Literal, NamedTuple, TypeAlias, TypeVar

from ssbfast import limits
from ssbfast.errors import DeadlineError, FeedIdError, RemoteError, SessionEndedError, SSBError
from ssbfast.ids import FeedId
from ssbfast.net.peer import Peer
from ssbfast.net.ping import keep_alive
from ssbfast.net.stream import Stream
from ssbfast.net.timeouts import within
from ssbfast.wire.address import NetAddress, format_address
from ssbfast.wire.address_types import MultiserverAddress, WebSocketAddress
from ssbfast.wire.direct.punch.candidates import PORTS
from ssbfast.wire.muxrpc import NOT_ALLOWED
from ssbfast.wire.muxrpc_body import clean_text

__all__ = ["Announce", "Attendance", "JoinedRoom", "KeyedEndpoint"]

Announce: TypeAlias = Literal["2018"] | bool


T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Attendance:
    """The arrival of a peer in a room, or its departure."""

    id: FeedId
    present: bool


class AttendanceChanges:
    """The changes that one listener has not been told yet. present: the attendants at the beginning.

    A change that takes back an untold one removes it, so that a slow listener never has more waiting than there are
    people, gone ones included. A listener that never waits lets others have their turn all the same.
    """

    def __init__(self, present: Iterable[FeedId]) -> None:
        self._untold = dict.fromkeys(sorted(present, key=attrgetter("key")), True)
        self._news = asyncio.Event()
        self._ended = False
        self._told = 0

    def __len__(self) -> int:
        return len(self._untold)

    def tell(self, who: FeedId, present: bool) -> None:
        if self._untold.pop(who, None) is None:
            self._untold[who] = present
            self._news.set()

    def end(self) -> None:
        """End the changes: nothing more comes."""
        self._ended = True
        self._news.set()

    async def next(self) -> Attendance | None:
        """Return the next change; None at the end."""
        self._told += 1
        if self._told % limits.ATTENDANCE_EVENTS == 0:
            await asyncio.sleep(0)
        while not self._untold:
            if self._ended:
                return None
            self._news.clear()
            await self._news.wait()
        who = next(iter(self._untold))
        return Attendance(who, self._untold.pop(who))


class ListPace:
    """The speed at which one room's list is read: `ATTENDANCE_EVENTS` at a time, then other tasks have a turn.

    What the room sends meanwhile waits in the stream's inbox, and then at the room.
    """

    def __init__(self) -> None:
        self._left = limits.ATTENDANCE_EVENTS

    async def spend(self, events: int) -> None:
        """Count events that were dealt with; pause if that were enough for this turn."""
        self._left -= events
        if self._left <= 0:
            self._left = limits.ATTENDANCE_EVENTS
            await asyncio.sleep(limits.ATTENDANCE_PAUSE_SECONDS)


def slices(items: Sequence[T]) -> Iterator[Sequence[T]]:
    """Cut into pieces for one turn each."""
    for at in range(0, len(items), limits.ATTENDANCE_EVENTS):
        yield items[at : at + limits.ATTENDANCE_EVENTS]


def feed_ids(texts: Sequence[Any]) -> list[FeedId]:
    """Return those of a peer's texts that are feed ids."""
    found: list[FeedId] = []
    for text in texts:
        try:
            found.append(FeedId.parse(text))
        except FeedIdError:
            continue
    return found


class KeyedEndpoint(NamedTuple):
    """A TCP endpoint, and the key that has to be there. web: the WebSocket there, if it is one."""

    host: str
    port: int
    key: FeedId
    web: WebSocketAddress | None = None

    def place(self) -> tuple[str, int]:
        return self.host, self.port

    def __str__(self) -> str:
        return format_address(MultiserverAddress(self.web or NetAddress(self.host, self.port), self.key))


class JoinedRoom:
    """One room, over all sessions with it, until it is left.

    name: the room's name, cleaned and cut, or None. features: what it says it can, e.g. "tunnel", "room2".
    reflectors: where it answers STUN binding requests, as far as it says so: addresses (IP literal, port), all with the
        IP address of our TCP session with it. A room cannot have us send datagrams to others.
    generation: 2 (Rooms 2), 1 (Rooms 1), 2018 (ssb-tunnel's portals, which have no list); 0 before it is known.
    is_external: the room knows us as an outsider, and neither lists us nor reports its attendants ("Community" rooms).
        No peer reaches us through it; we reach its members.
    attendants: the peers in the room, as far as we were told; `changes()` reports arrivals and departures.
    me: our id. announce: be listed: True by subscribing to the list, "2018" by a call, or False.
    listing: have the list kept up to date; without it `attendants` stays empty.
    on_standing: called with "external" or "announced" when the room makes us the one or the other during a session.
    """

    def __init__(
        self,
        me: FeedId,
        ways: Sequence[KeyedEndpoint],
        *,
        announce: Announce = True,
        listing: bool = True,
        on_standing: Callable[[str, JoinedRoom], None] = lambda event, room: None,
    ) -> None:
        self.ways = tuple(ways)
        self.announce: Announce = announce
        self.name: str | None = None
        self.features: frozenset[str] = frozenset()
        self.reflectors: tuple[tuple[str, int], ...] = ()
        self.generation = 0
        self.is_external = False
        self.attendants: set[FeedId] = set()
        self.first: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.keeper: asyncio.Task[None] | None = None
        self.is_leaving = False
        self.problem: str | None = None
        """Why the last session ended, or the last attempt failed; None before."""
        self._me = me
        self._membership: bool | None = None  # what the room says, if it does
        self._on_standing = on_standing
        self._listing = listing
        self._peer: Peer | None = None
        self.label: str | None = None
        """What names our session with it in events, the last one while there is none."""
        self._present = asyncio.Event()
        self._left = asyncio.Event()
        self._listeners: list[AttendanceChanges] = []

    def __repr__(self) -> str:
        return f"<JoinedRoom {self.id.short}{'' if self.is_open else ' left' if self._left.is_set() else ' away'}>"

    @property
    def id(self) -> FeedId:
        return self.ways[0].key

    @property
    def session(self) -> Peer:
        """Return the session with the room, or the last one. Raises SessionEndedError when there was none."""
        if self._peer is None:
            raise SessionEndedError("not in the room")
        return self._peer

    @property
    def is_open(self) -> bool:
        """True when we are in the room now."""
        return self._present.is_set() and self.session.is_open

    @property
    def is_member(self) -> bool:
        """True when the room takes us for one of its own: peers may reach us through it. See `is_external`."""
        return not self.is_external

    @property
    def is_listed(self) -> bool:
        """True when the room's list names us.

        Older rooms list every peer that asks for the list, whatever `announce` said. It may also be another program
        of ours.
        """
        if self.is_external:
            return False
        return self._me in self.attendants if self._listing else self.announce is not False and self.is_open

    async def wait_joined(self) -> None:
        """Wait until we are in the room (again). Raises SessionEndedError when it has been left for good."""
        while not self.is_open:
            if self._left.is_set():
                raise SessionEndedError("the room has been left")
            if self._present.is_set():
                await self.session.wait_closed()  # it is just ending
                continue
            waits = [asyncio.ensure_future(event.wait()) for event in (self._present, self._left)]
            try:
                await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for wait in waits:
                    wait.cancel()

    async def wait_left(self) -> None:
        """Wait until the room has been left for good."""
        await self._left.wait()

    async def leave(self) -> None:
        """Say goodbye to the room, and do not come back."""
        keeper, self.is_leaving = self.keeper, True
        if self._peer is not None:
            await self._peer.close()
        if keeper is not None:
            keeper.cancel()
            await asyncio.wait((keeper,))

    async def changes(self) -> AsyncIterator[Attendance]:
        """Yield first every attendant, then arrivals and departures, until the room is left for good.

        A peer that joins and leaves while the consumer is busy elsewhere is not mentioned.
        """
        if self._left.is_set():
            return
        changes = AttendanceChanges(self.attendants)
        self._listeners.append(changes)
        try:
            while (change := await changes.next()) is not None:
                yield change
        finally:
            self._listeners.remove(changes)

    # ------------------------------------------------------------ from the client

    async def enter(self, peer: Peer) -> None:
        """Make this session the one with the room: read its metadata and, if wanted, be listed.

        Raises RemoteError when it is no room, DeadlineError when it does not answer, SessionEndedError.
        """
        self._peer = peer
        self.label = peer.label
        self.ways = tuple(way for way in self.ways if way.key == peer.id)  # a room is its key
        keep_alive(peer)
        await self._identify(peer)
        self.is_external = False
        try:
            if self._is_closed_to_us:
                raise RemoteError("the room does not list us")
            await self._enlist(peer)
        except RemoteError:
            if self._membership or self.generation == 2018:
                raise
            await self._become_external(peer)
        if not peer.is_open:
            raise peer.error or SessionEndedError("the session is over")
        self._present.set()

    @property
    def _is_closed_to_us(self) -> bool:
        """True when the room says that we are no member, and that it does not serve all peers.

        go-ssb-room says the former of strangers in open rooms as well, which list them all the same.
        """
        return self._membership is False and bool(self.features) and "room1" not in self.features

    async def _enlist(self, peer: Peer) -> None:
        """Be listed, as far as that is wanted. Raises RemoteError when the room refuses."""
        if self.announce == "2018":
            await _ask(peer, "tunnel.announce", None)
        elif self._listing:
            await self._subscribe(peer)

    async def _become_external(self, peer: Peer) -> None:
        self.is_external = True
        await self._set([], ListPace())
        if self._membership is False:
            peer.background(self._await_membership(peer))

    async def _await_membership(self, peer: Peer) -> None:
        """Ask now and then whether we are a member by now: a peer that claims an invite stays in its session."""
        while self.is_external:
            await asyncio.sleep(limits.MEMBERSHIP_SECONDS)
            try:
                self._understand(await _ask(peer, "room.metadata"))
                if self._membership:
                    await self._enlist(peer)
                    self.is_external = False
            except SSBError:
                if not peer.is_open:
                    return
        if self.announce is not False:
            self._on_standing("announced", self)

    async def _is_excluded(self, peer: Peer, problem: SSBError) -> bool:
        """Return whether the room has ended its list because we are no member any more; then we stay as we are."""
        if not isinstance(problem, RemoteError) or self.generation != 2:
            return False
        try:
            self._understand(await _ask(peer, "room.metadata"))
        except SSBError:
            return False
        if not self._is_closed_to_us:
            return False
        await self._become_external(peer)
        self._on_standing("external", self)
        return True

    def session_lost(self, peer: Peer) -> bool:
        """Take note that a session is over; return whether it was the one with the room."""
        if peer is not self._peer:
            return False
        self._present.clear()
        return True

    def on_left(self, problem: BaseException | None) -> None:
        """Take note that the room is left for good. problem: the error that stopped the keeper, if any."""
        self._left.set()
        if not self.first.done():
            self.first.set_exception(problem or SessionEndedError("the room has been left"))
        elif problem is not None:
            context = {"message": "staying in a room failed", "exception": problem}
            self.first.get_loop().call_exception_handler(context)
        self.first.exception()  # a failure that nothing awaits is no error
        for changes in self._listeners:
            changes.end()

    # ------------------------------------------------------------ which generation

    async def _identify(self, peer: Peer) -> None:
        for generation, name in ((2, "room.metadata"), (1, "tunnel.isRoom")):
            try:
                metadata = await _ask(peer, name)
            except RemoteError as error:
                if not error.message.endswith(NOT_ALLOWED):
                    raise
                continue
            self._understand(metadata)
            self.reflectors = reflectors_of(metadata, peer.link.address)
            self.generation = generation
            return
        if self.announce is True:
            raise RemoteError("the other end is not a room")
        self.generation = 2018  # its portals have nothing to tell by

    def _understand(self, metadata: Any) -> None:
        if isinstance(metadata, dict):
            name, features = metadata.get("name"), metadata.get("features")
            self.name = clean_text(name, limits.ROOM_NAME) if isinstance(name, str) else None
            texts = features[: limits.ROOM_FEATURES] if isinstance(features, list) else ()
            told = metadata.get("membership")
            self._membership = told if isinstance(told, bool) else None
            self.features = frozenset(clean_text(item, limits.ERROR_NAME) for item in texts if isinstance(item, str))
        elif metadata is not True:
            raise RemoteError("the other end is not a room")

    # ------------------------------------------------------------ the list

    async def _subscribe(self, peer: Peer) -> None:
        """Ask for the list. That announces us, unless we say otherwise and the room understands."""
        listed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        peer.background(self._follow(peer, listed))
        try:
            await within(listed, limits.CALL_SECONDS)
        except asyncio.TimeoutError:
            raise DeadlineError("the room did not say who is there in time") from None

    async def _follow(self, peer: Peer, listed: asyncio.Future[None]) -> None:
        args = [] if self.announce else [{"announce": False}]
        problem: SSBError = RemoteError("the room ended its list")
        try:
            try:
                await self._follow_attendants(peer.source("room.attendants", *args), listed)
            except RemoteError as error:
                if not error.message.endswith(NOT_ALLOWED):
                    raise
                await self._follow_endpoints(peer.source("tunnel.endpoints", *args), listed)
        except asyncio.CancelledError:
            problem = peer.error or SessionEndedError("the session is over")
            raise
        except SSBError as error:
            problem = error
        finally:
            was_told = listed.done()
            if not was_told:
                listed.set_exception(problem)
        if was_told and peer.is_open and not await self._is_excluded(peer, problem) and peer.is_open:
            peer.link.fail(problem)  # a peer that is not listed cannot be reached: join again

    async def _follow_attendants(self, stream: Stream, listed: asyncio.Future[None]) -> None:
        pace = ListPace()
        async for event in stream:
            kind = event.get("type") if isinstance(event, dict) else None
            if kind == "state":
                await self._set(event.get("ids"), pace)
                if not listed.done():
                    listed.set_result(None)
            elif kind in ("joined", "left"):
                for who in feed_ids([event.get("id")]):
                    self._change(who, kind == "joined")
            await pace.spend(1)

    async def _follow_endpoints(self, stream: Stream, listed: asyncio.Future[None]) -> None:
        pace = ListPace()
        async for everybody in stream:
            await self._set(everybody, pace)
            if not listed.done():
                listed.set_result(None)
            await pace.spend(1)

    async def _set(self, ids: Any, pace: ListPace) -> None:
        """Take over a whole list, piece by piece: first the departures, then the arrivals."""
        now: dict[FeedId, None] = {}
        for texts in slices(ids) if isinstance(ids, list) else ():
            if len(now) < limits.ATTENDANTS:
                now.update(dict.fromkeys(feed_ids(texts)))
            await pace.spend(len(texts))
        for known in slices(list(self.attendants)):
            for who in known:
                if who not in now:
                    self._change(who, False)
            await pace.spend(len(known))
        for present in slices(list(now)):
            for who in present:
                self._change(who, True)
            await pace.spend(len(present))

    def _change(self, who: FeedId, present: bool) -> None:
        if (who in self.attendants) is present or (present and len(self.attendants) >= limits.ATTENDANTS):
            return
        (self.attendants.add if present else self.attendants.discard)(who)
        for changes in self._listeners:
            changes.tell(who, present)


def reflectors_of(metadata: Any, session: tuple[str, int] | None) -> tuple[tuple[str, int], ...]:
    """Return the reflectors that a room's metadata names and that are at `session`, the address of our session with it.

    At most `REFLECTORS`; what makes no sense is left out, and so are ports below 1024, where other services live, but
    for the one of the session itself.
    """
    told = metadata.get("stun") if isinstance(metadata, dict) else None
    if session is None or not isinstance(told, list):
        return ()
    here = session[0].partition("%")[0]
    ports: dict[int, None] = {}
    for item in told[: 4 * limits.REFLECTORS]:
        if isinstance(item, str):
            host, _, port = item.rpartition(":")
            is_here = host.strip("[]") == here
            item = int(port) if is_here and port.isascii() and port.isdigit() and len(port) <= 5 else 0
        if isinstance(item, int) and not isinstance(item, bool) and (item in PORTS or item == session[1]):
            ports[item] = None
    return tuple((session[0], port) for port in ports)[: limits.REFLECTORS]


async def _ask(peer: Peer, name: str, *args: Any) -> Any:
    try:
        return await peer.call(name, *args, timeout=limits.CALL_SECONDS)
    except DeadlineError:
        raise DeadlineError(f"the room does not answer ({name})") from None
