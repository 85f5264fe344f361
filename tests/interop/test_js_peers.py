"""Our own peer with JavaScript ones: at either end of a tunnel, through our room and through JavaScript rooms."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import sys
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from ssbfast import limits
from ssbfast.client.direct_paths import Direct
from ssbfast.client.follow_graph import MemoryGraph
from ssbfast.client.room_client import RoomClient
from ssbfast.client.tunnel_auth import Trust
from ssbfast.errors import GraphAwayError, HandshakeError, RefusedError, RemoteError
from ssbfast.ids import FeedId, NetworkId
from ssbfast.keys import Keypair
from ssbfast.net.api import Api
from ssbfast.net.dial import dial
from ssbfast.net.endpoints import Endpoint
from ssbfast.net.link import Link
from ssbfast.net.peer import Peer
from ssbfast.net.relay import Relay
from ssbfast.net.stream import Stream
from ssbfast.room.tunnel_auth import AllowList, Relation
from ssbfast.server.room_server import RoomServer
from ssbfast.wire.address import NetAddress, parse_address
from ssbfast.wire.handshake import ClientHandshake
from tests.interop import scenarios
from tests.interop.jspeer import JSError, JSPeer, Kind, StartPeer, content, id_of
from tests.interop.scenarios import CLIENT_KINDS

pytestmark = [pytest.mark.interop, pytest.mark.timeout(120)]

ME = Keypair.from_seed(hashlib.sha256(b"ssbfast interop python peer").digest())
SIZE = 300_000
SERVER_IS_SILENT = r"server hung up when we sent hello \(phase 3\)"
"""What JavaScript says when no message 4 comes, whatever the reason."""


def served() -> Api:
    """The methods that the JavaScript peers serve, on our side."""
    api = Api()

    @api.call("test.add")
    async def add(peer: Peer, a: int, b: int) -> int:
        return a + b

    @api.call("test.fail")
    async def fail(peer: Peer, message: str) -> None:
        raise RemoteError(message)

    @api.source("test.count")
    async def count(peer: Peer, n: int) -> AsyncIterator[int]:
        for i in range(n):
            yield i

    @api.source("test.failAfter")
    async def fail_after(peer: Peer, n: int, message: str) -> AsyncIterator[int]:
        for i in range(n):
            yield i
        raise RemoteError(message)

    @api.source("test.bytes")
    async def some_bytes(peer: Peer, size: int, chunk: int = 1000) -> AsyncIterator[bytes]:
        data = content(size)
        for at in range(0, size, chunk):
            yield data[at : at + chunk]

    @api.duplex("test.echo")
    async def echo(peer: Peer, stream: Stream) -> None:
        async for item in stream:
            await stream.send(item)

    return api


@pytest_asyncio.fixture(params=["ours", "portal"])
async def portal(request: pytest.FixtureRequest, peers: StartPeer, network: bytes) -> AsyncIterator[str]:
    """The address of a room: ours, and ssb-room 1.3."""
    async with contextlib.AsyncExitStack() as stack:
        if request.param == "ours":
            room = RoomServer(Keypair.generate(), network=NetworkId(network), listen=[Endpoint("127.0.0.1", 0)])
            yield (await stack.enter_async_context(room)).address
        else:
            address = (await peers("portal")).address
            assert address is not None
            yield address


@contextlib.asynccontextmanager
async def python_peer(network: bytes, *friends: str, **options: Any) -> AsyncIterator[RoomClient]:
    admission = AllowList([FeedId.parse(friend) for friend in friends])
    async with RoomClient(ME, network=NetworkId(network), admission=admission, api=served(), **options) as client:
        yield client


async def use(peer: Peer) -> None:
    """Every kind of call on a JavaScript peer."""
    assert await peer.call("test.add", 20, 22) == 42
    with pytest.raises(RemoteError, match=r"^on purpose$"):
        await peer.call("test.fail", "on purpose")
    with pytest.raises(RemoteError, match=r"not in list of allowed methods$"):
        await peer.call("test.nothing")
    assert [item async for item in peer.source("test.count", 300)] == list(range(300))
    assert b"".join([item async for item in peer.source("test.bytes", SIZE, 1000)]) == content(SIZE)
    async with peer.duplex("test.echo") as stream:
        for item in (b"\x00\x01", "text", {"a": [1, 2]}, False, b"x" * 4097):
            await stream.send(item)
            assert await stream.__anext__() == item
    with pytest.raises(RemoteError, match=r"^half way$"):
        async for _ in peer.source("test.failAfter", 3, "half way"):
            pass


async def used(js: JSPeer) -> None:
    """Every kind of call, from a JavaScript peer to us."""
    me = str(ME.id)
    assert await js.call(me, "test.add", 20, 22) == 42
    with pytest.raises(JSError, match=r"^Error: on purpose$"):
        await js.call(me, "test.fail", "on purpose")
    with pytest.raises(JSError, match=r"not in list of allowed methods$"):
        await js.call(me, "test.nothing")
    assert (await js.source(me, "test.count", 300, keep=300)).items == tuple(range(300))
    scenarios.check(await js.source(me, "test.bytes", SIZE, 1000), SIZE)
    with pytest.raises(JSError, match=r"^Error: half way$"):
        await js.source(me, "test.failAfter", 3, "half way")
    echoed = await js.duplex(me, "test.echo", sizes=(1, 33, 4096, 4097, 65_535))
    assert echoed.bytes == 1 + 33 + 4096 + 4097 + 65_535


@pytest.mark.parametrize("kind", CLIENT_KINDS)
async def test_we_call(portal: str, peers: StartPeer, network: bytes, kind: Kind) -> None:
    js = await peers(kind)
    await js.join(portal)
    async with python_peer(network) as client:
        room = await client.join(portal, announce=False)
        assert room.id == FeedId.parse(id_of(portal))
        peer = await client.connect(js.id)
        assert (str(peer.id), peer.path, peer.portal) == (js.id, "tunnel", room.id)
        await use(peer)
        await peer.close()
        assert peer.error is None
        await js.event("closed", peer=str(ME.id), tunnel=True)
        await use(await client.connect(js.id))


@pytest.mark.parametrize("kind", CLIENT_KINDS)
async def test_they_call(portal: str, peers: StartPeer, network: bytes, kind: Kind) -> None:
    js = await peers(kind)
    async with python_peer(network, js.id) as client:
        room = await client.join(portal)
        await js.join(portal)
        assert await js.tunnel(str(room.id), str(ME.id)) == str(ME.id)
        incoming = client.incoming()
        peer = await incoming.__anext__()
        assert (str(peer.id), peer.portal) == (js.id, room.id)
        await used(js)
        await use(peer)
        await js.hang_up(str(ME.id), "disconnect")
        await peer.wait_closed()
        assert peer.error is None


@pytest.mark.skipif(sys.version_info < (3, 11), reason="aioquic needs Python 3.11: there are no direct paths")
@pytest.mark.parametrize("kind", CLIENT_KINDS)
async def test_who_knows_nothing_of_direct_paths_stays_and_nobody_is_told(
    portal: str, peers: StartPeer, network: bytes, kind: Kind, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever calls: we offer a path once, and are not asked for one."""
    monkeypatch.setattr(limits, "UPGRADE_SECONDS", 0.1)
    js = await peers(kind)
    events: list[dict[str, Any]] = []
    direct = Direct(loopback=True)
    async with python_peer(network, js.id, direct=direct, on_event=events.append) as client:
        room = await client.join(portal)
        await js.join(portal)
        peer = await client.connect(js.id)
        await use(peer)
        assert client._direct is not None
        ours = client._direct.find(peer)
        assert ours is not None
        carriers = ours.carrier_transport.carriers
        assert not carriers._upgrades.wanted and carriers._epoch == 1
        await peer.close()
        await js.event("closed", peer=str(ME.id), tunnel=True)
        await js.tunnel(str(room.id), str(ME.id))
        theirs = await client.incoming().__anext__()
        await used(js)
        await use(theirs)
        assert {peer.path, theirs.path} == {"tunnel"}
        assert not [event for event in events if event["event"] == "path"]


