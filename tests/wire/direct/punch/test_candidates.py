"""What a peer says of where it is: which of it is believed, and that lies and junk cost nothing."""

from __future__ import annotations

import ipaddress
import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ssbfast import limits
from ssbfast.wire.direct.punch.candidates import (
    Address,
    Candidate,
    Candidates,
    Kind,
    NatMapping,
    Surroundings,
    admit,
    canonical_host,
    is_credible,
    is_private,
    is_sendable,
    may_send,
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
    *("2001:0:1::1", "::ffff:127.0.0.1", "::ffff:0.0.0.0", "::ffff:224.0.0.1", "::ffff:0:10.0.0.1", "::ffff:0:8.8.8.8"),
    *("::ffff:255.255.255.255", "::10.0.0.1", "64:ff9b::8.8.8.8", "2002:808:808::1", "192.88.99.1", "192.0.0.1"),
    *("100::1", "200::1", "4000::1", "fe00::1", "febf::1", "ff05::2", "2001:0:808:808::1"),
]
PRIVATE = [
    *("10.0.0.1", "172.16.0.1", "172.31.255.254", "192.168.2.1", "100.64.0.1", "100.127.255.254", "169.254.1.1"),
    *("fd00::1", "fd12::1", "fc00::1", "fec0::1", "::ffff:10.0.0.1", "169.254.169.254", "198.18.0.1", "198.19.255.1"),
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
@pytest.mark.parametrize("kind", ["host", "reflexive"])
def test_who_repeats_our_own_address_proves_nothing(host: str, kind: str) -> None:
    """Any friend knows our reflexive address, from our last offer or from the path that he has."""
    theirs = said("203.0.113.7", kind="reflexive")
    theirs["candidates"] += said(host, kind=kind)["candidates"]
    assert believed(theirs) == ["203.0.113.7"]


@pytest.mark.parametrize("host", ["192.168.1.77", "::ffff:192.168.1.77", "fd00:1::77"])
def test_private_ones_of_our_own_subnet(host: str) -> None:
    assert believed(said(host)) == [canonical_host(host)]


@pytest.mark.parametrize("host", ["192.168.1.255", "192.168.1.0", "fd00:1::"])
def test_broadcast_on_our_own_subnet(host: str) -> None:
    assert believed(said(host)) == []


EVERYWHERE = ["10.9.8.7", "172.16.5.5", "192.168.77.7", "100.64.3.2"]
LAN, CAMPUS, VPN = ["192.168.1.0/24"], ["10.1.2.0/24"], ["100.101.102.103/32"]

RULE: list[tuple[list[str], list[str], list[str], list[str]]] = [
    # our interfaces, where reflectors saw us, what is said and probed, what is said and not probed
    (LAN, ["203.0.113.7"], ["192.168.1.9", "8.8.8.8"], ["192.168.2.9", "192.168.1.255", "192.168.1.0", *EVERYWHERE]),
    (LAN, [], ["192.168.1.9", "8.8.8.8"], ["192.168.2.9", *EVERYWHERE, "fd12::1"]),
    ([], ["203.0.113.7"], ["8.8.8.8", "2600::1"], [*EVERYWHERE, "fd12::1", "169.254.7.7"]),
    (["203.0.113.0/24"], ["203.0.113.7"], ["203.0.113.9"], [*EVERYWHERE, "203.0.113.255", "203.0.113.0"]),
    # Routed private networks: a campus, a VPN, a carrier's; there may be a NAT of ours, too.
    (CAMPUS, ["10.1.2.3"], [*EVERYWHERE, "10.1.2.9"], ["10.1.2.255", "fd12::1", "169.254.7.7", "169.254.169.254"]),
    (VPN, ["100.101.102.103"], EVERYWHERE, ["fd12::1", "169.254.7.7", "100.100.100.200", "127.0.0.1"]),
    (LAN, ["10.200.0.9"], [*EVERYWHERE, "192.168.1.9"], ["192.168.1.255", "fd12::1"]),
    (["fd00:1::/64"], ["fd00:1::5"], ["fd12::1", "fd00:1::9"], [*EVERYWHERE, "fd00:ec2::254", "fd00:1::", "fe80::9"]),
    (LAN, ["203.0.113.7", "fd00:1::5"], ["fd12::1", "192.168.1.9"], [*EVERYWHERE, "fd00:ec2::254"]),
    (LAN, ["10.200.0.9", "2600::5"], EVERYWHERE, ["fd12::1"]),
    # Seen at an address that says nothing of what is routed.
    (LAN, ["169.254.7.7"], ["192.168.1.9"], [*EVERYWHERE, "169.254.7.8"]),
    (LAN, ["127.0.0.1"], ["192.168.1.9"], [*EVERYWHERE, "127.0.0.1"]),
    # Link-local: on an own link, and even there not where clouds answer.
    (["169.254.0.0/16"], [], ["169.254.7.7"], ["169.254.169.254", "169.254.170.2", "169.254.255.255", "169.254.0.0"]),
    (["169.254.0.0/16"], ["10.1.2.3"], ["169.254.7.7", "10.9.8.7"], ["169.254.169.254"]),
    # Subnets of everything, as some tunnels have them, say nothing.
    (["0.0.0.0/0", "::/0"], ["203.0.113.7"], ["8.8.8.8"], [*EVERYWHERE, "169.254.7.7", "fd12::1"]),
    (["8.0.0.0/5"], ["203.0.113.7"], ["8.8.8.8"], ["10.9.8.7"]),
    # A broadcast address of one subnet is none because another one has it inside.
    (["10.0.0.0/8", "10.1.2.0/24"], [], ["10.9.8.7", "10.1.2.9"], ["10.1.2.255", "10.1.2.0", "10.255.255.255"]),
    # The gateway's address is one like any other.
    (LAN, ["203.0.113.7"], ["192.168.1.1"], []),
]


@pytest.mark.parametrize(("subnets", "reflexive", "probed", "others"), RULE)
def test_the_rule(subnets: list[str], reflexive: list[str], probed: list[str], others: list[str]) -> None:
    """For what is said, of whichever kind, and for where authentic probes come from; both roles ask the same."""
    around = Surroundings(tuple(map(ipaddress.ip_network, subnets)), frozenset(reflexive))
    for host in (*probed, *others):
        wanted = [host] if host in probed else []
        assert [believed(said(host, kind=kind), around) for kind in ("host", "reflexive")] == [wanted, wanted], host
        mapped = f"::ffff:{host}" if ":" not in host else host
        assert believed(said(mapped), around) == wanted, mapped
        assert may_send((host, PORT), around) is (host in probed), host
        assert not may_send((host, 1023), around)


METADATA = [
    *("169.254.169.254", "169.254.169.253", "169.254.169.123", "169.254.170.2", "169.254.170.23", "fd00:ec2::254"),
    *("fd00:ec2::23", "fd20:ce::254", "100.100.100.200", "192.0.0.192", "168.63.129.16", "::ffff:169.254.169.254"),
    *("64:ff9b::a9fe:a9fe", "::169.254.169.254", "::ffff:0:169.254.169.254", "2002:a9fe:a9fe::1"),
]


@pytest.mark.parametrize("host", [*NEVER, *METADATA])
@pytest.mark.parametrize("kind", ["host", "reflexive"])
def test_never_whatever_our_network_is_like(host: str, kind: str) -> None:
    """Our interfaces are on every network that there is, and we are seen at a private address of both families."""
    v4 = ("169.254.0.0/16", "100.64.0.0/10", "192.0.0.0/8", "168.0.0.0/8", "127.0.0.0/8", "0.0.0.0/0")
    v6 = ("fd00::/8", "::/8", "2000::/3", "fe80::/10", "::/0")
    subnets = tuple(ipaddress.ip_network(subnet) for subnet in (*v4, *v6))
    around = Surroundings(subnets, frozenset({"10.1.2.3", "100.64.0.9", "fd00::9"}))
    assert believed(said(host, kind=kind), around) == []
    assert not may_send((canonical_host(host) or host, PORT), around)


@pytest.mark.parametrize(
    ("seen", "reflector", "own", "credible"),
    [
        ("203.0.113.7", "198.51.100.53", [], True),
        ("203.0.113.7", "10.0.0.53", [], True),
        ("203.0.113.7", "127.0.0.1", [], True),
        ("10.1.2.3", "10.0.0.53", [], True),  # a room inside, our NAT in between or not
        ("10.1.2.3", "100.64.0.53", [], True),
        ("fd00:1::5", "fd00:9::1", [], True),
        ("10.1.2.3", "198.51.100.53", [], False),  # a room outside cannot see that
        ("10.1.2.3", "198.51.100.53", [("10.1.2.3", PORT + 1)], False),
        ("10.1.2.3", "198.51.100.53", [("10.1.2.3", PORT)], True),  # but where nobody translates
        ("10.1.2.3", "127.0.0.1", [("10.1.2.3", PORT)], False),
        ("10.1.2.3", "169.254.7.7", [], False),
        ("169.254.7.8", "169.254.7.7", [], True),
        ("169.254.7.8", "198.51.100.53", [("169.254.7.8", PORT)], False),
        ("169.254.7.8", "10.0.0.53", [], False),
        ("127.0.0.1", "127.0.0.1", [], True),
        ("127.0.0.1", "198.51.100.53", [("127.0.0.1", PORT)], False),
        ("127.0.0.1", "10.0.0.53", [], False),
    ],
)
def test_what_a_reflector_can_know(seen: str, reflector: str, own: list[Address], credible: bool) -> None:
    assert is_credible((seen, PORT), reflector, own) is credible


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
    ours = Candidates(
        (Candidate("8.8.8.8", 4000, Kind.REFLEXIVE), Candidate("2600::1", 4001, Kind.HOST)), NatMapping.HARD, True
    )
    assert parse_whereabouts(json.loads(json.dumps(ours.as_json()))) == ours


def test_what_is_missing() -> None:
    assert parse_whereabouts({}) == Candidates()
    assert parse_whereabouts({"mapping": "harder", "birthday": 1}) == Candidates()
    assert parse_whereabouts({"mapping": ["easy"], "birthday": "true"}) == Candidates()
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
            assert any(ip in subnet for subnet in HOME.subnets)


@given(st.ip_addresses())
def test_the_two_lists_agree_with_the_library(ip: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
    """Whatever Python calls global and ordinary may be sent to."""
    if isinstance(ip, ipaddress.IPv6Address) and ip.is_site_local:
        return  # fec0::/10, of old: private, whatever Python says
    if ip.is_global and not ip.is_multicast and not ip.is_reserved and canonical_host(str(ip)) == str(ip):
        wrapped = ("64:ff9b", "2001:0:", "2002:", "192.0.0.", "192.88.99.", "168.63.129.16")
        assert is_sendable(str(ip), PORT) or str(ip).startswith(wrapped)
        assert not is_private(str(ip))
    elif ip.is_multicast or ip.is_reserved or ip.is_unspecified or ip.is_loopback:
        assert not may_send((str(ip), PORT), HOME)


def test_sources_of_datagrams_are_looked_at_the_same_way() -> None:
    assert is_sendable("8.8.8.8", 1024)
    assert not is_sendable("8.8.8.8", 1023)
    for host in ("fe80::1%eth0", "127.0.0.1", "224.0.0.1", "::ffff:8.8.8.8", None):
        assert not is_sendable(host, PORT)
    assert is_sendable("127.0.0.1", PORT, loopback=True)


def test_repr_shows_no_address() -> None:
    ours = Candidates((Candidate("8.8.8.8", 4567, Kind.HOST),))
    assert "8.8" not in repr(ours) and "4567" not in repr(ours) and "192.168" not in repr(HOME)
