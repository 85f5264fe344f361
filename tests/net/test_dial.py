"""Small parts of floor 4: dialling, socket options, the table of served methods."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from ssbfast import limits
from ssbfast.errors import DeadlineError, SessionEndedError
from ssbfast.keys import Keypair
from ssbfast.net.api import Api
from ssbfast.net.dial import dial
from ssbfast.net.happy_eyeballs import FailedAddresses
from ssbfast.net.link import Link
from ssbfast.net.relay import Relay
from ssbfast.net.sockets import connect, reset_on_close, tune, unacknowledged
from ssbfast.wire.handshake import ClientHandshake
from ssbfast.wire.muxrpc import CallKind
from tests.helpers.clients import nothing_left
from tests.helpers.rawpeer import PATIENCE, RawPeer, eventually, settle
from tests.helpers.served_room import served_room


def make() -> Link:
    relay = Relay(pool=4 * limits.MiB)
    peer = RawPeer(Keypair.generate(), relay)
    return Link(relay, ClientHandshake(peer.me, Keypair.generate().id), peer)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "no.such.host.invalid", "localhost"])
async def test_a_failed_dial_names_no_address(host: str) -> None:
    with pytest.raises(SessionEndedError) as caught:
        await dial(host, 1, make)
    assert host not in str(caught.value) and "127" not in str(caught.value)


async def test_a_dial_has_a_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    async def forever(*_: Any) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(asyncio.get_running_loop(), "create_connection", forever)
    with pytest.raises(DeadlineError):
        await dial("127.0.0.1", 1, make, seconds=0.05)


async def test_both_ends_of_a_session_send_at_once_and_notice_silence() -> None:
    async with served_room() as room:
        peer = await room.raw()
        session = next(iter(room.server._sessions.values()))
        for link in (peer.link, session.link):
            transport = link._transport
            assert transport is not None
            sock = transport.get_extra_info("socket")
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
            if hasattr(socket, "TCP_USER_TIMEOUT"):
                assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == limits.USER_TIMEOUT * 1000
                assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == limits.KEEPALIVE_IDLE
            assert unacknowledged(transport) >= 0


def test_a_socket_that_is_not_tcp_is_left_alone() -> None:
    one, other = socket.socketpair()
    with one, other:
        tune(one)


def test_methods_are_found_by_name_and_kind() -> None:
    api = Api()

    @api.call("a.b")
    async def method(_peer: Any) -> None:
        return None

    @api.sink("a.c")
    async def sink(_peer: Any, _stream: Any) -> None:
        return None

    assert api.find(("a", "b"), CallKind.ASYNC) is method
    assert api.find(("a", "b"), CallKind.SOURCE) is None
    assert api.find(("a",), CallKind.ASYNC) is None
    assert api.manifest() == {"a": {"b": "async", "c": "sink"}}
    more = {("a", "d"): "source", ("a",): "sync", ("a", "b", "c"): "sync", ("a", "b"): "sync", ("e",): "duplex"}
    assert api.manifest(more) == {"a": {"b": "sync", "c": "sink", "d": "source"}, "e": "duplex"}


# ---------------------------------------------------------------- several addresses


class Names:
    """A name server that knows `several.example`: its addresses, in order. tried: which were connected to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *addresses: str) -> None:
        self.addresses = addresses
        real = socket.getaddrinfo

        def getaddrinfo(host: Any, port: Any, *more: Any, **options: Any) -> Any:
            if host != "several.example":
                return real(host, port, *more, **options)
            if options.get("flags", 0) & socket.AI_NUMERICHOST:
                raise socket.gaierror(socket.EAI_NONAME, "not a literal")
            return [one for address in self.addresses for one in real(address, port, type=socket.SOCK_STREAM)]

        monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
        self.tried: list[str] = []
        loop = asyncio.get_running_loop()
        connect = loop.sock_connect

        async def sock_connect(sock: socket.socket, address: Any) -> None:
            self.tried.append(address[0])
            if address[0] in DEAD:
                await asyncio.Event().wait()
            await connect(sock, address)

        monkeypatch.setattr(loop, "sock_connect", sock_connect)


