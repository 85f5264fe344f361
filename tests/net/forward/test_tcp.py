"""TCP connections carried through a tunnel: whatever one end does, the other end sees, and nobody else is bothered."""

from __future__ import annotations

import asyncio
import hashlib
import os
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import psutil
import pytest

from ssbfast import limits
from ssbfast.client.room_client import RoomClient
from ssbfast.errors import RemoteError
from ssbfast.keys import Keypair
from ssbfast.limits import KiB, MiB
from ssbfast.net.api import Api
from ssbfast.net.forward.tcp import METHOD
from ssbfast.net.forward.tcp_listener import ForwardListener
from ssbfast.net.forward.tcp_server import ForwardServer
from ssbfast.room.tunnel_auth import AllowList
from tests.helpers.clients import room_with_clients
from tests.helpers.forwards import Forwarding, TcpEnd, TcpService, forwarding
from tests.helpers.pairs import PeerPair, connected
from tests.helpers.rawpeer import eventually

BIG = int(os.environ.get("SSBFAST_TEST_TRANSFER", "256")) * MiB
"""Bytes of the long transfer; SSBFAST_TEST_TRANSFER (MiB) makes it longer."""


@asynccontextmanager
async def forward_pair(port: int) -> AsyncIterator[tuple[PeerPair, ForwardServer, ForwardListener]]:
    """A forward between two peers without a room."""
    api = Api()
    async with (
        connected(api) as pair,
        ForwardServer("127.0.0.1", port, allow=lambda _peer: True) as server,
        ForwardListener("127.0.0.1", 0) as listener,
    ):
        server.register(api)
        listener.peer = pair.here
        yield pair, server, listener


# ---------------------------------------------------------------- a web server


