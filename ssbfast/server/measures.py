"""What a room has counted since its start, for the measurements that an operator reads; no keys, no addresses."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping
from typing import Any, Final

SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
"""Upper bounds of a histogram's buckets; a last one has the rest."""


HANDSHAKES: Final = ("proven", "refused", "ended")
"""What comes of connections."""


class Histogram:
    """How long something took, in buckets."""

    __slots__ = ("counts", "total")

    def __init__(self) -> None:
        self.counts = [0] * (len(SECONDS) + 1)
        self.total = 0.0

    def add(self, seconds: float) -> None:
        """Count one that took so long."""
        self.counts[bisect_left(SECONDS, seconds)] += 1
        self.total += seconds

    def buckets(self) -> list[tuple[str, float]]:
        """Return the cumulated counts with the upper bound of each, as Prometheus writes them."""
        bounds = [*(f"{bound:g}" for bound in SECONDS), "+Inf"]
        found, so_far = [], 0
        for bound, count in zip(bounds, self.counts, strict=True):
            so_far += count
            found.append((bound, float(so_far)))
        return found


class Measures:
    """Counters of one room.

    Attributes:
        tunnels: Tunnels that are over, by the reason of their end.
        handshakes: Connections that have "proven" a key that may enter, that were "refused" (the key has no access, or
            there is no place), and that "ended", whatever they were.
        refused: Proven keys that got no session, by the reason.
        requests: Requests of the web site, by route and status.
        request_seconds: How long they took.
        sign_ins: Sign-ins by way and result.
        store_problems: How often the records could not be read or written, as often as it is told.
        write_seconds: How long changes of the records took.
        lag_seconds: How late the loop was, the last time it was looked at.
    """

    def __init__(self) -> None:
        self.tunnels: Counter[str] = Counter()
        self.handshakes: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()
        self.requests: Counter[tuple[str, int]] = Counter()
        self.request_seconds = Histogram()
        self.sign_ins: Counter[tuple[str, str]] = Counter()
        self.store_problems = 0
        self.write_seconds = Histogram()
        self.lag_seconds = 0.0

    def event(self, name: str, members: Mapping[str, Any]) -> None:
        """Count an event of the room."""
        if name == "tunnel_closed":
            self.tunnels[members["reason"]] += 1
        elif name == "records_problem":
            self.store_problems += 1
