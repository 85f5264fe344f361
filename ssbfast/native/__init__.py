"""The engine: the C core with libsodium, or, where that is missing, the same in plain Python (`ssbfast.pure`).

Everybody imports from here. `BACKEND` says what runs: "libsodium" or "pure"; the environment variable
SSBFAST_BACKEND forces one. This package alone touches `ssbfast._native` and PyNaCl's private `_sodium` (for the
addresses of libsodium's functions), and turns the codes of `csrc/ssbfast.h` into exceptions. One hub, with all that
was opened on it, belongs to one thread at a time.
"""

from __future__ import annotations

import importlib
import os
import warnings
from typing import TYPE_CHECKING, Final

from ssbfast.errors import BadInputError
from ssbfast.pure.packet_stream import Scanner
from ssbfast.pure.types import (
    END,
    EV_CHUNK,
    EV_GOODBYE,
    EV_PACKET,
    STREAM,
    TYPE_MASK,
    Buffer,
    CoreLimits,
    Event,
    Status,
)

__all__ = [
    "BACKEND",
    "END",
    "EV_CHUNK",
    "EV_GOODBYE",
    "EV_PACKET",
    "JSON",
    "STREAM",
    "TYPE_MASK",
    "Buffer",
    "CoreLimits",
    "Event",
    "Hub",
    "Inlet",
    "Lane",
    "Link",
    "Opener",
    "Scanner",
    "Sealer",
    "Status",
]

JSON: Final = 0x02
"""Type of a packet whose body is JSON."""

_BACKENDS: Final = ("libsodium", "pure")


def _choose(wanted: str) -> str:
    """What is to run. wanted: the value of SSBFAST_BACKEND, "" for the best there is."""
    if wanted not in ("", *_BACKENDS):
        raise BadInputError(f"SSBFAST_BACKEND is {wanted!r}; it can be {' or '.join(_BACKENDS)}")
    if wanted == "pure":
        return "pure"
    try:
        importlib.import_module("ssbfast.native.boxes")
    except ImportError as error:
        if wanted:
            raise
        warnings.warn(f"ssbfast runs without its C core, slowly: {error}", RuntimeWarning, stacklevel=3)
        return "pure"
    return "libsodium"


BACKEND: Final = _choose(os.environ.get("SSBFAST_BACKEND", ""))

if TYPE_CHECKING or BACKEND != "pure":
    from ssbfast.native.boxes import Opener, Sealer
    from ssbfast.native.engine import Hub, Inlet, Lane, Link
else:
    from ssbfast.pure import Hub, Inlet, Lane, Link, Opener, Sealer
