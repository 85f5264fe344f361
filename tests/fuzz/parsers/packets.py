"""Packets and boxes: the C core and its twin in Python say the same, however the bytes are cut."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from ssbfast import native, pure
from ssbfast.engine_types import CoreLimits
from ssbfast.errors import BoxStreamError, CarrierError, PacketError
from ssbfast.wire.direct.carriers.records import RECORD_BYTES, Record, RecordReader
from ssbfast.wire.packet_stream import Goodbye, Packet, PacketReader, encode_packet
from tests.fuzz.parsers.target import halves

KEY: Final = bytes(range(32))
NONCE: Final = b"\xff" * 23 + b"\xf9"
_LIMITS: Final = CoreLimits(call_body=40, answer_body=60)


def _all(feed: Callable[[bytes], list[Any]], chunks: list[bytes], error: type[Exception]) -> tuple[list[Any], bool]:
    """What came, and whether the error did, which is raised by the call after."""
    found: list[Any] = []
    try:
        for chunk in (*chunks, b"", b""):
            found += feed(chunk)
    except error:
        return found, True
    return found, False


def packets(data: bytes) -> None:
    """Whole or in two, by C or by Python: the same packets, then PacketError or nothing; each is written as it was."""
    first, second = halves(data)
    expected = _all(pure.Scanner(_LIMITS).feed, [first + second], PacketError)
    for scanner in (native.Scanner, pure.Scanner):
        assert _all(scanner(_LIMITS).feed, [first, second], PacketError) == expected
    reader = PacketReader(_LIMITS)
    whole, _ = _all(lambda chunk: list(reader.feed(chunk)), [first + second], PacketError)
    for packet in whole:
        if isinstance(packet, Goodbye) or packet.body:
            assert list(PacketReader(_LIMITS).feed(encode_packet(packet))) == [packet]
        else:
            assert isinstance(packet, Packet) and packet.req


def boxes(data: bytes) -> None:
    """Whole or in two, by C or by Python: the same bodies, then BoxStreamError, an end, or nothing."""
    first, second = halves(data)
    outcomes = []
    for opener in (native.Opener, pure.Opener):
        for chunks in ([first + second], [first, second]):
            one = opener(KEY, NONCE, 4096)
            outcomes.append((*_all(one.open, chunks, BoxStreamError), one.ended))
    assert all(outcome == outcomes[0] for outcome in outcomes)


def records(data: bytes) -> None:
    """Whole or in two: the same records, which are written as they came; CarrierError for a type that there is not."""
    first, second = halves(data)
    reader = RecordReader()
    try:
        found = [*reader.feed(first), *reader.feed(second)]
    except CarrierError:
        assert any(kind > 4 for kind in (first + second)[::RECORD_BYTES])
        return
    written = b"".join(Record.encode(record) for record in found)
    assert written == (first + second)[: len(written)] and len(first + second) - len(written) < RECORD_BYTES


TARGETS: Final = (packets, boxes, records)
