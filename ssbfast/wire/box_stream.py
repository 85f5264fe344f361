"""The box stream: what both ends of a connection speak after the secret handshake.

::

    box      header(34) || body(1..4096)
    header   secretbox(n, length(2, big-endian) || mac of the body(16)); n+1 for the body, whose own mac is cut off
    goodbye  a header that holds 18 zero bytes
    n        24-byte big-endian counter, +2 a box, wrapping

A good prefix is returned and the error is raised by the next call, so that whole and byte-wise input behave alike.
Spec: Scuttlebutt protocol guide, "Box stream"; pull-box-stream 1.0.
"""

from __future__ import annotations

from collections.abc import Sequence

from ssbfast import limits, native
from ssbfast.engine_types import Buffer


class Boxer:
    """Seals what we send.

    key: 32 bytes, nonce: 24 bytes (`Session.send_key`, `Session.send_nonce`); ValueError for other lengths.
    """

    __slots__ = ("_sealer",)

    def __init__(self, key: bytes, nonce: bytes) -> None:
        self._sealer = native.Sealer(key, nonce)

    def seal(self, plain: Buffer) -> bytes:
        """All of `plain` in boxes of at most 4096 bytes; nothing for nothing. LocalProtocolError after goodbye()."""
        return self._sealer.seal(plain)

    def seal_many(self, plains: Sequence[Buffer]) -> bytes:
        """The same for many texts in one call, each in boxes of its own: much faster than one by one if they are short.

        It is as if `seal` had been called for each, and the results joined.
        """
        return self._sealer.seal_many(plains)

    def goodbye(self) -> bytes:
        """The 34 bytes that end the stream. LocalProtocolError when called twice (a nonce would be used twice)."""
        return self._sealer.goodbye()

    def close(self) -> None:
        """Wipe the key."""
        self._sealer.close()


class Unboxer:
    """Opens what the peer sends.

    key: 32 bytes, nonce: 24 bytes (`Session.receive_key`, `Session.receive_nonce`); ValueError for other lengths.
    body_max: longest box body accepted, in bytes.
    """

    __slots__ = ("_opener",)

    def __init__(self, key: bytes, nonce: bytes, body_max: int = limits.BOX_BODY) -> None:
        self._opener = native.Opener(key, nonce, body_max)

    def open(self, data: Buffer) -> bytes:
        """The plain bytes of all boxes that are complete now; the beginning of a box is kept.

        BoxStreamError, by the call after the one that met it: a box that is not authentic, empty or too long, or
        bytes after the goodbye. The stream is dead then, and nothing more is opened.
        """
        return self._opener.open_joined(data)

    def open_boxes(self, data: Buffer) -> list[bytes]:
        """The same, one element a box."""
        return self._opener.open(data)

    def eof(self) -> None:
        """Say that the connection has ended: TruncatedError unless the peer's goodbye was seen before."""
        self._opener.eof()

    @property
    def ended(self) -> bool:
        """Whether the peer's goodbye has come."""
        return self._opener.ended

    def close(self) -> None:
        """Wipe the key."""
        self._opener.close()
