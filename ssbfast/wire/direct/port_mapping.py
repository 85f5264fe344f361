"""A client of PCP (RFC 6887) and of NAT-PMP (RFC 6886): it has a router let every sender in to one UDP port of ours.

::

    mapping = MappingClient(own, port, nonce, now)
    mapping.datagrams()                     → to the default gateway, port 5351, from `own`
    mapping.receive(data, now)              ← what that address has sent, and no other one
    mapping.timer(), mapping.handle_timer(now)
    mapping.mapped                          where the world reaches the port; it may change
    mapping.release()                       the last datagram has the router forget it

PCP is asked for first. A router that knows only NAT-PMP says so, and is asked again in that. The mapping is short, and
renewed at half of its life: it is soon over when nothing deletes it. One that is silent is asked `MAPPING_SENDS` times.

A router's answer counts with the nonce of the request (PCP; NAT-PMP has none), our port, and an address of IPv4.
Whether such an address is of use is its reader's business (`is_worth_telling`).
"""

from __future__ import annotations

import enum
import ipaddress
import struct
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Final

from ssbfast import limits
from ssbfast.wire.direct.punch.candidates import Address, Scope, is_sendable, scope_of

SERVER_PORT: Final = 5351
NONCE: Final = 12

_UDP: Final = 17
_ANSWER: Final = 0x80
"""Bit of the second byte: an answer, of both protocols."""
_UNSUPPORTED_VERSION: Final = b"\0\1"
"""NAT-PMP's answer to a request of PCP."""

_PCP: Final = 2
_MAP: Final = 1
_PCP_REQUEST: Final = struct.Struct("!BBxxI16s 12sBxxxHH16s")
_PCP_ANSWER: Final = struct.Struct("!BBxBI4x12x 12sBxxxHH16s")
_PCP_LONGEST: Final = 1_100
_ANY: Final = str(ipaddress.IPv4Address(0))

_NAT_PMP: Final = 0
_PMP_ADDRESS, _PMP_MAP_UDP = 0, 1
_PMP_MAP_REQUEST: Final = struct.Struct("!BBxxHHI")
_PMP_ADDRESS_ANSWER: Final = struct.Struct("!BBHI4s")
_PMP_MAP_ANSWER: Final = struct.Struct("!BBHIHHI")

GREETING: Final = bytes([_NAT_PMP, _PMP_ADDRESS])
"""Request of NAT-PMP for the router's address. One that knows only PCP answers that it does not know the version."""


class Protocol(enum.Enum):
    """The protocol that a router speaks."""

    PCP = "pcp"
    NAT_PMP = "nat-pmp"
    UPNP = "upnp"


@dataclass(frozen=True, slots=True)
class Mapped:
    """A mapping. host, port: where the world reaches us. seconds: its life from now on."""

    host: str = field(repr=False)
    port: int = field(repr=False)
    seconds: int

    @property
    def address(self) -> Address:
        return self.host, self.port


def is_worth_telling(mapped: Address, own: Collection[str]) -> bool:
    """Return whether peers in the world may reach us there. own: the IP addresses of this machine.

    A private address is that of a router behind another NAT; an own one is no router's.
    """
    return is_sendable(*mapped) and scope_of(mapped[0]) is Scope.PUBLIC and mapped[0] not in own


