"""The box stream in C: seal and open, any number of boxes in one call."""

from __future__ import annotations

import hashlib
from typing import Any, Final

from ssbfast import errors, limits
from ssbfast.native.core import crypto, error_of, ffi, lib, raw
from ssbfast.pure.types import E_CLOSED, Buffer, Status, check_keys

_HEAD: Final = 34
_BOXES: Final = 256
"""Boxes opened by one call."""

_SELF_TEST_SIZES: Final = (*range(1, 131), 160, 161, 255, 256, 257, 383, 384, 400, 511, 512, 513, 640, 1000, 1024, 2100)
_SELF_TEST: Final = "247012e225932675123b9159e54bad05959d5dabf885b579ff2cbca748e7ec52"


class Sealer:
    """Seals one direction of a box stream. key: 32 bytes, nonce: 24 bytes; ValueError for other lengths."""

    __slots__ = ("_c",)

    def __init__(self, key: bytes, nonce: bytes) -> None:
        check_keys((key, nonce))
        self._c = ffi.new("ssb_sealer *")
        lib.ssb_sealer_init(self._c, crypto, key, nonce)
        self._c = ffi.gc(self._c, lib.ssb_sealer_close)

    def seal(self, plain: Buffer) -> bytes:
        """Seal all of `plain` into boxes of at most 4096 bytes; nothing for nothing. LocalProtocolError when closed."""
        source = ffi.from_buffer("uint8_t[]", plain)
        n = len(source)
        size = lib.ssb_sealed_size(n)
        out = raw("uint8_t[]", size)
        code = lib.ssb_seal(self._c, source, n, out)
        if code:
            raise error_of(code)
        sealed: bytes = ffi.unpack(ffi.cast("char *", out), size)
        return sealed

    def goodbye(self) -> bytes:
        """The 34 bytes that end the stream; afterwards nothing can be sealed. LocalProtocolError when closed."""
        out = ffi.new("uint8_t[]", _HEAD)
        code = lib.ssb_seal_goodbye(self._c, out)
        if code:
            raise error_of(code)
        return bytes(ffi.buffer(out))

    def close(self) -> None:
        """Wipe the key."""
        lib.ssb_sealer_close(self._c)


class Opener:
    """Opens one direction of a box stream. key: 32 bytes, nonce: 24 bytes; ValueError for other lengths."""

    __slots__ = ("_c", "_fault", "_need", "_numbers", "_sizes", "_tail", "ended")

    def __init__(self, key: bytes, nonce: bytes, body_max: int = limits.BOX_BODY) -> None:
        check_keys((key, nonce))
        self._c = ffi.new("ssb_opener *")
        lib.ssb_opener_init(self._c, crypto, key, nonce, body_max)
        self._c = ffi.gc(self._c, lib.ssb_opener_close)
        self._sizes = ffi.new("uint16_t[]", _BOXES)
        self._numbers = ffi.new("size_t[3]")  # count, used, need
        self._tail = bytearray()
        self._need = _HEAD
        self._fault = 0
        self.ended = False

    def open(self, data: Buffer) -> list[bytes]:
        """The bodies of all boxes that are complete now; a beginning is kept.

        What came before a mistake is returned; the next call, and each one after it, raises BoxStreamError
        (LocalProtocolError after close()).
        """
        if self._fault:
            raise error_of(self._fault)
        tail = self._tail
        tail += data
        if len(tail) < self._need and not (self.ended and tail):
            return []
        bodies: list[bytes] = []
        with ffi.from_buffer("uint8_t[]", tail) as source, memoryview(tail) as view:
            used = self._open_all(source, view, bodies)
        del tail[:used]
        return bodies

    def _open_all(self, source: Any, view: memoryview, bodies: list[bytes]) -> int:
        sizes, numbers = self._sizes, self._numbers
        at, n, code = 0, len(view), 0
        while code == Status.OK:
            code = lib.ssb_open_many(self._c, source + at, n - at, sizes, _BOXES, numbers, numbers + 1, numbers + 2)
            body = at + _HEAD
            for i in range(numbers[0]):
                end = body + sizes[i]
                bodies.append(bytes(view[body:end]))
                body = end + _HEAD
            at += numbers[1]
            if code == Status.ENDED:
                self.ended = True
                code = Status.OK if at < n else code  # bytes after the goodbye: the next round finds the fault
        self._need = numbers[2] or _HEAD
        if code < 0:
            self._fault = code
            return n
        return at

    def eof(self) -> None:
        """The connection has ended: TruncatedError unless the goodbye was seen, BoxStreamError after a mistake."""
        if self._fault:
            raise error_of(self._fault)
        if not self.ended:
            raise errors.TruncatedError

    def close(self) -> None:
        """Wipe the key; later calls raise LocalProtocolError."""
        lib.ssb_opener_close(self._c)
        self._tail = bytearray()
        self._fault = E_CLOSED


def self_test() -> bool:
    """Seal known texts, compare with known answers, and open them again: with whatever kernel is in use.

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
