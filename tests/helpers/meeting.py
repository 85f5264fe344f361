"""Two clients of one room whose session may leave it, all in this process: A is the target, C the caller.

    async with meeting() as met:
        await met.path("direct")
        met.silence()                      # no datagram leaves or comes any more
        await met.path("tunnel")

What the room does to the bytes of its tunnels is a `Meddler`'s business; by default they pass as they are.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any
from unittest import mock

import pytest

if sys.version_info < (3, 11):
    pytest.skip("aioquic needs Python 3.11: there are no direct paths", allow_module_level=True)

from ssbfast import native
from ssbfast.client.direct_paths import Direct, DirectPaths
from ssbfast.direct.negotiation import Negotiation
from ssbfast.direct.udp import Address, UdpSocket
from ssbfast.keys import Keypair
from ssbfast.net.forward.tcp_listener import ForwardListener
from ssbfast.net.forward.tcp_server import ForwardServer
from ssbfast.net.peer import Peer
from ssbfast.net.relayed_tunnel import Ending, RelayedTunnel, _Leg
from ssbfast.room.tunnel_auth import AllowList
from ssbfast.server.session import RoomSession
from tests.helpers.clients import RecordingClient, RoomWithClients, room_with_clients
from tests.helpers.forwards import TcpEnd, TcpService
from tests.helpers.rawpeer import eventually
from tests.helpers.udp import send_one_by_one

HERE = Direct(loopback=True)


class WatchedUdp:
    """All UDP of this process. sent: who was sent what, as far as it left. silent: nothing passes.

    longest: bytes of a datagram that still passes. opened: every socket that ever was.
    watch: told of each datagram that is sent. late: datagrams are kept there, until `let_go`.
    """

    def __init__(self) -> None:
        self.sent: list[tuple[Address, bytes]] = []
        self.silent = False
        self.longest = 2048
        self.opened: list[UdpSocket] = []
        self.watch: Callable[[bytes], None] = lambda data: None
        self.late: list[tuple[UdpSocket, bytes, Address]] | None = None
        self._pass: Callable[[UdpSocket, bytes, Address], bool] = UdpSocket.send

    def send(self, udp: UdpSocket, data: bytes, to: Address) -> bool:
        """What `UdpSocket.send` does as long as this network is there."""
        if self.silent or len(data) > self.longest:
            return True
        self.watch(data)
        if self.late is not None:
            self.late.append((udp, data, to))
            return True
        self.sent.append((to, data))
        return self._pass(udp, data, to)

    def let_go(self) -> None:
        """Send what is late."""
        late, self.late = self.late or [], None
        for udp, data, to in late:
            self._pass(udp, data, to)

    def to(self, address: Address) -> list[bytes]:
        """What was sent there."""
        return [data for where, data in self.sent if where == address]


@asynccontextmanager
async def network() -> AsyncIterator[WatchedUdp]:
    """Watch, and be able to silence, every `UdpSocket`. At the end all are closed."""
    net = WatchedUdp()
    whole_open = UdpSocket.open.__func__

    def send(udp: UdpSocket, data: bytes, to: Address) -> bool:
        return net.send(udp, data, to)

    def open_one(cls: type[UdpSocket], *args: Any, **more: Any) -> UdpSocket:
        net.opened.append(whole_open(cls, *args, **more))
        return net.opened[-1]

    patched = {"send": send, "send_train": send_one_by_one, "open": classmethod(open_one)}
    with mock.patch.multiple(UdpSocket, **patched):
        yield net
        await eventually(lambda: all(udp.is_closed for udp in net.opened))


class MeetingClients:
    """at: the room. target, caller: the clients A and C. net: their datagrams. service: what A offers.

    peer, there: C's and A's end of the session; listener: where C's programs find the service.
    """

    at: RoomWithClients
    target: RecordingClient
    caller: RecordingClient
    net: WatchedUdp
    service: TcpService
    server: ForwardServer
    listener: ForwardListener
    peer: Peer
    there: Peer

    def __init__(self) -> None:
        self._wires: list[TcpEnd] = []

    async def connect(self) -> None:
        """Open the session."""
        self.peer = self.listener.peer = await self.caller.connect(self.target.me.id)
        self.there = await anext(aiter(self.target.incoming()))

    async def path(self, path: str, times: int = 1) -> None:
        """Wait until both ends have told of that path so many times."""
        for client in (self.caller, self.target):
            await eventually(lambda client=client: self.paths(client).count(path) >= times)

    def paths(self, client: RecordingClient) -> list[str]:
        return [event["path"] for event in client.named("path")]

    def silence(self) -> None:
        """No datagram passes any more."""
        self.net.silent = True

    def speak(self) -> None:
        self.net.silent = False

    async def dial(self) -> tuple[TcpEnd, TcpEnd]:
        """A forwarded TCP connection: the client's end and the service's."""
        wire = TcpEnd(*await asyncio.open_connection(*self.listener.address))
        self._wires.append(wire)
        self._wires.append(await self.service.accept())
        return wire, self._wires[-1]

    async def hang_up(self) -> None:
        """Close what `dial` has opened."""
        for wire in self._wires:
            await wire.close()

    def negotiation(self, client: RecordingClient) -> Negotiation:
        """A client's end of the session."""
        (found,) = paths_of(client)._by_id.values()
        return found

    async def has_standby(self) -> None:
        """Wait until a standby is there at both ends."""
        for client in (self.caller, self.target):
            machine = self.negotiation(client).carrier_transport.carriers
            await eventually(lambda machine=machine: machine._standby is not None)

    async def is_usable(self) -> None:
        """Calls are answered both ways."""
        assert await self.peer.call("add", 1, 2, timeout=20) == 3
        assert await self.there.call("add", 3, 4, timeout=20) == 7


