"""The box stream: boxes of at most 4096 bytes with authenticated lengths, and a goodbye.

::

    box      header(34) || body(1..4096)
    header   secretbox(n, length(2, big-endian) || mac of the body(16)); n+1 for the body, whose own mac is cut off
    goodbye  a header that holds 18 zero bytes
    n        24-byte big-endian counter, +2 a box, wrapping

Spec: Scuttlebutt protocol guide, "Box stream"; pull-box-stream 1.0.
"""

from __future__ import annotations

import struct
from _thread import RLock
from collections.abc import Sequence
from typing import Final

from nacl.bindings import crypto_secretbox, crypto_secretbox_open
from nacl.exceptions import CryptoError

from ssbfast import limits
from ssbfast.engine_types import (
    E_AFTER,
    E_BODY,
    E_CLOSED,
    E_HEADER,
    E_LENGTH,
    Buffer,
    Status,
    check_keys,
    fault,
    in_turn,
)
from ssbfast.errors import TruncatedError

HEADER: Final = 34
MAC: Final = 16
GOODBYE: Final = bytes(18)
_NONCES: Final = 1 << 192
_HEAD: Final = struct.Struct(">BIi")


def sealed_size(plain_n: int) -> int:
    """Return the bytes of the boxes that hold `plain_n` bytes."""
    boxes = -(-plain_n // limits.BOX_BODY)
    return plain_n + boxes * HEADER


class _Nonce:
    """The counter of one direction."""

    __slots__ = ("_n",)

    def __init__(self, start: bytes) -> None:
        self._n = int.from_bytes(start, "big")

    def take(self) -> bytes:
        """Return the present nonce and move the counter on."""
        n = self._n
        self._n = (n + 1) % _NONCES
        return n.to_bytes(24, "big")


class Sealer:
    """One direction of a box stream, sealing. key: 32 bytes, nonce: 24 bytes; ValueError for other lengths."""

    def __init__(self, key: bytes, nonce: bytes) -> None:
        check_keys((key, nonce))
        self.turn = RLock()
        self._key: bytes | None = bytes(key)
        self._nonce = _Nonce(nonce)

    @in_turn
    def seal(self, plain: Buffer) -> bytes:
        """Seal `plain` into boxes of at most 4096 bytes; b"" makes none. Raise LocalProtocolError when closed."""
        key = self._open_key()
        out = []
        view = memoryview(plain)
        for at in range(0, len(view), limits.BOX_BODY):
            header_nonce, body_nonce = self._nonce.take(), self._nonce.take()
            chunk = bytes(view[at : at + limits.BOX_BODY])
            body = crypto_secretbox(chunk, body_nonce, key)
            out.append(crypto_secretbox(len(chunk).to_bytes(2, "big") + body[:MAC], header_nonce, key))
            out.append(body[MAC:])
        return b"".join(out)

    @in_turn
    def seal_many(self, plains: Sequence[Buffer]) -> bytes:
        """Seal many texts at once, each in boxes of its own."""
        self._open_key()
        return b"".join(map(self.seal, plains))

    @in_turn
    def seal_packet(self, flags: int, req: int, body: bytes) -> bytes:
        """Seal one packet, its head in a box of its own. flags: one byte. Raise LocalProtocolError when closed."""
        return self.seal(_HEAD.pack(flags, len(body), req)) + self.seal(body)

    @in_turn
    def goodbye(self) -> bytes:
        """Return the 34 bytes that end the stream; nothing can be sealed then (a nonce would be used twice)."""
        sealed: bytes = crypto_secretbox(GOODBYE, self._nonce.take(), self._open_key())
        self.close()
        return sealed

    @in_turn
    def close(self) -> None:
        """Forget the key."""
        self._key = None

    def _open_key(self) -> bytes:
        if self._key is None:
            raise fault(E_CLOSED)
        return self._key


class BoxOpener:
    """An opener of one box at a time: `ssb_open` of the engine.

    The state between two calls is the header that is open already; the bytes stay with the caller.
    """

    __slots__ = ("_body_max", "_body_n", "_dead", "_key", "_mac", "_nonce")

    def __init__(self, key: bytes, nonce: bytes, body_max: int) -> None:
        self._key = bytes(key)
        self._nonce = _Nonce(nonce)
        self._body_max = body_max
        self._body_n = 0
        self._mac = b""
        self._dead: int = 0

    def open(self, data: bytes) -> tuple[int, int, bytes]:
        """Open the first box of `data`: (code, used, body); with Status.MORE `used` is the length needed."""
        if self._dead == E_AFTER and not data:
            return Status.ENDED, 0, b""
        if self._dead:
            return self._dead, 0, b""
        if not self._body_n:
            if len(data) < HEADER:
                return Status.MORE, HEADER, b""
            code = self._open_header(data[:HEADER])
            if code != Status.OK:
                return code, HEADER if code == Status.ENDED else 0, b""
        end = HEADER + self._body_n
        if len(data) < end:
            return Status.MORE, end, b""
        try:
            body = crypto_secretbox_open(self._mac + data[HEADER:end], self._nonce.take(), self._key)
        except CryptoError:
            return self._die(E_BODY), 0, b""
        self._body_n = 0
        return Status.OK, end, body

    def close(self) -> None:
        self._die(E_CLOSED)

    def _open_header(self, header: bytes) -> int:
        try:
            plain = crypto_secretbox_open(header, self._nonce.take(), self._key)
        except CryptoError:
            return self._die(E_HEADER)
        if plain == GOODBYE:
            self._die(E_AFTER)
            return Status.ENDED
        n = int.from_bytes(plain[:2], "big")
        if not 0 < n <= self._body_max:
            return self._die(E_LENGTH)
        self._body_n, self._mac = n, plain[2:]
        return Status.OK

    def _die(self, code: int) -> int:
        self._dead = code
        self._key = b""
        return code


class Opener:
    """One direction of a box stream, opening. key: 32 bytes, nonce: 24 bytes; ValueError for other lengths."""

    def __init__(self, key: bytes, nonce: bytes, body_max: int = limits.BOX_BODY) -> None:
        check_keys((key, nonce))
        self.turn = RLock()
        self._core = BoxOpener(key, nonce, body_max)
        self._tail = b""
        self._need = HEADER
        self._fault = 0
        self.ended = False

    @in_turn
    def open(self, data: Buffer) -> list[bytes]:
        """Return the bodies of all boxes that are complete now; the beginning of a box is kept.

        What came before a mistake is returned; the next call, and each one after it, raises BoxStreamError
        (LocalProtocolError after close()).
        """
        self._check()
        self._tail += data
        bodies: list[bytes] = []
        at = 0
        while len(self._tail) - at >= self._need or (self.ended and len(self._tail) > at):
            code, n, body = self._core.open(self._tail[at : at + max(self._need, HEADER + limits.BOX_BODY)])
            if code == Status.MORE:
                self._need = n
                continue
            if code < 0:
                self._fault = code
                self._tail = b""
                return bodies
            at += n
            self._need = HEADER
            if code == Status.ENDED:
                self.ended = True
            else:
                bodies.append(body)
        self._tail = self._tail[at:]
        return bodies

    @in_turn
    def open_joined(self, data: Buffer) -> bytes:
        """Return the bodies that `open` would return, joined."""
        return b"".join(self.open(data))

    @in_turn
    def eof(self) -> None:
        """Note that the connection has ended.

        Raise TruncatedError unless the goodbye was seen, BoxStreamError after a mistake.
        """
        self._check()
        if not self.ended:
            raise TruncatedError

    @in_turn
    def close(self) -> None:
        """Forget the key; later calls raise LocalProtocolError."""
        self._core.close()
        self._tail = b""
        self._fault = E_CLOSED

    def _check(self) -> None:
        if self._fault:
            raise fault(self._fault)