class _Pages(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = page(self.path)
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Quiet."""


def page(path: str) -> bytes:
    """What is served at a path: up to 200 kB."""
    seed = hashlib.sha256(path.encode()).digest()
    return seed * (int.from_bytes(seed[:2], "big") // 10)


class _Server(ThreadingHTTPServer):
    request_queue_size = 128


@contextmanager
def web_server() -> Iterator[int]:
    with _Server(("127.0.0.1", 0), _Pages) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


async def get(world: Forwarding, path: str) -> bytes:
    wire = await world.dial()
    await wire.send(f"GET {path} HTTP/1.0\r\nHost: a.friend\r\n\r\n".encode())
    head, _, body = (await wire.rest()).partition(b"\r\n\r\n")
    await wire.close()
    assert head.startswith(b"HTTP/1.0 200")
    return body


@pytest.mark.slow
@pytest.mark.parametrize(("split", "count"), [(False, 1000), (True, 100)])
async def test_a_web_server_serves_many_requests_with_fifty_in_flight(split: bool, count: int) -> None:
    with web_server() as port:
        async with forwarding(port, split=split) as world:
            slots = asyncio.Semaphore(50)

            async def one(number: int) -> None:
                async with slots:
                    path = f"/{number}"
                    assert await get(world, path) == page(path)

            await asyncio.gather(*(one(number) for number in range(count)))
            await world.is_idle()
            for end in (world.listener, world.server):
                assert end.traffic().opened == count and not end.traffic().failed
            assert world.listener.traffic().got == world.server.traffic().sent
            assert world.server.traffic(world.there) == world.server.traffic()
            assert world.listener.traffic(world.peer) == world.listener.traffic()


# ---------------------------------------------------------------- ends


async def pair_of(service: TcpService, world: Forwarding) -> tuple[TcpEnd, TcpEnd]:
    """A client's end and the service's end of a carried connection."""
    client = await world.dial()
    return client, await service.accept()


@pytest.mark.parametrize("size", [1, 3 * MiB])
async def test_half_close_of_the_client_leaves_the_answer_open(size: int) -> None:
    data = os.urandom(size)
    async with TcpService() as service, forwarding(service.port) as world:
        client, server = await pair_of(service, world)
        sending = asyncio.ensure_future(client.send(data))
        client_half = asyncio.ensure_future(server.rest())
        await sending
        client.finish()
        assert await client_half == data
        await server.send(data)
        assert await client.read(size) == data
        await server.send(b"more")
        await server.close()
        assert await client.rest() == b"more"
        await client.close()


@pytest.mark.parametrize("size", [1, 3 * MiB])
async def test_half_close_of_the_service_leaves_the_question_open(size: int) -> None:
    data = os.urandom(size)
    async with TcpService() as service, forwarding(service.port) as world:
        client, server = await pair_of(service, world)
        answer = asyncio.ensure_future(client.rest())
        await server.send(data)
        server.finish()
        assert await answer == data
        question = asyncio.ensure_future(server.read(size))
        await client.send(data)
        assert await question == data
        await client.send(b"more")
        await client.close()
        assert await server.rest() == b"more"
        await server.close()


async def test_an_end_at_once_is_an_end() -> None:
    async with TcpService() as service, forwarding(service.port) as world:
        client, server = await pair_of(service, world)
        await client.close()
        assert await server.rest() == b""
        await server.close()


async def test_a_reset_in_mid_body_arrives_as_a_reset() -> None:
    async with TcpService() as service, forwarding(service.port) as world:
        client, server = await pair_of(service, world)
        await server.send(b"HTTP/1.0 200 OK\r\nContent-Length: 100\r\n\r\nhalf of")
        await client.read(40)
        server.reset()
        with pytest.raises(ConnectionResetError):
            await client.rest()
        await client.close()


async def test_a_client_that_resets_resets_the_service() -> None:
    async with TcpService() as service, forwarding(service.port) as world:
        client, server = await pair_of(service, world)
        await client.send(b"question")
        await server.read(8)
        client.reset()
        with pytest.raises(ConnectionResetError):
            await server.rest()
        await server.close()


async def test_a_client_that_goes_while_it_is_sent_much_resets_the_service() -> None:
    async with TcpService() as service, forwarding(service.port) as world:
        client, server = await pair_of(service, world)
        await client.send(b"x")
        await client.close()
        with pytest.raises(ConnectionError):
            for _ in range(10_000):
                await server.send(bytes(64 * KiB))
        await server.close()


async def test_a_service_that_does_not_answer_is_a_reset() -> None:
    async with TcpService() as service:
        port = service.port
    async with forwarding(port) as world:
        client = await world.dial()
        with pytest.raises(ConnectionResetError):
            await client.rest()
        await client.close()
        await world.is_idle()
        assert world.server.traffic().failed == 1
        assert world.server.traffic(world.there).failed == 1


# ---------------------------------------------------------------- slow readers


async def fill(wire: TcpEnd, total: int) -> None:
    block = bytes(64 * KiB)
    for _ in range(total // len(block)):
        await wire.send(block)
    await wire.close()


def standing_still(end: ForwardServer | ForwardListener) -> bool:
    """Whether a connection of this end waits for its peer to take more."""
    return any(c.stream is not None and c.stream._protocol_paused and not c.stream._allowed() for c in end._connections)


@pytest.mark.parametrize("direction", ["down", "up"])
@pytest.mark.slow
async def test_a_reader_that_stands_still_stops_nobody_else_and_survives(
    monkeypatch: pytest.MonkeyPatch, direction: str
) -> None:
    monkeypatch.setattr(limits, "STALL_SECONDS", 0.2)
    total = 32 * MiB
    async with TcpService() as service, forwarding(service.port) as world:
        client, server = await pair_of(service, world)
        writer, reader = (server, client) if direction == "down" else (client, server)
        filling = asyncio.ensure_future(fill(writer, total))
        await eventually(lambda: standing_still(world.server if direction == "down" else world.listener))
        for _ in range(3):
            here, there = await pair_of(service, world)
            await asyncio.gather(here.send(b"x" * MiB), there.read(MiB))
            await asyncio.gather(there.send(b"y" * MiB), here.read(MiB))
            await there.close()
            assert await here.rest() == b""
            await here.close()
            await asyncio.sleep(0.2)
        assert not filling.done()
        for end in (world.server, world.listener):
            for connection in end._connections:
                assert len(connection._waiting) <= limits.FORWARD_WINDOW
        assert await reader.count() == total
        await filling
        await reader.close()


@pytest.mark.slow
async def test_a_long_transfer_holds_memory_flat() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await fill(TcpEnd(reader, writer), int(await reader.readline()))

    async with TcpService(serve) as service, forwarding(service.port) as world:
        process = psutil.Process()
        peak = 0

        async def transfer(total: int) -> None:
            nonlocal peak
            client = await world.dial()
            await client.send(b"%d\n" % total)
            got = 0
            while piece := await client.reader.read(256 * KiB):
                if got // (8 * MiB) != (got + len(piece)) // (8 * MiB):
                    peak = max(peak, process.memory_info().rss)
                got += len(piece)
            await client.close()
            assert got == total

        await transfer(32 * MiB)  # buffers and pools have their size now
        before = peak = process.memory_info().rss
        await transfer(BIG)
        assert peak - before <= 32 * MiB


# ---------------------------------------------------------------- sessions


@pytest.mark.parametrize("how", ["killed here", "killed there", "goodbye", "room gone"])
async def test_the_end_of_the_session_resets_every_connection(how: str) -> None:
    async with TcpService() as service, forwarding(service.port) as world:
        pairs = [await pair_of(service, world) for _ in range(5)]
        for client, server in pairs:
            await client.send(b"x")
            await server.read(1)
        if how == "goodbye":
            await world.peer.close()
        elif how == "room gone":
            await world.room.server.close()
        else:
            (world.peer if how == "killed here" else world.there).link.abort()
        for wire in (wire for pair in pairs for wire in pair):
            with pytest.raises(ConnectionResetError):
                await wire.rest()
            await wire.close()
        assert world.listener.peer is None
        late = await world.dial()
        with pytest.raises(ConnectionResetError):
            await late.rest()
        await late.close()


@pytest.mark.parametrize("cutter", ["session", "stream", "server"])
async def test_a_cut_right_behind_the_call_is_never_an_end(cutter: str) -> None:
    """The service may have accepted the connection before we know that there is one."""
    ends: list[str] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.read()
        except ConnectionResetError:
            ends.append("reset")
        else:
            ends.append("end")

    async with TcpService(serve) as service:
        for turns in range(25):
            async with forward_pair(service.port) as (pair, server, listener):
                client = TcpEnd(*await asyncio.open_connection(*listener.address))
                await client.send(b"question")
                await eventually(lambda server=server: server._connections)  # type: ignore[misc]
                for _ in range(turns):
                    await asyncio.sleep(0)
                if cutter == "session":
                    pair.there.link.abort()
                elif cutter == "server":
                    await server.close()
                else:
                    for connection in list(listener._connections):
                        connection.reset()
                with pytest.raises(ConnectionResetError):
                    await client.rest()
                await client.close()
        late = TcpEnd(*await asyncio.open_connection("127.0.0.1", service.port))
        late.finish()
        await eventually(lambda: "end" in ends)  # the service has seen to all that came before
        await late.close()
    assert ends.count("end") == 1 and "reset" in ends


async def test_what_came_before_a_cut_is_delivered() -> None:
    async with TcpService() as service, forwarding(service.port) as world:
        client, server = await pair_of(service, world)
        await client.send(b"x")
        await server.read(1)
        (connection,) = world.server._connections
        connection.deliver(b"last words")
        connection.stream_lost()
        assert await server.read(10) == b"last words"
        with pytest.raises(ConnectionResetError):
            await server.rest()
        world.peer.link.abort()
        await client.close()
        await server.close()


async def test_a_connection_that_has_finished_is_not_reset_by_the_end_of_its_session() -> None:
    async with TcpService() as service, forwarding(service.port) as world:
        client, server = await pair_of(service, world)
        (connection,) = world.server._connections
        server.finish()
        client.finish()
        await eventually(lambda: connection._tcp is not None and connection._tcp.is_closing())
        connection.reset()
        world.there.link.abort()
        assert await server.rest() == b""
        await server.close()
        await client.close()


async def test_whatever_closes_an_unfinished_connection_resets_it() -> None:
    async with TcpService() as service, forwarding(service.port) as world:
        client, server = await pair_of(service, world)
        for end in (world.server, world.listener):
            (connection,) = end._connections
            await eventually(lambda connection=connection: connection._tcp is not None)
            connection._tcp.close()  # as the kernel does for a process that is killed
        for wire in (client, server):
            with pytest.raises(ConnectionResetError):
                await wire.rest()
            await wire.close()


async def test_without_a_session_a_connection_waits_as_long_as_it_may() -> None:
    api = Api()
    async with (
        TcpService() as service,
        connected(api) as pair,
        ForwardServer("127.0.0.1", service.port, allow=lambda _peer: True) as server,
        ForwardListener("127.0.0.1", 0, patience=60) as listener,
    ):
        server.register(api)
        clients = [TcpEnd(*await asyncio.open_connection(*listener.address)) for _ in range(3)]
        await clients[0].send(b"early")
        clients[0].finish()
        await clients[1].send(b"gone")
        await eventually(lambda: len(listener._waiting) == 3)
        clients[1].reset()
        listener.peer = None
        await asyncio.sleep(0)
        listener.peer = pair.here
        first = await service.accept()
        assert await first.rest() == b"early"
        await first.send(b"answer")
        await first.close()
        assert await clients[0].rest() == b"answer"
        for client in clients:
            await client.close()
        while listener._connections or server._connections:  # the second may come through, and be reset then
            if not service.connections.empty():
                await service.connections.get_nowait().close()
            await asyncio.sleep(0)


async def test_a_connection_that_has_waited_in_vain_is_reset() -> None:
    async with ForwardListener("127.0.0.1", 0, patience=0.05) as listener:
        client = TcpEnd(*await asyncio.open_connection(*listener.address))
        await client.send(b"anybody?")
        with pytest.raises(ConnectionResetError):
            await client.rest()
        await client.close()
        assert listener.traffic().failed == 1


async def test_closing_an_end_resets_its_connections_and_stops_new_ones() -> None:
    async with TcpService() as service, forwarding(service.port) as world:
        client, server = await pair_of(service, world)
        await world.server.close()
        for wire in (client, server):
            with pytest.raises(ConnectionResetError):
                await wire.rest()
            await wire.close()
        refused = await world.dial()
        with pytest.raises(ConnectionResetError):
            await refused.rest()
        await refused.close()
        address = world.listener.address
        await world.listener.close()
        with pytest.raises(ConnectionError):
            await asyncio.open_connection(*address)


@pytest.mark.parametrize("how", ["server closes", "client resets", "session dies"])
async def test_who_waits_for_a_service_that_is_slow_to_connect_leaves_nothing(
    monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    dialling = 0

    async def hang(*_: Any) -> None:
        nonlocal dialling
        dialling += 1
        try:
            await asyncio.Event().wait()
        finally:
            dialling -= 1

    async with forwarding(9) as world:
        client = await world.dial()
        loop = asyncio.get_running_loop()
        with monkeypatch.context() as patch:
            patch.setattr(loop, "sock_connect", hang)
            await client.send(b"question")
            await eventually(lambda: dialling and any(c._waiting for c in world.server._connections))
            if how == "server closes":
                await world.server.close()
            elif how == "session dies":
                world.there.link.abort()
            else:
                client.reset()
            await eventually(lambda: not dialling)
        if how != "client resets":
            with pytest.raises(ConnectionResetError):
                await client.rest()
        await client.close()


# ---------------------------------------------------------------- who may do what


async def test_more_connections_than_a_peer_may_have_are_reset() -> None:
    async with TcpService() as service, forwarding(service.port, per_peer=2) as world:
        pairs = [await pair_of(service, world) for _ in range(2)]
        third = await world.dial()
        with pytest.raises(ConnectionResetError):
            await third.rest()
        await third.close()
        for client, server in pairs:
            await client.close()
            assert await server.rest() == b""
            await server.close()
        await world.is_idle()
        client, server = await pair_of(service, world)
        await server.close()
        await client.close()
        assert world.server.traffic().failed == 1


async def test_greedy_peers_leave_room_for_the_next_one() -> None:
    """Counted over all sessions of a key, and over all keys."""
    api = Api()
    async with AsyncExitStack() as stack:
        at = await stack.enter_async_context(room_with_clients())
        service = await stack.enter_async_context(TcpService())
        server = await stack.enter_async_context(ForwardServer("127.0.0.1", service.port, per_peer=4))
        server.register(api)
        keys = [Keypair.generate() for _ in range(5)]
        target = await stack.enter_async_context(
            RoomClient(Keypair.generate(), admission=AllowList([key.id for key in keys]), api=api)
        )
        await target.join(at.address)
        wires, had = [], []
        for key in keys:
            callers = [await at.client(key) for _ in range(2)]
            before = server.traffic().open
            for number in range(6):
                listener = await stack.enter_async_context(ForwardListener("127.0.0.1", 0))
                listener.peer = await callers[number % 2].connect(target.me.id)
                wires.append(TcpEnd(*await asyncio.open_connection(*listener.address)))
            await eventually(lambda: server.traffic().opened + server.traffic().failed == len(wires))
            had.append(server.traffic().open - before)
        assert had == [4, 4, 4, 2, 1]
        for wire in wires:
            await wire.close()


async def test_the_caller_cannot_choose_the_service() -> None:
    async with TcpService() as service, TcpService() as other, forwarding(service.port) as world:
        stream = world.peer.duplex(METHOD, {"host": "127.0.0.1", "port": other.port}, "127.0.0.1", other.port)
        await (await service.accept()).close()
        assert other.connections.empty()
        await stream.end()


async def test_a_room_is_served_no_forward() -> None:
    """The session with a room is served the same api as tunnels, but over TCP, and nobody was admitted."""
    api = Api()
    async with TcpService() as service, ForwardServer("127.0.0.1", service.port) as server, connected(api) as pair:
        server.register(api)
        stream = pair.here.duplex(METHOD)
        with pytest.raises(RemoteError, match="not in list of allowed methods"):
            await stream.__anext__()
        assert not server._connections


async def test_the_method_is_in_the_manifest() -> None:
    api = Api()
    ForwardServer("127.0.0.1", 1).register(api)
    assert api.manifest() == {
        "forward": {"datagrams": "duplex", "open": "duplex", "service": "duplex", "services": "async"}
    }


async def test_an_end_that_is_not_listening_has_no_address() -> None:
    listener = ForwardListener("127.0.0.1", 0)
    with pytest.raises(Exception, match="not listening"):
        _ = listener.address
