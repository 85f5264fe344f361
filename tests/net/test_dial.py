"""Small parts of floor 4: dialling, socket options, the table of served methods."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest

from ssbfast import limits
from ssbfast.errors import DeadlineError, SessionEndedError
from ssbfast.keys import Keypair
from ssbfast.net.api import Api
from ssbfast.net.dial import dial
from ssbfast.net.link import Link
from ssbfast.net.relay import Relay
from ssbfast.net.sockets import tune, unacknowledged
from ssbfast.wire.handshake import ClientHandshake
from ssbfast.wire.muxrpc import CallKind
from tests.helpers.livingroom import living_room
from tests.helpers.rawpeer import RawPeer


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
    async with living_room() as room:
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
