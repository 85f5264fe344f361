"""Records: messages between two peers about moving a session between carriers. Bytes in, records out.

::

    type u8 ‖ stream u64 ‖ offset u64       17 bytes, big-endian; stream 0 is the session itself
    0 KEEPALIVE   nothing; the fields are ignored
    1 HOLD        I can re-send everything from offset on
    2 TAKE        I have all before offset and listen nowhere else; send from here
    3 ACK         received up to offset, by any carrier
    4 END         a forwarded stream is offset bytes long

They travel on QUIC stream 0 behind the proofs, or in the duplex `direct.carrier` of a standby tunnel; never raw on a
tunnel. Which record is allowed when: `carriers`. The format is ssbfast's own.
"""

from __future__ import annotations

import enum
import struct
from dataclasses import dataclass
from typing import Final

from ssbfast.errors import CarrierError

_FORMAT: Final = struct.Struct(">BQQ")

RECORD_BYTES: Final = _FORMAT.size
SESSION: Final = 0
"""Stream number of the session; forwarded connections have those of their QUIC streams."""


class RecordType(enum.IntEnum):
    """The meaning of a record."""

    KEEPALIVE = 0
    HOLD = 1
    TAKE = 2
    ACK = 3
    END = 4


_TYPES: Final = {int(kind): kind for kind in RecordType}


@dataclass(frozen=True, slots=True)
class Record:
    """One record. stream, offset: 0 … 2^64 - 1; offset counts the bytes of that stream in one direction."""

    type: RecordType
    stream: int = SESSION
    offset: int = 0

    def encode(self) -> bytes:
        """Return the record's 17 bytes."""
        return _FORMAT.pack(self.type, self.stream, self.offset)


class RecordReader:
    """A reader of one carrier's incoming records, cut anywhere. It keeps less than one record."""

    __slots__ = ("_failed", "_tail")

    def __init__(self) -> None:
        self._tail = b""
        self._failed = False

    def feed(self, data: bytes) -> list[Record]:
        """Take bytes; return the records that they complete.

        Raises CarrierError for a type that does not exist, and from then on in every call.
        """
        if self._failed:
            raise CarrierError("an unknown record")
        data = self._tail + data
        whole = len(data) - len(data) % RECORD_BYTES
        self._tail = data[whole:]
        records = []
        for number, stream, offset in _FORMAT.iter_unpack(memoryview(data)[:whole]):
            kind = _TYPES.get(number)
            if kind is None:
                self._failed = True
                raise CarrierError("an unknown record")
            records.append(Record(kind, stream, offset))
        return records