class MappingClient:
    """A mapping of one port. own: our IPv4 literal as the router sees it. nonce: 12 random bytes.

    mapped: None before the router has given one, and when it has lapsed. is_over: no more will come of it.
    """

    def __init__(self, own: str, port: int, nonce: bytes, now: float) -> None:
        self._own = own
        self._port = port
        self._nonce = nonce
        self.protocol: Protocol | None = None
        """What the router speaks; None while it has not answered."""
        self.mapped: Mapped | None = None
        self.is_over = False
        self._asked = Protocol.PCP
        self._lapses = 0.0
        self._host: str | None = None  # NAT-PMP tells the address and the port apart
        self._outer: tuple[int, int] | None = None
        self._out: list[bytes] = []
        self._due: float | None = None
        self._begin(now)

    def datagrams(self) -> list[bytes]:
        """Return what is to be sent now."""
        out, self._out = self._out, []
        return out

    def timer(self) -> float | None:
        """Return when `handle_timer` is due."""
        return self._due

    def handle_timer(self, now: float) -> None:
        """Ask again, renew, or give up."""
        if self._due is None or now < self._due:
            return
        if self.mapped is not None:
            if now >= self._lapses:
                self._end()
            else:
                self._request()
                self._renew_later(now)
        elif self._sent == limits.MAPPING_SENDS:
            self._end()
        else:
            self._send(now)

    def receive(self, data: bytes, now: float) -> None:
        """Take a datagram of the router. What is no answer to us is dropped."""
        if self.is_over or len(data) > _PCP_LONGEST or len(data) < 4 or not data[1] & _ANSWER:
            return
        if data[0] == _PCP and self._asked is Protocol.PCP:
            self._receive_pcp(data, now)
        elif data[0] == _NAT_PMP and self._asked is Protocol.NAT_PMP:
            self._receive_nat_pmp(data, now)
        elif self.protocol is None and data[0] == _NAT_PMP and data[2:4] == _UNSUPPORTED_VERSION:
            self._asked = Protocol.NAT_PMP
            self._begin(now)

    def refused(self) -> None:
        """Note that nothing listens there."""
        if self.mapped is None:
            self._end()

    def release(self) -> None:
        """End it: one more datagram has the router forget it, also a mapping of which we have not heard yet."""
        if not self.is_over:
            self._end()

    # ------------------------------------------------------------ inside

    def _begin(self, now: float) -> None:
        self._sent = 0
        self._send(now)

    def _send(self, now: float) -> None:
        self._request()
        self._due = now + limits.MAPPING_RESEND_SECONDS * 2**self._sent
        self._sent += 1

    def _request(self) -> None:
        if self._asked is Protocol.NAT_PMP:
            self._out.append(GREETING)
        self._out.append(self._map(limits.MAPPING_SECONDS))

    def _map(self, seconds: int) -> bytes:
        """Build the request for a life of so many seconds; 0 ends it. The port that we have is asked for again."""
        wish = self.mapped.port if seconds and self.mapped is not None else 0
        if self._asked is Protocol.NAT_PMP:
            return _PMP_MAP_REQUEST.pack(_NAT_PMP, _PMP_MAP_UDP, self._port, wish, seconds)
        host = self.mapped.host if wish and self.mapped is not None else _ANY
        return _PCP_REQUEST.pack(
            _PCP, _MAP, seconds, _in_v6(self._own), self._nonce, _UDP, self._port, wish, _in_v6(host)
        )

    def _receive_pcp(self, data: bytes, now: float) -> None:
        if len(data) < _PCP_ANSWER.size or len(data) % 4:
            return
        _, opcode, result, seconds, nonce, protocol, port, outer, host = _PCP_ANSWER.unpack_from(data)
        if (opcode, nonce, protocol, port) != (_ANSWER | _MAP, self._nonce, _UDP, self._port):
            return
        ip = ipaddress.IPv6Address(host).ipv4_mapped
        self._answered(Protocol.PCP, None if result or ip is None else Mapped(str(ip), outer, seconds), now)

    def _receive_nat_pmp(self, data: bytes, now: float) -> None:
        opcode = data[1] - _ANSWER
        if opcode == _PMP_ADDRESS and len(data) == _PMP_ADDRESS_ANSWER.size:
            _, _, result, _, host = _PMP_ADDRESS_ANSWER.unpack(data)
            self._host = None if result else str(ipaddress.IPv4Address(host))
        elif opcode == _PMP_MAP_UDP and len(data) == _PMP_MAP_ANSWER.size:
            _, _, result, _, port, outer, seconds = _PMP_MAP_ANSWER.unpack(data)
            if port != self._port:
                return
            self._outer = None if result else (outer, seconds)
        else:
            return
        if result:
            self._answered(Protocol.NAT_PMP, None, now)
        elif self._host is not None and self._outer is not None:
            self._answered(Protocol.NAT_PMP, Mapped(self._host, *self._outer), now)
            self._outer = None  # each renewal tells it anew

    def _answered(self, protocol: Protocol, mapped: Mapped | None, now: float) -> None:
        self.protocol = protocol
        if mapped is not None and mapped.seconds and mapped.port:
            self.mapped = mapped
            self._lapses = now + min(mapped.seconds, limits.MAPPING_SECONDS_MOST)
            self._renew_later(now)
        elif self.mapped is None:  # else what we have goes on until it lapses
            self._end()

    def _renew_later(self, now: float) -> None:
        """Renew at half of what is left, as RFC 6887 asks, and not more often than every few seconds."""
        self._due = min(now + max((self._lapses - now) / 2, limits.MAPPING_RENEW_LEAST), self._lapses)

    def _end(self) -> None:
        self.is_over = True
        self.mapped = self._due = None
        self._out = [self._map(0)]


def _in_v6(host: str) -> bytes:
    return bytes(10) + b"\xff\xff" + ipaddress.IPv4Address(host).packed
