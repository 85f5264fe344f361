"""Pairing: the ticket that lets one peer in, once, and what its taker signs.

docs/protocol/pairing.md is the specification. Whoever knows a ticket knows its secret, and by that a key pair, the
ticket key; the taker proves it in the inner handshake, and its own key by a signature that is bound to that session.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import ipaddress
import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final

from nacl.exceptions import CryptoError

from ssbfast import limits
from ssbfast.errors import BadInputError, FeedIdError, HandshakeError
from ssbfast.ids import ID_BYTES, FeedId
from ssbfast.keys import Keypair
from ssbfast.wire.address_types import MultiserverAddress, NetAddress, Transport, WebSocketAddress
from ssbfast.wire.alias import SIGNATURE_BYTES, verify
from ssbfast.wire.curve import feed_to_curve

PREFIX: Final = "pair-"
SECRET_BYTES: Final = 16
METHOD: Final = "pair.take"

UNUSABLE: Final = "the ticket cannot be used"
"""The error for every call that does not pass its checks."""

USED: Final = "the ticket has been used"
"""The error for a taker that comes after another."""

NOT_NOW: Final = "the ticket cannot be taken now"
"""The error while the target cannot write to its disk."""

_NET, _WS, _WSS = 0x10, 0x11, 0x12
_KEYED: Final = 1 + 4
_SECRET_END: Final = _KEYED + SECRET_BYTES
_HOST: Final = _SECRET_END + 2 * ID_BYTES + 2
_CHECK: Final = 3
_HOST_MAX: Final = 253
_IP_SIZES: Final = (4, 16)
_MINUTE: Final = 60
_MINUTES: Final = 2**32
_TEXT: Final = re.compile(r"[A-Za-z0-9_-]+")
_NAME: Final = re.compile(r"[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?")
_BASE64: Final = re.compile(r"[A-Za-z0-9+/]{86}==")


@dataclass(frozen=True, slots=True)
class Ticket:
    """A ticket: what one peer may be let in with, once.

    Attributes:
        target: The peer that made it.
        room: The address of the room where that peer waits: net, ws or wss, with the room's key.
        expires: When it ends to hold, in minutes since 1970-01-01 UTC.
        secret: 16 bytes.

    Raises:
        BadInputError: The room cannot be written in a ticket, or a number is out of its range.
    """

    target: FeedId
    room: MultiserverAddress
    expires: int
    secret: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if len(self.secret) != SECRET_BYTES or not 0 <= self.expires < _MINUTES:
            raise BadInputError("a ticket has a secret of 16 bytes and a time")
        room_bytes(self.room)
        try:
            feed_to_curve(self.target.key)
            feed_to_curve(_key_of(self.room))
        except (CryptoError, HandshakeError):
            raise BadInputError("that key is no peer's or room's: no handshake takes it") from None

    @classmethod
    def new(cls, target: FeedId, room: MultiserverAddress, expires: float) -> Ticket:
        """Make a ticket with a new secret.

        Args:
            target: The peer that makes it.
            room: Where that peer waits.
            expires: When it ends to hold, seconds since 1970-01-01 UTC; the minute that has begun then does not count.
        """
        return cls(target, room, int(expires // _MINUTE), secrets.token_bytes(SECRET_BYTES))

    @classmethod
    def parse(cls, text: str) -> Ticket:
        """Read the text of a ticket, with blanks and line ends that a paste has brought along.

        Raises:
            BadInputError: It is none, or was cut off or mistyped.
        """
        text = "".join(text.split())
        if not text.startswith(PREFIX):
            raise BadInputError(f"that is no ticket: one begins with {PREFIX}")
        body = text.removeprefix(PREFIX)
        if len(body) > limits.TICKET_TEXT or _TEXT.fullmatch(body) is None:
            raise BadInputError("that is no ticket: letters, digits, - and _ are all that is in one")
        data = base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)) if len(body) % 4 != 1 else b""
        if _text_of(data) != body or len(data) <= _HOST + _CHECK or _check(data[:-_CHECK]) != data[-_CHECK:]:
            raise BadInputError("the ticket was cut off, or mistyped")
        return cls._read(data[:-_CHECK])

    @classmethod
    def _read(cls, data: bytes) -> Ticket:
        if data[0] not in (_NET, _WS, _WSS):
            raise BadInputError("the ticket is of a newer ssbfast; update this one")
        target, room = data[_SECRET_END:][:ID_BYTES], data[_SECRET_END + ID_BYTES :][:ID_BYTES]
        try:
            host, port = _host_of(data[_HOST:]), int.from_bytes(data[_HOST - 2 : _HOST], "big")
            way: Transport = (
                NetAddress(host, port) if data[0] == _NET else WebSocketAddress(host, port, data[0] == _WSS)
            )
            address = MultiserverAddress(way, FeedId(room))
            ticket = cls(FeedId(target), address, int.from_bytes(data[1:_KEYED], "big"), data[_KEYED:_SECRET_END])
        except (ValueError, BadInputError) as error:
            raise BadInputError("the ticket makes no sense: ask for another one") from error
        if ticket._body() != data:
            raise BadInputError("the ticket makes no sense: ask for another one")
        return ticket

    @property
    def ends(self) -> float:
        """Return when it ends to hold, in seconds since 1970-01-01 UTC."""
        return float(self.expires * _MINUTE)

    def key(self) -> Keypair:
        """Return the ticket key: what its holder proves in the inner handshake."""
        body = self._body()
        rest = body[:_KEYED] + body[_SECRET_END:]
        return Keypair(hmac.digest(self.secret, b"ssbfast pairing v1 ticket" + rest, "sha256"))

    def __str__(self) -> str:
        body = self._body()
        return PREFIX + _text_of(body + _check(body))

    def _body(self) -> bytes:
        room, port, host = room_bytes(self.room)
        times = self.expires.to_bytes(4, "big")
        return room + times + self.secret + self.target.key + _key_of(self.room) + port + host


def room_bytes(room: MultiserverAddress) -> tuple[bytes, bytes, bytes]:
    """Return format, port and host as they stand in a ticket. Raises BadInputError for another kind of address."""
    way: NetAddress | WebSocketAddress
    match room:
        case MultiserverAddress(transport=NetAddress() as way, shs=FeedId(), others=()):
            kind = _NET
        case MultiserverAddress(transport=WebSocketAddress(path="") as way, shs=FeedId(), others=()):
            kind = _WSS if way.secure else _WS
        case _:
            raise BadInputError("a ticket needs a room's address such as net:HOST:PORT~shs:KEY or wss:HOST~shs:KEY")
    try:
        host = b"\0" + ipaddress.ip_address(way.host).packed
        if "%" in way.host:
            raise BadInputError("a ticket cannot name a room at a link-local address: others have other interfaces")
    except ValueError as error:
        if isinstance(error, BadInputError):
            raise
        host = way.host.encode("ascii")
    return bytes((kind,)), way.port.to_bytes(2, "big"), host


def _key_of(room: MultiserverAddress) -> bytes:
    return room.shs.key if room.shs is not None else b""


def _host_of(data: bytes) -> str:
    """Return a host. Raises ValueError for what is none."""
    if data[:1] == b"\0":
        if len(data) - 1 not in _IP_SIZES:
            raise ValueError("an IP address has 4 or 16 bytes")
        return str(ipaddress.ip_address(data[1:]))
    if not 0 < len(data) <= _HOST_MAX:
        raise ValueError("a host has 1 to 253 bytes")
    return data.decode("ascii")


def _text_of(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode("ascii").rstrip("=")


def _check(body: bytes) -> bytes:
    return hashlib.sha256(body).digest()[:_CHECK]


# ---------------------------------------------------------------- taking it


def taken_text(export_key: bytes, ticket: FeedId, target: FeedId, taker: FeedId) -> bytes:
    """Return what the taker signs.

    Args:
        export_key: 32 bytes of the session that it is in.
        ticket: The public ticket key.
        target: The peer that made the ticket.
        taker: The peer that takes it.
    """
    binding = hmac.digest(export_key, b"ssbfast pairing v1", "sha256")
    return b"ssbfast pairing v1 take" + binding + ticket.key + target.key + taker.key


@dataclass(frozen=True, slots=True)
class Take:
    """The argument of `pair.take`.

    Attributes:
        taker: The peer that takes a ticket.
        name: What it calls itself; None when it says nothing of use.
        signature: 64 bytes.
    """

    taker: FeedId
    name: str | None
    signature: bytes = field(repr=False)

    @classmethod
    def sign(cls, me: Keypair, name: str | None, export_key: bytes, ticket: FeedId, target: FeedId) -> Take:
        """Take a ticket. export_key: of the session. ticket: the public ticket key. target: who made it."""
        return cls(me.id, name, me.sign(taken_text(export_key, ticket, target, me.id)))

    @classmethod
    def read(cls, value: object) -> Take | None:
        """Read what a peer sent; None when it is of another form."""
        if not isinstance(value, dict):
            return None
        signature = _signature_of(value.get("signature"))
        try:
            taker = FeedId.parse(value["id"])
        except (KeyError, TypeError, FeedIdError):
            return None
        return None if signature is None else cls(taker, name_in(value.get("name")), signature)

    def as_json(self) -> dict[str, Any]:
        """Return it as it is sent."""
        signature = base64.b64encode(self.signature).decode("ascii")
        found: dict[str, Any] = {"id": str(self.taker), "signature": signature}
        return found if self.name is None else {**found, "name": self.name}

    def is_signed(self, export_key: bytes, ticket: FeedId, target: FeedId) -> bool:
        """Return whether the taker has signed this, in this session, for this ticket and target."""
        return verify(self.taker, taken_text(export_key, ticket, target, self.taker), self.signature)


def _signature_of(value: object) -> bytes | None:
    if not isinstance(value, str) or _BASE64.fullmatch(value) is None:
        return None
    signature = binascii.a2b_base64(value)
    canonical = base64.b64encode(signature).decode("ascii") == value
    return signature if canonical and len(signature) == SIGNATURE_BYTES else None


@dataclass(frozen=True, slots=True)
class Taken:
    """The answer to `pair.take`.

    Attributes:
        name: What the target calls itself; None when it says nothing of use.
        services: Names of what it offers.
    """

    name: str | None
    services: tuple[str, ...] = ()

    @classmethod
    def read(cls, value: object) -> Taken:
        """Read what a peer sent; what is of another form is taken as missing."""
        found = value if isinstance(value, dict) else {}
        services = found.get("services")
        names = services if isinstance(services, list) else ()
        return cls(name_in(found.get("name")), tuple(_names(names)))

    def as_json(self) -> dict[str, Any]:
        """Return it as it is sent."""
        found: dict[str, Any] = {"services": list(self.services)}
        return found if self.name is None else {**found, "name": self.name}


def _names(values: Iterable[object]) -> list[str]:
    found = [name for value in values if (name := name_in(value)) is not None]
    return list(dict.fromkeys(found))[: limits.SERVICES]


# ---------------------------------------------------------------- names


def is_name(text: str) -> bool:
    """Return whether a peer or a service may be called so: 1 … 32 of a-z, 0-9 and -, no - at an end."""
    return _NAME.fullmatch(text) is not None


def name_in(value: object) -> str | None:
    """Return a name that a peer sent; None for anything else."""
    return value if isinstance(value, str) and is_name(value) else None


def name_from(text: str) -> str | None:
    """Return a name made from any text, such as the name of a computer; None when nothing is left."""
    small = re.sub(r"[^a-z0-9]+", "-", text.partition(".")[0].lower())[:32].strip("-")
    return small if is_name(small) else None