@pytest.mark.parametrize("kind", CLIENT_KINDS)
async def test_we_see_them_come_and_go(portal: str, peers: StartPeer, network: bytes, kind: Kind) -> None:
    async with python_peer(network) as client:
        room = await client.join(portal)
        changes = room.changes()
        assert (await changes.__anext__()).id == ME.id
        js = await peers(kind)
        await js.join(portal)
        came = await changes.__anext__()
        assert (str(came.id), came.present) == (js.id, True)
        await js.until(lambda: str(ME.id) in js.attendants[id_of(portal)], "us in its list")
        await js.kill()
        went = await changes.__anext__()
        assert (str(went.id), went.present) == (js.id, False)


@pytest.mark.parametrize("kind", CLIENT_KINDS)
async def test_refused_stranger(portal: str, peers: StartPeer, network: bytes, kind: Kind) -> None:
    """A stranger sees what every refused caller sees; we show nothing."""
    js = await peers(kind)
    async with python_peer(network) as client:
        room = await client.join(portal)
        await js.join(portal)
        with pytest.raises(JSError, match=SERVER_IS_SILENT):
            await js.tunnel(str(room.id), str(ME.id))
        assert isinstance(await js.call(id_of(portal), "tunnel.ping"), int)


class _Away(MemoryGraph):
    async def relation(self, who: FeedId) -> Relation:
        raise GraphAwayError("the graph is away")