def paths_of(client: RecordingClient) -> DirectPaths:
    """What a client has of direct paths. Raises AssertionError when it has nothing."""
    if client._direct is None:
        raise AssertionError("a client without direct paths")
    return client._direct


@asynccontextmanager
async def meeting(
    *,
    a: Direct | None = HERE,
    c: Direct | None = HERE,
    connect: bool = True,
    keys: tuple[Keypair, Keypair] | None = None,
    **options: Any,
) -> AsyncIterator[MeetingClients]:
    """a, c: what each client wants of direct paths. options: of A, instead of an admission that knows C alone."""
    met = MeetingClients()
    keys = keys or (Keypair.generate(), Keypair.generate())
    async with AsyncExitStack() as stack:
        met.net = await stack.enter_async_context(network())
        met.at = await stack.enter_async_context(room_with_clients())
        trusting = options or {"admission": AllowList([keys[1].id])}
        met.target = await met.at.client(keys[0], direct=a, **trusting)
        met.caller = await met.at.client(keys[1], direct=c, admission=AllowList([keys[0].id]))
        met.service = await stack.enter_async_context(TcpService())
        met.server = await stack.enter_async_context(ForwardServer("127.0.0.1", met.service.port))
        met.server.register(met.target._api)
        met.listener = await stack.enter_async_context(ForwardListener("127.0.0.1", 0))
        if connect:
            await met.connect()
        stack.push_async_callback(met.hang_up)
        yield met


# ---------------------------------------------------------------- a room that meddles


class Meddler:
    """What a hostile room does with its tunnels. Override `pass_on`; tunnels are numbered from 0 as they open."""

    def __init__(self) -> None:
        self.splices: list[RelayedTunnel] = []
        self.went: dict[tuple[int, bool], bytearray] = {}

    def pass_on(self, number: int, to_target: bool, data: bytes) -> Iterable[bytes]:
        """What goes on of these bytes. `went` has all that came before them in that direction of the tunnel."""
        return (data,)

    def write(self, number: int, to_target: bool, data: bytes) -> None:
        """Bytes that nobody has sent, or that were held back."""
        leg = self.splices[number]._legs[to_target]
        if data:
            leg.lane.packet(native.STREAM, data)
            leg.link.touched()

    def cut(self, number: int) -> None:
        """End a tunnel."""
        self.splices[number].fail("the room says so", Ending.CLOSED)

    def came(self, splice: RelayedTunnel, to_target: bool, data: bytes) -> None:
        if splice not in self.splices:
            self.splices.append(splice)
        number = self.splices.index(splice)
        for piece in self.pass_on(number, to_target, data):
            self.write(number, to_target, piece)
        self.went.setdefault((number, to_target), bytearray()).extend(data)


@asynccontextmanager
async def meddling(meddler: Meddler) -> AsyncIterator[None]:
    """All rooms of this process give the bytes of their tunnels to `meddler`, in Python and one after the other."""

    def join(splice: RelayedTunnel, source: _Leg, destination: _Leg) -> None:
        source.inlet = native.Inlet(source.link.core, -source.req, None)
        splice._relay.outlet(destination.lane, destination.link, lambda: splice._stalled(destination))

    def chunk(session: RoomSession, link: Any, req: int, data: bytes) -> None:
        splice = session.splices[req]
        meddler.came(splice, link is splice.caller and req == -splice.reqs[0], bytes(data))

    with mock.patch.object(RelayedTunnel, "_join", join), mock.patch.object(RoomSession, "on_chunk", chunk):
        yield
