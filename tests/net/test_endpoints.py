"""Endpoints, binding, and the addresses that are published."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from ssbfast.errors import BadInputError
from ssbfast.ids import FeedId
from ssbfast.net.endpoints import Endpoint, beside, bind, bind_udp, is_wildcard_only, joined, publish, reflectors, shown
from ssbfast.wire.address import parse_address

KEY = FeedId(bytes(range(32)))


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("", "", 8008),
        ("*", "", 8008),
        (":0", "", 0),
        ("*:9", "", 9),
        ("room.example", "room.example", 8008),
        ("room.example:1234", "room.example", 1234),
        ("127.0.0.1:65535", "127.0.0.1", 65535),
        ("::1", "::1", 8008),
        ("[::1]", "::1", 8008),
        ("[::1]:7", "::1", 7),
        ("[::]:0", "::", 0),
    ],
)
def test_endpoint_is_read(text: str, host: str, port: int) -> None:
    assert Endpoint.parse(text) == Endpoint(host, port)


@pytest.mark.parametrize("text", ["a:65536", "a:-1", "a:x", "a:１", "[::1", "[::1]7", "a b", "a:1 ", "\ta"])
def test_nonsense_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(BadInputError) as caught:
        Endpoint.parse(text)
    assert "\n" not in str(caught.value)


def test_default_port_can_be_chosen() -> None:
    assert Endpoint.parse("x", 1).port == 1


@pytest.fixture
def closing() -> Iterator[list[socket.socket]]:
    sockets: list[socket.socket] = []
    yield sockets
    for sock in sockets:
        sock.close()


def test_every_address_binds_both_families_on_one_port(closing: list[socket.socket]) -> None:
    closing += bind([Endpoint("", 0)])
    assert len({sock.getsockname()[1] for sock in closing}) == 1
    assert closing[0].family == socket.AF_INET
    assert is_wildcard_only(closing)
    assert joined(publish(closing, KEY, None)).startswith("net:localhost:")


def test_several_endpoints_without_port_get_one(closing: list[socket.socket]) -> None:
    closing += bind([Endpoint("127.0.0.1", 0), Endpoint("127.0.0.2", 0)])
    assert len({sock.getsockname()[1] for sock in closing}) == 1
    assert not is_wildcard_only(closing)
    port = closing[0].getsockname()[1]
    found = parse_address(joined(publish(closing, KEY, None)))
    assert [address.transport.host for address in found] == ["127.0.0.1", "127.0.0.2"]
    assert {address.transport.port for address in found} == {port}
    assert {address.shs for address in found} == {KEY}


def test_published_host_replaces_what_was_bound(closing: list[socket.socket]) -> None:
    closing += bind([Endpoint("127.0.0.1", 0)])
    port = closing[0].getsockname()[1]
    assert joined(publish(closing, KEY, Endpoint("room.example", 0))).startswith(f"net:room.example:{port}~shs:")
    assert joined(publish(closing, KEY, Endpoint("room.example", 99))).startswith("net:room.example:99~shs:")


def test_a_taken_port_is_said_and_nothing_stays_bound(closing: list[socket.socket]) -> None:
    closing += bind([Endpoint("127.0.0.1", 0)])
    port = closing[0].getsockname()[1]
    with pytest.raises(BadInputError, match="the port is taken"):
        bind([Endpoint("127.0.0.2", port), Endpoint("127.0.0.1", port)])
    closing += bind([Endpoint("127.0.0.2", port)])


@pytest.mark.parametrize("host", ["no.such.host.invalid", "x" * 300, "192.0.2.1"])
def test_a_host_that_is_not_ours_is_said(host: str) -> None:
    with pytest.raises(BadInputError):
        bind([Endpoint(host, 0)])


# ---------------------------------------------------------------- UDP


def test_udp_is_bound_beside_tcp(closing: list[socket.socket]) -> None:
    tcp = bind([Endpoint("127.0.0.1", 0), Endpoint("127.0.0.2", 0)])
    closing += tcp
    udp = bind_udp(beside(tcp))
    closing += udp
    assert [sock.getsockname() for sock in udp] == [sock.getsockname() for sock in tcp]
    assert {sock.type for sock in udp} == {socket.SOCK_DGRAM}
    assert shown(udp) == [f"127.0.0.{last}:{tcp[0].getsockname()[1]}" for last in (1, 2)]
    with pytest.raises(BadInputError, match=r"127\.0\.0\.1:\d+ \(UDP\): the port is taken"):
        bind_udp(beside(tcp))


def test_both_families_have_the_same_udp_port(closing: list[socket.socket]) -> None:
    closing += bind_udp([Endpoint("", 0)])
    assert len({sock.getsockname()[1] for sock in closing}) == 1
    assert shown(closing)[0].startswith("0.0.0.0:")


@pytest.mark.parametrize(
    ("tcp", "udp", "told"),
    [
        (["127.0.0.1"], ["127.0.0.1"], ["P"]),
        (["127.0.0.1", "127.0.0.2"], ["127.0.0.1", "127.0.0.2"], ["P"]),
        (["127.0.0.1", "127.0.0.2"], ["127.0.0.2"], ["127.0.0.2:P"]),
        (["127.0.0.1"], ["0.0.0.0"], ["P"]),
        (["0.0.0.0"], ["0.0.0.0"], ["P"]),
        (["0.0.0.0"], ["127.0.0.1", "127.0.0.2"], ["127.0.0.1:P", "127.0.0.2:P"]),
        (["127.0.0.1"], [], []),
    ],
)
def test_members_are_told_ports_or_addresses(
    closing: list[socket.socket], tcp: list[str], udp: list[str], told: list[str]
) -> None:
    here = bind([Endpoint(host, 0) for host in tcp])
    closing += here
    port = here[0].getsockname()[1]
    there = bind_udp([Endpoint(host, port) for host in udp])
    closing += there
    assert reflectors(here, there) == tuple(port if text == "P" else text.replace("P", str(port)) for text in told)
