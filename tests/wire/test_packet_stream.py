"""The packet stream on both backends: vectors, limits, empty bodies, and no trust in how the input is cut."""

from __future__ import annotations

import json
import random
import struct
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ssbfast.errors import PacketError
from ssbfast.pure import CoreLimits
from ssbfast.wire.packet_stream import Goodbye, Packet, PacketReader, encode_packet
from tests.helpers import vectors
from tests.helpers.feeds import feeds

pytestmark = pytest.mark.usefixtures("core")

VECTORS = vectors.load("mux")
SMALL = CoreLimits(call_body=10, answer_body=20)

Read = tuple[list[Packet | Goodbye], PacketError | None]


def raw(flags: int, req: int, body: bytes, length: int | None = None) -> bytes:
    return struct.pack(">BIi", flags, len(body) if length is None else length, req) + body


def read(chunks: list[bytes], limits: CoreLimits | None = None) -> Read:
    """Return the packets, and the error that the next call raises."""
    reader = PacketReader(limits)
    packets: list[Packet | Goodbye] = []
    try:
        for chunk in chunks:
            packets += reader.feed(chunk)
        reader.feed(b"")
    except PacketError as error:
        return packets, error
    return packets, None


def read_all_ways(data: bytes, limits: CoreLimits | None = None) -> Read:
    """Return the one answer that does not depend on the cutting."""
    answers = [read(chunks, limits) for chunks in feeds(data)]
    first, error = answers[0]
    for packets, other in answers[1:]:
        assert packets == first
        assert type(other) is type(error)
    return first, error


def as_packet(vector: dict[str, Any]) -> Packet:
    """Return the packet that a vector describes, bodies encoded as JSON.stringify does."""
    packet = json.loads(vector["packet"])
    flags = 8 * packet["stream"] + 4 * packet["end"]
    value = packet.get("value", False)  # JS sends `undefined` as false
    if isinstance(value, dict) and value.get("type") == "Buffer":
        return Packet(packet["req"], flags, bytes(value["data"]))
    if isinstance(value, str):
        return Packet(packet["req"], flags | 1, value.encode())
    body = json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()
    return Packet(packet["req"], flags | 2, body)


class TestVectors:
    @pytest.mark.parametrize("vector", VECTORS, ids=lambda v: v["hex"][:18])
    def test_encoded_bytes_are_those_of_packet_stream_codec(self, vector: dict[str, Any]) -> None:
        assert encode_packet(as_packet(vector)).hex() == vector["hex"]

    def test_all_in_one_stream(self) -> None:
        data = b"".join(bytes.fromhex(v["hex"]) for v in VECTORS) + bytes(9)
        packets, error = read_all_ways(data)
        assert error is None
        assert packets == [p for p in map(as_packet, VECTORS) if p.req] + [Goodbye()]


