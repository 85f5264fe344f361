"""Packets and boxes: the C core and its twin in Python say the same, however the bytes are cut."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from ssbfast import limits, native, pure
from ssbfast.engine_types import CoreLimits
from ssbfast.errors import BoxStreamError, CarrierError, MuxRPCError, PacketError
from ssbfast.net.forward.datagrams import Unframer, framed
from ssbfast.net.forward.socks5 import Opening
from ssbfast.wire.direct.carriers.records import RECORD_BYTES, Record, RecordReader
from ssbfast.wire.packet_stream import Goodbye, Packet, PacketReader, encode_packet
from ssbfast.wire.pairing import is_name
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


def datagrams(data: bytes) -> None:
    """Whole or in two: the same datagrams, written as they were, then MuxRPCError at a length that UDP has not."""
    first, second = halves(data)
    found, failed = _datagrams([first, second])
    assert (found, failed) == _datagrams([first + second])
    written = b"".join(map(framed, found))
    rest = (first + second)[len(written) :]
    assert first + second == written + rest
    length = int.from_bytes(rest[:2], "big")
    assert failed == (len(rest) >= 2 and length > limits.DATAGRAM) and (failed or len(rest) < 2 + length)


def _datagrams(chunks: list[bytes]) -> tuple[list[bytes], bool]:
    unframer, found = Unframer(), list[bytes]()
    try:
        for chunk in chunks:
            unframer.add(chunk)
            for datagram in unframer.whole():
                found.append(datagram)
    except MuxRPCError:
        return found, True
    return found, False


def socks(data: bytes) -> None:
    """Whole or in two: the same answers, and a request for names alone, a refusal, or nothing yet."""
    first, second = halves(data)
    outcomes = []
    for chunks in ([first, second], [first + second]):
        opening = Opening()
        answer = b"".join([opening.receive(chunk) for chunk in chunks])
        outcomes.append((answer, opening.request, opening.rest, opening.is_over))
    assert outcomes[0] == outcomes[1]
    answer, request, rest, is_over = outcomes[0]
    assert len(answer) in (0, 2, 12) and (request is None or not is_over)
    if request is not None:
        assert is_name(request.nickname) and (request.service is None or is_name(request.service))
        assert answer == b"\x05\x00" and (first + second).endswith(rest)


TARGETS: Final = (packets, boxes, records, datagrams, socks)
