"""A peer's side of rooms: it joins them, is listed and reached there, and its sessions may leave them.

`client/room_client.py` adds what reaches others. `client/events.py` has the events that are reported.
"""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

from ssbfast import limits
from ssbfast.client.alias_visits import Visits
from ssbfast.client.aliases import list_aliases, register_alias, revoke_alias
from ssbfast.client.denial_names import DenialNames
from ssbfast.client.events import ClientEvents, tunnel_address
from ssbfast.client.incoming_tunnels import SERVED, Answering, Arrivals, IncomingPeer, api_for_rooms
from ssbfast.client.joined_room import Announce, JoinedRoom, KeyedEndpoint
from ssbfast.client.later_paths import LaterPaths
from ssbfast.client.pairing import Tickets
from ssbfast.client.reconnect import keep
from ssbfast.client.sign_in import Consent, serve_sign_in
from ssbfast.client.status import StatusTaker
from ssbfast.client.targets import Private, ways_into
from ssbfast.client.tunnel_auth import Trust
from ssbfast.client.web_invites import claim_invite
from ssbfast.direct.options import Direct
from ssbfast.direct.udp import Address
from ssbfast.errors import (
    LocalProtocolError,
    RemoteError,
    SSBError,
)
from ssbfast.ids import MAIN_NETWORK, FeedId, NetworkId
from ssbfast.keys import Keypair
from ssbfast.net.api import Api
from ssbfast.net.dial import dial
from ssbfast.net.happy_eyeballs import FailedAddresses, RaceLostError, most_telling, race
from ssbfast.net.link import Link
from ssbfast.net.peer import Peer
from ssbfast.net.relay import Relay
from ssbfast.pasted.addresses import read_room_or_invite
from ssbfast.pasted.web_links import InviteLink
from ssbfast.room.admission import Admission
from ssbfast.room.denials import Denial
from ssbfast.room.tunnel_auth import AllowList, Verdict
from ssbfast.wire.direct.keys import Role
from ssbfast.wire.handshake import ClientHandshake
from ssbfast.wire.http_auth import is_nonce, new_nonce, solve
from ssbfast.wire.muxrpc import Called

if TYPE_CHECKING:
    from ssbfast.client.direct_paths import DirectPaths

_WEB_INVITES = ("https:", "http:", "ssb:")

Client = TypeVar("Client", bound="PeerInRooms")
P = TypeVar("P", bound=Peer)


