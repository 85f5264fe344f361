"""The calls about direct paths inside a session, and how they are read.

    direct.offer     async, caller → target   {"epoch", "datagram", "window", …whereabouts} → {"certificate", "took",
                              "datagram", "window", …whereabouts}
    direct.sync      async, caller → target   {"epoch", "connection"} → true; the target starts at once
    direct.want      async, target → caller   {} → true: please try again
    direct.carrier   duplex, caller → target  {"session", "epoch"}: this tunnel stands by for that session; records
    direct.continue  duplex, opener → other   {"epoch", "stream", "received"}: a forwarded connection goes on
                              after its QUIC path; first item back {"received"}; the name of its service, if it has
                              one, is a second argument: peers that know no names refuse that

`whereabouts` are those of `wire/direct/punch/candidates.py`. epoch: u32, rises with every attempt and every standby.
certificate: DER, base64. connection: the caller's original destination connection id, base64. took: milliseconds that
the target needed for its answer, which are no part of the round trip. datagram: UDP payload of both ends' QUIC, 1200 …
1400 bytes; 1400 when it is not there; the smaller of offer's and answer's counts. window: bytes without ACK that this
end takes, of the session and of each forwarded connection, 4 MiB … 1 GiB; when it is not there, 4 MiB of the session
and 1 MiB of each connection. Input is hostile: a peer that breaks a rule gets a MuxRPCError.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from ssbfast import limits
from ssbfast.errors import MuxRPCError
from ssbfast.wire.direct.keys import EPOCHS, Role
from ssbfast.wire.direct.punch.candidates import Candidates, parse_whereabouts
from ssbfast.wire.pairing import name_in

OFFER: Final = "direct.offer"
SYNC: Final = "direct.sync"
WANT: Final = "direct.want"
CARRIER: Final = "direct.carrier"
CONTINUE: Final = "direct.continue"

SERVED: Final = {Role.CALLER: (WANT,), Role.TARGET: (OFFER, SYNC)}
"""Which async calls either end answers."""

NO_SUCH_SESSION: Final = "no such session"
"""The answer to `direct.carrier`, or its end, that ends the session: the end that gives it cannot go on."""

SESSION_ID: Final = 32
CONNECTION_ID: Final = range(8, 21)
"""Bytes of a QUIC connection id that a client may choose (RFC 9000, section 7.2)."""


@dataclass(frozen=True, slots=True)
class Offer:
    """The caller's offer. epoch: of this attempt. datagram: bytes. window: bytes; None: it does not say."""

    epoch: int
    whereabouts: Candidates
    datagram: int = limits.DIRECT_DATAGRAM
    window: int | None = None

    def as_json(self) -> dict[str, Any]:
        return {"epoch": self.epoch, "datagram": self.datagram, **_said(self.window), **self.whereabouts.as_json()}


@dataclass(frozen=True, slots=True)
class OfferAnswer:
    """The target's answer. certificate: DER. took: seconds. datagram: bytes, as far as the target knows. window: as the
    offer's."""

    certificate: bytes = field(repr=False)
    took: float
    whereabouts: Candidates
    datagram: int = limits.DIRECT_DATAGRAM
    window: int | None = None

    def as_json(self) -> dict[str, Any]:
        return {
            "certificate": base64.b64encode(self.certificate).decode(),
            "took": round(self.took * 1000, 3),
            "datagram": self.datagram,
            **_said(self.window),
            **self.whereabouts.as_json(),
        }


@dataclass(frozen=True, slots=True)
class Sync:
    """The start of an attempt. connection: 8 … 20 bytes."""

    epoch: int
    connection: bytes

    def as_json(self) -> dict[str, Any]:
        return {"epoch": self.epoch, "connection": base64.b64encode(self.connection).decode()}


@dataclass(frozen=True, slots=True)
class StandBy:
    """The session that a tunnel stands by for. session: 32 bytes, `wire.direct.keys.session_id`."""

    session: bytes = field(repr=False)
    epoch: int

    def as_json(self) -> dict[str, Any]:
        return {"session": base64.b64encode(self.session).decode(), "epoch": self.epoch}


