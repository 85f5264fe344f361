"""Records of moving carriers: bytes as the design says, fed in every split, unknown types refused for good."""

from __future__ import annotations

import random

import pytest

from ssbfast.errors import CarrierError
from ssbfast.wire.direct.carriers.records import RECORD_BYTES, Record, RecordReader, RecordType
from tests.helpers.feeds import feeds


def test_bytes_of_a_record() -> None:
    assert RECORD_BYTES == 17
    record = Record(RecordType.TAKE, 0x0102030405060708, 0x1112131415161718)
    assert record.encode() == bytes.fromhex("02 0102030405060708 1112131415161718")
    assert [kind.value for kind in RecordType] == [0, 1, 2, 3, 4]
    assert Record(RecordType.HOLD, 0, 5).encode() == b"\x01" + bytes(15) + b"\x05"


@pytest.mark.parametrize("seed", range(5))
def test_every_split(seed: int) -> None:
    rng = random.Random(seed)
    records = [
        Record(rng.choice(list(RecordType)), rng.choice((0, 4, 2**64 - 1)), rng.randrange(2**64)) for _ in range(40)
    ]
    data = b"".join(record.encode() for record in records)
    for chunks in feeds(data, seed):
        reader = RecordReader()
        assert [record for chunk in chunks for record in reader.feed(chunk)] == records


@pytest.mark.parametrize("number", [5, 6, 127, 255])
def test_unknown_types_are_refused_for_good(number: int) -> None:
    good = Record(RecordType.ACK, 0, 1).encode()
    for chunks in feeds(good + bytes([number]) + bytes(16)):
        reader = RecordReader()
        with pytest.raises(CarrierError):
            for chunk in chunks:
                reader.feed(chunk)
        with pytest.raises(CarrierError):
            reader.feed(b"")


def test_a_reader_keeps_less_than_a_record() -> None:
    reader = RecordReader()
    assert reader.feed(bytes(16)) == []
    assert reader.feed(bytes(1)) == [Record(RecordType.KEEPALIVE)]
    assert reader.feed(bytes(17 * 1000 + 3)) == [Record(RecordType.KEEPALIVE)] * 1000
    assert len(reader._tail) == 3
