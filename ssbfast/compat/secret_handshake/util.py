"""Small helpers of `secret_handshake.util`: nonces as numbers, chunks, and a buffer that plays reader and writer."""

from __future__ import annotations

from collections.abc import AsyncIterable, Generator, Sequence
from io import BytesIO
from typing import Final, TypeVar

NONCE_SIZE: Final = 24
"""Bytes of a nonce."""

MAX_NONCE: Final = 8 * NONCE_SIZE
"""Bits of a nonce."""

T = TypeVar("T")


class AsyncBuffer(BytesIO):
    """A BytesIO whose reads are awaited, so that it can stand for a stream in tests."""

    async def read(self, n: int | None = None) -> bytes:  # type: ignore[override]  # awaited: that is its purpose
        return super().read(n)

    async def readexactly(self, n: int | None = None) -> bytes:
        """Read, as `read`: fewer bytes at the end, no IncompleteReadError."""
        return super().read(n)

    def append(self, data: bytes) -> None:
        """Add data at the end; the position stays."""
        position = self.tell()
        self.seek(0, 2)
        self.write(data)
        self.seek(position)


async def async_comprehend(generator: AsyncIterable[T]) -> list[T]:
    """Return everything that comes out of an asynchronous iterable."""
    return [item async for item in generator]


def b(s: str) -> bytes:
    """Return a text's Latin-1 bytes."""
    return s.encode("latin-1")


def bytes_to_long(s: bytes) -> int:
    """Return the big-endian number in these bytes; 0 for none."""
    return int.from_bytes(s, "big")


def long_to_bytes(n: int, blocksize: int = 0) -> bytes:
    """Return a number above or equal to 0 in big-endian bytes: at least one, and a multiple of `blocksize` if given.

    ValueError for a negative number.
    """
    if n < 0:
        raise ValueError("a negative number has no bytes")
    size = max(1, (n.bit_length() + 7) // 8)
    if blocksize > 0:
        size += -size % blocksize
    return n.to_bytes(size, "big")


def inc_nonce(nonce: bytes) -> bytes:
    """Return the nonce after this one: 24 bytes, counting on at zero after the last."""
    return ((int.from_bytes(nonce, "big") + 1) % (1 << MAX_NONCE)).to_bytes(NONCE_SIZE, "big")


def split_chunks(
    seq: Sequence[T], chunk_size: int | None = None, *, n: int | None = None
) -> Generator[Sequence[T], None, None]:
    """Yield slices of `chunk_size` elements; the last may be shorter. ValueError, with the first, for a size below 1.

    n: what the release of 2018 calls `chunk_size`. TypeError unless one of them is given.
    """
    size = n if chunk_size is None else chunk_size
    if size is None or (n is not None and chunk_size is not None):
        raise TypeError("split_chunks() takes chunk_size or n")
    return _slices(seq, size)


def _slices(seq: Sequence[T], size: int) -> Generator[Sequence[T], None, None]:
    if size < 1:
        raise ValueError("chunk_size must be greater than zero")
    for start in range(0, len(seq), size):
        yield seq[start : start + size]
