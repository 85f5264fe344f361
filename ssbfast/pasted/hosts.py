"""Hosts as people write them: letters beyond ASCII, brackets, zones, and numbers that are no whole IPv4 address.

The library's parsers (`wire.address`) take a host as peers print it. What is read here gives such a host, or an error
that names what was meant. A host that has two readings is refused with both.
"""

from __future__ import annotations

import ipaddress
import re
import socket
import unicodedata
from typing import Final

from ssbfast.errors import AddressError, BadInputError
from ssbfast.pasted.tidy_text import name_of
from ssbfast.wire.address_types import check_host

_NUMBER: Final = re.compile(r"[0-9]+|0[xX][0-9A-Fa-f]*")
_QUAD: Final = re.compile(r"[0-9]+(\.[0-9]+){3}")
_DOTS: Final = "\u3002\uff0e\uff61"
"""What IDNA takes for a dot, too."""

_TWO_SPELLINGS: Final = re.compile("[\u00df\u03c2\u200c\u200d]")
"""What IDNA 2003 turns into other letters and IDNA 2008 keeps: ß, final sigma, the joiners."""


def read_host(text: str) -> str:
    """Read a host name or IP address, IPv6 with or without brackets. Raises BadInputError.

    Returns names in ASCII (punycode), IPv6 addresses in their shortest form with their zone (`fe80::1%eth0`).
    """
    host = text[1:-1] if text.startswith("[") and text.endswith("]") else text
    if ":" in host:
        return _read_ipv6(host)
    if not host.isascii():
        host = _in_ascii(host)
    labels = host.removesuffix(".").split(".")
    if _NUMBER.fullmatch(labels[-1]):
        return _read_ipv4(host)
    try:
        return check_host(host, 0)
    except AddressError:
        raise BadInputError(f"not a host: {text!r}") from None


def is_ipv6(text: str) -> bool:
    """Return whether it is an IPv6 address without brackets, with or without a zone."""
    try:
        check_host(text, 0)
    except AddressError:
        return False
    return ":" in text


def show(host: str, port: int) -> str:
    """Return HOST:PORT, IPv6 in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _read_ipv6(host: str) -> str:
    address, percent, zone = host.partition("%")
    if percent and zone.startswith("25") and zone[2:].isdigit():
        # RFC 6874 writes a zone as %25ZONE, RFC 4007 as %ZONE.
        raise BadInputError(f"zone {zone!r} can be read as interface {zone} or {zone[2:]}: use its name (eth0)")
    try:
        return check_host(host, 0)
    except AddressError:
        raise BadInputError(f"not an IPv6 address: {address!r}, zone {zone!r}" if percent else _no_ipv6(host)) from None


def _no_ipv6(host: str) -> str:
    return f"not an IPv6 address: {host!r}"


def _read_ipv4(host: str) -> str:
    bare = host.removesuffix(".")
    try:
        return str(ipaddress.IPv4Address(bare))
    except ValueError:
        pass
    if _QUAD.fullmatch(bare):
        decimal = ".".join(str(int(part)) for part in bare.split("."))
        if decimal != bare and (octal := _by_the_system(bare)) not in (None, decimal):
            raise BadInputError(f"{host!r} can be read as {decimal} or as {octal}: write the one that you mean")
        raise BadInputError(f"not an IPv4 address: {host!r}")
    meant = _by_the_system(bare)
    hint = f" (some programs read it as {meant})" if meant else ""
    raise BadInputError(f"not a whole IPv4 address: {host!r}{hint}; write all of its four numbers")


def _by_the_system(host: str) -> str | None:
    """Return what the C library makes of an address with octal, hexadecimal or missing parts."""
    try:
        return socket.inet_ntoa(socket.inet_aton(host))
    except (OSError, UnicodeError):
        return None


def _in_ascii(host: str) -> str:
    """Return a name with other letters as DNS has it."""
    if _TWO_SPELLINGS.search(host):
        raise BadInputError(f"{host!r} has a letter that old and new rules for names read differently: {_both(host)}")
    strange = next((char for char in host if char > "\x7f" and not _is_of_names(char)), None)
    if strange is not None:
        raise BadInputError(f"it contains {name_of(strange)}, which no host name has")
    try:
        return host.encode("idna").decode("ascii")
    except UnicodeError:
        raise BadInputError(f"{host!r} is not a valid DNS name; its other form begins with xn--") from None


def _is_of_names(char: str) -> bool:
    return char in _DOTS or unicodedata.category(char) in ("Lu", "Ll", "Lt", "Lm", "Lo", "Mn", "Mc", "Nd")


def _both(host: str) -> str:
    try:
        old = host.encode("idna").decode("ascii")
    except UnicodeError:
        return "give the form that begins with xn--"
    return f"give {old} or {'.'.join(map(_as_it_is, host.split('.')))}"


def _as_it_is(label: str) -> str:
    return label if label.isascii() else f"xn--{label.encode('punycode').decode('ascii')}"