@dataclass(frozen=True, slots=True)
class Continue:
    """The forwarded connection that goes on. epoch: of the path it was opened on. stream: its QUIC stream.

    received: bytes of it that the opener has. service: the name of the service that it leads to; None: the first.
    """

    epoch: int
    stream: int
    received: int
    service: str | None = None

    def as_args(self) -> list[Any]:
        found = {"epoch": self.epoch, "stream": self.stream, "received": self.received}
        return [found] if self.service is None else [found, self.service]


def parse_offer(args: object) -> Offer:
    """Read an offer. Raise MuxRPCError, as all of these do."""
    value = _first(args)
    return Offer(_epoch(value), parse_whereabouts(value), _datagram(value), _window(value))


def parse_answer(value: object) -> OfferAnswer:
    if not isinstance(value, Mapping):
        raise MuxRPCError("not an answer to an offer")
    certificate = _bytes(value.get("certificate"), limits.CERTIFICATE)
    took = value.get("took")
    if isinstance(took, bool) or not isinstance(took, int | float) or not 0 <= took <= limits.OFFER_ANSWER_TOOK:
        raise MuxRPCError("not a duration")
    return OfferAnswer(certificate, took / 1000, parse_whereabouts(value), _datagram(value), _window(value))


def parse_sync(args: object) -> Sync:
    value = _first(args)
    connection = _bytes(value.get("connection"), CONNECTION_ID[-1])
    if len(connection) not in CONNECTION_ID:
        raise MuxRPCError("not a connection id")
    return Sync(_epoch(value), connection)


def parse_stand_by(args: object) -> StandBy:
    value = _first(args)
    session = _bytes(value.get("session"), SESSION_ID)
    if len(session) != SESSION_ID:
        raise MuxRPCError("not a session id")
    return StandBy(session, _epoch(value))


def parse_continue(args: object) -> Continue:
    service = None
    if isinstance(args, list | tuple) and len(args) == 2:
        service = name_in(args[1])
        if service is None:
            raise MuxRPCError("not the name of a service")
        args = args[:1]
    value = _first(args)
    return Continue(_epoch(value), _count(value.get("stream")), _count(value.get("received")), service)


def _first(args: object) -> Mapping[str, Any]:
    if not isinstance(args, list | tuple) or len(args) != 1 or not isinstance(args[0], Mapping):
        raise MuxRPCError("one object is expected")
    return args[0]


def _epoch(value: Mapping[str, Any]) -> int:
    epoch = value.get("epoch")
    if type(epoch) is not int or not 0 < epoch < EPOCHS:
        raise MuxRPCError("not an epoch")
    return epoch


def _datagram(value: Mapping[str, Any]) -> int:
    datagram = value.get("datagram", limits.DIRECT_DATAGRAM)
    if type(datagram) is not int or not limits.DIRECT_DATAGRAM_LEAST <= datagram <= limits.DIRECT_DATAGRAM:
        raise MuxRPCError("not a length of datagrams")
    return datagram


def _said(window: int | None) -> dict[str, int]:
    return {} if window is None else {"window": window}


def _window(value: Mapping[str, Any]) -> int | None:
    if "window" not in value:
        return None
    window = value["window"]
    if type(window) is not int or not limits.CARRIER_WINDOW_PLAIN <= window <= limits.CARRIER_WINDOW_SAID:
        raise MuxRPCError("not a number of bytes without acknowledgement")
    return window


def _count(value: object) -> int:
    if type(value) is not int or not 0 <= value < 2**62:
        raise MuxRPCError("not a number of bytes or of a stream")
    return value


def _bytes(value: object, longest: int) -> bytes:
    """Decode canonical base64 of 1 … longest bytes."""
    if not isinstance(value, str) or not value.isascii() or len(value) > (longest + 2) // 3 * 4:
        raise MuxRPCError("not base64")
    try:
        found = base64.b64decode(value, validate=True)
    except binascii.Error:
        raise MuxRPCError("not base64") from None
    if not 0 < len(found) <= longest or base64.b64encode(found).decode() != value:
        raise MuxRPCError("not base64")
    return found
