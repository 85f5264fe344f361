"""Whether anybody listens behind a forward, and what is said when nobody does, or when there are too many."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from ssbfast import limits
from ssbfast.net.api import Api
from ssbfast.net.endpoints import Endpoint
from ssbfast.net.forward.failures import Complaint
from ssbfast.net.forward.service import look_for, told_to_peers, why_not
from ssbfast.net.forward.tcp_listener import ForwardListener
from ssbfast.net.forward.tcp_server import ForwardServer
from tests.helpers.forwards import TcpEnd, TcpService
from tests.helpers.pairs import connected
from tests.helpers.rawpeer import eventually, settle
from tests.helpers.room_processes import free_port


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ConnectionRefusedError(111, "x"), "nothing listens at 127.0.0.1:8000"),
        (asyncio.TimeoutError(), "127.0.0.1:8000 does not answer"),
        (TimeoutError(110, "x"), "127.0.0.1:8000 does not answer"),
        (OSError(113, "x"), "127.0.0.1:8000 cannot be reached: no route to host"),
    ],
)
def test_words(error: Exception, words: str) -> None:
    assert why_not(error, Endpoint("127.0.0.1", 8000)) == words
    assert "127.0.0.1" not in told_to_peers(error)


def test_words_for_names_and_ipv6() -> None:
    assert why_not(socket.gaierror(-2, "x"), Endpoint("no.example", 80)) == "no such host: no.example"
    assert why_not(UnicodeError(), Endpoint("no.example", 80)) == "no such host: no.example"
    assert why_not(ConnectionRefusedError(111, "x"), Endpoint("::1", 80)) == "nothing listens at [::1]:80"


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
async def test_a_service_of_this_machine_is_found_without_a_connection(host: str) -> None:
    with socket.create_server((host, 0)) as service:
        service.settimeout(0.05)
        assert await look_for(Endpoint("127.0.0.1", service.getsockname()[1])) is None
        with pytest.raises(TimeoutError):
            service.accept()


async def test_where_nothing_listens_it_is_said() -> None:
    port = free_port()
    assert await look_for(Endpoint("127.0.0.1", port)) == f"nothing listens at 127.0.0.1:{port}"
    assert await look_for(Endpoint("no.such.host.invalid", 80)) == "no such host: no.such.host.invalid"


async def test_a_service_that_cannot_be_looked_for_is_connected_to(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", "other")
    with socket.create_server(("127.0.0.1", 0)) as service:
        assert await look_for(Endpoint("127.0.0.1", service.getsockname()[1])) is None


# ---------------------------------------------------------------- at both ends


class Ends:
    """here, there: what was told at the caller's end and at the service's. wires: closed at the end."""

    def __init__(self) -> None:
        self.here: list[Complaint] = []
        self.there: list[Complaint] = []
        self.wires: list[TcpEnd] = []
        self.listener: ForwardListener
        self.server: ForwardServer

    async def dial(self) -> TcpEnd:
        wire = TcpEnd(*await asyncio.open_connection(*self.listener.address))
        self.wires.append(wire)
        return wire


@asynccontextmanager
async def ends(port: int, *, there: int, here: int, patience: float = 60.0) -> AsyncIterator[Ends]:
    """A forward with so many places at either end."""
    api, world = Api(), Ends()
    async with AsyncExitStack() as stack:
        pair = await stack.enter_async_context(connected(api))
        world.server = await stack.enter_async_context(
            ForwardServer(
                "127.0.0.1", port,
                allow=lambda _peer: True, per_peer=there, patience=patience, told=world.there.append,
            )
        )  # fmt: skip
        world.server.register(api)
        world.listener = await stack.enter_async_context(
            ForwardListener("127.0.0.1", 0, per_peer=here, patience=patience, told=world.here.append)
        )
        world.listener.peer = pair.here
        yield world
        for wire in world.wires:
            await wire.close()


async def test_both_ends_tell_that_nothing_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "COMPLAINT_SECONDS", 1000.0)
    port = free_port()
    async with ends(port, there=9, here=9) as world:
        for _ in range(3):
            with pytest.raises(ConnectionResetError):
                await (await world.dial()).rest()
        assert [(one.reason, one.count) for one in world.there] == [(f"nothing listens at 127.0.0.1:{port}", 1)]
        assert [(one.reason, one.count) for one in world.here] == [("nothing listens at the other end", 1)]
        assert world.here[0].peer and world.there[0].peer


@pytest.mark.parametrize(("there", "here"), [(2, 9), (9, 2)])
async def test_who_finds_no_place_waits_for_one(there: int, here: int) -> None:
    async with TcpService() as service, ends(service.port, there=there, here=here) as world:
        clients = []
        for number in range(4):
            client = await world.dial()
            await client.send(bytes([number]))
            clients.append(client)
        first = [await service.accept() for _ in range(2)]
        owner = world.server if there == 2 else world.listener
        await eventually(lambda: len(owner._waiting) == 2)
        await settle()
        assert service.connections.empty()
        told = world.there if there == 2 else world.here
        assert told[0].reason == "2 connections are open: more have to wait"
        for wire, client in zip(first, clients, strict=False):
            await wire.close()
            await client.close()
        for _ in range(2):
            wire = await service.accept()
            number = (await wire.read(1))[0]
            await wire.send(b"served")
            assert await clients[number].read(6) == b"served"
            await wire.close()
            await clients[number].close()
        await eventually(lambda: not world.server._connections and not world.listener._connections)
        assert world.server.traffic().opened == 4 and world.server.traffic().failed == 0
        assert world.server.traffic().open == world.listener.traffic().open == 0


@pytest.mark.parametrize(("there", "here"), [(1, 9), (9, 1)])
async def test_who_has_waited_in_vain_is_told(there: int, here: int) -> None:
    async with TcpService() as service, ends(service.port, there=there, here=here, patience=0.05) as world:
        await (await world.dial()).send(b"x")
        world.wires.append(await service.accept())
        late = await world.dial()
        await late.send(b"y")
        with pytest.raises(ConnectionResetError):
            await late.rest()
        ways: Callable[[list[Complaint]], set[str]] = lambda told: {one.reason for one in told}  # noqa: E731
        full = {"1 connections are open: more have to wait", "no place for a connection within 0.05 seconds"}
        if there == 1:
            await eventually(lambda: "too many connections" in ways(world.here))
            await eventually(lambda: full <= ways(world.there))
        else:
            await eventually(lambda: full <= ways(world.here))


async def test_as_many_wait_as_there_are_places_and_no_more() -> None:
    async with TcpService() as service, ends(service.port, there=1, here=99) as world:
        await (await world.dial()).send(b"x")
        world.wires.append(await service.accept())
        for _ in range(2):
            await (await world.dial()).send(b"y")
        await eventually(lambda: "too many connections" in {one.reason for one in world.here})
        assert len(world.server._waiting) == 1
        world.listener.peer = None


async def test_who_waits_and_goes_leaves_nothing() -> None:
    async with TcpService() as service, ends(service.port, there=1, here=9) as world:
        await (await world.dial()).send(b"x")
        held = await service.accept()
        waiting = await world.dial()
        await waiting.send(b"y")
        await eventually(lambda: world.server._waiting)
        waiting.reset()
        await eventually(lambda: not world.server._waiting)
        await held.close()
        await world.wires[0].close()
        await eventually(lambda: not world.server._connections and not world.server._held)