DEAD = ("127.0.0.77", "127.0.0.78")


@pytest.fixture
def listener() -> Iterator[int]:
    """A port of 127.0.0.1 at which nobody speaks."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        yield sock.getsockname()[1]


async def test_a_dead_first_address_is_passed_over_and_remembered(
    monkeypatch: pytest.MonkeyPatch, listener: int
) -> None:
    names, failed = Names(monkeypatch, *DEAD, "127.0.0.1"), FailedAddresses()
    async with nothing_left():
        for _ in range(2):
            link = await asyncio.wait_for(dial("several.example", listener, make, failed=failed), PATIENCE)
            assert link.address == ("127.0.0.1", listener)
            link.abort()
            await settle()
        assert names.tried == [*DEAD, "127.0.0.1", "127.0.0.1"]


async def test_the_service_behind_a_name_too(monkeypatch: pytest.MonkeyPatch, listener: int) -> None:
    names, failed = Names(monkeypatch, DEAD[0], "127.0.0.1"), FailedAddresses()
    prepared: list[socket.socket] = []

    def prepare(sock: socket.socket) -> None:
        reset_on_close(sock)
        prepared.append(sock)

    for _ in range(2):
        sock = await asyncio.wait_for(connect("several.example", listener, prepare, failed=failed), PATIENCE)
        assert sock.getpeername() == ("127.0.0.1", listener)
        linger = sock.getsockopt(socket.SOL_SOCKET, socket.SO_LINGER, 8)
        assert linger[:1] == b"\x01" and linger[4:] == bytes(4)
        sock.close()
    assert names.tried == [DEAD[0], "127.0.0.1", "127.0.0.1"]
    assert all(sock.fileno() < 0 for sock in prepared)


async def test_a_refusing_address_costs_no_time(monkeypatch: pytest.MonkeyPatch, listener: int) -> None:
    monkeypatch.setattr(limits, "ATTEMPT_DELAY", 1000.0)
    Names(monkeypatch, "127.0.0.2", "127.0.0.1")
    link = await asyncio.wait_for(dial("several.example", listener, make), PATIENCE)
    assert link.address == ("127.0.0.1", listener)
    link.abort()
    await settle()


async def test_a_cancelled_connection_leaves_no_socket(monkeypatch: pytest.MonkeyPatch, listener: int) -> None:
    names = Names(monkeypatch, *DEAD)
    prepared: list[socket.socket] = []
    connecting = asyncio.ensure_future(connect("several.example", listener, prepared.append))
    await eventually(lambda: len(names.tried) == 2)
    connecting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await connecting
    assert len(prepared) == 2 and all(sock.fileno() < 0 for sock in prepared)


async def test_a_name_server_that_is_silent_has_a_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    async def silent(*_: Any, **__: Any) -> Any:
        await asyncio.Event().wait()

    monkeypatch.setattr("ssbfast.net.sockets.resolve", silent)
    with pytest.raises(DeadlineError):
        await dial("several.example", 1, make, seconds=0.05)


async def test_an_address_of_one_link_needs_its_interface() -> None:
    words = "^could not connect: an address fe80:… needs its interface: fe80:…%eth0$"
    with pytest.raises(SessionEndedError, match=words):
        await dial("fe80::77", 8008, make)


async def test_an_address_of_one_link_is_dialled_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    dialled: list[Any] = []

    async def create_connection(_make: object, host: str, port: int) -> Any:
        dialled.append((host, port))
        raise OSError(errno.ENETUNREACH, "")

    monkeypatch.setattr(asyncio.get_running_loop(), "create_connection", create_connection)
    with pytest.raises(SessionEndedError, match="unreachable"):
        await dial("fe80::77%lo", 8008, make)
    assert dialled == [("fe80::77%lo", 8008)]
