"""A peer's side of rooms: join some, be reachable there, reach others through them.

    async with RoomClient(keypair, admission=AllowList([friend])) as client:
        room = await client.join("net:room.example:8008~shs:…")
        peer = await client.connect(friend)
        print(await peer.call("whoami"))
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from types import TracebackType
from typing import Any

from ssbfast import limits
from ssbfast.app.joined_room import JoinedRoom
from ssbfast.errors import (
    AddressError,
    FeedIdError,
    LocalProtocolError,
    RefusedError,
    RemoteError,
    SessionEndedError,
    SSBError,
)
from ssbfast.ids import MAIN_NETWORK, FeedId, NetworkId
from ssbfast.keys import Keypair
from ssbfast.net.api import Api
from ssbfast.net.dial import dial
from ssbfast.net.link import Link
from ssbfast.net.peer import Peer
from ssbfast.net.relay import Relay
from ssbfast.room.members import Admission
from ssbfast.room.trust import AllowList
from ssbfast.wire.address import NetAddress, parse_address
from ssbfast.wire.handshake import ClientHandshake, ServerHandshake
from ssbfast.wire.muxrpc import Called, CallKind


class RoomClient:
    """A peer that joins rooms.

    me: the identity. network: which network's handshakes it speaks.
    admission: who may open a tunnel to us; nobody unless given.
    api: what we serve to those peers. boxing: "split" for peers that need every packet head in a box of its own.
    """

    def __init__(
        self,
        me: Keypair,
        *,
        network: NetworkId = MAIN_NETWORK,
        admission: Admission | None = None,
        api: Api | None = None,
        boxing: str = "merged",
    ) -> None:
        if boxing not in ("merged", "split"):
            raise ValueError("boxing is 'merged' or 'split'")
        self.me = me
        self._network = network
        self._admission = admission or AllowList(())
        self._api = api or Api()
        self._split = boxing == "split"
        self._relay: Relay | None = None
        self._rooms: dict[JoinedRoom, None] = {}
        self._inner: set[Peer] = set()
        self._pending: dict[JoinedRoom, deque[Link]] = {}
        self._incoming: asyncio.Queue[Peer | None] = asyncio.Queue()

    async def __aenter__(self) -> RoomClient:
        self._relay = Relay()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close every tunnel, then leave every room."""
        await asyncio.gather(*(peer.close() for peer in list(self._inner)))
        await asyncio.gather(*(room.leave() for room in list(self._rooms)))
        self._incoming.put_nowait(None)

    @property
    def rooms(self) -> tuple[JoinedRoom, ...]:
        """Those that are joined, the latest first. A room that was joined twice is there twice."""
        return tuple(reversed(self._rooms))

    # ------------------------------------------------------------ rooms

    async def join(self, address: str, *, announce: bool = True) -> JoinedRoom:
        """Open a session with a room and, unless told otherwise, be announced there.

        address: a multiserver address (its alternatives are tried in order) or a Rooms 1 invite.
        Raises AddressError, SessionEndedError, DeadlineError, HandshakeError (wrong key, wrong network, refused).
        """
        problem: SSBError | None = None
        for candidate in _dialable(address):
            room = JoinedRoom()
            try:
                room.peer = await self._dial(candidate, room)
                await self._enter(room, announce)
                return room
            except SSBError as error:
                problem = error
        raise problem or AddressError("no way to dial this address", 0)

    async def _enter(self, room: JoinedRoom, announce: bool) -> None:
        self._rooms[room] = None  # from here on `_left` takes it out, whatever happens
        try:
            await room.enter(announce=announce)
        except BaseException:
            room.session.link.close()
            raise
        if not room.session.is_open:
            raise room.session.error or SessionEndedError("the session is over")

    async def _dial(self, address: tuple[str, int, FeedId], room: JoinedRoom) -> Peer:
        host, port, key = address
        relay = self._need_relay()
        peer = Peer(
            api=self._api,
            intercept=lambda peer, called: self._called(room, peer, called),
            on_closed=lambda _peer: self._left(room),
        )
        link = await dial(
            host,
            port,
            lambda: Link(relay, ClientHandshake(self.me, key, network=self._network), peer, split=self._split),
        )
        try:
            await peer.wait_opened()
        except BaseException:
            link.abort()
            raise
        return peer

    def _left(self, room: JoinedRoom) -> None:
        room.closed()
        self._pending.pop(room, None)
        self._rooms.pop(room, None)

    # ------------------------------------------------------------ outgoing tunnels

    async def connect(self, target: FeedId | str, *, room: JoinedRoom | None = None) -> Peer:
        """Open a tunnel to `target` through a room: the given one, else one that lists it, else any.

        The inner handshake proves the target's key. Raises RefusedError when the room or the target refuses
        (one text for every reason), HandshakeError, SessionEndedError.
        """
        who = FeedId.parse(target) if isinstance(target, str) else target
        rooms = [room] if room is not None else sorted(self.rooms, key=lambda r: who not in r.attendants)
        if not rooms:
            raise LocalProtocolError("join a room first")
        problem: SSBError | None = None
        for candidate in rooms:
            try:
                return await self._tunnel(candidate, who)
            except SSBError as error:
                problem = problem or error
        raise problem or RefusedError("could not connect")

    async def _tunnel(self, room: JoinedRoom, target: FeedId) -> Peer:
        relay = self._need_relay()
        inner = Peer(api=self._api, path="tunnel", portal=room.id, on_closed=self._inner.discard)
        handshake = ClientHandshake(self.me, target, network=self._network)
        transport = room.session.open_tunnel(
            lambda: Link(relay, handshake, inner, split=self._split),
            {"portal": str(room.id), "target": str(target)},
        )
        try:
            await inner.wait_opened()
        except RemoteError as error:
            raise RefusedError(str(error)) from None
        except BaseException:
            transport.abort()
            raise
        if inner.is_open:
            self._inner.add(inner)
        return inner

    # ------------------------------------------------------------ incoming tunnels

    async def incoming(self) -> AsyncIterator[Peer]:
        """Peers that were let in, as they come, until the client closes."""
        while (peer := await self._incoming.get()) is not None:
            yield peer
        self._incoming.put_nowait(None)

    def _called(self, room: JoinedRoom, outer: Peer, called: Called) -> bool:
        if called.name != ("tunnel", "connect") or called.kind is not CallKind.DUPLEX:
            return False
        origin = self._origin(called)
        if origin is False:
            outer.refuse(called.req, "could not connect")
            return True
        self._accept(room, outer, called.req, origin if isinstance(origin, FeedId) else None)
        return True

    def _origin(self, called: Called) -> FeedId | bool | None:
        """The origin that the room claims, None when it claims none, False for a call that makes no sense."""
        args = called.args[0] if called.args else None
        if not isinstance(args, dict):
            return False
        try:
            if FeedId.parse(_text(args.get("target"))) != self.me.id:
                return False
            return FeedId.parse(_text(args.get("origin"))) if args.get("origin") is not None else None
        except FeedIdError:
            return False

    def _accept(self, room: JoinedRoom, outer: Peer, req: int, origin: FeedId | None) -> None:
        inner = _IncomingPeer(self, room, api=self._api, portal=outer.id)
        link = Link(
            self._need_relay(),
            ServerHandshake(self.me, network=self._network),
            inner,
            # `origin` is a hint of the room's; the handshake has proven `who`.
            admit=lambda who: (origin is None or origin == who) and self._admission.decide(who),
            deadline=limits.INNER_HELLO_SECONDS,
            refusal_delay=limits.REFUSAL_SECONDS,
            split=self._split,
        )
        pending = self._pending.setdefault(room, deque())
        if len(pending) >= limits.PENDING_INNER:
            pending.popleft().abort()
        pending.append(link)
        inner.pending = link
        outer.tunnel(req, link)

    def settled(self, room: JoinedRoom, link: Link) -> None:
        """An inner handshake is over, one way or the other."""
        pending = self._pending.get(room)
        if pending is not None and link in pending:
            pending.remove(link)

    def arrived(self, peer: Peer) -> None:
        """A peer has been let in."""
        self._inner.add(peer)
        self._incoming.put_nowait(peer)

    def departed(self, peer: Peer) -> None:
        self._inner.discard(peer)

    def _need_relay(self) -> Relay:
        if self._relay is None:
            raise LocalProtocolError("use `async with RoomClient(...)`")
        return self._relay


class _IncomingPeer(Peer):
    """A caller: shown to the application once the handshake has proven and admitted it."""

    def __init__(self, client: RoomClient, room: JoinedRoom, *, api: Api, portal: FeedId) -> None:
        super().__init__(api=api, path="tunnel", portal=portal)
        self._client = client
        self._room = room
        self.pending: Link | None = None

    def opened(self, link: Link) -> None:
        super().opened(link)
        self._client.settled(self._room, link)
        self._client.arrived(self)

    def closed(self, link: Link, error: SSBError | None) -> None:
        self._client.settled(self._room, link)
        self._client.departed(self)
        super().closed(link, error)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _dialable(address: str) -> list[tuple[str, int, FeedId]]:
    """The alternatives of an address that can be dialled over TCP."""
    found = []
    for alternative in parse_address(address):
        if isinstance(alternative.transport, NetAddress) and alternative.shs is not None:
            found.append((alternative.transport.host, alternative.transport.port, alternative.shs))
    if not found:
        raise AddressError("needs a net: address with the room's key (net:HOST:PORT~shs:KEY)", 0)
    return found
