"""`ssbfast open --socks`: a SOCKS5 port that leads to the services of all friends by name.

A friend's tunnel is opened when a program first asks for it, and kept. Contacts are looked up at each connection and
four times a second: the rooms are those that they have then.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ssbfast import limits
from ssbfast.cli.local_ends import ListenerMaker, cannot_listen, warn_if_public
from ssbfast.cli.nicknames import Nicknames
from ssbfast.cli.options import data_flag
from ssbfast.cli.path_options import PathGate, Paths
from ssbfast.cli.peer_options import (
    RoomAddress,
    RoomsToStay,
    TrustOptions,
    cancelled,
    load_me,
    open_trust,
    together,
)
from ssbfast.cli.peer_output import PeerWords
from ssbfast.cli.resolve_target import Target
from ssbfast.errors import BadInputError, RefusedError, RemoteError, SSBError
from ssbfast.ids import FeedId, NetworkId
from ssbfast.net.endpoints import Endpoint, show_place
from ssbfast.net.forward.socks5 import Reply, Request, SocksRefused

if TYPE_CHECKING:
    from ssbfast.cli.output import Event, Printer
    from ssbfast.cli.persistent_tunnel import PersistentTunnel
    from ssbfast.client.joined_room import JoinedRoom
    from ssbfast.client.room_client import RoomClient
    from ssbfast.net.forward.service import Offered
    from ssbfast.net.forward.tcp_listener import ForwardListener
    from ssbfast.net.peer import Peer
    from ssbfast.store.peer_store import Contact


def run_socks(
    place: Endpoint,
    *,
    data: Path,
    network: NetworkId,
    as_json: bool,
    rooms: tuple[RoomAddress, ...],
    anyway: bool,
    connections: int | None,
    trust: TrustOptions,
    paths: Paths,
) -> int:
    """Serve SOCKS5 at a place until we are told to stop. rooms: beside those of our contacts. Returns the exit code.

    Raises BadInputError before anything is dialled.
    """
    from ssbfast.cli.runner import run_until_stopped

    trust.check()
    paths.check()
    with Nicknames(data) as names:
        if not rooms and not _rooms_of(names.contacts()):
            raise BadInputError("no friend has a room yet: pair with one (ssbfast pair TICKET), or give --room")
        command = _Socks(place, data, network, rooms, anyway, connections, trust, paths, names)
        return run_until_stopped(command.run, as_json=as_json, words=PeerWords(data_flag(data), names))


def _rooms_of(contacts: Mapping[str, Contact]) -> list[RoomAddress]:
    return [RoomAddress.parse(one.room) for one in contacts.values() if one.room is not None]


@dataclass(frozen=True, slots=True)
class _Socks:
    place: Endpoint
    data: Path
    network: NetworkId
    rooms: tuple[RoomAddress, ...]
    anyway: bool
    connections: int | None
    trust: TrustOptions
    paths: Paths
    names: Nicknames

    async def run(self, printer: Printer) -> int:
        from ssbfast.cli.lending import lending
        from ssbfast.client.control_socket import ControlSocket
        from ssbfast.client.room_client import RoomClient
        from ssbfast.net.forward.socks_server import SocksServer

        async with contextlib.AsyncExitStack() as stack:
            me = load_me(self.data)
            trust = open_trust(self.trust, self.data, me, self.network)
            stack.push_async_callback(trust.close)
            friends = _Friends(self, printer.event)

            def on_event(event: Event) -> None:
                printer.event(event)
                friends.event_received(event)

            direct = await self.paths.open()
            client = RoomClient(me, network=self.network, trust=trust, direct=direct, on_event=on_event)
            control = await stack.enter_async_context(ControlSocket.beside(self.data, "open"))
            await stack.enter_async_context(client)
            lend = lending(stack, client, self.data, self.network, self.trust, self.paths, anyway=self.anyway)
            control.serve(client, lend=lend)
            friends.begin(client)
            stack.push_async_callback(friends.close)
            server = SocksServer(self.place.host, self.place.port, friends.find)
            stack.push_async_callback(server.close)
            try:
                await server.start()
            except OSError as error:
                raise cannot_listen(self.place, error) from None
            printer.text(f"You are {me.id}\nPrograms on this machine reach SERVICE.NICK.ssb by SOCKS5, names included")
            bound = show_place(server.place)
            printer.event({"event": "bound", "bind": bound, "url": f"socks5h://{bound}"})
            warn_if_public(server.place)
            await friends.stay_in_their_rooms()
        return 0


class _Friends:
    """The friends that programs have asked for, the one that was asked for longest ago first. `begin` comes first."""

    client: RoomClient
    _staying: RoomsToStay

    def __init__(self, command: _Socks, tell: Callable[[Event], None]) -> None:
        self._command = command
        self._tell = tell
        self._rooms: dict[JoinedRoom, None] = {}
        self._friends: dict[FeedId, _Friend] = {}
        self._closing: set[asyncio.Task[None]] = set()
        self._contacts: Mapping[str, Contact] | None = None
        self._their_rooms: list[RoomAddress] = []

    def event_received(self, event: Event) -> None:
        """Handle an event of the client."""
        for friend in self._friends.values():
            friend.gate.event_received(event)

    def begin(self, client: RoomClient) -> None:
        """Begin with a client."""
        self.client = client
        self._staying = RoomsToStay(client, self._watch, tell=self._tell, announce=False, attendants=True)

    async def stay_in_their_rooms(self) -> None:
        """Stay in the rooms that our contacts have at each moment. Raises SSBError when all of them refuse us."""
        self._look()
        await together(self._staying.keep(), self._keep_looking())

    async def _keep_looking(self) -> None:
        while True:
            await asyncio.sleep(limits.GRAPH_POLL_SECONDS)
            self._look()

    def _look(self) -> None:
        """Stay in the rooms that contacts have now, and in those that are in use; drop the friends that are none."""
        contacts = self._command.names.contacts()
        if contacts is not self._contacts:
            self._contacts, self._their_rooms = contacts, _rooms_of(contacts)
            known = {contact.id for contact in contacts.values()}
            for friend in [friend for friend in self._friends.values() if friend.who not in known]:
                self._drop(friend)
        used = {friend.portal for friend in self._friends.values() if friend.has_session}
        kept = [room for room in self._staying.rooms if room.portal in used]
        self._staying.only([*self._command.rooms, *self._their_rooms, *kept])

    async def _watch(self, room: JoinedRoom) -> None:
        """Look for friends in a room until it has been left."""
        self._rooms[room] = None
        for friend in self._friends.values():
            friend.watch(room)
        try:
            await room.wait_left()
        finally:
            del self._rooms[room]

    async def find(self, wanted: Request) -> ForwardListener:
        """Return what leads to a service. Raises SocksRefused."""
        self._look()
        contact = self._command.names.contacts().get(wanted.nickname)
        if contact is None or contact.id == self.client.me.id:
            raise SocksRefused(Reply.UNREACHABLE)
        friend = self._friends.pop(contact.id, None)
        if friend is not None and friend.is_over:
            self._drop(friend)
            friend = None
        if friend is None:
            friend = self._make(contact.id)
        self._friends[contact.id] = friend
        try:
            return await friend.find(wanted)
        finally:
            if not (friend.is_used or friend.has_session):
                self._drop(friend)

    async def close(self) -> None:
        """Close every tunnel."""
        for friend in list(self._friends.values()):
            self._drop(friend)
        await asyncio.gather(*self._closing, return_exceptions=True)

    def _make(self, who: FeedId) -> _Friend:
        """Begin with a friend. Raises SocksRefused when there are too many, all of them in use."""
        from ssbfast.cli.persistent_tunnel import PersistentTunnel

        if len(self._friends) >= limits.SOCKS_FRIENDS:
            idle = next((friend for friend in self._friends.values() if not friend.is_used), None)
            if idle is None:
                raise SocksRefused(Reply.FAILURE)
            self._drop(idle)
        command = self._command
        friend = _Friend(who, command.connections or limits.FORWARDS_PER_PEER, self._tell, command.paths.only_direct)
        friend.start(
            PersistentTunnel(
                self.client,
                Target(who),
                anyway=command.anyway,
                on_opened=friend.session_opened,
                on_event=self._tell,
                flag=data_flag(command.data),
            )
        )
        for room in self._rooms:
            friend.watch(room)
        return friend

    def _drop(self, friend: _Friend) -> None:
        if self._friends.get(friend.who) is friend:
            del self._friends[friend.who]
        task = asyncio.get_running_loop().create_task(friend.close())
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)


class _Friend:
    """A friend: the tunnel to it, and what carries connections to each of its services.

    Attributes:
        who: Its id.
        gate: Lets connections into sessions with it.
    """

    def __init__(self, who: FeedId, connections: int, tell: Callable[[Event], None], only_direct: bool) -> None:
        self.who = who
        self.gate = PathGate(who, only_direct=only_direct)
        self._most = connections
        self._stack = contextlib.AsyncExitStack()
        self._make = ListenerMaker(connections, tell, self._stack)
        self._listeners: dict[str | None, ForwardListener] = {}
        self._asking = asyncio.Lock()
        self._offered: dict[str, Offered] | None = None
        self._peer: Peer | None = None
        self._opened = asyncio.Event()
        self._waiting = 0
        self._keeping: asyncio.Task[None]
        self._watching: list[asyncio.Task[None]] = []
        self._tunnel: PersistentTunnel

    @property
    def is_over(self) -> bool:
        """True once no tunnel to it is tried any more."""
        return self._keeping.done()

    @property
    def is_used(self) -> bool:
        return self._waiting > 0 or any(listener.traffic().open for listener in self._listeners.values())

    @property
    def has_session(self) -> bool:
        return self._peer is not None and self._peer.is_open

    @property
    def portal(self) -> FeedId | None:
        """Return the room of the latest session with it."""
        return None if self._peer is None else self._peer.portal

    def start(self, tunnel: PersistentTunnel) -> None:
        """Open a tunnel, and keep it open."""
        self._tunnel = tunnel
        self._keeping = asyncio.get_running_loop().create_task(together(tunnel.keep(), self.gate.failed()))

    def watch(self, room: JoinedRoom) -> None:
        """Look for it in a room."""
        self._watching = [task for task in self._watching if not task.done()]
        self._watching.append(asyncio.get_running_loop().create_task(self._watch(room)))

    async def _watch(self, room: JoinedRoom) -> None:
        with contextlib.suppress(SSBError):  # it has been left
            await self._tunnel.watch(room)

    def session_opened(self, peer: Peer) -> None:
        self._peer, self._offered = peer, None
        self.gate.session_opened(peer)
        self._opened.set()

    async def find(self, wanted: Request) -> ForwardListener:
        """Return what leads to one of its services. Raises SocksRefused."""
        if self._waiting >= self._most:
            raise SocksRefused(Reply.FAILURE)
        self._waiting += 1
        try:
            name = await asyncio.wait_for(self._name_of(wanted), limits.DIAL_SECONDS)
        except asyncio.TimeoutError:
            raise SocksRefused(Reply.UNREACHABLE) from None
        finally:
            self._waiting -= 1
        if name not in self._listeners:
            self._listeners[name] = self._make.carry_given(name)
            self.gate.add(self._listeners[name])
        return self._listeners[name]

    async def close(self) -> None:
        """End its tunnel and its connections."""
        await cancelled([self._keeping, *self._watching])
        await self._stack.aclose()
        if self._peer is not None:
            await self._peer.close()

    # ------------------------------------------------------------ inside

    async def _name_of(self, wanted: Request) -> str | None:
        """Return the name of the service; None: the first of a peer that knows no names. Raises SocksRefused."""
        offered = await self._ask(wanted.service)
        if offered is None:
            if wanted.service is None:
                return None
        elif wanted.service is not None:
            if wanted.service in offered:
                return wanted.service
        elif offered:
            same = (name for name, one in offered.items() if one.port == wanted.port)
            return next(same, next(iter(offered)))
        raise SocksRefused(Reply.REFUSED)

    async def _ask(self, name: str | None) -> dict[str, Offered] | None:
        """Return what it offers, asked once a session, and again for a name that is new; None when it has no names."""
        from ssbfast.net.forward.service import TCP, Offered
        from ssbfast.net.forward.tcp import SERVICES

        async with self._asking:
            while True:
                peer = await self._session()
                if self._offered is not None and (name is None or name in self._offered):
                    return self._offered
                try:
                    answer = await peer.call(SERVICES)
                except RemoteError:
                    return None
                except SSBError:  # the session is over
                    await peer.wait_closed()
                    continue
                self._offered = {one.name: one for one in Offered.read(answer) if one.kind == TCP}
                return self._offered

    async def _session(self) -> Peer:
        """Return the session, once there is one. Raises SocksRefused when there will be none."""
        while self._peer is None or not self._peer.is_open:
            self._opened.clear()
            opened = asyncio.ensure_future(self._opened.wait())
            try:
                await asyncio.wait((opened, self._keeping), return_when=asyncio.FIRST_COMPLETED)
            finally:
                opened.cancel()
            if self._keeping.done():
                why = None if self._keeping.cancelled() else self._keeping.exception()
                raise SocksRefused(Reply.NOT_ALLOWED if isinstance(why, RefusedError) else Reply.UNREACHABLE)
        return self._peer
