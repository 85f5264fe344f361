"""The box stream: the encryption of a connection after the secret handshake.

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
    """The sealing direction of a box stream.

    Args:
        key: 32 bytes (`Session.send_key`).
        nonce: 24 bytes (`Session.send_nonce`).

    Raises:
        ValueError: Key or nonce has another length.
    """

    __slots__ = ("_sealer",)

    def __init__(self, key: bytes, nonce: bytes) -> None:
        self._sealer = native.Sealer(key, nonce)

    def seal(self, plain: Buffer) -> bytes:
        """Seal all of `plain` into boxes of at most 4096 bytes; empty input makes none.

        Args:
            plain: Bytes to send, any number.

        Returns:
            The boxes, ready to be sent.

        Raises:
            LocalProtocolError: Called after `goodbye` or `close`.
        """
        return self._sealer.seal(plain)

    def seal_many(self, plains: Sequence[Buffer]) -> bytes:
        """Seal many texts in one call, each in boxes of its own: much faster than one by one if they are short.

        It is as if `seal` had been called for each, and the results joined.

        Args:
            plains: The texts, in order.

        Returns:
            The boxes, ready to be sent.

        Raises:
            LocalProtocolError: Called after `goodbye` or `close`.
        """
        return self._sealer.seal_many(plains)

    def goodbye(self) -> bytes:
        """Return the goodbye, which ends the stream.

        Returns:
            34 bytes.

        Raises:
            LocalProtocolError: Called twice (a nonce would be used twice).
        """
        return self._sealer.goodbye()

    def close(self) -> None:
        """Wipe the key."""
        self._sealer.close()


class Unboxer:
    """The opening direction of a box stream.

    Args:
        key: 32 bytes (`Session.receive_key`).
        nonce: 24 bytes (`Session.receive_nonce`).
        body_max: Longest box body accepted, in bytes.

    Raises:
        ValueError: Key or nonce has another length.
    """

    __slots__ = ("_opener",)

    def __init__(self, key: bytes, nonce: bytes, body_max: int = limits.BOX_BODY) -> None:
        self._opener = native.Opener(key, nonce, body_max)

    def open(self, data: Buffer) -> bytes:
        """Return the plain bytes of all boxes that are complete now; the beginning of a box is kept.

        Args:
            data: Bytes from the connection, cut anywhere.

        Raises:
            BoxStreamError: By the call after the one that met it: a box that is not authentic, empty or too long, or
                bytes after the goodbye. The stream is dead then, and nothing more is opened.
        """
        return self._opener.open_joined(data)

    def open_boxes(self, data: Buffer) -> list[bytes]:
        """Return the plain bytes that `open` would return, one element a box.

        Args:
            data: Bytes from the connection, cut anywhere.

        Raises:
            BoxStreamError: As `open` does.
        """
        return self._opener.open(data)

    def eof(self) -> None:
        """Note that the connection has ended.

        Raises:
            TruncatedError: The peer's goodbye has not come before.
            BoxStreamError: The stream was dead already.
        """
        self._opener.eof()

    @property
    def ended(self) -> bool:
        """True once the peer's goodbye has come."""
        return self._opener.ended

    def close(self) -> None:
        """Wipe the key."""
        self._opener.close()
