"""Programs of the compat packages with JavaScript peers: on one connection, as client and as server, and in tunnels."""

from __future__ import annotations

import asyncio

import pytest
from nacl.signing import SigningKey

from ssbfast.compat.secret_handshake.network import SHSClient, SHSServer, SHSServerConnection
from ssbfast.compat.ssb.util import tag
from ssbfast.ids import FeedId, NetworkId
from tests.helpers.compat_api import Program
from tests.helpers.compat_room import Member
from tests.helpers.served_room import served_room
from tests.interop.jspeer import JSError, JSPeer, Kind, StartPeer
from tests.interop.scenarios import CLIENT_KINDS, check

pytestmark = [pytest.mark.interop, pytest.mark.timeout(120)]


async def used(js: JSPeer, me: str) -> None:
    """Every kind of call, from a JavaScript peer to us."""
    assert await js.call(me, "test.add", 20, 22) == 42
    with pytest.raises(JSError, match=r"^Error: on purpose$"):
        await js.call(me, "test.fail", "on purpose")
    with pytest.raises(JSError, match=r"^Error: Method test\.nothing not found!$"):
        await js.call(me, "test.nothing")
    assert (await js.source(me, "test.count", 300, keep=300)).items == tuple(range(300))
    check(await js.source(me, "test.bytes", 300_000, 1000), 300_000)
    with pytest.raises(JSError, match=r"^Error: half way$"):
        await js.source(me, "test.failAfter", 3, "half way")
    sizes = (1, 33, 4096, 4097, 65_535)
    assert (await js.duplex(me, "test.echo", sizes=sizes)).bytes == sum(sizes)


async def both_ways(js: JSPeer, me: str, program: Program) -> None:
    await asyncio.wait_for(asyncio.gather(program.use(), used(js, me)), 60)


@pytest.mark.parametrize("kind", ["portal", "portal-2018"])
async def test_a_client_of_a_javascript_server(peers: StartPeer, network: bytes, kind: Kind) -> None:
    js, key = await peers(kind), SigningKey.generate()
    assert js.address is not None
    host, port = js.address.split("~")[0].split(":")[1:]
    client = SHSClient(host, int(port), key, FeedId.parse(js.id).key, application_key=network)
    await client.open()
    program, me = Program(client), tag(key.verify_key).decode()
    await js.event("connected", peer=me)
    await both_ways(js, me, program)
    client.close()
    await js.event("closed", peer=me)
    await asyncio.wait_for(program.pump, 10)


@pytest.mark.parametrize("kind", CLIENT_KINDS)
async def test_a_server_for_a_javascript_client(peers: StartPeer, network: bytes, kind: Kind) -> None:
    js, key = await peers(kind), SigningKey.generate()
    server = SHSServer("127.0.0.1", 0, key, application_key=network)
    arrived: asyncio.Queue[SHSServerConnection] = asyncio.Queue()
    server.on_connect(arrived.put)  # type: ignore[arg-type]  # what it is given says more than the old API's type
    await server.listen()
    assert server.server is not None
    port, me = server.server.sockets[0].getsockname()[1], tag(key.verify_key).decode()
    assert await js.connect(f"net:127.0.0.1:{port}~shs:{me[1:45]}") == me
    connection = await arrived.get()
    assert tag(connection.crypto.remote_pub_key).decode() == js.id
    program = Program(connection)
    await both_ways(js, me, program)
    await js.hang_up(me)
    await asyncio.wait_for(program.pump, 10)
    server.close()


@pytest.mark.parametrize("kind", CLIENT_KINDS)
async def test_in_tunnels_both_ways(peers: StartPeer, network: bytes, kind: Kind) -> None:
    """Through our room: we call a JavaScript peer, and it calls us."""
    async with served_room(network=NetworkId(network)) as room:
        portal, js, member = str(room.server.me.id), await peers(kind), Member(network)
        await js.join(room.server.address)
        async with member.at(room.server.port, room.server.me.id.key):
            session = await member.connect(portal, js.id, FeedId.parse(js.id).key)
            await js.event("connected", peer=member.id, tunnel=True)
            program = Program(session)
            await both_ways(js, member.id, program)
            await js.hang_up(member.id)
            await asyncio.wait_for(program.pump, 10)
            session.close()
            await asyncio.wait_for(member.feeding, 10)
            await member.call("tunnel.announce")
            accepting = asyncio.ensure_future(member.accept())
            assert await js.tunnel(portal, member.id) == member.id
            who, session = await accepting
            assert who == js.id
            program = Program(session)
            await both_ways(js, member.id, program)
            session.close()
            await js.event("closed", peer=member.id, tunnel=True)
            await asyncio.wait_for(program.pump, 10)
        await js.close()
