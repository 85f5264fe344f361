"""A peer's side of rooms: join rooms, be reachable there, reach others through them.

    async with RoomClient(keypair, admission=AllowList([friend])) as client:
        room = await client.join("net:room.example:8008~shs:…")
        peer = await client.connect(friend)
        print(await peer.call("whoami"))

`client/events.py` has the events that it reports.
"""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar, overload

from ssbfast import limits
from ssbfast.client.alias_visits import Visits
from ssbfast.client.aliases import list_aliases, names_alias, register_alias, resolve_alias, revoke_alias
from ssbfast.client.denial_names import DenialNames
from ssbfast.client.events import ClientEvents, tunnel_address
from ssbfast.client.incoming_tunnels import SERVED, Answering, Arrivals, IncomingPeer, api_for_rooms
from ssbfast.client.joined_room import Announce, JoinedRoom, KeyedEndpoint
from ssbfast.client.later_paths import LaterPaths
from ssbfast.client.pairing import Tickets, take_ticket
from ssbfast.client.reconnect import keep
from ssbfast.client.sign_in import Consent, serve_sign_in
from ssbfast.client.status import PathOutcome, Status, StatusTaker, choose_paths
from ssbfast.client.targets import Private, parse_target, ways_into, ways_to
from ssbfast.client.tunnel_auth import Trust, not_dialled
from ssbfast.client.web_invites import claim_invite
from ssbfast.client.words import ask_for_ticket, find_target
from ssbfast.direct.options import Direct, PreferredPath
from ssbfast.direct.udp import Address
from ssbfast.errors import (
    LocalProtocolError,
    NotDialledError,
    RefusedError,
    RemoteError,
    SessionEndedError,
    SSBError,
)
from ssbfast.ids import MAIN_NETWORK, FeedId, NetworkId
from ssbfast.keys import Keypair
from ssbfast.net.api import Api
from ssbfast.net.dial import dial
from ssbfast.net.happy_eyeballs import FailedAddresses, RaceLostError, most_telling, race
from ssbfast.net.link import Link
from ssbfast.net.peer import Peer
from ssbfast.net.ping import keep_alive
from ssbfast.net.relay import Relay
from ssbfast.pasted.addresses import read_room_or_invite
from ssbfast.pasted.web_links import InviteLink
from ssbfast.room.admission import Admission
from ssbfast.room.denials import Denial
from ssbfast.room.tunnel_auth import AllowList, Verdict
from ssbfast.wire.address import TunnelAddress
from ssbfast.wire.alias import Alias
from ssbfast.wire.direct.keys import Role
from ssbfast.wire.handshake import ClientHandshake
from ssbfast.wire.http_auth import is_nonce, new_nonce, solve
from ssbfast.wire.muxrpc import Called
from ssbfast.wire.pairing import Taken, Ticket
from ssbfast.wire.private_tunnel import PrivateTunnelAddress
from ssbfast.wire.words import WRONG, Words

if TYPE_CHECKING:
    from ssbfast.client.direct_paths import DirectPaths

_WEB_INVITES = ("https:", "http:", "ssb:")

Client = TypeVar("Client", bound="RoomClient")
P = TypeVar("P", bound=Peer)


