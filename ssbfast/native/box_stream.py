"""The box stream in C: seal and open, any number of boxes in one call."""

from __future__ import annotations

import hashlib
from _thread import allocate_lock as Lock  # a lock without the threads: floors 0-3 start none
from array import array
from collections.abc import Sequence
from typing import Final

from ssbfast import errors, limits
from ssbfast.engine_types import E_CLOSED, Buffer, Status, check_keys
from ssbfast.native.core import crypto, error_of, ffi, lib

_HEAD: Final = 34
_BOXES: Final = 256
"""Boxes opened by one call."""

_BOX: Final = _HEAD + limits.BOX_BODY
_PACKET: Final = _HEAD + 9
"""The box of a packet's head."""

# Looked up once: these calls are made for every box.
_seal, _seal_parts, _seal_packet = lib.ssb_seal, lib.ssb_seal_parts, lib.ssb_seal_packet
_sealed_size, _sealed_parts_size = lib.ssb_sealed_size, lib.ssb_sealed_parts_size
_open_whole, _open_many = lib.ssb_open_whole, lib.ssb_open_many

_SELF_TEST_SIZES: Final = (*range(1, 131), 160, 161, 255, 256, 257, 383, 384, 400, 511, 512, 513, 640, 1000, 1024, 2100)
_SELF_TEST: Final = "247012e225932675123b9159e54bad05959d5dabf885b579ff2cbca748e7ec52"


class Sealer:
    """One direction of a box stream, sealing. key: 32 bytes, nonce: 24 bytes; ValueError for other lengths."""

    __slots__ = ("_c", "_turn")

    def __init__(self, key: bytes, nonce: bytes) -> None:
        check_keys((key, nonce))
        self._turn = Lock()  # two threads would use a nonce twice
        self._c = ffi.new("ssb_sealer *")
        lib.ssb_sealer_init(self._c, crypto, key, nonce)
        self._c = ffi.gc(self._c, lib.ssb_sealer_close)

    def seal(self, plain: Buffer) -> bytes:
        """Seal `plain` into boxes of at most 4096 bytes; b"" makes none. Raise LocalProtocolError when closed."""
        source = plain if type(plain) is bytes else ffi.from_buffer("uint8_t[]", plain)
        n = len(source)
        # C writes into a new bytes object that no other code has, as Python's own C code does; the self-test proves it.
        out = bytes(n + _HEAD if 0 < n <= limits.BOX_BODY else _sealed_size(n))
        with self._turn:
            code = _seal(self._c, source, n, out)
        if code:
            raise error_of(code)
        return out

    def seal_many(self, plains: Sequence[Buffer]) -> bytes:
        """Seal many texts at once, each in boxes of its own."""
        plain, sizes = b"".join(plains), array("I", map(len, plains))
        numbers = ffi.from_buffer("uint32_t[]", sizes)
        out = bytes(_sealed_parts_size(numbers, len(sizes)))
        with self._turn:
            code = _seal_parts(self._c, plain, numbers, len(sizes), out)
        if code:
            raise error_of(code)
        return out

    def seal_packet(self, flags: int, req: int, body: bytes) -> bytes:
        """Seal one packet, its head in a box of its own. flags: one byte. Raise LocalProtocolError when closed."""
        n = len(body)
        out = bytes(_PACKET + n + _HEAD if 0 < n <= limits.BOX_BODY else _PACKET + _sealed_size(n))
        with self._turn:
            code = _seal_packet(self._c, flags, req, body, n, out)
        if code:
            raise error_of(code)
        return out

    def goodbye(self) -> bytes:
        """Return the 34 bytes that end the stream; afterwards nothing can be sealed.

        Raise LocalProtocolError when closed.
        """
        out = ffi.new("uint8_t[]", _HEAD)
        with self._turn:
            code = lib.ssb_seal_goodbye(self._c, out)
        if code:
            raise error_of(code)
        return bytes(ffi.buffer(out))

    def close(self) -> None:
        """Wipe the key."""
        with self._turn:
            lib.ssb_sealer_close(self._c)


