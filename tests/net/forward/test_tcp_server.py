"""Several services of one peer: each name leads to its own, to the peers that may use it, and costs no more."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from ssbfast import limits
from ssbfast.errors import BadInputError, RemoteError
from ssbfast.keys import Keypair
from ssbfast.limits import KiB
from ssbfast.net.api import Api
from ssbfast.net.endpoints import Endpoint, UnixPath
from ssbfast.net.forward.failures import Complaint
from ssbfast.net.forward.service import NO_SERVICE, Offered, Service, look_for, why_not
from ssbfast.net.forward.tcp import METHOD, SERVICE, SERVICES
from ssbfast.net.forward.tcp_listener import ForwardListener, UnixForwardListener
from ssbfast.net.forward.tcp_server import ForwardServer, ServiceServer
from ssbfast.net.peer import Peer
from ssbfast.room.tunnel_auth import AllowList
from ssbfast.wire.muxrpc import Called
from tests.helpers.clients import room_with_clients
from tests.helpers.forwards import TcpEnd, TcpService
from tests.helpers.pairs import PeerPair, connected
from tests.helpers.rawpeer import eventually
from tests.helpers.room_processes import free_port

OTHER = frozenset({Keypair.generate().id})
"""Friends of a service, none of whom is here."""


async def name_itself(name: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer with a name, and what comes."""
    writer.write(name.encode() + b":" + await reader.read())
    writer.close()
    await writer.wait_closed()


@asynccontextmanager
async def named(*names: str) -> AsyncIterator[list[Service]]:
    """Services that answer with their names."""
    async with AsyncExitStack() as stack:
        found = []
        for name in names:
            service = TcpService(lambda reader, writer, name=name: name_itself(name, reader, writer))
            found.append(Service(Endpoint("127.0.0.1", (await stack.enter_async_context(service)).port), name))
        yield found


@asynccontextmanager
async def offered(services: list[Service], **options: Any) -> AsyncIterator[tuple[PeerPair, ServiceServer]]:
    """Two peers without a room; one offers services to the other."""
    api = Api()
    async with connected(api) as pair, ServiceServer(services, allow=lambda _peer: True, **options) as server:
        server.register(api)
        yield pair, server


async def ask(peer: Peer, name: str | None, data: bytes = b"hello") -> bytes:
    """Send bytes to the service of that name, end, and return its answer. Raises ConnectionResetError."""
    async with ForwardListener("127.0.0.1", 0, service=name) as listener:
        listener.peer = peer
        wire = TcpEnd(*await asyncio.open_connection(*listener.address))
        try:
            await wire.send(data)
            wire.finish()
            return await wire.rest()
        finally:
            await wire.close()


async def refusal(peer: Peer, method: str, *args: object) -> str:
    """Return the words in which a call is refused."""
    stream = peer.duplex(method, *args)
    with pytest.raises(RemoteError) as caught:
        await stream.__anext__()
    return caught.value.message


# ---------------------------------------------------------------- names


async def test_each_name_leads_to_its_service_and_no_name_to_the_first() -> None:
    async with named("web", "ssh") as services, offered(services) as (pair, _server):
        assert await ask(pair.here, "web") == b"web:hello"
        assert await ask(pair.here, "ssh") == b"ssh:hello"
        assert await ask(pair.here, None) == b"web:hello"
        told = await pair.here.call(SERVICES)
        ports = [one.place.port for one in services if isinstance(one.place, Endpoint)]
        assert told == [
            {"name": "web", "kind": "tcp", "port": ports[0]},
            {"name": "ssh", "kind": "tcp", "port": ports[1]},
        ]
        assert Offered.read(told) == (Offered("web", ports[0]), Offered("ssh", ports[1]))


