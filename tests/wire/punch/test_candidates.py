"""What a peer says of where it is: which of it is believed, and that lies and junk cost nothing."""

from __future__ import annotations

import ipaddress
import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ssbfast import limits
from ssbfast.wire.punch.candidates import (
    Candidate,
    Kind,
    NatMapping,
    Surroundings,
    Whereabouts,
    admit,
    canonical_host,
    is_private,
    is_sendable,
    parse_whereabouts,
)

PORT = 40000
HOME = Surroundings(
    subnets=(ipaddress.ip_network("192.168.1.0/24"), ipaddress.ip_network("fd00:1::/64")),
    reflexive=frozenset({"203.0.113.7"}),
    reflectors=frozenset({"198.51.100.53"}),
)

PUBLIC = ["8.8.8.8", "1.1.1.1", "100.63.255.255", "100.128.0.0", "172.15.9.9", "172.32.0.1", "2600::1", "2a02:8071::5"]
NEVER = [
    *("0.0.0.0", "0.1.2.3", "127.0.0.1", "127.9.9.9", "224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255"),
    *("::", "::1", "ff02::1", "ff0e::1", "fe80::1", "::8.8.8.8", "64:ff9b::10.0.0.1", "64:ff9b:1::1", "2002:a00:1::1"),
    *("2001:0:1::1", "::ffff:127.0.0.1", "::ffff:0.0.0.0", "::ffff:224.0.0.1"),
]
PRIVATE = [
    *("10.0.0.1", "172.16.0.1", "172.31.255.254", "192.168.2.1", "100.64.0.1", "100.127.255.254", "169.254.1.1"),
    *("fd00::1", "fc00::1", "fec0::1", "::ffff:10.0.0.1"),
]
NO_LITERALS: list[Any] = [
    *("example.org", "localhost", "", " 8.8.8.8", "8.8.8.8 ", "8.8.8", "8.8.8.08", "0x8080808", "134744072"),
    *(
        "8.8.8.8/32",
        "[2600::1]",
        "2600::1%eth0",
        "fe80::1%eth0",
        "8.8.8.8\0",
        "٨.8.8.8",
        "1" * 5000,
        None,
        134744072,
        True,
    ),
    ["8.8.8.8"],
]


def said(*hosts: object, port: object = PORT, kind: object = "host") -> dict[str, Any]:
    return {"candidates": [{"host": host, "port": port, "kind": kind} for host in hosts]}


def believed(value: object, around: Surroundings = HOME) -> list[str]:
    return [item.host for item in admit(parse_whereabouts(value), around)]


@pytest.mark.parametrize("host", PUBLIC)
@pytest.mark.parametrize("kind", ["host", "reflexive"])
def test_public_addresses(host: str, kind: str) -> None:
    assert believed(said(host, kind=kind)) == [host]


@pytest.mark.parametrize("host", NEVER)
def test_never(host: str) -> None:
    everywhere = (ipaddress.ip_network("0.0.0.0/0"), ipaddress.ip_network("::/0"))
    wide = Surroundings(subnets=everywhere, reflexive=frozenset({"8.8.8.8"}))
    theirs = said(host)
    theirs["candidates"].append({"host": "8.8.8.8", "port": PORT, "kind": "reflexive"})
    assert believed(theirs, wide) == ["8.8.8.8"]


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "::ffff:127.0.0.1"])
def test_loopback_by_a_switch(host: str) -> None:
    assert believed(said(host)) == []
    assert believed(said(host), Surroundings(loopback=True)) == [canonical_host(host)]


@pytest.mark.parametrize("host", PRIVATE)
def test_private_ones_of_other_networks(host: str) -> None:
    assert believed(said(host)) == []


@pytest.mark.parametrize("host", PRIVATE)
def test_private_ones_behind_our_own_nat(host: str) -> None:
    theirs = said(host)
    theirs["candidates"].append({"host": "203.0.113.7", "port": PORT, "kind": "reflexive"})
    assert believed(theirs) == [canonical_host(host), "203.0.113.7"]
    theirs["candidates"][1]["kind"] = "host"  # not seen there by a reflector
    assert believed(theirs) == ["203.0.113.7"]


@pytest.mark.parametrize("host", ["192.168.1.77", "::ffff:192.168.1.77", "fd00:1::77"])
def test_private_ones_of_our_own_subnet(host: str) -> None:
    assert believed(said(host)) == [canonical_host(host)]


@pytest.mark.parametrize("host", ["192.168.1.255", "192.168.1.0"])
def test_broadcast_on_our_own_subnet(host: str) -> None:
    assert believed(said(host)) == []


def test_ends_of_tiny_subnets_are_hosts() -> None:
    around = Surroundings(subnets=(ipaddress.ip_network("10.0.0.4/31"), ipaddress.ip_network("10.0.0.9/32")))
    assert believed(said("10.0.0.4", "10.0.0.5", "10.0.0.9"), around) == ["10.0.0.4", "10.0.0.5", "10.0.0.9"]


def test_a_reflector_that_names_itself() -> None:
    assert believed(said("198.51.100.53", kind="reflexive")) == []
    assert believed(said("::ffff:198.51.100.53", kind="reflexive")) == []
    assert believed(said("198.51.100.53", kind="host")) == ["198.51.100.53"], "the peer may live there"


