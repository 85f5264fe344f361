"""Multiserver addresses as people write them, turned into what `wire.address` reads.

Only what has one meaning is repaired: names of protocols in capitals, hosts in brackets or with letters beyond ASCII,
`net:` left out, keys in another spelling, a lost `;`, and the form that was used before multiserver
(HOST:PORT:@KEY.ed25519, for invites ~SEED behind it).
"""

from __future__ import annotations

import re
from typing import Final

from ssbfast.errors import BadInputError
from ssbfast.ids import SUFFIX, encode_key
from ssbfast.pasted.hosts import read_host
from ssbfast.pasted.key_text import read_feed, read_key
from ssbfast.wire.address import ROOM_SEED, NetAddress, OnionAddress, format_address

_KNOWN: Final = ("net", "onion", "ws", "wss", "unix", "tunnel")
_ESCAPE: Final = re.compile(r"!([!:;~])")
_SHELL_ESCAPE: Final = re.compile(r"\\(?=[!:;~@])")
_PORT: Final = re.compile(r"[0-9]{1,9}")
_LEGACY_KEY: Final = re.compile(r"(?i)@?([A-Za-z0-9+/_-]{43}=?)(\.ed25519)?")
_WS: Final = re.compile(r"(//)?([^/:\[\]]+)(.*)", re.DOTALL)
_TUNNEL_FIELDS: Final = 2


def repaired(text: str, form: str) -> str:
    """Return the address in the form of the specification. form: what was expected, for messages.

    Raises BadInputError for what cannot be one, and for what has two readings.
    """
    alternatives = _pieces(_SHELL_ESCAPE.sub("", text), ";")
    return ";".join(_alternative(one, form) for one in alternatives)


def _alternative(text: str, form: str) -> str:
    transport, *upper = _pieces(text, "~") or [""]
    name, colon, rest = transport.partition(":")
    if text.endswith("~") and not upper:
        raise BadInputError(f"the address was cut off after ~: {form}")
    if colon and name.lower() in _KNOWN:
        return "~".join([_transport(name.lower(), rest, form), *(_upper(one, form) for one in upper)])
    return _without_protocol(transport, upper, form)


def _transport(name: str, rest: str, form: str) -> str:
    if name in ("net", "onion"):
        return _host_and_port(name, rest, form)
    if name == "tunnel":
        return _tunnel(rest, form)
    if name in ("ws", "wss") and not rest.isascii() and (found := _WS.fullmatch(rest)) is not None:
        rest = f"{found[1] or ''}{read_host(found[2])}{found[3]}"
    return f"{name}:{rest}"


def _host_and_port(name: str, rest: str, form: str) -> str:
    rest = _ESCAPE.sub(r"\1", rest).removeprefix("//").rstrip(":")
    host, colon, port = rest.rpartition(":")
    if not colon or not port.isdigit() or re.search(r"(^|[^:]):$", host):
        raise BadInputError(f"the port is missing (most rooms use 8008), or the address was cut off: {form}")
    kind = NetAddress if name == "net" else OnionAddress
    return format_address(kind(read_host(host), _port(port)))


def _port(text: str) -> int:
    if _PORT.fullmatch(text) is None:
        raise BadInputError(f"not a port: {text!r}; it is a number from 1 to 65535")
    return int(text)


def _tunnel(rest: str, form: str) -> str:
    fields = rest.split(":")
    if len(fields) < _TUNNEL_FIELDS or not fields[1]:
        raise BadInputError(f"the address was cut off: tunnel: comes with the room's id and the friend's; {form}")
    ids = [str(read_feed(field, form)) for field in fields[:_TUNNEL_FIELDS]]
    return ":".join(["tunnel", *ids, *fields[_TUNNEL_FIELDS:]])


def _upper(text: str, form: str) -> str:
    name, colon, rest = text.partition(":")
    name = name.lower()
    if name != "shs":
        if not colon and "shs".startswith(name):
            raise BadInputError(f"the address was cut off at its key: {form}")
        return f"{name}{colon}{rest}"
    key, *seeds = rest.split(":") if rest else [""]
    key = encode_key(read_key(_bare(key), "address", form))
    return ":".join(["shs", key, *(_seed(seed, form) for seed in seeds)])


def _bare(key: str) -> str:
    """Return a key that was given as an id, without its sigil and suffix."""
    key = key.removeprefix("@")
    return key[: -len(SUFFIX)] if key.lower().endswith(SUFFIX) else key


def _seed(text: str, form: str) -> str:
    seed = encode_key(read_key(text, "invite", form))
    if seed != ROOM_SEED:
        raise BadInputError(f"that is an invite of a pub, to be used once, and not a room's: {form}")
    return seed


def _without_protocol(transport: str, upper: list[str], form: str) -> str:
    """Return HOST:PORT with a key; anything else is left to the parser, which keeps protocols that it does not know."""
    place, _, last = transport.rpartition(":")
    found = _LEGACY_KEY.fullmatch(last)
    if found is not None and place:
        key = encode_key(read_key(found[1], "address", form))
        seeds = [f":{_seed(seed, form)}" for seed in upper]
        return f"{_host_and_port('net', place, form)}~shs:{key}{''.join(seeds)}"
    if last.startswith("@"):
        read_feed(last, form)  # raises what is wrong with it
    if place and _PORT.fullmatch(last):
        return "~".join([_host_and_port("net", transport, form), *(_upper(one, form) for one in upper)])
    return "~".join([transport, *(_upper(one, form) for one in upper)])


def _pieces(text: str, separator: str) -> list[str]:
    """Split where the separator is not escaped; empty pieces are left out."""
    found = re.findall(rf"(?:![!:;~]|[^{separator}])+", text)
    return [str(piece) for piece in found]
