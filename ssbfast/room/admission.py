"""The decision which callers may have a session with the room: asked between messages 3 and 4 of the handshake."""

from __future__ import annotations

from typing import Protocol

from ssbfast.ids import FeedId


class Admission(Protocol):
    """A decision over a key that the handshake has proved; a refused caller gets silence."""

    def decide(self, id: FeedId) -> bool:
        """Return whether `id` may have a session."""


class OpenMode:
    """Admission for all keys, as internal users at once. Spec: SIP 7, privacy mode "Open".

    me: the room's own key, which is refused: a caller with it could only be a copy of the room.
    """

    def __init__(self, me: FeedId) -> None:
        self._me = me

    def decide(self, id: FeedId) -> bool:
        """Return whether `id` may have a session."""
        return id != self._me
