"""The box stream on both backends: vectors, every kind of damage, and no trust in how the network cuts."""

from __future__ import annotations

import hashlib
import random
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nacl.bindings import crypto_secretbox

from ssbfast.errors import BoxStreamError, LocalProtocolError, RemoteProtocolError, TruncatedError
from ssbfast.wire.box_stream import Boxer, Unboxer
from tests.helpers import hand_made_boxes as boxes
from tests.helpers import vectors
from tests.helpers.feeds import feeds
from tests.helpers.hand_made_boxes import KEY, NONCE

pytestmark = pytest.mark.usefixtures("core")

VECTORS = vectors.load("box")


def message(n: int) -> bytes:
    return bytes((7 * i + n) & 255 for i in range(n))


def unbox(chunks: list[bytes], unboxer: Unboxer | None = None) -> tuple[bytes, Exception | None, Unboxer]:
    """Return the output for `chunks`, and the error that the next call raises."""
    unboxer = unboxer or Unboxer(KEY, NONCE)
    out = b""
    try:
        for chunk in chunks:
            out += unboxer.open(chunk)
        unboxer.open(b"")
    except RemoteProtocolError as error:
        return out, error, unboxer
    return out, None, unboxer


@pytest.mark.parametrize("vector", VECTORS, ids=lambda v: v["name"])
class TestVectors:
    def keys(self, vector: dict[str, Any]) -> tuple[bytes, bytes]:
        return bytes.fromhex(vector["key"]), bytes.fromhex(vector["nonce"])

    def sealed(self, vector: dict[str, Any]) -> bytes:
        boxer = Boxer(*self.keys(vector))
        return b"".join(boxer.seal(message(n)) for n in vector["message_sizes"]) + boxer.goodbye()

    def test_sealed_bytes_are_those_of_pull_box_stream(self, vector: dict[str, Any]) -> None:
        sealed = self.sealed(vector)
        assert len(sealed) == vector["ciphertext_len"]
        assert sealed.startswith(bytes.fromhex(vector["first_box"]))
        assert sealed[:600] == bytes.fromhex(vector["ciphertext_first_600"])
        assert hashlib.sha256(sealed).hexdigest() == vector["ciphertext_sha256"]
        assert sealed[-34:] == bytes.fromhex(vector["goodbye"])

    def test_opened_however_it_is_cut(self, vector: dict[str, Any]) -> None:
        plain = b"".join(message(n) for n in vector["message_sizes"])
        for chunks in feeds(self.sealed(vector)):
            out, error, unboxer = unbox(chunks, Unboxer(*self.keys(vector)))
            assert (out, error, unboxer.ended) == (plain, None, True)
            unboxer.eof()