class RoomClient:
    """A peer that joins rooms.

    Args:
        me: The peer's identity.
        network: The network whose handshakes it speaks.
        admission: The policy that decides which peers may open a tunnel to us; none may unless given. Not together
            with `trust`.
        trust: The same by a follow graph, which is also asked before we dial.
        api: The methods that we serve to those peers.
        boxing: "merged", or "split" for peers that need every packet head in a box of its own.
        direct: Options for taking sessions off the room when possible, see `direct/negotiation.py`; needs the extra
            `direct`. None: sessions stay in the room.
        contacts: Returns the ids to try as owner of a private tunnel address; called in a thread.
        groups: The secrets of groups, to read private tunnel addresses; 32 bytes each.
        on_sign_in: Called when a room wants to sign a browser in to its web site as us, with a `SignInRequest`; it
            returns whether our user wants that, or an awaitable of it. None: no room is given a solution.
        on_event: Called in the loop with each event, a dict with the member "event".
        tickets: Lets in the holders of our tickets, once each (`client/pairing.py`). To be closed by its owner.
        name_denials: Look for the aliases of peers that we refuse: in the room that we share, and at its web site.

    Raises:
        ValueError: `boxing` is unknown, or both `admission` and `trust` are given.
    """

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

    # ------------------------------------------------------------ outgoing tunnels

    async def connect(
        self,
        target: FeedId | TunnelAddress | PrivateTunnelAddress | Alias | str,
        *,
        room: JoinedRoom | None = None,
        anyway: bool = False,
    ) -> Peer:
        """Open a tunnel.

        The inner handshake proves the target's key.

        Args:
            target: A feed id, or the text of one (reached through the given room, else through those that list it, else
                through any); a tunnel address, or text with several (through the room that it names); a private tunnel
                address, which is resolved here; or an alias, as `consume` takes it.
            room: The room to go through; None: any that leads there.
            anyway: Dial against the word of our follow graph, too, now and later.

        Returns:
            The peer, whose session is open.

        Raises:
            NotDialledError: The follow graph is against it.
            RefusedError: The room or the target refuses (one text for all reasons), or a private address is not for us.
            HandshakeError: The inner handshake failed.
            DeadlineError: The target did not answer in time.
            SessionEndedError: The session with the room, or the tunnel, ended first.
            LocalProtocolError: The room is not joined.
        """
        if isinstance(target, str) and names_alias(target):
            self._need_relay()
            target = await resolve_alias(target)
        if isinstance(target, Alias):
            if room is None:
                return await self.consume(target, anyway=anyway)
            target = TunnelAddress(target.room, target.user)
        found = parse_target(target) if isinstance(target, str) else target
        self._need_relay()
        if isinstance(found, PrivateTunnelAddress):
            found = await self.resolve(found)
        problem: SSBError | None = None
        verdicts: dict[FeedId, Verdict | None] = {}
        for way in ways_to(found, self.rooms if room is None else (room,), self.staying):
            try:
                if way.target not in verdicts:
                    verdicts[way.target] = None if anyway else await self._judge(way.room, way.target)
                return await self._tunnel(way.room, way.target, way.instance, verdicts[way.target])
            except NotDialledError:
                raise
            except SSBError as error:
                problem = problem or error
        raise problem or RefusedError("could not connect")

    @overload
    async def resolve(self, address: PrivateTunnelAddress) -> TunnelAddress: ...

    @overload
    async def resolve(self, address: str) -> Alias: ...

    async def resolve(self, address: PrivateTunnelAddress | str) -> TunnelAddress | Alias:
        """Return what an alias, or a private tunnel address, means. Nobody is dialled.

        Args:
            address: An alias: `https://alice.room.example`, `https://room.example/alice`, the same without `https://`,
                `@alice@room.example`, or its `ssb:` URI. Its web site is asked unless it is a URI, and its signature is
                verified. Or a private tunnel address, which is looked for among our rooms and contacts.

        Raises:
            AliasError: The alias is not there, or a check failed; the text says which.
            BadInputError: The text is no alias.
            RefusedError: The private address is not for us, or names a room that we are not in.
            LimitError: There are too many tags to try.
        """
        if isinstance(address, str):
            return await resolve_alias(address)
        return await self._private.resolve(address, [room.id for room in self._kept])

    async def consume(self, alias: Alias | str, *, anyway: bool = False) -> Peer:
        """Open a tunnel to the owner of an alias, through the room that it names.

        A room that we are not in is joined without being listed, and left when no tunnel through it is left.

        Args:
            alias: What `resolve` has returned, or takes.
            anyway: As for `connect`.

        Returns:
            The peer, whose session is open.

        Raises:
            AliasError: As `resolve` does.
            SSBError: As `join` and `connect` do.
        """
        self._need_relay()
        found = await resolve_alias(alias) if isinstance(alias, str) else alias
        return await self.reach(found.user, found.room, found.address, anyway=anyway)

    async def reach(self, who: FeedId, portal: FeedId, address: str, *, anyway: bool = False) -> Peer:
        """Open a tunnel to a peer through one room.

        A room that we are not in is joined without being listed, and left when no tunnel through it is left.

        Args:
            who: The peer.
            portal: The room's id.
            address: The room's address, as `join` takes it.
            anyway: As for `connect`.

        Returns:
            The peer, whose session is open.

        Raises:
            SSBError: As `join` and `connect` do.
        """
        self._need_relay()
        target = TunnelAddress(portal, who)
        for joined in self.rooms:
            if joined.id == portal and not joined.is_leaving and not self._visits.has(joined):
                return await self.connect(target, room=joined, anyway=anyway)
        async with self._visits.visiting(portal, address) as room:
            return await self.connect(target, room=room, anyway=anyway)

    def session_with(self, who: FeedId) -> Peer | None:
        """Return the latest session with a peer that we have opened; None when there is none."""
        found = (one for one in self._inner if one.is_open and one.id == who and not isinstance(one, IncomingPeer))
        return max(found, key=lambda one: one.since or 0.0, default=None)

    async def pair(self, ticket: Ticket, name: str | None = None) -> Taken:
        """Take a ticket: prove to the peer that made it that we hold it, and which peer we are. It follows us then.

        Args:
            ticket: The ticket; its room has to be joined.
            name: What we call ourselves: 1 to 32 of a-z, 0-9 and -.

        Returns:
            What the other peer calls itself, and what it offers. To follow it is the caller's to do.

        Raises:
            RefusedError: The ticket cannot be used, has been used, or its peer is not in the room.
            LocalProtocolError: The room is not joined.
            SSBError: The session ended, or there was no answer.
        """
        room = self._room_of(ticket.room.shs) if ticket.room.shs is not None else None
        if room is None:
            raise LocalProtocolError("the ticket's room is not joined")
        guest = Peer(path="tunnel", portal=room.id)
        try:
            await self._open_tunnel(room, ticket.target, None, guest, me=ticket.key())
            return await take_ticket(guest, self.me, ticket, name)
        finally:
            await guest.close()

    async def find_ticket(self, room: JoinedRoom, words: Words) -> Ticket:
        """Return the ticket that words lead to, to be taken with `pair`. Each call is a guess: there are few.

        Args:
            room: The room where the peer waits that made the words, joined.
            words: The words.

        Raises:
            RefusedError: The words are wrong or hold no more, no peer has them, or the room names another peer.
            MissingExtraError: The extra `words` is not installed.
            SSBError: The session ended, or there was no answer.
        """
        target = await find_target(room.session, words)
        if target == self.me.id:
            raise RefusedError("these words are your own: they are for another peer")
        guest = Peer(path="tunnel", portal=room.id)
        try:
            try:
                await self._open_tunnel(room, target, None, guest, me=words.key(room.id, target))
            except RefusedError:
                raise RefusedError(WRONG) from None
            return await ask_for_ticket(guest, words, room.id, target)
        finally:
            await guest.close()

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

    async def _judge(self, room: JoinedRoom, target: FeedId) -> Verdict | None:
        if self._trust is None:
            return None
        verdict = await self._trust.judge(target)
        if verdict.reason is not None:
            self._events.denied(Denial(room.id, target, verdict.reason, time.time(), proven=False))
            raise not_dialled(verdict.reason)
        return verdict

    async def _tunnel(self, room: JoinedRoom, target: FeedId, instance: int | None, verdict: Verdict | None) -> Peer:
        inner = Peer(
            api=self._api,
            path="tunnel",
            portal=room.id,
            intercept=self._on_call,
            named=self._named,
            on_closed=self._on_departed,
        )
        await self._open_tunnel(room, target, instance, inner)
        if inner.is_open:
            self._register("connected", inner, verdict)
            self._may_leave(inner, Role.CALLER, verdict)
            keep_alive(inner)
        return inner

    async def _open_tunnel(
        self,
        room: JoinedRoom,
        target: FeedId,
        instance: int | None,
        inner: Peer,
        *,
        deadline: float | None = None,
        me: Keypair | None = None,
    ) -> None:
        """Open a tunnel that `inner` runs over.

        deadline: seconds for the handshake, if not the usual ones. me: the key to prove, if not our own.
        """
        relay = self._need_relay()
        if deadline is None:
            deadline = limits.HANDSHAKE_SECONDS
        handshake = ClientHandshake(me or self.me, target, network=self._network)
        args: dict[str, Any] = {"portal": str(room.id), "target": str(target)}
        if instance is not None:
            args["instance"] = instance
        transport = room.session.open_tunnel(
            lambda: Link(relay, handshake, inner, deadline=deadline, split=self._split), args
        )
        try:
            await inner.wait_opened()
        except RemoteError as error:
            raise RefusedError(str(error)) from None
        except BaseException:
            transport.abort()
            raise

    # ------------------------------------------------------------ status and control

    async def status(self) -> Status:
        """Return what the client does: its rooms, and its sessions with paths, round trips, bytes and rates.

        A first look takes half a second, in which rates are measured. A session whose round trip is not known is
        pinged once.
        """
        return await self._status.take(self.me.id, self._kept, self._inner, self._direct)

    async def choose_path(self, peer: FeedId, path: PreferredPath) -> list[PathOutcome]:
        """Let the sessions with a peer take a path: those that are there, and those that come until the client closes.

        Nothing of what they carry is lost. A direct path is waited for, with all attempts that it takes.

        Args:
            peer: The peer.
            path: TUNNEL: go back to a room's tunnel, and stay. DIRECT: try a direct path now. AUTO: leave the room when
                possible, as without any choice.

        Returns:
            What became of each session.

        Raises:
            RefusedError: There is no session with that peer, or this client allows direct paths alone.
        """
        if self._later is not None:
            await self._later.hurry()
        sessions = [one for one in self._inner if one.is_open and one.id == peer]
        if not sessions:
            raise RefusedError("there is no session with that peer")
        return await choose_paths(sessions, path, self._direct)

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
        """Open another tunnel to the peer of a session: through its own room first, else through another."""
        problem: SSBError | None = None
        for room in sorted(self.rooms, key=lambda room: room.id != peer.portal):
            inner = make()
            try:
                await self._open_tunnel(room, peer.id, None, inner, deadline=limits.STANDBY_DIAL_SECONDS)
                return inner
            except SSBError as error:
                problem = error
        raise problem or SessionEndedError("no room is there")

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

    def _room_of(self, portal: FeedId) -> JoinedRoom | None:
        return next((room for room in self.rooms if room.id == portal), None)

    def _need_relay(self) -> Relay:
        if self._relay is None:
            raise LocalProtocolError("use `async with RoomClient(...)`")
        return self._relay
