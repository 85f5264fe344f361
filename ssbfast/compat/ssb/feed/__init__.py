"""`ssb.feed`: messages of a feed, signed and verified."""

from __future__ import annotations

from ssbfast.compat.ssb.feed.models import Feed, LocalFeed, LocalMessage, Message, NoPrivateKeyException

__all__ = ["Feed", "LocalFeed", "LocalMessage", "Message", "NoPrivateKeyException"]