@pytest.mark.parametrize(
    "args", [("git",), ("",), ("WEB",), (None,), (), (["web"],), ({"name": "web"},), ("web\0",), ("w" * 100,)]
)
async def test_a_name_that_is_none_gets_the_answer_of_a_service_that_is_not_for_us(args: tuple[object, ...]) -> None:
    async with named("web", "ssh") as (web, ssh), offered([web, Service(ssh.place, "ssh", OTHER)]) as (pair, _server):
        assert await refusal(pair.here, SERVICE, *args) == NO_SERVICE
        assert await refusal(pair.here, SERVICE, "ssh") == NO_SERVICE
        assert await pair.here.call(SERVICES) == [{"name": "web", "kind": "tcp", "port": web.place.port}]  # type: ignore[union-attr]


async def test_a_first_service_that_is_not_for_us_is_no_method() -> None:
    async with named("web", "ssh") as (web, ssh), offered([Service(web.place, "web", OTHER), ssh]) as (pair, _server):
        unknown = await refusal(pair.here, "forward.nothing")
        assert await refusal(pair.here, METHOD) == unknown.replace("nothing", "open")
        assert await ask(pair.here, "ssh") == b"ssh:hello"


async def test_a_direct_path_leads_to_no_service_that_is_not_for_us() -> None:
    async with named("web", "ssh") as (web, ssh), offered([Service(web.place, "web", OTHER), ssh]) as (pair, server):
        opened: list[Any] = []
        for name in (None, "web", "git", ""):
            assert not server.accept_direct(pair.there, opened.append, name)
        assert not opened and server.names_for(pair.there.id) == ["ssh"]


async def test_names_are_told_in_the_owners_complaints() -> None:
    told: list[Complaint] = []
    place = Endpoint("127.0.0.1", free_port())
    async with offered([Service(place, "web")], told=told.append) as (pair, _server):
        assert await refusal(pair.here, SERVICE, "web") == "nothing listens at the other end"
        assert [one.reason for one in told] == [f"web: nothing listens at 127.0.0.1:{place.port}"]


@pytest.mark.parametrize(
    ("names", "words"),
    [
        ((), "1 to 64 services"),
        (("web", "web"), "two services have the name web"),
        (("Web",), "a service's name has"),
        (tuple(f"s{number}" for number in range(limits.SERVICES + 1)), "1 to 64 services"),
    ],
)
def test_services_that_cannot_be_offered(names: tuple[str, ...], words: str) -> None:
    async def made() -> None:
        ServiceServer([Service(Endpoint("127.0.0.1", 1), name) for name in names])

    with pytest.raises(BadInputError, match=words):
        asyncio.run(made())


@pytest.mark.parametrize(
    "value",
    [
        *(None, "web", {"name": "web"}, [None, 3, "web", [], {}]),
        *([{"name": "WEB", "kind": "tcp"}], [{"name": "web", "kind": "x"}]),
    ],
)
def test_an_answer_of_another_form_offers_nothing(value: object) -> None:
    assert Offered.read(value) == ()


def test_an_answer_is_read_as_far_as_it_makes_sense() -> None:
    for port in (0, 65_536, -1, True, "80", 8.0):
        assert Offered.read([{"name": "a", "kind": "tcp", "port": port}]) == (Offered("a"),)
    assert len(Offered.read([{"name": f"s{n}", "kind": "tcp"} for n in range(1000)])) == limits.SERVICES


# ---------------------------------------------------------------- peers of before


class _FormerServer(ForwardServer):
    """What `listen` was: it serves forward.open, whatever its arguments, and knows no names."""

    def register(self, api: Api) -> None:
        api.carried(METHOD, self.accept)


async def test_a_peer_that_knows_no_names_is_reached_without_one_and_leads_no_name_to_its_service() -> None:
    told: list[Complaint] = []
    api = Api()
    async with named("old") as (old,), connected(api) as pair:
        assert isinstance(old.place, Endpoint)
        async with _FormerServer("127.0.0.1", old.place.port, allow=lambda _peer: True) as server:
            server.register(api)
            assert await ask(pair.here, None) == b"old:hello"
            async with ForwardListener("127.0.0.1", 0, service="old", told=told.append) as listener:
                listener.peer = pair.here
                wire = TcpEnd(*await asyncio.open_connection(*listener.address))
                with pytest.raises(ConnectionResetError):
                    await wire.rest()
                await wire.close()
            assert "allowed methods" in told[0].reason and server.traffic().opened == 1


