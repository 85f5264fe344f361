"""Aliases: their letters, and the signature by which a user claims one in a room.

An alias is a label of RFC 1035: letters, digits and hyphens, begun by a letter, at most 63 characters. Its owner signs
this text, in UTF-8, with the key that the room and all peers know it by::

    =room-alias-registration:ROOMID:USERID:ALIAS

Signatures are written in base64, by the specification with `.sig.ed25519` behind; go-ssb-room leaves that away, and
writes the alphabet for URLs in its URIs. All three are read.

Source: SIP 7, "Alias".
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass, field
from typing import Final

from nacl.exceptions import BadSignatureError
from nacl.signing import VerifyKey

from ssbfast.errors import AliasError
from ssbfast.ids import FeedId
from ssbfast.keys import Keypair
from ssbfast.wire.address_types import MultiserverAddress, format_address

SIGNATURE_SUFFIX: Final = ".sig.ed25519"
SIGNATURE_BYTES: Final = 64

_HERE: Final = "http://"  # which is on this machine

_REGISTERED: Final = re.compile(r"[a-z]([a-z0-9-]{0,61}[a-z0-9])?")
_RESOLVED: Final = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_BASE64: Final = re.compile(r"[A-Za-z0-9+/]{86}==")


def is_alias(text: str) -> bool:
    """Return whether `text` may be registered as an alias: a label of RFC 1035 in small letters."""
    return _REGISTERED.fullmatch(text) is not None


def may_be_alias(text: str) -> bool:
    """Return whether some room may have `text` as an alias: go-ssb-room lets them begin with a digit."""
    return _RESOLVED.fullmatch(text) is not None


def registration_text(room: FeedId, user: FeedId, alias: str) -> bytes:
    """Return what the owner of an alias signs."""
    return f"=room-alias-registration:{room}:{user}:{alias}".encode()


def sign_alias(me: Keypair, room: FeedId, alias: str) -> str:
    """Return our signature for an alias in a room, as room.registerAlias takes it.

    Args:
        me: The key pair of the peer that wants the alias.
        room: The room's id.
        alias: The alias.
    """
    return encode_signature(me.sign(registration_text(room, me.id, alias)))


def encode_signature(signature: bytes) -> str:
    """Return 64 bytes as text: base64 and `.sig.ed25519`."""
    return base64.b64encode(signature).decode("ascii") + SIGNATURE_SUFFIX


def decode_signature(text: str) -> bytes | None:
    """Read a signature in any of its three forms.

    Returns:
        64 bytes, or None for any other text.
    """
    text = text.removesuffix(SIGNATURE_SUFFIX).replace("-", "+").replace("_", "/")
    text += "=" * (-len(text) % 4)
    if _BASE64.fullmatch(text) is None:
        return None
    signature = binascii.a2b_base64(text)
    return signature if base64.b64encode(signature).decode("ascii") == text else None


def verify(user: FeedId, message: bytes, signature: bytes) -> bool:
    """Return whether `signature`, 64 bytes, is that of `user` over `message`."""
    try:
        VerifyKey(user.key).verify(message, signature)
    except (BadSignatureError, ValueError, TypeError):
        return False
    return True


def verify_alias(room: FeedId, user: FeedId, alias: str, signature: bytes) -> bool:
    """Return whether `user` has signed that it has the alias in the room."""
    return verify(user, registration_text(room, user, alias), signature)


@dataclass(frozen=True, slots=True)
class Alias:
    """The name of a peer in a room, as its owner has signed it: there is none whose signature is wrong.

    Attributes:
        name: The name.
        user: The peer that has it.
        room: The room's id.
        addresses: The room's addresses, at least one; each has the room's key.
        signature: 64 bytes.
        url: Where a web site told it, without its query; None when it came otherwise.

    Raises:
        AliasError: It is not what it claims to be; the text names the first check that failed.
    """

    name: str
    user: FeedId
    room: FeedId
    addresses: tuple[MultiserverAddress, ...] = field(repr=False)
    signature: bytes = field(repr=False)
    url: str | None = None

    def __post_init__(self) -> None:
        if not may_be_alias(self.name):
            raise AliasError("the alias has letters that no alias has")
        if not self.addresses or any(one.shs != self.room for one in self.addresses):
            raise AliasError("the alias's address is not its room's")
        if not verify_alias(self.room, self.user, self.name, self.signature):
            raise AliasError("the alias is not signed by its owner for this room")

    @property
    def address(self) -> str:
        """The room's addresses, joined by `;`."""
        return format_address(self.addresses)

    def __str__(self) -> str:
        """Return the alias as people write it: `alice.room.example`, `room.example/alice`."""
        if self.url is None:
            return self.name
        place = self.url.removeprefix("https://")
        host, slash, path = place.removeprefix(_HERE).partition("/")
        if slash and path.strip("/"):
            host = f"{host}/{self.name}"
        return f"{_HERE}{host}" if place.startswith(_HERE) else host
