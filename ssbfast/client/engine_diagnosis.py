"""The diagnosis of direct paths' engine: which one this machine has, and whether its datagrams move many at once."""

from __future__ import annotations

import asyncio
import importlib
import socket
import sys
from dataclasses import dataclass
from typing import Any, Final

from ssbfast import limits, native
from ssbfast.direct.engine_choice import engine_choice
from ssbfast.direct.path_figures import EngineName
from ssbfast.direct.udp import Address, UdpSocket
from ssbfast.errors import DirectUnavailableError

_SEGMENT: Final = 1200
_TRAIN: Final = bytes([0x40]) * _SEGMENT * 2


@dataclass(frozen=True, slots=True)
class EngineFindings:
    """The engine of this machine's direct paths.

    name: None: there are no direct paths. reason: why it is not the one in C; None when it is. kernel: what protects
    the packets of that one. segment, gro: whether Linux takes and gives many datagrams in one call (UDP_SEGMENT,
    UDP_GRO); None where that was not tried.
    """

    name: EngineName | None
    reason: str | None
    kernel: str | None = None
    segment: bool | None = None
    gro: bool | None = None

    def as_json(self) -> dict[str, Any]:
        return {
            "engine": self.name,
            "reason": self.reason,
            "kernel": self.kernel,
            "segment": self.segment,
            "gro": self.gro,
        }


async def find_engine() -> EngineFindings:
    """Return the engine that direct paths go on with. Raises LocalProtocolError for a wrong SSBFAST_DIRECT."""
    name, reason = _engine()
    if name != "native":
        return EngineFindings(name, reason)
    kernel = "libsodium" if native.BACKEND == "pure" else native.BACKEND
    segment, gro = await try_trains() if sys.platform == "linux" else (None, None)
    return EngineFindings(name, reason, kernel, segment, gro)


def _engine() -> tuple[EngineName | None, str | None]:
    choice = engine_choice()
    try:
        from ssbfast.direct.quic_engine import HAS_ENGINE
    except DirectUnavailableError as error:
        return None, str(error)
    if choice == "aioquic":
        return "aioquic", "SSBFAST_DIRECT=aioquic"
    if HAS_ENGINE:
        return "native", None
    reason = "this aioquic is not as the engine in C knows it" if _has_core() else "the C core is not here"
    return (None, f"SSBFAST_DIRECT=native, and {reason}") if choice == "native" else ("aioquic", reason)


def _has_core() -> bool:
    try:
        importlib.import_module("ssbfast.native.quic")
    except ImportError:
        return False
    return True


class _Arrivals:
    """Arrivals of a train: the length of each piece, and of the datagrams that it was joined from."""

    def __init__(self) -> None:
        self.pieces: list[tuple[int, int]] = []
        self.all_came = asyncio.Event()

    def datagram(self, data: bytes, source: Address) -> None:
        """Drop it: a short one is none of ours."""

    def train(self, data: memoryview, segment: int, source: Address) -> None:
        self.pieces.append((len(data), segment))
        if sum(length for length, _ in self.pieces) >= len(_TRAIN):
            self.all_came.set()

    def batch_done(self) -> None:
        """Do nothing: all is noted already."""


async def try_trains() -> tuple[bool | None, bool | None]:
    """Send two datagrams in one call over the loopback interface.

    Return whether the system took them apart, and whether it gave them in one call; None for what was not seen.
    """
    arrivals = _Arrivals()
    try:
        one = UdpSocket.open(socket.AF_INET, "127.0.0.1")
    except OSError:  # no IPv4 here, or no descriptor left
        return None, None
    try:
        other = UdpSocket.open(socket.AF_INET, "127.0.0.1")
    except OSError:
        one.close()
        return None, None
    try:
        other.quic = arrivals
        other.take_trains()
        one.send_train(_TRAIN, _SEGMENT, other.local)
        await asyncio.wait_for(arrivals.all_came.wait(), limits.DOCTOR_SECONDS)
    except asyncio.TimeoutError:
        return None, None
    finally:
        one.close()
        other.close()
    if not one.joins_trains or any(segment != _SEGMENT for _, segment in arrivals.pieces):
        return False, None  # one by one, or, by a kernel that knows nothing of it, as one long datagram
    return True, any(length > segment for length, segment in arrivals.pieces)