class Opener:
    """One direction of a box stream, opening. key: 32 bytes, nonce: 24 bytes; ValueError for other lengths."""

    __slots__ = ("_c", "_fault", "_need", "_numbers", "_sizes", "_tail", "_turn", "ended")

    def __init__(self, key: bytes, nonce: bytes, body_max: int = limits.BOX_BODY) -> None:
        check_keys((key, nonce))
        self._turn = Lock()
        self._c = ffi.new("ssb_opener *")
        lib.ssb_opener_init(self._c, crypto, key, nonce, body_max)
        self._c = ffi.gc(self._c, lib.ssb_opener_close)
        self._sizes = ffi.new("uint16_t[]", _BOXES)
        self._numbers = [ffi.new("size_t *") for _ in ("count", "used", "need")]
        self._tail = bytearray()
        self._need = _HEAD
        self._fault = 0
        self.ended = False

    def open(self, data: Buffer) -> list[bytes]:
        """Return the bodies of all boxes that are complete now; the beginning of a box is kept.

        What came before a mistake is returned; the next call, and each one after it, raises BoxStreamError
        (LocalProtocolError after close()).
        """
        with self._turn:
            return self._open(data)

    def _open(self, data: Buffer) -> list[bytes]:
        if self._fault:
            raise error_of(self._fault)
        work, n = self._tail, len(data)
        if not work and _HEAD < n <= _BOX and type(data) is bytes:
            body = bytes(n - _HEAD)  # C writes into it: see Sealer.seal
            if _open_whole(self._c, data, n, body):
                return [body]
        bodies: list[bytes] = []
        work += data
        if work and (len(work) >= self._need or self.ended):
            used = self._open_all(work, bodies)
            self._tail = work[used:]  # another one, because the memory of `work` has been lent
        return bodies

    def open_joined(self, data: Buffer) -> bytes:
        """Return the bodies that `open` would return, joined."""
        n = len(data)
        with self._turn:
            if _HEAD < n <= _BOX and type(data) is bytes and not self._tail and not self._fault:
                body = bytes(n - _HEAD)  # as in `_open`, without its list: this is the call that is made for every box
                if _open_whole(self._c, data, n, body):
                    return body
            return b"".join(self._open(data))

    def _open_all(self, work: bytearray, bodies: list[bytes]) -> int:
        sizes, (count, used, need) = self._sizes, self._numbers
        source = ffi.from_buffer("uint8_t[]", work)
        view = ffi.buffer(source)
        at, n, code = 0, len(work), 0
        while code == Status.OK:
            code = _open_many(self._c, source + at, n - at, sizes, _BOXES, count, used, need)
            body = at + _HEAD
            for size in ffi.unpack(sizes, count[0]):
                end = body + size
                bodies.append(view[body:end])
                body = end + _HEAD
            at += used[0]
            if code == Status.ENDED:
                self.ended = True
                code = Status.OK if at < n else code  # bytes after the goodbye: the next round finds the fault
        self._need = need[0] or _HEAD
        if code < 0:
            self._fault = code
            return n
        return at

    def eof(self) -> None:
        """Note that the connection has ended.

        Raise TruncatedError unless the goodbye was seen, BoxStreamError after a mistake.
        """
        if self._fault:
            raise error_of(self._fault)
        if not self.ended:
            raise errors.TruncatedError

    def close(self) -> None:
        """Wipe the key; later calls raise LocalProtocolError."""
        with self._turn:
            lib.ssb_opener_close(self._c)
            self._tail = bytearray()
            self._fault = E_CLOSED


def self_test() -> bool:
    """Seal known texts, compare with known answers and open them again, with the kernel in use.

    Each length on which kernels decide something is there, and a nonce that carries into all of its bytes.
    """
    key, nonce, text = bytes(range(32)), b"\xff" * 23 + b"\xfe", bytes(range(251)) * 20
    sealer, opener = Sealer(key, nonce), Opener(key, nonce)
    boxes = [sealer.seal(text)] + [sealer.seal(text[n : 2 * n]) for n in _SELF_TEST_SIZES] + [sealer.goodbye()]
    sealed = b"".join(boxes)
    if hashlib.sha256(sealed).hexdigest() != _SELF_TEST:
        return False
    bodies = [text[: limits.BOX_BODY], text[limits.BOX_BODY :], *(text[n : 2 * n] for n in _SELF_TEST_SIZES)]
    damaged = Opener(key, nonce)
    good = damaged.open(sealed[:-1] + bytes([sealed[-1] ^ 1]))
    return opener.open(sealed) == bodies and opener.ended and good == bodies and not damaged.ended


if not self_test():
    raise ImportError("the self-test of the box stream failed")
