"""The packet stream: numbered packets inside the box stream.

::

    head     flags(1) length(4, unsigned) req(4, signed), big-endian, then the body
    flags    08 stream · 04 end or error · low two bits: 0 bytes, 1 UTF-8, 2 JSON, 3 forbidden · the rest is ignored
    goodbye  nine zero bytes

Requests count from 1 in each direction; replies carry the negative number; req 0 is ignored.
Spec: packet-stream-codec 1.2; Scuttlebutt protocol guide, "RPC protocol".
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from ssbfast import native
from ssbfast.engine_types import Buffer, CoreLimits

_HEAD: Final = struct.Struct(">BIi")
_FLAGS: Final = 0x0F
_TYPE: Final = 0x03


@dataclass(frozen=True, slots=True)
class Packet:
    """One packet.

    Attributes:
        req: The number as it is on the wire.
        flags: 0x00..0x0f, type never 3.
        body: Bytes, also for text and JSON.
    """

    req: int
    flags: int
    body: bytes

    def __repr__(self) -> str:
        return f"Packet(req={self.req}, flags={self.flags:#04x}, body=<{len(self.body)} bytes>)"


@dataclass(frozen=True, slots=True)
class Goodbye:
    """The end of the packet stream: nine zero bytes."""


class PacketReader:
    """A reader that cuts plain bytes into whole packets.

    Args:
        limits: call_body and answer_body bound a body (bytes) whose req is above and below 0; more is a PacketError.
            None: the defaults of `CoreLimits`.
    """

    __slots__ = ("_scanner",)

    def __init__(self, limits: CoreLimits | None = None) -> None:
        self._scanner = native.Scanner(CoreLimits() if limits is None else limits)

    def feed(self, plain: Buffer) -> Iterator[Packet | Goodbye]:
        """Return the packets that are complete now. A packet with an empty body is given as it came; req 0 is skipped.

        Args:
            plain: Bytes out of the box stream, cut anywhere.

        Raises:
            PacketError: By the call after the one that met it: type 3, or a body longer than agreed.
        """
        return iter([_packet(*found) for found in self._scanner.feed(plain)])


def _packet(flags: int, req: int, body: bytes) -> Packet | Goodbye:
    return Packet(req, flags, body) if req else Goodbye()


def encode_packet(packet: Packet | Goodbye) -> bytes:
    """Return the bytes of one packet.

    Args:
        packet: A packet, or the goodbye.

    Returns:
        A head of nine bytes and the body behind it.

    Raises:
        ValueError: An empty body (JS takes it for the end of the whole session), type 3, flags above 0x0f, or a req
            that does not fit 32 bits.
    """
    if isinstance(packet, Goodbye):
        return bytes(_HEAD.size)
    if not packet.body:
        raise ValueError("a packet with an empty body would end the session")
    if not 0 <= packet.flags <= _FLAGS or packet.flags & _TYPE == _TYPE:
        raise ValueError("these flags do not exist")
    if not -(2**31) <= packet.req < 2**31 or len(packet.body) >= 2**32:
        raise ValueError("req or length does not fit 32 bits")
    return _HEAD.pack(packet.flags, len(packet.body), packet.req) + packet.body
