"""The codes of invites, login links and web sessions: how one is written, and the hash by which a store knows it.

A code is 32 random bytes in base64 for URLs, 43 characters. What is kept is the SHA-256 of the bytes. Invites of
go-ssb-room have 50 bytes, and it keeps the same hash of them: its codes are found in our store once they are imported.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import secrets
from typing import Final

CODE_BYTES: Final = 32
GO_CODE_BYTES: Final = 50

_BASE64: Final = re.compile(r"[A-Za-z0-9+/]*")
_TO_STANDARD: Final = str.maketrans("-_", "+/")


def new_code() -> str:
    """Return a new code from the system's randomness."""
    return base64.urlsafe_b64encode(secrets.token_bytes(CODE_BYTES)).decode("ascii").rstrip("=")


def hash_of(code: str) -> bytes | None:
    """Return the hash by which a store knows a code; None for a text that is no code.

    Args:
        code: What a peer gave, in base64 for URLs or standard, with or without padding.
    """
    letters = code.strip().rstrip("=").translate(_TO_STANDARD)
    if len(letters) > 2 * GO_CODE_BYTES or _BASE64.fullmatch(letters) is None:
        return None
    try:
        content = binascii.a2b_base64(letters + "=" * (-len(letters) % 4))
    except binascii.Error:
        return None
    return hashlib.sha256(content).digest() if len(content) in (CODE_BYTES, GO_CODE_BYTES) else None
