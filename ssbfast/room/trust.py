"""Whom a peer lets through its tunnel ends: asked once the inner handshake has proved the caller's key."""

from __future__ import annotations

from collections.abc import Iterable

from ssbfast.ids import FeedId


class AllowList:
    """Lets in a fixed set of keys: an Admission (ssbfast.room.members) for programs without a follow graph."""

    def __init__(self, ids: Iterable[FeedId]) -> None:
        self._ids = frozenset(ids)

    def decide(self, id: FeedId) -> bool:
        """Whether `id` is on the list."""
        return id in self._ids

    def __repr__(self) -> str:
        return f"<AllowList of {len(self._ids)}>"