class TestReading:
    def test_whole_packets_only(self) -> None:
        data = raw(2, 1, b"[1]")
        for n in range(len(data)):
            assert read([data[:n]]) == ([], None)

    def test_unused_bits_of_flags_are_ignored(self) -> None:
        for upper in range(0x10, 0x100, 0x10):
            assert read([raw(upper | 0x0E, -7, b"true")]) == ([Packet(-7, 0x0E, b"true")], None)

    @pytest.mark.parametrize("req", [1, -1, 2**31 - 1, -(2**31), 256, -256])
    def test_req_is_signed(self, req: int) -> None:
        assert read([raw(8, req, b"x")]) == ([Packet(req, 8, b"x")], None)

    @pytest.mark.parametrize("flags", [0x03, 0x07, 0x0B, 0x0F, 0xF3])
    def test_type_3(self, flags: int) -> None:
        packets, error = read_all_ways(raw(8, 1, b"good") + raw(flags, 1, b"bad") + raw(8, 1, b"more"))
        assert packets == [Packet(1, 8, b"good")]
        assert error is not None

    def test_limits(self) -> None:
        for req, limit in ((1, 10), (2**31 - 1, 10), (-1, 20), (-(2**31), 20)):
            good = raw(2, req, bytes(limit))
            assert read_all_ways(good, SMALL) == ([Packet(req, 2, bytes(limit))], None)
            packets, error = read_all_ways(good + raw(2, req, bytes(limit + 1)) + good, SMALL)
            assert packets == [Packet(req, 2, bytes(limit))]
            assert error is not None

    def test_req_0_has_the_limit_of_a_call(self) -> None:
        assert read_all_ways(raw(2, 0, bytes(10)) + raw(2, 1, b"x"), SMALL) == ([Packet(1, 2, b"x")], None)
        assert read_all_ways(raw(2, 0, bytes(11)) + raw(2, 1, b"x"), SMALL)[1] is not None

    def test_a_long_packet_is_refused_by_its_head_alone(self) -> None:
        assert read([raw(2, 1, b"", length=2**32 - 1)])[1] is not None
        assert read([raw(2, 1, b"", length=2**31)])[1] is not None

    def test_default_limits(self) -> None:
        limits = CoreLimits()
        for req, limit in ((1, limits.call_body), (-1, limits.answer_body)):
            (packet,), error = read([raw(2, req, bytes(limit))])
            assert isinstance(packet, Packet)
            assert (len(packet.body), error) == (limit, None)
            assert read([raw(2, req, b"", length=limit + 1)])[1] is not None

    def test_empty_bodies(self) -> None:
        data = raw(0x0E, 3, b"") + raw(8, -3, b"") + raw(0, 5, b"") + raw(2, 1, b"[]")
        packets = [Packet(3, 0x0E, b""), Packet(-3, 8, b""), Packet(5, 0, b""), Packet(1, 2, b"[]")]
        assert read_all_ways(data) == (packets, None)

    def test_goodbye(self) -> None:
        data = raw(8, 1, b"x") + bytes(9) + raw(8, 1, b"y")
        assert read_all_ways(data) == ([Packet(1, 8, b"x"), Goodbye(), Packet(1, 8, b"y")], None)

    def test_req_0_is_ignored(self) -> None:
        data = raw(8, 0, b"x") + raw(0x0E, 0, b"true") + raw(0x0E, 0, b"") + raw(8, 1, b"y")
        assert read_all_ways(data) == ([Packet(1, 8, b"y")], None)

    def test_dead_after_a_mistake(self, core: ModuleType) -> None:
        scanner = core.Scanner(CoreLimits())
        assert scanner.feed(raw(8, 1, b"x") + raw(3, 1, b"y")) == [(8, 1, b"x")]
        for data in (b"", raw(8, 1, b"x")):
            with pytest.raises(PacketError):
                scanner.feed(data)

    def test_two_readers_share_nothing(self) -> None:
        one, two = PacketReader(), PacketReader()
        data = raw(8, 1, b"abcdef")
        assert list(one.feed(data[:11])) == list(two.feed(data[:3])) == []
        assert list(one.feed(data[11:])) == list(two.feed(data[3:])) == [Packet(1, 8, b"abcdef")]


class TestEncoding:
    def test_goodbye(self) -> None:
        assert encode_packet(Goodbye()) == bytes(9)

    @pytest.mark.parametrize("flags", [3, 7, 0x0B, 0x0F, 0x10, 0x18, -1, 256])
    def test_flags_that_do_not_exist(self, flags: int) -> None:
        with pytest.raises(ValueError):
            encode_packet(Packet(1, flags, b"x"))

    def test_empty_bodies_are_refused(self) -> None:
        for flags in (0, 2, 8, 0x0E):
            with pytest.raises(ValueError):
                encode_packet(Packet(1, flags, b""))

    @pytest.mark.parametrize("req", [2**31, -(2**31) - 1])
    def test_req_fits_32_bits(self, req: int) -> None:
        with pytest.raises(ValueError):
            encode_packet(Packet(req, 8, b"x"))

    def test_repr_shows_no_body(self) -> None:
        assert "secret" not in repr(Packet(1, 8, b"secret"))
        assert "6 bytes" in repr(Packet(1, 8, b"secret"))


packets = st.builds(
    Packet,
    st.integers(-(2**31), 2**31 - 1).filter(bool),
    st.sampled_from([f for f in range(16) if f & 3 != 3]),
    st.binary(min_size=1, max_size=300),
)


@given(st.lists(packets | st.just(Goodbye()), max_size=8))
def test_what_is_encoded_is_read(core: ModuleType, wanted: list[Packet | Goodbye]) -> None:
    assert read_all_ways(b"".join(map(encode_packet, wanted))) == (wanted, None)


@given(st.binary(max_size=300), st.integers(0, 1 << 30))
def test_garbage_is_a_packet_error_or_packets(core: ModuleType, data: bytes, seed: int) -> None:
    rng = random.Random(seed)
    # lengths below 256, else no garbage would ever get past its first head
    data = b"".join(raw(rng.randrange(256), rng.randrange(-3, 3), data[i : i + 30]) for i in range(0, len(data), 30))
    found, error = read_all_ways(data)
    assert all(isinstance(p, Goodbye) or p.req for p in found)
    assert error is None or isinstance(error, PacketError)
