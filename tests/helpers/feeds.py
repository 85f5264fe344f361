"""One input, cut in every way that a network may cut it."""

from __future__ import annotations

import random
from collections.abc import Iterator


def feeds(data: bytes, seed: int = 0, rounds: int = 4) -> Iterator[list[bytes]]:
    """Yield lists of chunks that join to `data`: whole, byte by byte, and `rounds` random splits of growing coarseness.

    Random splits hold empty chunks too. Byte by byte is left out above 20,000 bytes, where it only costs time.
    """
    yield [data]
    if len(data) <= 20_000:
        yield [data[i : i + 1] for i in range(len(data))]
    rng = random.Random(f"feeds {seed} {len(data)}")
    for step in range(rounds):
        yield split(data, rng, longest=(3, 40, 700, 9000)[step % 4])


def split(data: bytes, rng: random.Random, longest: int) -> list[bytes]:
    """Cut `data` into chunks of 0..longest bytes."""
    if len(data) > 200 * longest:
        longest = len(data) // 200
    chunks = []
    at = 0
    while at < len(data):
        n = rng.randint(0, longest)
        chunks.append(data[at : at + n])
        at += n
    return chunks
