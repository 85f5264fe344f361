"""Boxes made by hand, without ssbfast: an independent sender, and a forger who has the key."""

from __future__ import annotations

from nacl.bindings import crypto_secretbox

KEY = bytes(range(32))
NONCE = bytes(range(100, 124))


def step(nonce: bytes, by: int = 1) -> bytes:
    """The nonce `by` steps further."""
    return ((int.from_bytes(nonce, "big") + by) % (1 << 192)).to_bytes(24, "big")


def box(body: bytes, number: int = 0, *, key: bytes = KEY, nonce: bytes = NONCE, length: int | None = None) -> bytes:
    """Box `number` of a stream. length: what the header says, if it is to lie."""
    nonce = step(nonce, 2 * number)
    sealed = crypto_secretbox(body, step(nonce), key)
    announced = len(body) if length is None else length
    header: bytes = crypto_secretbox(announced.to_bytes(2, "big") + sealed[:16], nonce, key)
    return header + sealed[16:]


def goodbye(number: int = 0, *, key: bytes = KEY, nonce: bytes = NONCE) -> bytes:
    """The goodbye as item `number` of a stream."""
    sealed: bytes = crypto_secretbox(bytes(18), step(nonce, 2 * number), key)
    return sealed


def stream(bodies: list[bytes], *, key: bytes = KEY, nonce: bytes = NONCE, end: bool = True) -> bytes:
    """Boxes and, unless `end` is false, the goodbye."""
    boxes = [box(body, i, key=key, nonce=nonce) for i, body in enumerate(bodies)]
    return b"".join(boxes) + (goodbye(len(bodies), key=key, nonce=nonce) if end else b"")
