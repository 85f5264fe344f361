"""The box stream of `secret_handshake.boxstream`, sealed and opened by ssbfast's engine.

State begins with the first byte and is made from `key` and `nonce` alone: `ssbfast.install()` gives these methods to
classes whose objects the original code has made.
"""

from __future__ import annotations

from asyncio import IncompleteReadError, StreamReader, StreamWriter
from collections import deque
from collections.abc import AsyncIterator
from typing import Any, ClassVar, Final, TypedDict

from nacl.bindings import crypto_secretbox_open
from nacl.exceptions import CryptoError
from nacl.secret import SecretBox

from ssbfast import native
from ssbfast.compat.secret_handshake.util import NONCE_SIZE, inc_nonce, split_chunks
from ssbfast.errors import BoxStreamError, TruncatedError

__all__ = [
    "HEADER_LENGTH",
    "MAX_SEGMENT_SIZE",
    "TERMINATION_HEADER",
    "BoxStream",
    "BoxStreamKeys",
    "IncompleteReadError",
    "InvalidBox",
    "SecretBox",
    "StreamReader",
    "StreamWriter",
    "UnboxStream",
    "get_stream_pair",
    "inc_nonce",
    "split_chunks",
]

HEADER_LENGTH: Final = 34
MAX_SEGMENT_SIZE: Final = 4096
TERMINATION_HEADER: Final = bytes(18)

_READ: Final = 64 * 1024
"""Bytes asked of a StreamReader at a time: no more than what stays in the processor's cache."""


class BoxStreamKeys(TypedDict):
    """The keys and nonces for the two box streams of a handshake: keys of 32 bytes, nonces of 24."""

    shared_secret: bytes
    encrypt_key: bytes
    encrypt_nonce: bytes
    decrypt_key: bytes
    decrypt_nonce: bytes


class InvalidBox(BoxStreamError, CryptoError):
    """A box that is not authentic, empty or too long. Also nacl's CryptoError, which programs may catch."""


def get_stream_pair(
    reader: StreamReader,
    writer: StreamWriter,
    *,
    decrypt_key: bytes,
    decrypt_nonce: bytes,
    encrypt_key: bytes,
    encrypt_nonce: bytes,
    **kwargs: Any,
) -> tuple[UnboxStream, BoxStream]:
    """Return the two halves of a box stream over a reader and a writer. Other keywords are ignored."""
    read_stream = UnboxStream(reader, key=decrypt_key, nonce=decrypt_nonce)
    write_stream = BoxStream(writer, key=encrypt_key, nonce=encrypt_nonce)
    return read_stream, write_stream


class BoxStream:
    """A writer that seals, 4096 bytes a box, and writes the boxes of one call in one piece.

    writer: anything with `write(bytes)`. key: 32 bytes, nonce: 24 bytes; both are looked at by the first write.
    """

    closed = False
    _sealer: native.Sealer | None = None

    def __init__(self, writer: StreamWriter, key: bytes, nonce: bytes) -> None:
        self.writer = writer
        self.key = key
        self.nonce = nonce

    def write(self, data: bytes) -> None:
        """Seal and send. LocalProtocolError after `close()`: a nonce would be used twice."""
        if data:
            self.writer.write((self._sealer or self._begin()).seal(data))

    def close(self) -> None:
        """Send the goodbye, once. The writer stays open."""
        if self.closed:
            return
        goodbye = (self._sealer or self._begin()).goodbye()
        self.closed = True
        self.writer.write(goodbye)

    def _write_packet(self, flags: int, req: int, body: bytes) -> None:
        """Write one packet: what `write(head)` and `write(body)` would do, sealed by one call and written by one."""
        self.writer.write((self._sealer or self._begin()).seal_packet(flags, req, body))

    def _begin(self) -> native.Sealer:
        """Take over the nonce for the sealer: an original `write`, behind `uninstall()`, must not use it again."""
        self._sealer = native.Sealer(self.key, self.nonce)
        vars(self).pop("nonce", None)
        return self._sealer


class UnboxStream:
    """A reader that opens boxes: `read()`, or `async for`.

    reader: an asyncio StreamReader, of which everything that is there is opened in one go; or anything with
    `readexactly(n)`, of which never more is read than the next box.
    """

    strict: ClassVar[bool] = False
    """True: an end without goodbye raises TruncatedError, instead of looking like any other end."""

    closed = False
    goodbye_received = False
    _bodies: deque[bytes] | None = None
    _opener: native.Opener | None = None
    _header: bytes | None = None
    _failed = False

    def __init__(self, reader: StreamReader, key: bytes, nonce: bytes) -> None:
        self.reader = reader
        self.key = key
        self.nonce = nonce
        self.closed = False

    async def read(self) -> bytes | None:
        """Return the body of the next box; None at the end, with goodbye (`goodbye_received`) or without.

        InvalidBox (a BoxStreamError and a CryptoError) for a bad box, and from then on; nothing is opened any more.
        TruncatedError: see `strict`.
        """
        if self._bodies:
            return self._bodies.popleft()
        if self._failed:
            raise InvalidBox("a box before this one was not valid")
        if self.closed:
            return None
        try:
            body = await (self._read_all() if type(self.reader) is StreamReader else self._read_one())
        except (CryptoError, BoxStreamError) as error:
            self.closed = self._failed = True
            raise InvalidBox(str(error)) from None
        if body is None:
            self.closed = True
            if self.strict and not self.goodbye_received:
                raise TruncatedError
        return body

    def close(self) -> None:
        """Read no more."""
        self.closed = True

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        body = await self.read()
        if body is None:
            raise StopAsyncIteration
        return body

    async def _read_all(self) -> bytes | None:
        """Open everything that the StreamReader has: one call of the engine for many boxes."""
        opener = self._opener
        if opener is None:
            opener = self._opener = native.Opener(self.key, self.nonce, MAX_SEGMENT_SIZE)
        if self._bodies is not None:
            opener.open(b"")  # raises what the last round met behind its good boxes
        bodies: list[bytes] = []
        while not bodies and not opener.ended:
            data = await self.reader.read(_READ)
            if not data:
                return None
            bodies = opener.open(data)
            if not bodies and not opener.ended:
                opener.open(b"")
        self.goodbye_received = opener.ended
        if not bodies:
            return None
        self._bodies = deque(bodies)
        return self._bodies.popleft()

    async def _read_one(self) -> bytes | None:
        """Open one box of a reader that can only be asked for an exact number of bytes."""
        try:
            if self._header is None:
                sealed = await self.reader.readexactly(HEADER_LENGTH)
                if len(sealed) < HEADER_LENGTH:
                    return None
                self._header = self._open(sealed)  # kept: the wait for the body may be cancelled
            if self._header == TERMINATION_HEADER:
                self.goodbye_received = True
                return None
            size = int.from_bytes(self._header[:2], "big")
            if not 0 < size <= MAX_SEGMENT_SIZE:
                raise InvalidBox("the box is empty or too long")
            body = await self.reader.readexactly(size)
        except IncompleteReadError:
            return None
        if len(body) < size:
            return None
        header, self._header = self._header, None
        return self._open(header[2:] + body)

    def _open(self, sealed: bytes) -> bytes:
        opened = crypto_secretbox_open(sealed, self.nonce, self.key)
        self.nonce = ((int.from_bytes(self.nonce, "big") + 1) % (1 << 8 * NONCE_SIZE)).to_bytes(NONCE_SIZE, "big")
        return opened