async def test_a_peer_of_before_calls_without_a_name_and_gets_the_first() -> None:
    """Its call has no arguments; what others add means nothing."""
    async with named("web", "ssh") as services, offered(services) as (pair, server):
        called: list[Called] = []
        accept = server.accept
        pair.there.api.carried(METHOD, lambda peer, call: (called.append(call), accept(peer, call))[1])
        assert await ask(pair.here, None) == b"web:hello"
        assert [call.args for call in called] == [[]]
        stream = pair.here.duplex(METHOD, "ssh")
        await eventually(lambda: server.traffic().opened == 2)
        assert [one.service for one in server._connections] == [services[0]]
        await stream.end()


# ---------------------------------------------------------------- budgets


async def test_a_key_has_no_more_connections_by_a_hundred_names_and_costs_an_honest_pair_nothing() -> None:
    """Places are counted over all services and sessions of a key. A stranger to a service gets none by any name."""
    api = Api()
    async with AsyncExitStack() as stack:
        at = await stack.enter_async_context(room_with_clients())
        service = await stack.enter_async_context(TcpService())
        keys = [Keypair.generate() for _ in range(3)]
        greedy, stranger, honest = (key.id for key in keys)
        place = Endpoint("127.0.0.1", service.port)
        names = [f"s{number}" for number in range(limits.SERVICES - 1)]
        services = [Service(place, name, frozenset({greedy, honest})) for name in names]
        services.append(Service(place, "only", frozenset({honest})))
        server = await stack.enter_async_context(ServiceServer(services, per_peer=4))
        server.register(api)
        target = await at.client(admission=AllowList([key.id for key in keys]))
        target._answering._api = api
        callers = [await at.client(key) for key in keys]
        peers = [await caller.connect(target.me.id) for caller in callers]
        wires = []
        for name in names:
            listener = await stack.enter_async_context(ForwardListener("127.0.0.1", 0, service=name))
            listener.peer = peers[0]
            wires.append(TcpEnd(*await asyncio.open_connection(*listener.address)))
        for number in range(100):
            assert await refusal(peers[1], SERVICE, f"s{number}") == NO_SERVICE
        await eventually(lambda: server.traffic().opened + server.traffic().failed == len(wires))
        assert server._held == {greedy: 4}
        assert await peers[1].call(SERVICES) == []
        listener = await stack.enter_async_context(ForwardListener("127.0.0.1", 0, service="only"))
        listener.peer = peers[2]
        for _ in range(4):
            wires.append(TcpEnd(*await asyncio.open_connection(*listener.address)))
        await eventually(lambda: server._held == {greedy: 4, honest: 4})
        assert stranger not in server._held and len(server._connections) == 8
        for wire in wires:
            await wire.close()


@pytest.mark.slow
async def test_a_thousand_connections_at_once_over_three_services() -> None:
    async with named("a", "b", "c") as services, offered(services, per_peer=1000) as (pair, server):
        gate = asyncio.Event()

        async def one(listener: ForwardListener, name: str, number: int) -> None:
            wire = TcpEnd(*await asyncio.open_connection(*listener.address))
            await wire.send(b"%d" % number)
            await gate.wait()
            wire.finish()
            assert await wire.rest() == b"%s:%d" % (name.encode(), number)
            await wire.close()

        async with AsyncExitStack() as stack:
            listeners = {}
            for name in ("a", "b", "c"):
                listeners[name] = await stack.enter_async_context(
                    ForwardListener("127.0.0.1", 0, service=name, per_peer=1000)
                )
                listeners[name].peer = pair.here
            asking = [
                asyncio.ensure_future(one(listeners["abc"[number % 3]], "abc"[number % 3], number))
                for number in range(1000)
            ]
            await eventually(lambda: server.traffic().open == 1000)
            gate.set()
            await asyncio.gather(*asking)
            await eventually(lambda: server.traffic().open == 0)
        assert server.traffic().opened == 1000 and not server.traffic().failed


