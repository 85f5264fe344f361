"""`PathFigures`: what a direct path counts and measures. This loads nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

EngineName = Literal["native", "aioquic"]


@dataclass(frozen=True, slots=True)
class PathFigures:
    """A direct path in figures.

    Attributes:
        engine: What it goes on with after QUIC's handshake: the engine in C, or aioquic alone.
        mtu: UDP payload of the longest datagrams that are sent now, in bytes.
        packets: Packets sent, by that engine.
        lost: Those of them that were taken for lost; None where nothing counts them.
    """

    engine: EngineName
    mtu: int
    packets: int
    lost: int | None = None

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return {"engine": self.engine, "mtu": self.mtu, "packets": self.packets, "lost": self.lost}