class TestSealing:
    def test_boxes_hold_at_most_4096_bytes(self) -> None:
        sealed = Boxer(KEY, NONCE).seal(bytes(4096 * 2 + 1))
        assert len(sealed) == 4096 * 2 + 1 + 3 * 34
        assert [len(b) for b in Unboxer(KEY, NONCE).open_boxes(sealed)] == [4096, 4096, 1]

    @pytest.mark.parametrize("n", [0, 1, 9, 4095, 4096, 4097, 8192, 8193, 20_000])
    def test_bytes_are_those_of_an_independent_sender(self, n: int) -> None:
        plain = message(n)
        parts = [plain[i : i + 4096] for i in range(0, n, 4096)]
        boxer = Boxer(KEY, NONCE)
        assert boxer.seal(plain) + boxer.goodbye() == boxes.stream(parts)

    def test_nothing_makes_no_box_and_takes_no_nonce(self) -> None:
        boxer = Boxer(KEY, NONCE)
        assert boxer.seal(b"") == b""
        assert boxer.seal(b"x") == boxes.box(b"x")

    @pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
    def test_any_buffer(self, kind: Any) -> None:
        assert Boxer(KEY, NONCE).seal(kind(b"abc")) == boxes.box(b"abc")

    @pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
    def test_many_are_sealed_as_one_by_one(self, kind: Any) -> None:
        plains = [message(n) for n in (9, 64, 0, 4096, 4097, 1, 20_000, *range(40))]
        one, many = Boxer(KEY, NONCE), Boxer(KEY, NONCE)
        assert many.seal_many([]) == many.seal_many([b""]) == b""
        assert many.seal_many([kind(plain) for plain in plains]) == b"".join(map(one.seal, plains))
        assert many.goodbye() == one.goodbye()

    @pytest.mark.parametrize("n", [0, 1, 4095, 4096, 4097, 70_000])
    def test_a_packets_head_has_a_box_of_its_own(self, n: int, core: ModuleType) -> None:
        sealer = core.Sealer(KEY, NONCE)
        sealed = sealer.seal_packet(0x0E, -5, message(n)) + sealer.seal_packet(2, 2**31 - 1, b"x") + sealer.goodbye()
        heads = [b"\x0e" + n.to_bytes(4, "big") + b"\xff\xff\xff\xfb", b"\2\0\0\0\1\x7f\xff\xff\xff"]
        bodies = [message(n)[at : at + 4096] for at in range(0, n, 4096)]
        assert sealed == boxes.stream([heads[0], *bodies, heads[1], b"x"])

    def test_sealed_bytes_stay_as_they_are(self) -> None:
        """C writes to their memory before they are returned, and never afterwards."""
        boxer = Boxer(KEY, NONCE)
        sealed = [boxer.seal(message(n)) for n in (1, 64, 4096)] * 3
        before = [bytes(bytearray(box)) for box in sealed]
        more = [boxer.seal(message(n)) for n in (1, 64, 4096)]
        assert sealed == before and len({*sealed, *more}) == 6
        assert [hash(box) for box in sealed] == [hash(box) for box in before]

    def test_nothing_is_sealed_after_the_goodbye(self, core: ModuleType) -> None:
        boxer, sealer = Boxer(KEY, NONCE), core.Sealer(KEY, NONCE)
        boxer.goodbye()
        sealer.goodbye()
        for call in (
            lambda: boxer.seal(b"x"),
            lambda: boxer.seal(b""),
            lambda: boxer.seal_many([b"x"]),
            lambda: boxer.seal_many([]),
            lambda: sealer.seal_packet(2, 1, b"x"),
            boxer.goodbye,
        ):
            with pytest.raises(LocalProtocolError):
                call()

    def test_nothing_is_sealed_after_close(self) -> None:
        boxer = Boxer(KEY, NONCE)
        boxer.close()
        boxer.close()
        with pytest.raises(LocalProtocolError):
            boxer.seal(b"x")

    def test_two_boxers_share_nothing(self) -> None:
        one, two = Boxer(KEY, NONCE), Boxer(KEY, NONCE)
        assert [one.seal(b"a"), two.seal(b"a"), one.seal(b"b"), two.seal(b"b")] == [
            boxes.box(b"a"), boxes.box(b"a"), boxes.box(b"b", 1), boxes.box(b"b", 1)
        ]  # fmt: skip

    @pytest.mark.parametrize(("key", "nonce"), [(31, 24), (33, 24), (32, 23), (32, 25), (0, 0)])
    def test_lengths_of_key_and_nonce(self, key: int, nonce: int) -> None:
        for make in (Boxer, Unboxer):
            with pytest.raises(ValueError):
                make(bytes(key), bytes(nonce))

    def test_repr_shows_no_key(self) -> None:
        for thing in (Boxer(b"K" * 32, NONCE), Unboxer(b"K" * 32, NONCE)):
            assert "KKKK" not in repr(thing)


class TestCarry:
    """The nonce is one number of 24 bytes, wherever the ff..ff of its end begin."""

    @pytest.mark.parametrize("low", range(25))
    @pytest.mark.parametrize("last", [0xFE, 0xFF])
    def test_every_carry(self, low: int, last: int) -> None:
        nonce = bytearray(b"\x51" * (24 - low) + b"\xff" * low)
        if low:
            nonce[-1] = last
        bodies = [b"one", b"two", b"three"]
        sealed = boxes.stream(bodies, nonce=bytes(nonce))
        boxer = Boxer(KEY, bytes(nonce))
        assert b"".join(map(boxer.seal, bodies)) + boxer.goodbye() == sealed
        out, error, unboxer = unbox([sealed], Unboxer(KEY, bytes(nonce)))
        assert (out, error, unboxer.ended) == (b"onetwothree", None, True)


