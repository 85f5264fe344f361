"""The tunnels of a room that carry most just now: their bytes are compared with those of the look before."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from heapq import nlargest
from typing import NamedTuple

from ssbfast import limits
from ssbfast.net.relayed_tunnel import RelayedTunnel


class Rated(NamedTuple):
    """A tunnel with its bytes a second, both directions."""

    tunnel: RelayedTunnel
    rate: float


class Busiest:
    """A look at tunnels, as often as somebody asks. Nothing is kept once nobody does."""

    def __init__(self) -> None:
        self._seen: dict[RelayedTunnel, int] = {}
        self._rates: dict[RelayedTunnel, float] = {}
        self._at = -float("inf")
        self._forgetting: asyncio.TimerHandle | None = None

    def look(self, tunnels: Iterable[RelayedTunnel], most: int) -> list[Rated]:
        """Return the tunnels that carry most bytes a second, since the look before or since they began, best first.

        Looks within `TOP_LEAST_SECONDS` are one, so that several watchers see the same.
        """
        loop = asyncio.get_running_loop()
        now = loop.time()
        tunnels = list(tunnels)
        passed = now - self._at
        if passed >= limits.TOP_LEAST_SECONDS:
            moved = {tunnel: sum(tunnel.moved) for tunnel in tunnels}
            self._rates = {tunnel: self._rate(tunnel, count, passed, now) for tunnel, count in moved.items()}
            self._seen, self._at = moved, now
        if self._forgetting is not None:
            self._forgetting.cancel()
        self._forgetting = loop.call_later(limits.TOP_FORGET_SECONDS, self.forget)
        return nlargest(most, (Rated(one, self._rates.get(one, 0.0)) for one in tunnels), key=lambda one: one.rate)

    @property
    def rate(self) -> float:
        """Return the bytes a second of all tunnels, as seen by the last look."""
        return sum(self._rates.values())

    def _rate(self, tunnel: RelayedTunnel, count: int, passed: float, now: float) -> float:
        before = self._seen.get(tunnel)
        if before is None:
            return count / max(now - tunnel.began, limits.TOP_LEAST_SECONDS)
        return (count - before) / passed

    def forget(self) -> None:
        """Keep nothing of any tunnel."""
        if self._forgetting is not None:
            self._forgetting.cancel()
            self._forgetting = None
        self._seen, self._rates, self._at = {}, {}, -float("inf")
