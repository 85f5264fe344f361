"""A room's reflectors: they answer STUN binding requests (RFC 8489) over UDP with the sender's public address.

    request   type 0x0001 ‖ length of the attributes ‖ magic cookie ‖ 12 random bytes ‖ attributes    20 bytes at least
    answer    type 0x0101 ‖ 12 or 24 ‖ the same cookie ‖ the same 12 bytes ‖ XOR-MAPPED-ADDRESS       32 or 44 bytes

A forged sender's address gets at most 1.6 (IPv6: 2.2) times as many bytes as the forger has sent, and no
more than `REFLECT_PER_NET` answers a second. What is no request, not well-formed, or asks for what we do not do
(attributes that have to be understood) gets no answer at all: an error would be one more thing to reflect.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import struct
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Final

from ssbfast import limits
from ssbfast.errors import MissingExtraError

_HEADER: Final = struct.Struct("!HHI12s")
_BINDING_REQUEST: Final = 0x0001
_COOKIE: Final = 0x2112A442
_OPTIONAL: Final = 0x8000
"""Attributes from here on may be ignored by a receiver that does not know them (RFC 8489, section 14)."""

_PKTINFO: Final[int] = getattr(socket, "IP_PKTINFO", 8 if sys.platform == "linux" else -1)  # named by late Pythons only
_PKTINFO6: Final[int] = getattr(socket, "IPV6_PKTINFO", -1)
_NET_BITS: Final = {4: 24, 6: 56}
_ANCILLARY: Final = 64


class Reflector:
    """A reflector on one bound UDP socket: answers requests from the address that they came to.

    limiter: shared by all sockets of a room. clock: seconds, by default the loop's. The socket is ours from now on.
    Raises MissingExtraError without aioice.
    """

    def __init__(self, sock: socket.socket, limiter: Limiter, clock: Callable[[], float] | None = None) -> None:
        self._codec = codec()
        self._loop = asyncio.get_running_loop()
        self._clock = clock or self._loop.time
        self._limiter = limiter
        self._sock = sock
        self._closed = False
        self._tells_destination = ask_for_destination(sock)
        sock.setblocking(False)
        self._loop.add_reader(sock, self._readable)

    @property
    def local(self) -> tuple[str, int]:
        """Address that it is bound to."""
        name = self._sock.getsockname()
        return str(name[0]), int(name[1])

    def close(self) -> None:
        """Close the socket. Harmless when closed already."""
        if not self._closed:
            self._closed = True
            self._loop.remove_reader(self._sock)
            self._sock.close()

    def _readable(self) -> None:
        for _ in range(limits.UDP_BATCH):
            try:
                if self._tells_destination:
                    data, to, _flags, source = self._sock.recvmsg(limits.UDP_DATAGRAM, _ANCILLARY)
                else:
                    data, source = self._sock.recvfrom(limits.UDP_DATAGRAM)
                    to = []
            except BlockingIOError:
                return
            except OSError:  # an ICMP error of an answer
                continue
            if is_request(data) and self._limiter.allows(source[0], self._clock()):
                self._answer(data, source, from_destination(to))

    def _answer(self, request: bytes, source: tuple[str, int], origin: list[tuple[int, int, bytes]]) -> None:
        answer = answer_to(self._codec, request, (source[0], source[1]))
        if answer is None:
            return
        try:
            if origin:
                self._sock.sendmsg([answer], origin, 0, source)
            else:
                self._sock.sendto(answer, source)
        except OSError:  # no route, no buffer, port 0: then the answer is lost, as datagrams are
            return


class Limiter:
    """Token buckets: `per_net` a second for each /24 or /56, `total` a second for all; a second's worth at once.

    A net that has been quiet for a second has a full bucket and is forgotten, and no bucket is made for what `total`
    refuses: so there are at most twice `total` of them, whatever addresses packets claim.
    """

    def __init__(self, per_net: int = limits.REFLECT_PER_NET, total: int = limits.REFLECT_TOTAL) -> None:
        self._per_net = per_net
        self._total = total
        self._left = float(total)
        self._at = 0.0
        self._nets: dict[bytes, tuple[float, float]] = {}  # tokens left, at which time; the oldest first

    @property
    def remembered(self) -> int:
        """Number of nets that are remembered."""
        return len(self._nets)

    def allows(self, host: str, now: float) -> bool:
        """Return whether one more from there may be answered. host: an IP literal. now: seconds that never go back."""
        self._forget(now)
        net = _net(host)
        left, at = self._nets.get(net, (float(self._per_net), now))
        left = min(left + (now - at) * self._per_net, self._per_net)
        if left < 1.0:
            return False
        self._left = min(self._left + (now - self._at) * self._total, self._total)
        self._at = now
        if self._left < 1.0:
            return False
        self._left -= 1.0
        self._nets.pop(net, None)
        self._nets[net] = (left - 1.0, now)
        return True

    def _forget(self, now: float) -> None:
        while self._nets:
            oldest = next(iter(self._nets))
            if self._nets[oldest][1] + 1.0 > now:
                return
            del self._nets[oldest]


def codec() -> ModuleType:
    """Return the codec of STUN messages. Raises MissingExtraError without aioice."""
    try:
        from aioice import stun
    except ImportError as error:
        raise MissingExtraError("a reflector needs aioice: pip install 'ssbfast[room]'") from error
    return stun


def is_request(data: bytes) -> bool:
    """Return whether it looks like a binding request: cheap, and before anything is counted.

    All attributes have to be whole and such that they may be ignored.
    """
    if not _HEADER.size <= len(data) <= limits.STUN_REQUEST:
        return False
    kind, length, cookie, _ = _HEADER.unpack_from(data)
    if kind != _BINDING_REQUEST or cookie != _COOKIE or length != len(data) - _HEADER.size or length % 4:
        return False
    at = _HEADER.size
    while at < len(data):
        attribute, size = struct.unpack_from("!HH", data, at)
        at += 4 + (size + 3) // 4 * 4
        if attribute < _OPTIONAL:
            return False
    return at == len(data)


def answer_to(codec: ModuleType, request: bytes, source: tuple[str, int]) -> bytes | None:
    """Return the answer to a datagram from `source` that `is_request`; None when the codec finds a fault in it."""
    try:
        message = codec.parse_message(request)
    except (ValueError, struct.error):  # also UnicodeDecodeError, and a fingerprint that is wrong
        return None
    host = source[0].partition("%")[0]
    mapped = {"XOR-MAPPED-ADDRESS": (host, source[1])}
    answer = codec.Message(
        codec.Method.BINDING, codec.Class.RESPONSE, transaction_id=message.transaction_id, attributes=mapped
    )
    return bytes(answer)


def ask_for_destination(sock: socket.socket) -> bool:
    """Have the system tell where each datagram was sent to; return whether it does.

    A socket for all of a machine's addresses has to know: an answer from another of them than was asked is refused by
    the asker, and by every NAT in between.
    """
    if not hasattr(sock, "recvmsg") or _PKTINFO < 0 or _PKTINFO6 < 0:
        return False  # a system without it answers from the address that it likes best
    try:
        if sock.family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
        else:
            sock.setsockopt(socket.IPPROTO_IP, _PKTINFO, 1)
    except OSError:
        return False
    return True


def from_destination(ancillary: list[tuple[int, int, bytes]]) -> list[tuple[int, int, bytes]]:
    """Return what makes an answer leave from where its request came to, out of what came with the request.

    struct in_pktinfo: interface, local address, destination. struct in6_pktinfo: address, interface. The interface is
    left to the routes, and to the scope of the address that is answered.
    """
    for level, kind, data in ancillary:
        if (level, kind) == (socket.IPPROTO_IP, _PKTINFO) and len(data) == 12:
            return [(level, kind, bytes(4) + data[4:8] + bytes(4))]
        if (level, kind) == (socket.IPPROTO_IPV6, _PKTINFO6) and len(data) == 20:
            return [(level, kind, data[:16] + bytes(4))]
    return []


def _net(host: str) -> bytes:
    address = ipaddress.ip_address(host.partition("%")[0])
    return bytes([address.version]) + address.packed[: _NET_BITS[address.version] // 8]
