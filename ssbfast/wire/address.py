"""Multiserver addresses, which say where and by which protocols a peer can be reached.

::

    addresses = address *(";" address)                   alternatives, the preferred one first
    address   = protocol *("~" protocol)                 a transport, then what runs on top of it
    protocol  = name *(":" data)      name = [a-z][a-z0-9-]+      data = printable ASCII; !:;~ are written !! !: !; !~

    net:HOST:PORT        ws://HOST[:PORT][/PATH]        onion:HOST:PORT        unix:PATH
    tunnel:@PORTAL.ed25519:@TARGET.ed25519[:INSTANCE]   ~shs:KEY[:SEED]

IPv6 hosts come as `net:::1:8008` and `net:!:!:1:8008` from JS peers, and as `net:[::1]:8008` from people; they are
printed with `!:`, which all peers read. Protocols that are unknown here are kept as they are, so that one new
alternative does not cost the others.

Spec: multiserver-address README; multiserver README; SIP 7, "Tunnel addresses"; ssb-tunnel README (instance).
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple, TypeAlias

from ssbfast.errors import AddressError, FeedIdError
from ssbfast.ids import FeedId, decode_key, encode_key
from ssbfast.limits import ADDRESS_TEXT
from ssbfast.wire.address_types import (
    NAME,
    ROOM_SEED,
    WS_PORTS,
    Invite,
    MultiserverAddress,
    NetAddress,
    OnionAddress,
    OtherProtocol,
    Transport,
    TunnelAddress,
    UnixAddress,
    WebSocketAddress,
    check_host,
    format_address,
    is_port,
)

__all__ = (
    "ROOM_SEED",
    "Invite",
    "MultiserverAddress",
    "NetAddress",
    "OnionAddress",
    "OtherProtocol",
    "Transport",
    "TunnelAddress",
    "UnixAddress",
    "WebSocketAddress",
    "format_address",
    "parse_address",
    "parse_invite",
)

_ESCAPED: Final = frozenset("!:;~")
_NUMBER: Final = re.compile(r"0|[1-9][0-9]{0,14}")
_WS_REST: Final = re.compile(r"(?://)?(\[[^\]/]*\]|[^\[\]:/]*)(?::([^/]*))?(/.*)?")


def parse_address(text: str) -> tuple[MultiserverAddress, ...]:
    """Parse a multiserver address with all its `;`-separated alternatives.

    Args:
        text: At most 1,024 characters; `!` escapes a separator.

    Returns:
        The alternatives in order of preference, never empty.

    Raises:
        AddressError: With the offset of the first bad character (of the bad field, when the whole field is bad).

    Spec: multiserver-address README; SIP 7, "Tunnel addresses".
    """
    return tuple(_read_address(protocols) for protocols in _scan(text))


def parse_invite(text: str) -> Invite:
    """Parse a Rooms 1 invite: exactly one `net` address with shs key and the seed that all rooms share.

    Args:
        text: At most 1,024 characters, as in `parse_address`.

    Returns:
        The invite, whose address has no seed.

    Raises:
        AddressError: The text is no address, or not a room's invite.

    Spec: ssb-room 1, lib/utils.
    """
    addresses = parse_address(text)
    first = addresses[0]
    if len(addresses) != 1 or not isinstance(first.transport, NetAddress) or first.shs is None or first.others:
        raise AddressError("not a room's invite: it reads net:HOST:PORT~shs:KEY:SEED", 0)
    if first.seed is None or encode_key(first.seed) != ROOM_SEED:
        raise AddressError("the seed is not a room's", len(text) if first.seed is None else text.rindex(":") + 1)
    return Invite(MultiserverAddress(first.transport, first.shs))


# ---------------------------------------------------------------- from text to fields


class _Field(NamedTuple):
    text: str
    offset: int


_Fields: TypeAlias = list[_Field]


def _scan(text: str) -> list[list[_Fields]]:
    """Split at `;`, `~` and `:`, undoing escapes; the first field of each protocol is its name."""
    if not isinstance(text, str):
        raise AddressError("an address is text", 0)
    if len(text) > ADDRESS_TEXT:
        raise AddressError("an address is not so long", ADDRESS_TEXT)
    addresses: list[list[_Fields]] = [[[]]]
    start = 0
    while start <= len(text):
        value, end = _scan_field(text, start)
        fields = addresses[-1][-1]
        if not fields and NAME.fullmatch(text[start:end]) is None:
            raise AddressError("a protocol's name is missing or bad", start + _bad_in_name(text[start:end]))
        fields.append(_Field(value, start))
        separator = text[end : end + 1]
        if separator == ";":
            addresses.append([[]])
        elif separator == "~":
            addresses[-1].append([])
        start = end + 1
    return addresses


def _scan_field(text: str, start: int) -> tuple[str, int]:
    """Return the field that begins at `start`, without escapes, and where it ends."""
    out: list[str] = []
    at = start
    while at < len(text) and text[at] not in ":;~":
        if text[at] == "!":
            if text[at + 1 : at + 2] not in _ESCAPED:
                raise AddressError("! stands before one of ! : ; ~", at)
            at += 1
        elif not "\x21" <= text[at] <= "\x7e":
            raise AddressError("not a printable ASCII character", at)
        out.append(text[at])
        at += 1
    return "".join(out), at


def _bad_in_name(name: str) -> int:
    match = re.match(r"[a-z][a-z0-9-]*", name)
    return match.end() if match else 0


# ---------------------------------------------------------------- from fields to addresses


def _read_address(protocols: list[_Fields]) -> MultiserverAddress:
    transport = _read_transport(protocols[0])
    shs: FeedId | None = None
    seed: bytes | None = None
    others: list[OtherProtocol] = []
    for index, fields in enumerate(protocols[1:]):
        if fields[0].text != "shs":
            others.append(_read_other(fields))
            continue
        if index != 0:
            raise AddressError("shs comes right behind the transport", fields[0].offset)
        shs, seed = _read_shs(fields)
        if isinstance(transport, TunnelAddress) and shs != transport.target:
            raise AddressError("the shs key is not the tunnel target's", fields[1].offset)
    return MultiserverAddress(transport, shs, seed, tuple(others))


def _read_transport(fields: _Fields) -> Transport:
    name = fields[0]
    if name.text == "shs":
        raise AddressError("shs needs a transport in front of it", name.offset)
    if name.text in ("net", "onion"):
        return _read_host_and_port(fields)
    if name.text in WS_PORTS:
        return _read_ws(fields)
    if name.text == "unix":
        path = _rest(fields)
        if not path.text:
            raise AddressError("a path is missing", path.offset)
        return UnixAddress(path.text)
    if name.text == "tunnel":
        return _read_tunnel(fields)
    return _read_other(fields)


def _read_other(fields: _Fields) -> OtherProtocol:
    return OtherProtocol(fields[0].text, tuple(item.text for item in fields[1:]))


def _read_host_and_port(fields: _Fields) -> NetAddress | OnionAddress:
    if len(fields) < 3:
        raise AddressError("host and port are both needed", _end(fields))
    port = _port(fields[-1])
    host = _rest(fields[:-1])
    kind = NetAddress if fields[0].text == "net" else OnionAddress
    return kind(check_host(host.text, host.offset), port)


def _read_ws(fields: _Fields) -> WebSocketAddress:
    name, rest = fields[0].text, _rest(fields)
    match = _WS_REST.fullmatch(rest.text)
    if match is None:
        raise AddressError("not a host with port and path", rest.offset)
    port = WS_PORTS[name] if match[2] is None else _port(_Field(match[2], rest.offset + match.start(2)))
    return WebSocketAddress(check_host(match[1], rest.offset), port, name == "wss", match[3] or "")


def _read_tunnel(fields: _Fields) -> TunnelAddress:
    if len(fields) < 3:
        raise AddressError("portal and target are both needed", _end(fields))
    if len(fields) > 4:
        raise AddressError("a tunnel has portal, target and instance", fields[4].offset)
    instance = None
    if len(fields) == 4:
        if _NUMBER.fullmatch(fields[3].text) is None:
            raise AddressError("an instance is a small number", fields[3].offset)
        instance = int(fields[3].text)
    return TunnelAddress(_feed(fields[1]), _feed(fields[2]), instance)


def _read_shs(fields: _Fields) -> tuple[FeedId, bytes | None]:
    keys = [decode_key(item.text) for item in fields[1:]]
    for item, key in zip(fields[1:], keys, strict=True):
        if key is None:
            raise AddressError("a key is 44 characters of canonical base64", item.offset)
    match keys:
        case [bytes(key)]:
            return FeedId(key), None
        case [bytes(key), bytes(seed)]:
            return FeedId(key), seed
    raise AddressError("shs has a key and perhaps a seed", _end(fields))


def _feed(item: _Field) -> FeedId:
    try:
        return FeedId.parse(item.text)
    except FeedIdError:
        raise AddressError("not a feed id", item.offset) from None


def _rest(fields: _Fields) -> _Field:
    """Join the fields behind the name: hosts and paths may hold unescaped colons."""
    return _Field(":".join(item.text for item in fields[1:]), fields[1].offset if len(fields) > 1 else _end(fields))


def _end(fields: _Fields) -> int:
    return fields[-1].offset + len(fields[-1].text)


def _port(item: _Field) -> int:
    if _NUMBER.fullmatch(item.text) is None or not is_port(int(item.text)):
        raise AddressError("a port is a number from 1 to 65535", item.offset)
    return int(item.text)
