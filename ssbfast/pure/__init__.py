"""The engine of `csrc/` once more, in plain Python over PyNaCl.

Executable specification, oracle of the differential tests (`tests/test_backends.py`) and announced fallback where
the extension is missing. `ssbfast.native` has the same names; other modules import from there.
"""

from __future__ import annotations

from ssbfast.engine_types import (
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
from ssbfast.pure.box_stream import Opener, Sealer
from ssbfast.pure.hub import Hub
from ssbfast.pure.lane import Lane
from ssbfast.pure.link import Link
from ssbfast.pure.packet_stream import Scanner
from ssbfast.pure.receive import Inlet

BACKEND = "pure"

__all__ = [
    "BACKEND",
    "END",
    "EV_CHUNK",
    "EV_GOODBYE",
    "EV_PACKET",
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
