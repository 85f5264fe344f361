"""The packet stream in C: plain bytes to whole packets."""

from __future__ import annotations

import struct
from typing import Final

from ssbfast.engine_types import Buffer, CoreLimits, Status
from ssbfast.native.core import error_of, ffi, lib

_HEAD: Final = 9
_PACKETS: Final = 256
"""Packets found by one call."""

_PACKET: Final = struct.Struct("=IIiI")
"""at, length, req, flags: `ssb_packet` of csrc/ssbfast.h."""


class Scanner:
    """A cutter of plain bytes into whole packets, with the limits of `CoreLimits`."""

    __slots__ = ("_fault", "_limits", "_need", "_numbers", "_packets", "_tail")

    def __init__(self, limits: CoreLimits) -> None:
        self._limits = (limits.call_body, limits.answer_body)
        self._packets = ffi.new("ssb_packet[]", _PACKETS)
        self._numbers = ffi.new("size_t[3]")  # count, used, need
        self._tail = bytearray()
        self._need = _HEAD
        self._fault = 0

    def feed(self, plain: Buffer) -> list[tuple[int, int, bytes]]:
        """Return the packets (flags, req, body) that are complete now.

        A goodbye is (0, 0, b""); other packets of req 0 are skipped.

        What came before a mistake is returned; the next call, and each one after it, raises PacketError.
        """
        if self._fault:
            raise error_of(self._fault)
        if self._tail or not isinstance(plain, bytes):
            self._tail += plain
            if len(self._tail) < self._need:
                return []
            plain = bytes(self._tail)
        packets: list[tuple[int, int, bytes]] = []
        used = self._scan(plain, packets)
        self._tail = bytearray(plain[used:])
        return packets

    def _scan(self, plain: bytes, packets: list[tuple[int, int, bytes]]) -> int:
        source, numbers, found = ffi.from_buffer("uint8_t[]", plain), self._numbers, self._packets
        start, code = 0, 0
        while code == Status.OK:
            code = lib.ssb_scan_packets(
                source + start, len(plain) - start, *self._limits, found, _PACKETS, numbers, numbers + 1, numbers + 2
            )
            for at, length, req, flags in _PACKET.iter_unpack(ffi.buffer(found, numbers[0] * _PACKET.size)):
                body = start + at
                packets.append((flags, req, plain[body : body + length]))
            start += numbers[1]
        self._need = numbers[2]
        if code < 0:
            self._fault = code
            return len(plain)
        return start