async def test_every_refusal_looks_the_same(peers: StartPeer, network: bytes) -> None:
    """A stranger, a blocked friend, and a friend whom nobody can vouch for: JavaScript reads one and the same text."""
    seen: list[str] = []
    async with RoomServer(Keypair.generate(), network=NetworkId(network), listen=[Endpoint("127.0.0.1", 0)]) as room:
        js = await peers("room-client-2/stack8")
        await js.join(room.address)
        blocked, away = MemoryGraph(), _Away()
        blocked.set(FeedId.parse(js.id), follows=True, blocks=True)
        for graph in (MemoryGraph(), blocked, away):
            async with RoomClient(Keypair.generate(), network=NetworkId(network), trust=Trust(graph)) as client:
                joined = await client.join(room.address)
                with pytest.raises(JSError, match=SERVER_IS_SILENT) as refused:
                    await js.tunnel(str(joined.id), str(client.me.id))
                seen.append(str(refused.value))
    assert len(set(seen)) == 1


async def test_absent_and_wrong_key(portal: str, peers: StartPeer, network: bytes) -> None:
    js = await peers("room-client-2/stack6")
    await js.join(portal)
    async with python_peer(network) as client:
        await client.join(portal, announce=False)
        with pytest.raises(RefusedError, match=r"^could not connect to: @"):
            await client.connect(Keypair.generate().id)
        await use(await client.connect(js.id))
    stranger = Keypair.generate().id
    async with python_peer(network) as client:
        address = portal.replace(portal.rsplit("~shs:", 1)[1], str(stranger)[1:45])
        with pytest.raises(HandshakeError):
            await client.join(address)


@pytest.mark.parametrize("victim", ["them", "room"])
async def test_killed(peers: StartPeer, network: bytes, victim: str) -> None:
    room = await peers("portal")
    js = await peers("room-client-2/stack8")
    assert room.address is not None
    await js.join(room.address)
    async with python_peer(network) as client:
        joined = await client.join(room.address)
        peer = await client.connect(js.id)
        assert await peer.call("test.add", 1, 1) == 2
        await (js if victim == "them" else room).kill()
        await peer.wait_closed()
        assert peer.error is not None
        if victim == "room":
            await joined.session.wait_closed()
        else:
            assert joined.session.is_open


@pytest.mark.parametrize("boxing", ["merged", "split"])
async def test_bulk_both_ways(portal: str, peers: StartPeer, network: bytes, boxing: str) -> None:
    js = await peers("room-client-2/stack8")
    await js.join(portal)
    async with python_peer(network, boxing=boxing) as client:
        await client.join(portal, announce=False)
        peer = await client.connect(js.id)
        size = 4 * 1024 * 1024
        digest = hashlib.sha256()
        async for item in peer.source("test.bytes", size):
            digest.update(item)
        assert digest.hexdigest() == scenarios.digest(size)
        scenarios.check(await js.source(str(ME.id), "test.bytes", size, 60_000), size)


