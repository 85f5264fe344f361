"""The packet stream: heads of nine bytes, each with a body behind it.

::

    head     flags(1) length(4, unsigned) req(4, signed), big-endian
    flags    08 stream · 04 end or error · low two bits: 0 bytes, 1 UTF-8, 2 JSON, 3 forbidden · the rest is ignored
    goodbye  nine zero bytes

Spec: packet-stream-codec 1.2; Scuttlebutt protocol guide, "RPC protocol".
"""

from __future__ import annotations

import struct
from _thread import RLock
from typing import Final

from ssbfast.engine_types import E_PACKET, E_TYPE, TYPE_MASK, Buffer, CoreLimits, Status, fault, in_turn

HEAD: Final = struct.Struct(">BIi")
"""flags, length of the body, req"""

KNOWN: Final = 0x0F
"""The bits of flags that mean something."""


class HeadScanner:
    """A cutter of plain bytes into heads and bodies that keeps no body: `ssb_scanner` of the engine."""

    __slots__ = ("_raw", "left")

    def __init__(self) -> None:
        self._raw = b""
        self.left = 0

    def head(self, plain: bytes) -> tuple[int, int, tuple[int, int, int] | None]:
        """Read on; return (code, used, head). head: (flags, req, length), None while incomplete.

        Call it only while left == 0.
        """
        used = min(HEAD.size - len(self._raw), len(plain))
        self._raw += plain[:used]
        if len(self._raw) < HEAD.size:
            return Status.OK, used, None
        flags, length, req = HEAD.unpack(self._raw)
        if flags & TYPE_MASK == TYPE_MASK:
            return E_TYPE, used, None
        self._raw = b""
        self.left = length
        return Status.OK, used, (flags & KNOWN, req, length)


def too_long(limits: CoreLimits, req: int, length: int) -> bool:
    """Return whether a packet that must be whole is longer than agreed; req < 0 answers our own calls."""
    return length > (limits.answer_body if req < 0 else limits.call_body)


class Scanner:
    """A cutter of plain bytes into whole packets, with the limits of `CoreLimits`."""

    def __init__(self, limits: CoreLimits) -> None:
        self.turn = RLock()
        self._limits = limits
        self._heads = HeadScanner()
        self._head = (0, 0)
        self._body = bytearray()
        self._fault = 0

    @in_turn
    def feed(self, plain: Buffer) -> list[tuple[int, int, bytes]]:
        """Return the packets (flags, req, body) that are complete now.

        A goodbye is (0, 0, b""); other packets of req 0 are skipped.

        What came before a mistake is returned; the next call, and each one after it, raises PacketError.
        """
        if self._fault:
            raise fault(self._fault)
        data = bytes(plain)
        packets: list[tuple[int, int, bytes]] = []
        at = 0
        while at < len(data):
            if self._heads.left:
                at += self._take(data, at, packets)
                continue
            code, used, head = self._heads.head(data[at : at + HEAD.size])
            at += used
            if head is None and code == Status.OK:
                break
            if head is not None:
                flags, req, length = head
                self._head = (flags, req)
                code = E_PACKET if too_long(self._limits, req, length) else code
            if code < 0:
                self._fault = code
                self._body.clear()
                break
            if not self._heads.left:
                self._finish(packets)
        return packets

    def _take(self, data: bytes, at: int, packets: list[tuple[int, int, bytes]]) -> int:
        piece = data[at : at + self._heads.left]
        self._body += piece
        self._heads.left -= len(piece)
        if not self._heads.left:
            self._finish(packets)
        return len(piece)

    def _finish(self, packets: list[tuple[int, int, bytes]]) -> None:
        flags, req = self._head
        body = bytes(self._body)
        self._body.clear()
        if req or (not flags and not body):
            packets.append((flags, req, body))


def write_head(flags: int, length: int, req: int) -> bytes:
    """Return the nine bytes in front of a body."""
    return HEAD.pack(flags, length, req)
