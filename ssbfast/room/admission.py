"""The decision which keys may have a session with us: made between messages 3 and 4 of the handshake.

`ssbfast.room.registry` makes it for rooms, `ssbfast.room.tunnel_auth` for tunnels.
"""

from __future__ import annotations

from typing import Protocol

from ssbfast.ids import FeedId


class Admission(Protocol):
    """A decision over a key that the handshake has proved; a refused caller gets silence."""

    def decide(self, id: FeedId) -> bool:
        """Return whether `id` may have a session."""