class TestDamage:
    """Good boxes, then one that is not: the good ones come out, nothing after them, and the stream is dead."""

    GOOD = (b"good", b"boxes")

    def dead(self, bad: bytes, bytewise: bool = False) -> None:
        data = boxes.stream(list(self.GOOD), end=False) + bad
        chunks = [data[i : i + 1] for i in range(len(data))] if bytewise else [data]
        out, error, unboxer = unbox(chunks)
        assert out == b"goodboxes"
        assert type(error) is BoxStreamError
        assert not unboxer.ended
        for call in (lambda: unboxer.open(b""), lambda: unboxer.open(boxes.box(b"x", 2)), unboxer.eof):
            with pytest.raises(BoxStreamError):
                call()

    def test_every_bit_of_header_and_body(self) -> None:
        for body in (b"x", b"a body of some length"):
            sealed = boxes.box(body, 2)
            for bit in range(len(sealed) * 8):
                bad = bytearray(sealed)
                bad[bit // 8] ^= 1 << bit % 8
                self.dead(bytes(bad))

    def test_every_bit_of_the_goodbye(self) -> None:
        for bit in range(34 * 8):
            bad = bytearray(boxes.goodbye(2))
            bad[bit // 8] ^= 1 << bit % 8
            self.dead(bytes(bad))

    def test_bits_of_a_full_box(self) -> None:
        sealed = boxes.box(message(4096), 2)
        for at in (34, 35, 34 + 31, 34 + 32, 34 + 63, 34 + 64, 2000, 34 + 4095):
            bad = bytearray(sealed)
            bad[at] ^= 0x10
            self.dead(bytes(bad))

    def test_bytewise_too(self) -> None:
        bad = bytearray(boxes.box(b"x", 2))
        bad[-1] ^= 1
        self.dead(bytes(bad), bytewise=True)
        bad = bytearray(boxes.box(b"x", 2))
        bad[0] ^= 1
        self.dead(bytes(bad), bytewise=True)

    def test_body_exchanged_for_another_authentic_one(self) -> None:
        self.dead(boxes.box(b"aaaa", 2)[:34] + boxes.box(b"bbbb", 2)[34:])

    @pytest.mark.parametrize("length", [0, 4097, 65535])
    def test_lengths_that_are_not_allowed(self, length: int) -> None:
        self.dead(boxes.box(bytes(length), 2))

    def test_length_that_lies(self) -> None:
        self.dead(boxes.box(b"1234", 2, length=3))
        self.dead(boxes.box(b"1234", 2, length=5) + b"x")

    def test_zero_length_with_a_mac_is_no_goodbye(self) -> None:
        self.dead(boxes.box(b"", 2, length=0))

    def test_goodbye_needs_all_18_zero_bytes(self) -> None:
        for at in range(18):
            plain = bytearray(18)
            plain[at] = 1
            header = crypto_secretbox(bytes(plain), boxes.step(NONCE, 4), KEY)
            self.dead(header + bytes(4096))

    def test_drop_duplicate_swap(self) -> None:
        sealed = [boxes.box(bytes([65 + i]) * 5, i) for i in range(4)]
        for order, good in (([0, 2, 3], 1), ([1, 2, 3], 0), ([0, 0, 1], 1), ([0, 1, 1], 2), ([0, 2, 1], 1)):
            for chunks in feeds(b"".join(sealed[i] for i in order)):
                out, error, _ = unbox(chunks)
                assert out == b"".join(bytes([65 + i]) * 5 for i in range(good))
                assert isinstance(error, BoxStreamError)

    def test_wrong_key_and_wrong_nonce(self) -> None:
        for unboxer in (Unboxer(bytes(32), NONCE), Unboxer(KEY, bytes(24)), Unboxer(KEY, boxes.step(NONCE))):
            assert isinstance(unbox([boxes.box(b"x")], unboxer)[1], BoxStreamError)

    def test_larger_bodies_when_agreed(self) -> None:
        data = boxes.box(message(65535)) + boxes.box(message(4097), 1)
        for chunks in ([data], [data[:100], data[100:50_000], data[50_000:]]):
            out, error, _ = unbox(chunks, Unboxer(KEY, NONCE, 65535))
            assert (out, error) == (message(65535) + message(4097), None)
        small = Unboxer(KEY, NONCE, 10)
        assert isinstance(unbox([boxes.box(bytes(10)) + boxes.box(bytes(11), 1)], small)[1], BoxStreamError)


class TestOneBoxACall:
    """The way in which most programs read: a box, or what is left of one."""

    def test_whole_boxes_and_all_that_can_lie_behind_them(self) -> None:
        sealed = [boxes.box(message(n), i) for i, n in enumerate((1, 64, 4096, 33))]
        end = boxes.goodbye(4)
        for more in (0, 1, 33, 34, 35, 40):
            unboxer = Unboxer(KEY, NONCE)
            joined = Unboxer(KEY, NONCE)
            data, found, text = b"".join(sealed) + end, [], b""
            for n in (*map(len, sealed), len(data)):
                found += unboxer.open_boxes(data[: n + more])
                text += joined.open(data[: n + more])
                data = data[n + more :]
            assert found == [message(n) for n in (1, 64, 4096, 33)] and unboxer.ended
            assert text == b"".join(found) and joined.ended
        unboxer = Unboxer(KEY, NONCE)
        assert [unboxer.open_boxes(box) for box in sealed] == [[message(n)] for n in (1, 64, 4096, 33)]
        assert unboxer.open_boxes(end + b"x") == [] and unboxer.ended
        with pytest.raises(BoxStreamError):
            unboxer.open_boxes(b"")

    @pytest.mark.parametrize("at", [0, 20, 34, 40])
    def test_damaged(self, at: int) -> None:
        bad = bytearray(boxes.box(message(64), 1))
        bad[at] ^= 1
        unboxer = Unboxer(KEY, NONCE)
        assert unboxer.open_boxes(boxes.box(b"good") + bytes(bad[:10])) == [b"good"]
        assert unboxer.open_boxes(bytes(bad[10:])) == []
        for data in (b"", boxes.box(b"next", 2)):
            with pytest.raises(BoxStreamError):
                unboxer.open_boxes(data)
        unboxer = Unboxer(KEY, NONCE)
        assert (unboxer.open_boxes(boxes.box(b"good")), unboxer.open_boxes(bytes(bad))) == ([b"good"], [])
        with pytest.raises(BoxStreamError):
            unboxer.open_boxes(boxes.box(b"next", 2))


class TestEnd:
    STREAM = boxes.stream([b"abc", b"defgh"])

    def test_every_truncation_is_told_from_a_clean_end(self) -> None:
        for n in range(len(self.STREAM)):
            out, error, unboxer = unbox([self.STREAM[:n]])
            assert error is None
            assert out == (b"abcdefgh" if n >= 34 * 2 + 8 else b"abc" if n >= 34 + 3 else b"")
            assert not unboxer.ended
            with pytest.raises(TruncatedError):
                unboxer.eof()

    def test_clean_end(self) -> None:
        out, error, unboxer = unbox([self.STREAM])
        assert (out, error, unboxer.ended) == (b"abcdefgh", None, True)
        unboxer.eof()
        assert unboxer.open(b"") == b""
        unboxer.eof()

    @pytest.mark.parametrize("more", [b"x", boxes.goodbye(3), boxes.box(b"more", 3), bytes(5000)])
    def test_data_after_the_goodbye(self, more: bytes) -> None:
        for chunks in ([self.STREAM + more], [self.STREAM, more]):
            out, error, unboxer = unbox(chunks)
            assert out == b"abcdefgh"
            assert type(error) is BoxStreamError
            assert unboxer.ended
            with pytest.raises(BoxStreamError):
                unboxer.eof()

    def test_empty_stream(self) -> None:
        with pytest.raises(TruncatedError):
            Unboxer(KEY, NONCE).eof()
        _, error, unboxer = unbox([boxes.goodbye()])
        assert (error, unboxer.ended) == (None, True)

    def test_close(self) -> None:
        unboxer = Unboxer(KEY, NONCE)
        unboxer.open(boxes.box(b"abc")[:36])
        unboxer.close()
        unboxer.close()
        with pytest.raises(LocalProtocolError):
            unboxer.open(b"")


def test_good_prefix_then_the_error_by_the_next_call(core: ModuleType) -> None:
    opener = core.Opener(KEY, NONCE)
    assert opener.open(boxes.box(b"a") + boxes.box(b"b", 1) + bytes(34)) == [b"a", b"b"]
    for data in (b"", b"", boxes.box(b"c", 2)):
        with pytest.raises(BoxStreamError):
            opener.open(data)


def test_input_is_not_changed(core: ModuleType) -> None:
    data = bytearray(boxes.stream([b"abc", message(4096)]))
    before = bytes(data)
    opener = core.Opener(KEY, NONCE)
    opener.open(memoryview(data)[:70])
    opener.open(data[70:])
    assert data == before


@given(st.lists(st.binary(min_size=1, max_size=6000), max_size=5), st.integers(0, 1 << 30), st.booleans())
def test_what_goes_in_comes_out(core: ModuleType, messages: list[bytes], seed: int, carry: bool) -> None:
    rng = random.Random(seed)
    key = rng.randbytes(32)
    nonce = b"\xff" * 23 + rng.randbytes(1) if carry else rng.randbytes(24)
    boxer = Boxer(key, nonce)
    sealed = b"".join(map(boxer.seal, messages)) + boxer.goodbye()
    for chunks in feeds(sealed, seed, rounds=2):
        out, error, unboxer = unbox(chunks, Unboxer(key, nonce))
        assert (out, error, unboxer.ended) == (b"".join(messages), None, True)


@given(st.binary(max_size=200), st.integers(0, 1 << 30))
def test_garbage_is_a_boxstream_error_or_waits_for_more(core: ModuleType, data: bytes, seed: int) -> None:
    for chunks in feeds(data, seed):
        out, error, _ = unbox(chunks)
        assert out == b""
        assert isinstance(error, BoxStreamError) if len(data) >= 34 else error is None