@pytest.mark.parametrize("host", NO_LITERALS)
def test_only_literals(host: object) -> None:
    assert believed(said(host)) == []


@pytest.mark.parametrize("port", [0, -1, 22, 1023, 65536, 2**70, 4096.0, "4096", True, None, [4096]])
def test_ports_that_are_none(port: object) -> None:
    assert believed(said("8.8.8.8", port=port)) == []


@pytest.mark.parametrize("port", [1024, 65535])
def test_ports(port: int) -> None:
    assert believed(said("8.8.8.8", port=port)) == ["8.8.8.8"]


@pytest.mark.parametrize("kind", ["peer reflexive", "relay", "", None, 1, ["host"]])
def test_kinds_that_nobody_may_say(kind: object) -> None:
    assert believed(said("8.8.8.8", kind=kind)) == []


def test_a_thousand_candidates() -> None:
    many = said(*(f"8.8.{number // 250}.{number % 250}" for number in range(1000)))
    assert believed(many) == [f"8.8.0.{number}" for number in range(8)]
    junk_first = said(*["junk"] * 8, "8.8.8.8")
    assert believed(junk_first) == [], "work ends after 8, whatever they are"


def test_no_address_twice() -> None:
    assert believed(said("8.8.8.8", "::ffff:8.8.8.8", "8.8.8.8", "2600:0::1", "2600::1")) == ["8.8.8.8", "2600::1"]


def test_no_address_twice_by_another_name() -> None:
    theirs = said("8.8.8.8")
    theirs["candidates"] += said("8.8.8.8", kind="reflexive")["candidates"]
    assert [item.kind for item in admit(parse_whereabouts(theirs), HOME)] == [Kind.HOST]


def test_there_and_back() -> None:
    ours = Whereabouts(
        (Candidate("8.8.8.8", 4000, Kind.REFLEXIVE), Candidate("2600::1", 4001, Kind.HOST)), NatMapping.HARD, True
    )
    assert parse_whereabouts(json.loads(json.dumps(ours.as_json()))) == ours


def test_what_is_missing() -> None:
    assert parse_whereabouts({}) == Whereabouts()
    assert parse_whereabouts({"mapping": "harder", "birthday": 1}) == Whereabouts()
    assert parse_whereabouts({"mapping": ["easy"], "birthday": "true"}) == Whereabouts()
    assert parse_whereabouts({"birthday": True}).birthday


numbers = st.booleans() | st.integers() | st.floats()
leaves = st.none() | numbers | st.text(max_size=20) | st.sampled_from(PUBLIC + NEVER)
words = st.sampled_from(["candidates", "host", "port", "kind", "mapping", "birthday"]) | st.text(max_size=5)
junk = st.recursive(leaves, lambda inner: st.lists(inner, max_size=12) | st.dictionaries(words, inner, max_size=6))
near = st.fixed_dictionaries(
    {"host": st.sampled_from(PUBLIC + NEVER + PRIVATE) | st.ip_addresses().map(str) | leaves},
    optional={"port": st.integers(0, 70000) | leaves, "kind": st.sampled_from(["host", "reflexive"]) | leaves},
)


@given(junk | st.fixed_dictionaries({"candidates": st.lists(near | junk, max_size=20)}), st.booleans())
@example({"candidates": [[[[[[[[[]]]]]]]]]}, True)
@example({"candidates": {"0": {"host": "8.8.8.8"}}}, False)
def test_whatever_is_said(value: object, loopback: bool) -> None:
    around = Surroundings(HOME.subnets, HOME.reflexive, HOME.reflectors, loopback)
    theirs = parse_whereabouts(value)
    chosen = admit(theirs, around)
    assert len(theirs.candidates) <= limits.CANDIDATES
    assert len({item.address for item in chosen}) == len(chosen)
    for item in chosen:
        ip = ipaddress.ip_address(item.host)
        assert str(ip) == item.host and 1024 <= item.port <= 65535
        assert not ip.is_multicast and not ip.is_unspecified and (loopback or not ip.is_loopback)
        assert item.kind in (Kind.HOST, Kind.REFLEXIVE)
        if ip.is_private and is_private(item.host) and not ip.is_loopback:
            assert "203.0.113.7" in theirs.reflexive() or any(ip in subnet for subnet in HOME.subnets)


@given(st.ip_addresses())
def test_the_two_lists_agree_with_the_library(ip: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
    """Whatever Python calls global and ordinary may be sent to."""
    if ip.is_global and not ip.is_multicast and not ip.is_reserved and canonical_host(str(ip)) == str(ip):
        wrapped = ("64:ff9b", "2001:0:", "2002:")
        assert is_sendable(str(ip), PORT) or str(ip).startswith(wrapped)
        assert not is_private(str(ip))


def test_sources_of_datagrams_are_looked_at_the_same_way() -> None:
    assert is_sendable("8.8.8.8", 1024)
    assert not is_sendable("8.8.8.8", 1023)
    for host in ("fe80::1%eth0", "127.0.0.1", "224.0.0.1", "::ffff:8.8.8.8", None):
        assert not is_sendable(host, PORT)
    assert is_sendable("127.0.0.1", PORT, loopback=True)


def test_repr_shows_no_address() -> None:
    ours = Whereabouts((Candidate("8.8.8.8", 4567, Kind.HOST),))
    assert "8.8" not in repr(ours) and "4567" not in repr(ours) and "192.168" not in repr(HOME)
