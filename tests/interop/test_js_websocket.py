"""JavaScript peers that reach our room over a WebSocket (ssb-ws, unchanged), beside others that come over TCP."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from ssbfast.ids import NetworkId
from ssbfast.keys import Keypair
from ssbfast.net.endpoints import Endpoint
from ssbfast.server.room_server import RoomServer
from tests.helpers.websockets import Place, websocket_of
from tests.interop.jspeer import Kind, StartPeer
from tests.interop.scenarios import use_tunnel

pytestmark = [pytest.mark.interop, pytest.mark.timeout(120)]


@pytest_asyncio.fixture
async def room(network: bytes) -> AsyncIterator[tuple[RoomServer, Place]]:
    server = RoomServer(Keypair.generate(), network=NetworkId(network), listen=[Endpoint("127.0.0.1", 0)], udp=())
    async with server, websocket_of(server) as place:
        yield server, place


@pytest.mark.parametrize("path", ["", "/", "/ws"])
async def test_a_room_over_a_websocket(room: tuple[RoomServer, Place], peers: StartPeer, path: str) -> None:
    server, place = room
    peer = await peers("room-client-2/ws")
    await peer.join(place.address.replace("/~", f"{path}~"))
    await peer.event("state")
    assert isinstance(await peer.call(str(server.me.id), "tunnel.ping"), int)
    assert place.hosts == ["127.0.0.1"]


@pytest.mark.parametrize("other", ["room-client-2/ws", "room-client-2/stack8", "rooms-1"])
@pytest.mark.parametrize("turned", [False, True])
async def test_a_tunnel_over_websockets(
    room: tuple[RoomServer, Place], peers: StartPeer, other: Kind, turned: bool
) -> None:
    server, place = room
    ours, theirs = await peers("room-client-2/ws"), await peers(other)
    await ours.join(place.address)
    await theirs.join(place.address if other == "room-client-2/ws" else server.address)
    caller, target = (theirs, ours) if turned else (ours, theirs)
    await caller.tunnel(str(server.me.id), target.id)
    await use_tunnel(caller, target)