async def test_2018_target_and_caller(peers: StartPeer, network: bytes) -> None:
    """Through our room, with ssb-tunnel of 2018 at the other end."""
    async with RoomServer(Keypair.generate(), network=NetworkId(network), listen=[Endpoint("127.0.0.1", 0)]) as room:
        js = await peers("tunnel-2018")
        await js.join(room.address)
        async with python_peer(network, js.id) as client:
            joined = await client.join(room.address)
            await use(await client.connect(js.id))
            await js.tunnel(str(joined.id), str(ME.id))
            await used(js)


async def test_2018_portal(peers: StartPeer, network: bytes) -> None:
    """A portal of 2018 has no list: we announce ourselves by a call, and who only calls need not."""
    portal = await peers("portal-2018")
    assert portal.address is not None
    caller = await peers("tunnel-2018")
    async with python_peer(network, caller.id) as client:
        room = await client.join(portal.address, announce="2018")
        assert room.generation == 2018 and room.is_listed
        await caller.join(portal.address, announce=False)
        assert await caller.tunnel(str(room.id), str(ME.id)) == str(ME.id)
        await used(caller)
    target = await peers("tunnel-2018")
    await target.join(portal.address)
    async with python_peer(network) as client:
        await client.join(portal.address, announce=False)
        await use(await client.connect(target.id))


async def test_older_rooms_list_whoever_asks(peers: StartPeer, network: bytes) -> None:
    portal = await peers("portal")
    assert portal.address is not None
    async with python_peer(network) as client:
        room = await client.join(portal.address, announce=False)
        assert room.generation == 1 and not room.is_listed
        room = await client.join(portal.address, announce=False, attendants=True)
        assert room.is_listed and room.attendants == {ME.id}


async def test_pings_go_back_and_forth(portal: str, peers: StartPeer, network: bytes, monkeypatch: Any) -> None:
    """With the room and inside the tunnel; a peer that did not answer would lose its session. A JavaScript one serves
    every five minutes, whatever we say; when that is too late for us, we serve instead."""
    monkeypatch.setattr(limits, "PING_SECONDS", 0.2)
    monkeypatch.setattr(limits, "PING_ANSWER_SECONDS", 3.0)
    js = await peers("room-client-2/stack6")
    await js.join(portal)
    answers: dict[Stream, int] = {}
    on_item = Stream.on_item

    def count(stream: Stream, item: Any, size: int) -> None:
        if isinstance(item, int):
            answers[stream] = answers.get(stream, 0) + 1
        on_item(stream, item, size)

    monkeypatch.setattr(Stream, "on_item", count)
    async with python_peer(network) as client:
        room = await client.join(portal, announce=False)
        peer = await client.connect(js.id)
        for session in (peer, room.session):
            (ping,) = session._streams.values()
            for _ in range(1000):
                if answers.get(ping, 0) >= 3:
                    break
                await asyncio.sleep(0.02)
            assert answers[ping] >= 3 and session.is_open


async def test_a_server_with_our_own_key(peers: StartPeer, network: bytes) -> None:
    """The normal set-up of an ssb server and its clients: they share the identity."""
    js = await JSPeer.start("portal", network=network, seed=hashlib.sha256(b"ssbfast interop python peer").digest())
    try:
        assert js.id == str(ME.id) and js.address is not None
        (address,) = parse_address(js.address)
        assert isinstance(address.transport, NetAddress)
        where, relay = address.transport, Relay(pool=1 << 22)

        async def call(own_key: bool) -> Any:
            peer = Peer()
            handshake = ClientHandshake(ME, ME.id, network=NetworkId(network), own_key=own_key)
            await dial(where.host, where.port, lambda: Link(relay, handshake, peer))
            await peer.wait_opened()
            try:
                return await peer.call("tunnel.isRoom", timeout=15)
            finally:
                await peer.close()

        assert await call(True) is True
        with pytest.raises(HandshakeError):
            await call(False)
    finally:
        await js.close()


def test_all_methods_are_served() -> None:
    """What `used` calls is what `served` serves, so that no refusal hides a missing method."""
    manifest: dict[str, Any] = served().manifest()
    assert set(manifest["test"]) == {"add", "fail", "count", "failAfter", "bytes", "echo"}
