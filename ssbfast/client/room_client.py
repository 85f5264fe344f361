"""A peer's side of rooms: join rooms, be reachable there (`client/peer_in_rooms.py`), reach others through them.

    async with RoomClient(keypair, admission=AllowList([friend])) as client:
        room = await client.join("net:room.example:8008~shs:…")
        peer = await client.connect(friend)
        print(await peer.call("whoami"))

`client/events.py` has the events that it reports.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, TypeVar, overload

from ssbfast import limits
from ssbfast.client.aliases import names_alias, resolve_alias
from ssbfast.client.incoming_tunnels import IncomingPeer
from ssbfast.client.joined_room import JoinedRoom
from ssbfast.client.pairing import take_ticket
from ssbfast.client.peer_in_rooms import PeerInRooms
from ssbfast.client.status import PathOutcome, Status, choose_paths
from ssbfast.client.targets import parse_target, ways_to
from ssbfast.client.tunnel_auth import not_dialled
from ssbfast.client.words import ask_for_ticket, find_target
from ssbfast.direct.options import PreferredPath
from ssbfast.errors import (
    LocalProtocolError,
    NotDialledError,
    RefusedError,
    RemoteError,
    SessionEndedError,
    SSBError,
)
from ssbfast.ids import FeedId
from ssbfast.keys import Keypair
from ssbfast.net.link import Link
from ssbfast.net.peer import Peer
from ssbfast.net.ping import keep_alive
from ssbfast.room.denials import Denial
from ssbfast.room.tunnel_auth import Verdict
from ssbfast.wire.address import TunnelAddress
from ssbfast.wire.alias import Alias
from ssbfast.wire.direct.keys import Role
from ssbfast.wire.handshake import ClientHandshake
from ssbfast.wire.pairing import Taken, Ticket
from ssbfast.wire.private_tunnel import PrivateTunnelAddress
from ssbfast.wire.words import WRONG, Words

P = TypeVar("P", bound=Peer)


class RoomClient(PeerInRooms):
    """A peer that joins rooms, is reached there, and reaches others through them.

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

    # ------------------------------------------------------------ pairing

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