# ---------------------------------------------------------------- Unix sockets


async def test_a_service_at_a_unix_socket(tmp_path: Path) -> None:
    place = UnixPath(str(tmp_path / "service"))
    assert await look_for(place) == f"nothing listens at unix:{place.path}"
    told: list[Complaint] = []
    async with offered([Service(place, "db")], told=told.append) as (pair, _server):
        assert await refusal(pair.here, SERVICE, "db") == "nothing listens at the other end"
        assert [one.reason for one in told] == [f"db: nothing listens at unix:{place.path}"]
        listening = await asyncio.start_unix_server(
            lambda reader, writer: name_itself("db", reader, writer), place.path
        )
        async with listening:
            assert await look_for(place) is None
            assert await ask(pair.here, "db", bytes(3_000_000)) == b"db:" + bytes(3_000_000)
            assert await pair.here.call(SERVICES) == [{"name": "db", "kind": "tcp"}]


async def test_a_slow_reader_that_has_finished_itself_gets_all_and_is_closed_once(tmp_path: Path) -> None:
    """The last of it is written when there is room again: there asyncio must not be asked for the end."""
    problems: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: problems.append(context))
    data, path = bytes(900 * KiB), str(tmp_path / "socket")
    async with TcpService() as service, AsyncExitStack() as stack:
        pair, _server = await stack.enter_async_context(offered([Service(Endpoint("127.0.0.1", service.port), "a")]))
        listener = await stack.enter_async_context(UnixForwardListener(path, service="a"))
        listener.peer = pair.here
        client = TcpEnd(*await asyncio.open_unix_connection(path))
        client.finish()
        server = await service.accept()
        await server.send(data)
        await server.close()
        (carried,) = listener._connections
        await eventually(lambda: carried._full and carried._fin_due)
        assert await client.rest() == data
        await client.close()
        await eventually(lambda: not listener._connections)
    assert not problems


def test_words_for_unix_sockets() -> None:
    place = UnixPath("/run/db")
    assert why_not(ConnectionRefusedError(111, "x"), place) == "nothing listens at unix:/run/db"
    assert why_not(PermissionError(13, "x"), place) == "unix:/run/db cannot be reached: permission denied"


# ---------------------------------------------------------------- other services, while it runs


async def open_at(peer: Peer, name: str, stack: AsyncExitStack) -> TcpEnd:
    """A connection to a service of that name that has carried bytes both ways."""
    listener = await stack.enter_async_context(ForwardListener("127.0.0.1", 0, service=name))
    listener.peer = peer
    wire = TcpEnd(*await asyncio.open_connection(*listener.address))
    stack.push_async_callback(wire.close)
    await wire.send(b"x")
    return wire


async def test_services_change_and_connections_to_those_that_stay_go_on() -> None:
    async with AsyncExitStack() as stack:
        ends = {name: await stack.enter_async_context(TcpService()) for name in ("a", "b", "c", "d")}
        a, b, c, d = (Service(Endpoint("127.0.0.1", service.port), name) for name, service in ends.items())
        pair, server = await stack.enter_async_context(offered([a, b, c, d]))
        wires = {name: await open_at(pair.here, name, stack) for name in ends}
        there = {name: await service.connections.get() for name, service in ends.items()}
        for name in ends:
            assert await there[name].read(1) == b"x"
        server.replace(
            [Service(a.place, "a", frozenset({pair.there.id})), Service(b.place, "b", OTHER), Service(a.place, "c")]
        )
        for name in ("b", "c", "d"):
            with pytest.raises(ConnectionResetError):
                await wires[name].rest()
        await wires["a"].send(b"y")
        assert await there["a"].read(1) == b"y"
        assert [one["name"] for one in await pair.here.call(SERVICES)] == ["a", "c"]
        assert await refusal(pair.here, SERVICE, "d") == NO_SERVICE
        with pytest.raises(BadInputError):
            server.replace([d, d])
        assert [one.name for one in server.services] == ["a", "b", "c"]
        assert await refusal(pair.here, SERVICE, "d") == NO_SERVICE
