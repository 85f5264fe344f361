"""Multiserver addresses: what is read, how it is printed, and where the first bad character is."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ssbfast.errors import AddressError
from ssbfast.ids import FeedId
from ssbfast.limits import ADDRESS_TEXT
from ssbfast.wire.address import (
    ROOM_SEED,
    Invite,
    MultiserverAddress,
    NetAddress,
    OnionAddress,
    OtherProtocol,
    TunnelAddress,
    UnixAddress,
    WebSocketAddress,
    format_address,
    parse_address,
    parse_invite,
)

PORTAL_KEY = "7MG1hyfz8SsxlIgansud4LKM57IHIw2Okw/hvOdeJWw="
KEY = "1b9KP8znF7A4i8wnSevBSK2ZabI/Re4bYF/Vh3hXasQ="
PORTAL = FeedId.parse(f"@{PORTAL_KEY}.ed25519")
FEED = FeedId.parse(f"@{KEY}.ed25519")
TUNNEL = f"tunnel:{PORTAL}:{FEED}"


def one(text: str) -> MultiserverAddress:
    [address] = parse_address(text)
    return address


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("net:host.com:8008", MultiserverAddress(NetAddress("host.com", 8008))),
        (f"net:host.com:8008~shs:{KEY}", MultiserverAddress(NetAddress("host.com", 8008), FEED)),
        ("net:127.0.0.1:1", MultiserverAddress(NetAddress("127.0.0.1", 1))),
        ("net:!:!:1:8008", MultiserverAddress(NetAddress("::1", 8008))),
        ("net:fe80!:!:1%eth0:65535", MultiserverAddress(NetAddress("fe80::1%eth0", 65535))),
        ("ws://host.com", MultiserverAddress(WebSocketAddress("host.com", 80))),
        ("ws://host.com:8989", MultiserverAddress(WebSocketAddress("host.com", 8989))),
        ("wss://host.com", MultiserverAddress(WebSocketAddress("host.com", 443, secure=True))),
        ("wss://host.com:80/a:b?c=1", MultiserverAddress(WebSocketAddress("host.com", 80, True, "/a:b?c=1"))),
        ("ws://[::1]:8989/", MultiserverAddress(WebSocketAddress("::1", 8989, False, "/"))),
        ("ws://h/a!;b!~c!!d", MultiserverAddress(WebSocketAddress("h", 80, False, "/a;b~c!d"))),
        (f"onion:abc.onion:8008~shs:{KEY}", MultiserverAddress(OnionAddress("abc.onion", 8008), FEED)),
        ("unix:/ssb~noauth", MultiserverAddress(UnixAddress("/ssb"), others=(OtherProtocol("noauth"),))),
        ("unix:/a!:b!!c", MultiserverAddress(UnixAddress("/a:b!c"))),
        (TUNNEL, MultiserverAddress(TunnelAddress(PORTAL, FEED))),
        (f"{TUNNEL}~shs:{KEY}", MultiserverAddress(TunnelAddress(PORTAL, FEED), FEED)),
        (f"{TUNNEL}:0~shs:{KEY}", MultiserverAddress(TunnelAddress(PORTAL, FEED, 0), FEED)),
        (f"{TUNNEL}:17", MultiserverAddress(TunnelAddress(PORTAL, FEED, 17))),
        (f"net:h:1~shs:{KEY}~gzip", MultiserverAddress(NetAddress("h", 1), FEED, None, (OtherProtocol("gzip"),))),
        (f"net:h:1~shs:{KEY}:{PORTAL_KEY}", MultiserverAddress(NetAddress("h", 1), FEED, PORTAL.key)),
        ("bt:aa!:bb:", MultiserverAddress(OtherProtocol("bt", ("aa:bb", "")))),
        ("ptunnel:1:AAEC:3H98", MultiserverAddress(OtherProtocol("ptunnel", ("1", "AAEC", "3H98")))),
    ],
)
def test_read_and_printed_alike(text: str, address: MultiserverAddress) -> None:
    assert parse_address(text) == (address,)
    assert format_address(address) == text == str(address)
    assert format_address(parse_address(text)) == text


@pytest.mark.parametrize(
    ("text", "printed"),
    [
        ("net:::1:8008", "net:!:!:1:8008"),
        ("net:[::1]:8008", "net:!:!:1:8008"),
        ("net:[!:!:1]:8008", "net:!:!:1:8008"),
        ("net:0!:0:0::0001:8008", "net:!:!:1:8008"),
        ("net:2001:DB8:::1:8008", None),
        ("net:2001:DB8::1:8008", "net:2001!:db8!:!:1:8008"),
        ("ws:host.com:8989", "ws://host.com:8989"),
        ("ws:host.com", "ws://host.com"),
        ("ws://host.com:80", "ws://host.com"),
        ("wss://host.com:443/x", "wss://host.com/x"),
        ("ws:[::1]:80", "ws://[::1]"),
        ("unix:/a:b", "unix:/a!:b"),
        ("ws!:x", None),
    ],
)
def test_other_spellings(text: str, printed: str | None) -> None:
    if printed is None:
        with pytest.raises(AddressError):
            parse_address(text)
    else:
        assert format_address(parse_address(text)) == printed
        assert parse_address(printed) == parse_address(text)


def test_alternatives() -> None:
    text = f"net:h:1~shs:{KEY};wss://h~shs:{KEY};new-thing:x;{TUNNEL}"
    addresses = parse_address(text)
    assert [type(address.transport) for address in addresses] == [
        NetAddress,
        WebSocketAddress,
        OtherProtocol,
        TunnelAddress,
    ]
    assert format_address(addresses) == format_address(list(addresses)) == text
    assert [address.peer for address in addresses] == [FEED, FEED, None, FEED]


def test_a_tunnel_address_alone() -> None:
    tunnel = TunnelAddress(PORTAL, FEED)
    assert format_address(tunnel) == str(tunnel) == f"{TUNNEL}~shs:{KEY}"
    assert str(TunnelAddress(PORTAL, FEED, 3)) == f"{TUNNEL}:3~shs:{KEY}"
    assert one(str(tunnel)).transport == tunnel
    assert format_address(NetAddress("::1", 8008)) == "net:!:!:1:8008"


@pytest.mark.parametrize(
    ("text", "offset"),
    [
        ("", 0),
        (":host.com:8008", 0),
        ("1a:host.com:8008", 0),
        ("ABC:host.com:8008", 0),
        ("a.b:host.com:8008", 1),
        ("a:host.com:8008", 1),
        ("~:host.com:8008", 0),
        (";:host.com:8008", 0),
        ("!:host.com:8008", 0),
        ("ne!!:h:1", 2),
        ("net:host.com:8008~", 18),
        ("net:host.com:8008~~gzip", 18),
        ("net:a..b:8008", 4),
        ("net:" + "a" * 64 + ".com:8008", 4),
        ("net:host.com:8008;", 18),
        ("net:host.com:8008;;net:a:1", 18),
        (";net:host.com:8008", 0),
        ("net:h:8008 ", 10),
        (" net:h:8008", 0),
        ("net:h h:8008", 5),
        ("net:h\n:8008", 5),
        ("net:\x7f:8008", 4),
        ("net:h\u00e9:8008", 5),
        ("net:h!x:8008", 5),
        ("net:h:8008!", 10),
        ("net", 3),
        ("net:host.com", 12),
        ("net::8008", 4),
        ("net:host.com:", 13),
        ("net:host.com:0", 13),
        ("net:host.com:65536", 13),
        ("net:host.com:08008", 13),
        ("net:host.com:+1", 13),
        ("net:host.com:8008.5", 13),
        ("net:host.com:99999999999999999999999999", 13),
        ("net:a:b:8008", 4),
        ("net:[host]:8008", 4),
        ("net:[::1:8008", 4),
        ("net:::1]:8008", 4),
        ("net:1.2.3.4/5:8008", 4),
        ("net:a@b:8008", 4),
        ("net:-a:8008", 4),
        ("net:" + "a" * 254 + ":8008", 4),
        ("net:fe80::1%:8008", 4),
        ("net:fe80::1%a/b:8008", 4),
        ("onion:abc.onion", 15),
        ("unix", 4),
        ("unix:", 5),
        ("ws", 2),
        ("ws://", 3),
        ("ws://h:", 7),
        ("ws://h:0", 7),
        ("ws://h:99999/x", 7),
        ("ws://a b", 6),
        ("ws://u@h", 3),
        ("ws://h:1:2", 7),
        ("ws://::1", 6),
        ("tunnel", 6),
        (f"tunnel:{PORTAL}", 60),
        (f"tunnel:@x:{FEED}", 7),
        (f"tunnel:{PORTAL}:{KEY}", 61),
        (f"{TUNNEL}:", 115),
        (f"{TUNNEL}:01", 115),
        (f"{TUNNEL}:-1", 115),
        (f"{TUNNEL}:1000000000000000", 115),
        (f"{TUNNEL}:0:0", 117),
        (f"{TUNNEL}~shs:{PORTAL_KEY}", 119),
        ("shs", 0),
        ("shs:::", 0),
        ("net:h:1~shs", 11),
        ("net:h:1~shs:", 12),
        ("net:h:1~shs:AAAA", 12),
        (f"net:h:1~shs:{KEY[:-2]}R=", 12),
        (f"net:h:1~shs:{FEED}", 12),
        (f"net:h:1~shs:{KEY}:", 57),
        (f"net:h:1~shs:{KEY}:{KEY}:{KEY}", 146),
        (f"net:h:1~gzip~shs:{KEY}", 13),
        (f"net:h:1~shs:{KEY}~shs:{KEY}", 57),
        (f"net:h:1;net:h:0~shs:{KEY}", 14),
        ("net:h:1~" + "a" * ADDRESS_TEXT, ADDRESS_TEXT),
    ],
)
def test_the_first_bad_character(text: str, offset: int) -> None:
    with pytest.raises(AddressError) as caught:
        parse_address(text)
    assert caught.value.offset == offset
    assert str(caught.value).endswith(f"(at character {offset})")
    assert KEY[:8] not in str(caught.value)


@pytest.mark.parametrize("text", [None, 5, b"net:h:1", ["net:h:1"]])
def test_not_text(text: Any) -> None:
    with pytest.raises(AddressError):
        parse_address(text)


class TestInvite:
    text = f"net:room.example:8008~shs:{KEY}:SSB+Room+PSK3TLYC2T86EHQCUHBUHASCASE18JBV24="

    def test_read_and_printed_alike(self) -> None:
        invite = parse_invite(self.text)
        assert invite == Invite(MultiserverAddress(NetAddress("room.example", 8008), FEED))
        assert str(invite) == self.text
        assert format_address(invite.address) == f"net:room.example:8008~shs:{KEY}"

    def test_ipv6(self) -> None:
        invite = parse_invite(self.text.replace("room.example", "::1"))
        assert str(invite) == self.text.replace("room.example", "!:!:1")

    @pytest.mark.parametrize(
        ("text", "offset"),
        [
            ("net:room.example:8008", 0),
            (f"net:room.example:8008~shs:{KEY}", 70),
            (f"net:room.example:8008~shs:{KEY}:{PORTAL_KEY}", 71),
            (f"{text}~gzip", 0),
            (f"{text};{text}", 0),
            (text.replace("net:", "ws:"), 0),
            (text.replace("SSB+", "ssb+"), 71),
            (text.replace("8008", "0"), 17),
            (f"{TUNNEL}~shs:{KEY}:{ROOM_SEED}", 0),
            ("", 0),
        ],
    )
    def test_anything_else_is_none(self, text: str, offset: int) -> None:
        with pytest.raises(AddressError) as caught:
            parse_invite(text)
        assert caught.value.offset == offset


class TestBuilding:
    """Tests that an address which cannot be read back cannot be built."""

    @pytest.mark.parametrize("host", ["", "a b", "a:b", "[x]", "a@b", "a/b", "a;b", "a\n", "\u00e9", "::1%", "1::2::3"])
    def test_hosts(self, host: str) -> None:
        for kind in (NetAddress, OnionAddress, WebSocketAddress):
            with pytest.raises(AddressError):
                kind(host, 1)

    @pytest.mark.parametrize("port", [0, -1, 65536, True, "80", 1.0, None])
    def test_ports(self, port: Any) -> None:
        for kind in (NetAddress, OnionAddress, WebSocketAddress):
            with pytest.raises(AddressError):
                kind("h", port)

    def test_hosts_have_one_form(self) -> None:
        assert NetAddress("[0:0::1]", 1) == NetAddress("::1", 1)

    def test_others(self) -> None:
        net = NetAddress("h", 1)
        untyped: Any = str(PORTAL)
        builders: list[Any] = [
            lambda: WebSocketAddress("h", 1, path="x"),
            lambda: WebSocketAddress("h", 1, path="/ "),
            lambda: UnixAddress(""),
            lambda: UnixAddress("/a b"),
            lambda: TunnelAddress(PORTAL, FEED, -1),
            lambda: TunnelAddress(PORTAL, FEED, 10**15),
            lambda: TunnelAddress(PORTAL, FEED, True),
            lambda: TunnelAddress(untyped, FEED),
            lambda: OtherProtocol("X"),
            lambda: OtherProtocol("ok", ("a b",)),
            lambda: MultiserverAddress(OtherProtocol("net", ("h", "1"))),
            lambda: MultiserverAddress(OtherProtocol("shs")),
            lambda: MultiserverAddress(net, None, bytes(32)),
            lambda: MultiserverAddress(net, FEED, bytes(31)),
            lambda: MultiserverAddress(net, FEED, None, (OtherProtocol("shs"),)),
            lambda: MultiserverAddress(TunnelAddress(PORTAL, FEED), PORTAL),
            lambda: Invite(MultiserverAddress(net)),
            lambda: Invite(MultiserverAddress(net, FEED, bytes(32))),
            lambda: Invite(MultiserverAddress(UnixAddress("/x"), FEED)),
        ]
        for build in builders:
            with pytest.raises(AddressError):
                build()

    def test_seeds_do_not_show(self) -> None:
        address = MultiserverAddress(NetAddress("h", 1), FEED, b"secret seed".ljust(32, b"."))
        assert "secret" not in repr(address)


# ---------------------------------------------------------------- properties

ids = st.builds(FeedId, st.binary(min_size=32, max_size=32))
ports = st.integers(1, 65535)
hosts = st.one_of(
    st.from_regex(r"[a-z0-9]([a-z0-9-]{0,10}[a-z0-9])?(\.[a-z]{2,5}){0,2}", fullmatch=True),
    st.ip_addresses(v=4).map(str),
    st.ip_addresses(v=6).map(str),
)
printable = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), max_size=30)
paths = st.one_of(st.just(""), printable.map("/".__add__))
names = st.from_regex(r"[a-z][a-z0-9-]{1,8}", fullmatch=True)
known = {"net", "onion", "ws", "wss", "unix", "tunnel", "shs"}
other_protocols = st.builds(
    OtherProtocol, names.filter(lambda name: name not in known), st.lists(printable, max_size=3).map(tuple)
)
tunnels = st.builds(TunnelAddress, ids, ids, st.none() | st.integers(0, 10**15 - 1))
transports = st.one_of(
    st.builds(NetAddress, hosts, ports),
    st.builds(OnionAddress, hosts, ports),
    st.builds(WebSocketAddress, hosts, ports, st.booleans(), paths),
    st.builds(UnixAddress, printable.filter(bool)),
    other_protocols,
)
others = st.lists(other_protocols, max_size=2).map(tuple)
plain_addresses = st.builds(MultiserverAddress, transports, st.none() | ids, st.none(), others)
seeded = st.builds(MultiserverAddress, transports, ids, st.binary(min_size=32, max_size=32), others)
tunnelled = tunnels.flatmap(
    lambda tunnel: st.builds(MultiserverAddress, st.just(tunnel), st.sampled_from([None, tunnel.target]))
)
addresses = st.one_of(plain_addresses, seeded, tunnelled)


@given(st.lists(addresses, min_size=1, max_size=2))
def test_parse_undoes_format(built: list[MultiserverAddress]) -> None:
    text = format_address(built)
    if len(text) <= ADDRESS_TEXT:
        assert parse_address(text) == tuple(built)


@given(hosts, ports, ids)
def test_invites_too(host: str, port: int, key: FeedId) -> None:
    invite = Invite(MultiserverAddress(NetAddress(host, port), key))
    assert parse_invite(str(invite)) == invite


def takes_or_refuses(text: str) -> None:
    try:
        parsed = parse_address(text)
    except AddressError as error:
        assert 0 <= error.offset <= max(len(text), ADDRESS_TEXT)
        assert error.offset <= len(text)
    else:
        assert parse_address(format_address(parsed)) == parsed
    with contextlib.suppress(AddressError):
        assert parse_invite(text) == parse_invite(str(parse_invite(text)))


@given(st.text())
def test_any_text(text: str) -> None:
    takes_or_refuses(text)


PIECES = [*"!:;~[]/%.-01a@\x00\u00e9", "net", "ws", "unix", "tunnel", "shs", KEY, str(FEED), "::1"]


@given(st.lists(st.sampled_from(PIECES)))
def test_any_text_of_the_right_pieces(pieces: list[str]) -> None:
    takes_or_refuses("".join(pieces))
    takes_or_refuses("net:" + "".join(pieces))
    takes_or_refuses("ws://" + "".join(pieces))


@given(addresses, st.integers(0, 400), st.characters())
def test_addresses_with_one_character_changed(address: MultiserverAddress, at: int, character: str) -> None:
    text = format_address(address)
    at %= len(text)
    takes_or_refuses(text[:at] + character + text[at + 1 :])
    takes_or_refuses(text[:at] + text[at + 1 :])
