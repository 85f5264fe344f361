"""SSBFAST_DIRECT: what direct paths go on with after QUIC's handshake. This loads nothing."""

from __future__ import annotations

import os
from typing import Final

from ssbfast.errors import LocalProtocolError

CHOICES: Final = ("auto", "aioquic", "native")
"""The engine where it can; never; or no direct path at all where it cannot."""


def engine_choice() -> str:
    """Return what SSBFAST_DIRECT says. Raises LocalProtocolError for what it cannot say."""
    said = os.environ.get("SSBFAST_DIRECT", "auto")
    if said not in CHOICES:
        raise LocalProtocolError(f"SSBFAST_DIRECT is {said!r}; it can be {', '.join(CHOICES)}")
    return said