class PeerInRooms:
    """A peer that joins rooms, and is reached there. Its arguments are those of `RoomClient`."""

    def __init__(
        self,
        me: Keypair,
        *,
        network: NetworkId = MAIN_NETWORK,
        admission: Admission | None = None,
        trust: Trust | None = None,
        api: Api | None = None,
        boxing: str = "merged",
        direct: Direct | None = None,
        contacts: Callable[[], Iterable[FeedId]] | None = None,
        groups: Iterable[bytes] = (),
        on_sign_in: Consent | None = None,
        on_event: Callable[[dict[str, Any]], None] | None = None,
        tickets: Tickets | None = None,
        name_denials: bool = False,
    ) -> None:
        if boxing not in ("merged", "split"):
            raise ValueError("boxing is 'merged' or 'split'")
        if admission is not None and trust is not None:
            raise ValueError("either an admission or a trust")
        self.me = me
        self._network = network
        self._trust = trust
        self._admission = admission
        self._api = api or Api()
        self._for_rooms = api_for_rooms(me.id)
        if on_sign_in is not None:
            serve_sign_in(self._for_rooms, me, on_sign_in)
        self._split = boxing == "split"
        self._private = Private(me, network, contacts, groups)
        self._events = ClientEvents(me.id, on_event)
        self._status = StatusTaker()
        self._relay: Relay | None = None
        self._failed = FailedAddresses()
        self._kept: dict[JoinedRoom, None] = {}
        self._rooms: dict[JoinedRoom, None] = {}
        self._inner: set[Peer] = set()
        self._visits = Visits(self.join, lambda room: any(peer.portal == room.id for peer in self._inner))
        self._arrivals = Arrivals()
        self._answering = Answering(
            me,
            network,
            trust or admission or AllowList(()),
            self._api,
            split=self._split,
            on_arrived=self._on_arrived,
            on_departed=self._on_departed,
            on_denied=self._on_refused,
            intercept=self._on_call,
            named=self._named,
            is_standby=None if direct is None else self._is_standby,
            tickets=tickets,
        )
        self._direct: DirectPaths | None = None
        self._later: LaterPaths | None = None
        if direct is not None and direct.after > 0:
            self._later = LaterPaths(direct.after, functools.partial(self._begin_direct, direct))
        elif direct is not None:
            self._begin_direct(direct)
        self._names = DenialNames(self._room_of, self._on_named) if name_denials else None
        if trust is not None and trust.denials is not None:
            trust.denials.listen(self._on_denied)

    async def __aenter__(self: Client) -> Client:
        self._relay = Relay()
        if self._direct is not None:
            self._direct.begin()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close every tunnel, then leave every room."""
        for room in self._kept:
            room.is_leaving = True
        await asyncio.gather(*(peer.close() for peer in list(self._inner)))
        await self._visits.close()
        if self._names is not None:
            await self._names.close()
        if self._later is not None:
            await self._later.close()
        if self._direct is not None:
            self._direct.close()
        await asyncio.gather(*(room.leave() for room in list(self._kept)))
        if self._relay is not None:
            self._relay.close()
            self._relay = None
        self._arrivals.end()

    @property
    def rooms(self) -> tuple[JoinedRoom, ...]:
        """Return the rooms that we are in now, the latest first. A room that was joined twice is there twice."""
        return tuple(reversed(self._rooms))

    @property
    def staying(self) -> tuple[JoinedRoom, ...]:
        """Return all rooms that have not been left, also those that are being dialled (again)."""
        return tuple(self._kept)

    def tunnel_address(self, room: JoinedRoom) -> str:
        """Return the address that other peers dial to reach us through a room."""
        return tunnel_address(room.id, self.me.id)

    # ------------------------------------------------------------ rooms

    async def join(
        self,
        address: str,
        announce: Announce = True,
        *,
        stay: bool = True,
        wait: bool = False,
        attendants: bool | None = None,
    ) -> JoinedRoom:
        """Join a room; return when we are in.

        Args:
            address: A multiserver address (its alternatives are tried side by side), a Rooms 1 invite, or a web invite
                (`https://room.example/join?invite=…` or its `ssb:` URI), which is claimed first, for our key.
            announce: Be listed, so that other peers can reach us; "2018" does it as ssb-tunnel of 2018 needs it.
            stay: Come back whenever the session is lost, until `room.leave()`.
            wait: Keep trying when the room cannot be reached at first.
            attendants: Keep the list of attendants; None: if we are listed. Where we are not to be listed, older rooms
                list us all the same when we ask (`room.is_listed` tells); without asking they do not.

        Returns:
            The room, which stays the same object over all sessions with it.

        Raises:
            AddressError: The address cannot be read or dialled.
            InviteError: The web invite could not be claimed.
            MissingExtraError: It is a WebSocket's, and websockets is not installed.
            HandshakeError: The room has another key, or refused us.
            RemoteError: The other end is no room.
            SessionEndedError: The session ended at first (BusyError: it was closed at once); not with `wait`.
            DeadlineError: The room did not answer in time; not with `wait`.
        """
        listing = announce is True if attendants is None else attendants or announce is True
        if address.startswith(_WEB_INVITES):
            self._need_relay()
            address = await self._claim(address)
        room = JoinedRoom(
            self.me.id, ways_into(address), announce=announce, listing=listing, on_standing=self._events.room
        )
        self._need_relay()
        self._kept[room] = None
        room.keeper = asyncio.get_running_loop().create_task(
            keep(room, self._enter, self._events.room, stay=stay, wait=wait)
        )
        room.keeper.add_done_callback(lambda keeper: self._on_keeper_done(room, keeper))
        try:
            await asyncio.shield(room.first)
        except asyncio.CancelledError:
            room.is_leaving = True
            room.keeper.cancel()
            await asyncio.wait((room.keeper,))
            raise
        return room

    async def _claim(self, text: str) -> str:
        found = read_room_or_invite(text)
        return await claim_invite(found, self.me.id) if isinstance(found, InviteLink) else found.text

    async def sign_in(self, room: JoinedRoom, sc: str) -> bool:
        """Sign in the browser that shows a challenge of a room. Whether our user wants that is for the caller to ask.

        Args:
            room: The room, joined.
            sc: The challenge, from the web site's `ssb:experimental?action=start-http-auth` URI.

        Returns:
            Whether the room has accepted the solution.

        Raises:
            ValueError: `sc` is no challenge.
            RemoteError: The room serves no sign-in.
            SessionEndedError: The session with the room is over.
            DeadlineError: It does not answer in time.
        """
        if not is_nonce(sc):
            raise ValueError("not a challenge of a room")
        cc = new_nonce()
        solution = solve(self.me, room.id, sc, cc)
        answer = await room.session.call("httpAuth.sendSolution", sc, cc, solution, timeout=limits.CALL_SECONDS)
        return answer is True

    async def register_alias(self, room: JoinedRoom, name: str) -> str:
        """Register an alias of ours in a room; return its web address.

        Args:
            room: The room, which we have joined.
            name: A small letter, then letters, digits and hyphens.

        Raises:
            BadInputError: The name cannot be an alias.
            RemoteError: The room does not want it: it is taken, we are no member, or the room has no aliases.
        """
        return await register_alias(room.session, self.me, name)

    async def revoke_alias(self, room: JoinedRoom, name: str) -> None:
        """Give up one of our aliases. Raises RemoteError when the room has none of that name for us."""
        await revoke_alias(room.session, name)

    async def aliases(self, room: JoinedRoom, who: FeedId | None = None) -> list[str]:
        """Return the aliases that a peer has in a room, as the room says. who: the peer; None: we."""
        return await list_aliases(room.session, who or self.me.id)

    async def _enter(self, room: JoinedRoom, seconds: float) -> None:
        """Try the ways to a room, once each; the first that leads into it is taken."""
        ways, problems = self._failed.order(room.ways, KeyedEndpoint.place), list[Exception]()
        while ways:
            attempts = [functools.partial(self._open, room, way, seconds) for way in ways]
            try:
                peer, used = await race(attempts, lambda opened: opened[0].link.abort())
            except RaceLostError as lost:
                problems += lost.problems
                break
            try:
                await self._enter_with(room, peer)
                return
            except SSBError as error:
                problems.append(error)
                ways.remove(used)
        raise most_telling(problems)

    async def _enter_with(self, room: JoinedRoom, peer: Peer) -> None:
        try:
            await room.enter(peer)
        except RemoteError:
            peer.link.close()
            raise
        except BaseException:
            peer.link.abort()
            raise
        self._rooms[room] = None

    async def _open(
        self, room: JoinedRoom, way: KeyedEndpoint, seconds: float, reached: Callable[[], None]
    ) -> tuple[Peer, KeyedEndpoint]:
        """Open a session with the holder of the room's key at the end of this way."""
        relay = self._need_relay()
        peers: dict[Link, Peer] = {}

        def make() -> Link:
            peer = Peer(  # without our api: that is for peers that were let in, and a room is not
                api=self._for_rooms,
                named=lambda _peer: SERVED,
                intercept=lambda peer, called: self._answering.on_call(self._need_relay(), peer, called),
                on_closed=lambda peer: self._on_session_lost(room, peer),
            )
            handshake = ClientHandshake(self.me, way.key, network=self._network)
            link = Link(relay, handshake, peer, deadline=limits.HANDSHAKE_SECONDS, split=self._split)
            peers[link] = peer
            return link

        with self._failed.judging(way.place()):
            link = await dial(
                way.host,
                way.port,
                make,
                seconds=seconds,
                ready=lambda link: peers[link].wait_opened(),
                failed=self._failed,
                reached=reached,
                web=way.web,
            )
        return peers[link], way

    def _on_session_lost(self, room: JoinedRoom, outer: Peer) -> None:
        self._answering.room_lost(outer)
        if room.session_lost(outer):
            self._rooms.pop(room, None)

    def _on_keeper_done(self, room: JoinedRoom, keeper: asyncio.Task[None]) -> None:
        self._kept.pop(room, None)
        room.on_left(None if keeper.cancelled() else keeper.exception())

    # ------------------------------------------------------------ incoming tunnels

    async def incoming(self) -> AsyncIterator[Peer]:
        """Yield the peers that were let in, as they come, until the client closes; but none that have left."""
        while (peer := await self._arrivals.next()) is not None:
            yield peer

    def _on_arrived(self, peer: IncomingPeer) -> None:
        self._register("accepted", peer, peer.verdict)
        self._may_leave(peer, Role.TARGET, peer.verdict)
        self._arrivals.add(peer)

    def _register(self, event: str, peer: Peer, verdict: Verdict | None) -> None:
        self._inner.add(peer)
        self._events.on_open(event, peer)
        if self._trust is not None and verdict is not None:
            self._trust.watch(peer, verdict, self._on_unknown)

    def _on_departed(self, peer: Peer) -> None:
        if self._direct is not None:
            self._direct.session_closed(peer)
        elif self._later is not None:
            self._later.drop(peer)
        if peer not in self._inner:
            return
        self._inner.discard(peer)
        self._arrivals.discard(peer)
        if self._trust is not None:
            self._trust.forget(peer)
        self._events.on_close(peer)
        self._visits.on_closed()

    def _on_refused(self, portal: FeedId, who: FeedId, verdict: Verdict) -> None:
        recorded = self._trust is not None and self._trust.refused(portal, who, verdict)
        if not recorded and verdict.reason is not None:
            self._on_denied(Denial(portal, who, verdict.reason, time.time()))

    def _on_denied(self, denial: Denial) -> None:
        self._events.denied(denial)
        if self._names is not None:
            self._names.on_denied(denial)

    async def _on_named(self, denial: Denial) -> None:
        """Note the verified alias of a refused peer, and tell it."""
        if self._trust is not None and self._trust.denials is not None and denial.alias and denial.verified_at:
            await self._trust.denials.name(denial.room, denial.origin, denial.alias, denial.verified_at)
        self._events.denied_alias(denial)

    # ------------------------------------------------------------ direct paths

    def _begin_direct(self, direct: Direct) -> None:
        """Make direct paths from now on."""
        from ssbfast.client.direct_paths import DirectPaths

        self._later = None
        self._direct = DirectPaths(
            direct,
            reflectors=self._reflectors,
            used_addresses=self._used_addresses,
            may_hear=self._may_hear,
            dial=self._dial_again,
            on_news=self._events.path,
            on_away=self._events.away,
        )
        if self._relay is not None:
            self._direct.begin()

    def _may_leave(self, peer: Peer, role: Role, verdict: Verdict | None) -> None:
        """Take a session that may go on outside of the room, if the peer may hear our addresses."""
        if self._direct is not None:
            self._direct.session_opened(peer, role, may_meet=self._is_known(peer, verdict))
        elif self._later is not None:
            self._later.add(peer, lambda: self._may_leave(peer, role, verdict))

    def _is_known(self, peer: Peer, verdict: Verdict | None) -> bool:
        """Return whether a session may be here because we want its peer by name."""
        if self._trust is not None:
            return verdict is not None and verdict.admitted and self._trust.knows(peer.id, verdict)
        return isinstance(self._admission, AllowList) and self._admission.decide(peer.id)

    async def _may_hear(self, peer: Peer) -> bool:
        """Return whether a peer may hear our addresses right now."""
        return self._is_known(peer, None if self._trust is None else await self._trust.judge(peer.id))

    def _on_unknown(self, peer: Peer) -> None:
        """Keep a peer that is no longer known by name, but stop telling it our addresses."""
        if self._direct is not None:
            self._direct.stay(peer)
        elif self._later is not None:
            self._later.drop(peer)

    def _on_call(self, peer: Peer, called: Called) -> bool:
        return self._direct is not None and self._direct.on_call(peer, called)

    def _named(self, peer: Peer) -> Mapping[tuple[str, ...], str]:
        """Return what `_on_call` serves to a peer."""
        return {} if self._direct is None else self._direct.named(peer)

    def _is_standby(self, peer: IncomingPeer, link: Link, show: Callable[[], None]) -> bool:
        return self._direct is not None and self._direct.is_standby(peer, link, show)

    def _reflectors(self) -> list[Address]:
        return [reflector for room in self.rooms for reflector in room.reflectors]

    def _used_addresses(self) -> list[str]:
        names = (room.session.link.transport.get_extra_info("sockname") for room in self.rooms)
        return [str(name[0]) for name in names if isinstance(name, tuple)]

    async def _dial_again(self, peer: Peer, make: Callable[[], P]) -> P:
        """Open another tunnel to the peer of a session that we have opened. Raises SSBError."""
        raise NotImplementedError

    def _room_of(self, portal: FeedId) -> JoinedRoom | None:
        return next((room for room in self.rooms if room.id == portal), None)

    def _need_relay(self) -> Relay:
        if self._relay is None:
            raise LocalProtocolError("use `async with RoomClient(...)`")
        return self._relay
