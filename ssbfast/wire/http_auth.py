"""The challenge by which a peer signs in to a room's web site.

Server and client choose a nonce of 256 bits each (`sc`, `cc`: base64, 44 characters). The client signs::

    =http-auth-sign-in:SID:CID:SC:CC

where SID is the room's id and CID the client's; the solution is the signature in base64, with `.sig.ed25519`.

Source: SIP 6.
"""

from __future__ import annotations

import base64
import re
import secrets
from typing import Final

from ssbfast.ids import FeedId
from ssbfast.keys import Keypair
from ssbfast.wire.alias import decode_signature, encode_signature, verify

NONCE_BYTES: Final = 32
SHORTEST_NONCE: Final = 43
"""Characters below which a client's nonce is refused: SIP 6."""

LONGEST_NONCE: Final = 128
_NONCE: Final = re.compile(r"[A-Za-z0-9+/_=-]+")


def new_nonce() -> str:
    """Return a new nonce: 32 random bytes in base64."""
    return base64.b64encode(secrets.token_bytes(NONCE_BYTES)).decode("ascii")


def is_nonce(text: object) -> bool:
    """Return whether `text` can be a nonce: base64 of either alphabet, long enough and not absurdly long."""
    return isinstance(text, str) and SHORTEST_NONCE <= len(text) <= LONGEST_NONCE and _NONCE.fullmatch(text) is not None


def solution_text(server: FeedId, client: FeedId, sc: str, cc: str) -> bytes:
    """Return what the client signs."""
    return f"=http-auth-sign-in:{server}:{client}:{sc}:{cc}".encode()


def solve(me: Keypair, server: FeedId, sc: str, cc: str) -> str:
    """Return our solution of a challenge.

    Args:
        me: The key pair of the client.
        server: The room's id.
        sc: The server's nonce.
        cc: The client's nonce.
    """
    return encode_signature(me.sign(solution_text(server, me.id, sc, cc)))


def is_solution(server: FeedId, client: FeedId, sc: str, cc: str, solution: object) -> bool:
    """Return whether `solution` is the client's, for this challenge."""
    signature = decode_signature(solution) if isinstance(solution, str) else None
    return signature is not None and verify(client, solution_text(server, client, sc, cc), signature)
