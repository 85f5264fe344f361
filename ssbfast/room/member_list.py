"""The answer of room.members: all members of a room, encoded once."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from ssbfast import limits
from ssbfast.ids import FeedId
from ssbfast.room.registry import Registry
from ssbfast.room.roles import Role
from ssbfast.wire.muxrpc import encode_json


class MemberList:
    """The members of one room, in the order of joining."""

    def __init__(self) -> None:
        self._encoded: dict[FeedId, bytes] = {}

    def __len__(self) -> int:
        return len(self._encoded)

    def load(self, registry: Registry) -> None:
        """Take over all members."""
        self._encoded = {}
        for feed, standing in registry.keys().items():
            self.put(feed, standing.role)

    def put(self, feed: FeedId, role: Role) -> None:
        """Take note of the role that a key has now."""
        if role < Role.MEMBER:
            self._encoded.pop(feed, None)
        elif feed not in self._encoded:
            self._encoded[feed] = encode_json({"id": str(feed)})

    def packets(self) -> Iterator[bytes]:
        """Yield the list in pieces: arrays of at most limits.MEMBERS_PER_PACKET members."""
        members = iter(self._encoded.values())
        while piece := list(islice(members, limits.MEMBERS_PER_PACKET)):
            yield b"[%b]" % b",".join(piece)
