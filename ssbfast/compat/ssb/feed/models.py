"""`ssb.feed.models`: feeds, and the messages on them."""

from __future__ import annotations

import binascii
import json
from base64 import b64decode, b64encode
from collections import OrderedDict
from datetime import datetime as _datetime
from datetime import timedelta, timezone
from hashlib import sha256
from typing import Any, Final, NamedTuple

from nacl.exceptions import CryptoError
from nacl.signing import SigningKey, VerifyKey

from ssbfast.compat.ssb.feed.encoding import dumps, hashed_bytes, signed_bytes
from ssbfast.compat.ssb.util import tag

__all__ = [
    "Feed",
    "LocalFeed",
    "LocalMessage",
    "Message",
    "NoPrivateKeyException",
    "OrderedMsg",
    "datetime",
    "get_millis_1970",
    "tag",
    "to_ordered",
]

_SUFFIX: Final = ".sig.ed25519"
_EPOCH: Final = _datetime(1970, 1, 1, tzinfo=timezone.utc)


class OrderedMsg(NamedTuple):
    """The members of a message, in the order in which they are signed."""

    previous: Any
    author: Any
    sequence: Any
    timestamp: Any
    hash: Any
    content: Any


class NoPrivateKeyException(Exception):
    """A feed without a private key here: it cannot be signed for."""


def to_ordered(data: dict[str, Any]) -> OrderedDict[str, Any]:
    """Return the members of a message in the order in which they are signed. KeyError when one is missing."""
    return OrderedDict((name, data[name]) for name in OrderedMsg._fields)


class _Clock:
    """The clock that messages take their time from."""

    def utcnow(self) -> _datetime:
        """Return now, in UTC. Aware, unlike datetime's own, which is deprecated."""
        return _datetime.now(timezone.utc)


datetime: Final = _Clock()
"""A module global of this name, because that is what programs' tests replace to stop the time."""


def get_millis_1970() -> int:
    """Return now, in milliseconds since 1970, in any time zone."""
    return (datetime.utcnow().replace(tzinfo=timezone.utc) - _EPOCH) // timedelta(milliseconds=1)


class Feed:
    """A feed: its owner's public key."""

    def __init__(self, public_key: VerifyKey) -> None:
        self.public_key = public_key

    @property
    def id(self) -> str:
        """Return `@….ed25519`."""
        return tag(self.public_key).decode("ascii")

    def sign(self, msg: bytes) -> bytes:
        """Raise NoPrivateKeyException: only the owner can sign."""
        raise NoPrivateKeyException("only the owner of a feed can sign for it")


class LocalFeed(Feed):
    """Our own feed."""

    def __init__(self, private_key: SigningKey) -> None:
        self.private_key = private_key

    @property
    def public_key(self) -> VerifyKey:
        """Return the public key."""
        return self.private_key.verify_key

    @public_key.setter
    def public_key(self, value: VerifyKey) -> None:
        raise TypeError("Can not set only the public key for a local feed")

    def sign(self, msg: bytes) -> bytes:
        """Return the 64 bytes of an Ed25519 signature."""
        return self.private_key.sign(msg).signature


class Message:
    """A message on a feed.

    content: a dict, in its order. signature: `….sig.ed25519`; ValueError without one. It is kept, not checked:
    `verify(message.signature)` does. sequence: one more than `previous` has, if that is given. timestamp: ms.
    previous: the message before, or its id.
    """

    def __init__(
        self,
        feed: Feed,
        content: dict[str, Any],
        signature: str | None = None,
        sequence: int = 1,
        timestamp: int | None = None,
        previous: Message | str | None = None,
    ) -> None:
        self.feed = feed
        self.content = content
        self.previous = previous
        before = getattr(previous, "sequence", None)
        self.sequence = sequence if before is None else before + 1
        self.timestamp = get_millis_1970() if timestamp is None else timestamp
        self.signature = signature
        self._check_signature()

    def _check_signature(self) -> None:
        if self.signature is None:
            raise ValueError("a message of another author needs its signature")

    @classmethod
    def parse(cls, data: bytes, feed: Feed) -> Message:
        """Read a message from its JSON. ValueError: not a message, another author, or a signature that is not right."""
        try:
            fields: Any = json.loads(data)
        except RecursionError:
            raise ValueError("the JSON is nested too deep") from None
        known = {*OrderedMsg._fields, "signature"}
        if not isinstance(fields, dict) or set(fields) != known or fields["author"] != feed.id:
            raise ValueError("this is not a message of that feed")
        names = ("content", "signature", "sequence", "timestamp", "previous")
        message = cls(feed, **{name: fields[name] for name in names})
        if not isinstance(message.signature, str) or not message.verify(message.signature):
            raise ValueError("the signature does not belong to the message")
        return message

    def to_dict(self, add_signature: bool = True) -> OrderedDict[str, Any]:
        """Return the members in their order."""
        previous = self.previous.key if isinstance(self.previous, Message) else self.previous
        members = OrderedMsg(previous, self.feed.id, self.sequence, self.timestamp, "sha256", self.content)
        data = to_ordered(members._asdict())
        if add_signature:
            data["signature"] = self.signature
        return data

    def serialize(self, add_signature: bool = True) -> bytes:
        """Return the bytes that are signed (without signature), or sent."""
        return signed_bytes(dumps(self.to_dict(add_signature=add_signature)))

    def verify(self, signature: str) -> bool:
        """Return whether this is the feed's signature of this message."""
        if not signature.endswith(_SUFFIX):
            return False
        try:
            raw = b64decode(signature[: -len(_SUFFIX)], validate=True)
            self.feed.public_key.verify(self.serialize(add_signature=False), raw)
        except (CryptoError, binascii.Error):
            return False
        return True

    @property
    def hash(self) -> str:
        """Return `….sha256`, of the message with its signature."""
        digest = sha256(hashed_bytes(dumps(self.to_dict()))).digest()
        return b64encode(digest).decode("ascii") + ".sha256"

    @property
    def key(self) -> str:
        """Return the message's id, `%….sha256`."""
        return "%" + self.hash


class LocalMessage(Message):
    """A message of ours: signed when it is made, unless a signature is given."""

    def _check_signature(self) -> None:
        if self.signature is None:
            self.signature = self._sign()

    def _sign(self) -> str:
        """Return the signature, `….sig.ed25519`."""
        raw = self.feed.sign(self.serialize(add_signature=False))
        return b64encode(raw).decode("ascii") + _SUFFIX
