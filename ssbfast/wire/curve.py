"""The public keys that a handshake takes: checks that libsodium leaves out, and the conversion between its curves.

Curve25519 public keys (`u` coordinates) are 255-bit numbers below p = 2**255 - 19. X25519 itself ignores bit 255 and
takes numbers >= p as their remainder, so that several encodings stand for one point; and a few points make every
shared secret zero. The handshake takes one encoding per point, and none of those points. All of this is public data:
nothing here has to run in constant time.
"""

from __future__ import annotations

from typing import Final

from nacl.bindings import crypto_sign_ed25519_pk_to_curve25519

from ssbfast.errors import HandshakeError

P: Final = 2**255 - 19
_BELOW_BIT_255: Final = 2**255 - 1

LOW_ORDER: Final[frozenset[int]] = frozenset(
    (
        0,  # order 2, on the curve and on its twist
        1,  # order 4
        P - 1,  # order 4, on the twist
        # the two points of order 8
        325606250916557431795983626356110631294008115727848805560023387167927233504,
        39382357235489614581723060781553021112529911719440698176882885853963445705823,
    )
)
"""Numbers below p whose point has an order that divides 8: with them X25519 gives zero, whatever the secret."""


def check_ephemeral(public: bytes) -> None:
    """Check a peer's X25519 public key of 32 bytes before anything is computed with it.

    Refused: numbers >= p and with bit 255 set (a relay could rewrite a key into one of its aliases), low order.
    That covers all 14 encodings of low order. Raises HandshakeError.
    """
    number = int.from_bytes(public, "little")
    if number >= P or number in LOW_ORDER:
        raise HandshakeError


def feed_to_curve(public: bytes) -> bytes:
    """Convert an Ed25519 public key (32 bytes) to its X25519 public key.

    Refused: what is not a point of the curve, small order, a part of small order, `y` >= p.
    Raises HandshakeError, or nacl's CryptoError, which the state machines turn into it.
    """
    if int.from_bytes(public, "little") & _BELOW_BIT_255 >= P:
        raise HandshakeError  # libsodium would reduce it: a second name for the same point
    return crypto_sign_ed25519_pk_to_curve25519(public)
