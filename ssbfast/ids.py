"""Ids of 32 bytes: the feed id of a peer, and the network id of the network that a handshake belongs to."""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass
from typing import Final

from ssbfast.errors import BadInputError, FeedIdError

ID_BYTES: Final = 32
SUFFIX: Final = ".ed25519"

_BASE64_TEXT: Final = re.compile(r"[A-Za-z0-9+/]{43}=")
_SHORT: Final = 8


def decode_key(text: str) -> bytes | None:
    """Decode 32 bytes from canonical base64 (44 characters, standard alphabet).

    The standard library ignores stray bits behind the last byte, even with `validate=True`. Four spellings of one
    key would then pass, and a list that compares text could be walked around: only the canonical one is taken.

    Args:
        text: The base64 text.

    Returns:
        32 bytes, or None for any other text.
    """
    if not isinstance(text, str) or _BASE64_TEXT.fullmatch(text) is None:
        return None
    key = binascii.a2b_base64(text)
    return key if encode_key(key) == text else None


def encode_key(key: bytes) -> str:
    """Return the canonical base64 (standard alphabet, padded) of `key`.

    Args:
        key: The bytes of a key, 32 in a feed id or network id.

    Returns:
        The text, 44 characters for 32 bytes.
    """
    return base64.b64encode(key).decode("ascii")


def _is_id(value: object) -> bool:
    return isinstance(value, bytes) and len(value) == ID_BYTES


@dataclass(frozen=True, slots=True, order=True, repr=False)
class FeedId:
    """A peer's identity: its Ed25519 public key.

    Two ids are equal when their 32 bytes are; they are ordered by them.

    Attributes:
        key: 32 bytes. Whether they are a point of the curve is the handshake's business, not the id's.

    Raises:
        FeedIdError: `key` is anything but 32 bytes.
    """

    key: bytes

    def __post_init__(self) -> None:
        if not _is_id(self.key):
            raise FeedIdError("a feed id has 32 bytes")

    @classmethod
    def parse(cls, text: str) -> FeedId:
        """Read `@<base64 of 32 bytes>.ed25519`; the base64 must be canonical.

        Args:
            text: The id as it is written.

        Raises:
            FeedIdError: It is no id, or no text at all (a peer's JSON may hold anything).
        """
        key = None
        if isinstance(text, str) and text.startswith("@") and text.endswith(SUFFIX):
            key = decode_key(text[1 : -len(SUFFIX)])
        if key is None:
            raise FeedIdError("not a feed id: it reads @, 44 characters of canonical base64, .ed25519")
        return cls(key)

    @property
    def short(self) -> str:
        """Return the id as logs show it, `@1b9KP8zn…`: it tells peers apart, and names none for certain."""
        return f"@{encode_key(self.key)[:_SHORT]}…"

    def __str__(self) -> str:
        return f"@{encode_key(self.key)}{SUFFIX}"

    def __repr__(self) -> str:
        return f"FeedId({self.short})"


@dataclass(frozen=True, slots=True, repr=False)
class NetworkId:
    """The network that a handshake belongs to ("network key", "application key", `caps.shs`).

    Attributes:
        key: 32 bytes. For a private network they are a secret that its members share: `repr` hides them.

    Raises:
        BadInputError: `key` is anything but 32 bytes.
    """

    key: bytes

    def __post_init__(self) -> None:
        if not _is_id(self.key):
            raise BadInputError("a network id has 32 bytes")

    @classmethod
    def parse(cls, text: str) -> NetworkId:
        """Read the canonical base64 of 32 bytes, as in the `caps.shs` setting of JS peers.

        Args:
            text: 44 characters of base64.

        Raises:
            BadInputError: The text is no network id.
        """
        key = decode_key(text)
        if key is None:
            raise BadInputError("not a network id: it reads 44 characters of canonical base64")
        return cls(key)

    def __str__(self) -> str:
        return repr(self)

    def __repr__(self) -> str:
        return "NetworkId(main)" if self.key == _MAIN_KEY else "NetworkId(private)"


_MAIN_KEY: Final = bytes.fromhex("d4a1cb88a66f02f8db635ce26441cc5dac1b08420ceaac230839b755845a9ffb")

MAIN_NETWORK: Final = NetworkId(_MAIN_KEY)
"""The public SSB network, the default everywhere."""
