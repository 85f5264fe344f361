"""Private tunnel addresses: they name a portal only to the peers they were issued for.

::

    ptunnel:1:N:T[~shs:KEY]    personal: from an owner to one recipient
    ptunnel:2:N:T[~shs:KEY]    for a group that shares a secret

    N    16 random bytes, T 32 bytes, both in canonical unpadded base64url
    KEY  the owner's key (44 characters of base64); without it the recipient tries each of its contacts

    d = X25519(curve(O), curve(R))      O owner, R recipient, P portal, K network id; 32 bytes each
    k = HMAC-SHA256(d, "ssbfast ptunnel key v1" | K | O | R)        personal
    k = HMAC-SHA256(secret, "ssbfast ptunnel group v1" | K | O)     group
    T = HMAC-SHA256(k, "ssbfast ptunnel tag v1" | N | P)

A tag is never sent to a portal, which could use it again: it is resolved here, against the portals that are known,
and what is dialled is an ordinary tunnel address. So it works with every room.

Hidden from all but the recipient or the group, even from a peer with a list of all rooms: the portal, and
without KEY the owner. Two issues cannot be linked. Not hidden: the recipient can test rooms that it guesses, and
could have made the address itself; the portal sees caller, target and time; its members see the owner attending;
with the owner's or the recipient's stolen key old addresses open.

Spec: this file; after the "privacy ideas" of ssb-tunnel's README.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from nacl.bindings import crypto_scalarmult
from nacl.exceptions import CryptoError

from ssbfast.errors import AddressError, HandshakeError, LimitError
from ssbfast.ids import MAIN_NETWORK, FeedId, NetworkId, decode_key, encode_key
from ssbfast.keys import Keypair
from ssbfast.limits import PRIVATE_TAGS
from ssbfast.wire.address_types import TunnelAddress
from ssbfast.wire.curve import feed_to_curve

PREFIX: Final = "ptunnel:"
NONCE_BYTES: Final = 16
TAG_BYTES: Final = 32
SECRET_BYTES: Final = 32

NOT_FOR_YOU: Final = "unknown portal or not for you"
"""The message when `resolve` finds nothing; which of the two it is cannot be known."""

_KEY_LABEL: Final = b"ssbfast ptunnel key v1"
_GROUP_LABEL: Final = b"ssbfast ptunnel group v1"
_TAG_LABEL: Final = b"ssbfast ptunnel tag v1"
_FORMS: Final = {"1": False, "2": True}
_BASE64URL: Final = re.compile(r"[A-Za-z0-9_-]+")


@dataclass(frozen=True, slots=True)
class PrivateTunnelAddress:
    """A private tunnel address as it is written. Only `PrivateResolver` can tell whether it is for us.

    Attributes:
        nonce: 16 bytes.
        tag: 32 bytes.
        owner: The id that issued it, if the address says so, else None.
        group: True for an address for the members of a group, which share a secret.
    """

    nonce: bytes = field(repr=False)
    tag: bytes = field(repr=False)
    owner: FeedId | None = None
    group: bool = False

    def __post_init__(self) -> None:
        if len(self.nonce) != NONCE_BYTES or len(self.tag) != TAG_BYTES:
            raise AddressError("a private tunnel address has a nonce of 16 bytes and a tag of 32", 0)

    def __str__(self) -> str:
        form = "2" if self.group else "1"
        owner = "" if self.owner is None else f"~shs:{encode_key(self.owner.key)}"
        return f"{PREFIX}{form}:{_encode(self.nonce)}:{_encode(self.tag)}{owner}"


def is_private_tunnel(text: str) -> bool:
    """Return whether `text` is meant to be a private tunnel address, well-formed or not."""
    return text.startswith(PREFIX)


def parse_private_tunnel(text: str) -> PrivateTunnelAddress:
    """Read a private tunnel address; `str()` prints exactly what was read.

    Args:
        text: The address, `ptunnel:FORM:N:T` with perhaps `~shs:KEY`.

    Raises:
        AddressError: With the offset of the first bad character (of the bad field, when the whole field is bad).
    """
    if not isinstance(text, str) or not text.startswith(PREFIX):
        raise AddressError(f"a private tunnel address begins with {PREFIX}", 0)
    main, mark, rest = text.partition("~")
    fields = main.split(":")
    offsets = [0]
    for item in fields:
        offsets.append(offsets[-1] + len(item) + 1)
    if fields[1] not in _FORMS:
        raise AddressError("the form of a private tunnel address is 1 or 2", offsets[1])
    names = ("a nonce", "a tag")
    values: list[bytes] = []
    for index, (name, size) in enumerate(zip(names, (NONCE_BYTES, TAG_BYTES), strict=True), start=2):
        if index >= len(fields):
            raise AddressError(f"{name} is missing", len(main))
        values.append(_decode(fields[index], size, name, offsets[index]))
    if len(fields) > len(names) + 2:
        raise AddressError("nothing comes behind the tag but ~shs:KEY", offsets[4] - 1)
    owner = _read_owner(rest, len(main) + 1) if mark else None
    return PrivateTunnelAddress(values[0], values[1], owner, _FORMS[fields[1]])


def issue_personal(
    owner: Keypair,
    recipient: FeedId,
    portal: FeedId,
    *,
    network: NetworkId = MAIN_NETWORK,
    with_owner: bool = False,
    nonce: bytes | None = None,
) -> PrivateTunnelAddress:
    """Issue an address at which `recipient` alone finds us behind `portal`.

    Args:
        owner: Our own key pair.
        recipient: The one peer that can resolve the address.
        portal: The room behind which we are found.
        network: The network id.
        with_owner: Name us (`~shs:`), for a recipient that does not have us among its contacts.
        nonce: 16 bytes, to be used once; None draws them from the system's randomness (a convenience).

    Raises:
        AddressError: The recipient's id is not a usable key.
    """
    key = _personal_key(owner, recipient, owner.id, recipient, network)
    if key is None:
        raise AddressError("the recipient's id is not a usable key", 0)
    return _issue(key, owner.id, portal, with_owner, nonce, group=False)


def issue_group(
    secret: bytes,
    owner: FeedId,
    portal: FeedId,
    *,
    network: NetworkId = MAIN_NETWORK,
    with_owner: bool = False,
    nonce: bytes | None = None,
) -> PrivateTunnelAddress:
    """Issue an address for all peers that have `secret`, which travels separately.

    Args:
        secret: 32 random bytes.
        owner: Our own id.
        portal: The room behind which we are found.
        network: The network id.
        with_owner: Name us (`~shs:`), for recipients that do not have us among their contacts.
        nonce: 16 bytes, to be used once; None draws them from the system's randomness (a convenience).

    Raises:
        ValueError: The secret has another length.
    """
    return _issue(_group_key(secret, owner, network), owner, portal, with_owner, nonce, group=True)


class PrivateResolver:
    """A resolver of private tunnel addresses, which keeps the keys that this took (30 µs each).

    Args:
        me: The recipient's key pair.
        network: The network id.
        groups: Secrets (32 bytes each) of the groups that we belong to.

    Raises:
        ValueError: A secret has another length.
    """

    def __init__(self, me: Keypair, *, network: NetworkId = MAIN_NETWORK, groups: Iterable[bytes] = ()) -> None:
        self._me = me
        self._network = network
        self._groups = tuple(groups)
        for secret in self._groups:
            _check_secret(secret)
        self._personal: dict[FeedId, bytes | None] = {}

    def __repr__(self) -> str:
        return f"<PrivateResolver of {self._me.id.short}, {len(self._groups)} groups>"

    def resolve(
        self, address: PrivateTunnelAddress, *, portals: Iterable[FeedId], contacts: Iterable[FeedId] = ()
    ) -> TunnelAddress | None:
        """Find the tunnel that `address` stands for. Computes only, 2 µs for each tag tried.

        Args:
            address: The private tunnel address.
            portals: The rooms that we know.
            contacts: The ids to try as owner, when the address does not name one.

        Returns:
            The tunnel's address, or None: unknown portal or not for us.

        Raises:
            LimitError: There are more than 100,000 tags to try.
        """
        known = tuple(dict.fromkeys(portals))
        owners = dict.fromkeys(contacts) if address.owner is None else (address.owner,)
        tried = 0
        for owner in owners:
            for key in self._keys(owner, address.group):
                tried += len(known)
                if tried > PRIVATE_TAGS:
                    raise LimitError("too many contacts and portals to try for a private tunnel address")
                portal = _find(key, address, known)
                if portal is not None:
                    return TunnelAddress(portal, owner)
        return None

    def _keys(self, owner: FeedId, group: bool) -> Iterable[bytes]:
        if group:
            return (_group_key(secret, owner, self._network) for secret in self._groups)
        if owner not in self._personal:
            if len(self._personal) >= PRIVATE_TAGS:
                self._personal.clear()
            self._personal[owner] = _personal_key(self._me, owner, owner, self._me.id, self._network)
        key = self._personal[owner]
        return () if key is None else (key,)


# ---------------------------------------------------------------- keys and tags


def _personal_key(me: Keypair, other: FeedId, owner: FeedId, recipient: FeedId, network: NetworkId) -> bytes | None:
    """Return the key that owner and recipient share, or None when the other's id is not a usable key."""
    try:
        shared = crypto_scalarmult(me.curve_secret(), feed_to_curve(other.key))
    except (HandshakeError, CryptoError):
        return None
    return hmac.digest(shared, _KEY_LABEL + network.key + owner.key + recipient.key, "sha256")


def _group_key(secret: bytes, owner: FeedId, network: NetworkId) -> bytes:
    _check_secret(secret)
    return hmac.digest(secret, _GROUP_LABEL + network.key + owner.key, "sha256")


def _check_secret(secret: bytes) -> None:
    if not isinstance(secret, bytes) or len(secret) != SECRET_BYTES:
        raise ValueError("a group's secret has 32 bytes")


def _tag(key: bytes, nonce: bytes, portal: FeedId) -> bytes:
    return hmac.digest(key, _TAG_LABEL + nonce + portal.key, "sha256")


def _find(key: bytes, address: PrivateTunnelAddress, portals: tuple[FeedId, ...]) -> FeedId | None:
    for portal in portals:
        if hmac.compare_digest(_tag(key, address.nonce, portal), address.tag):
            return portal
    return None


def _issue(
    key: bytes, owner: FeedId, portal: FeedId, with_owner: bool, nonce: bytes | None, *, group: bool
) -> PrivateTunnelAddress:
    nonce = secrets.token_bytes(NONCE_BYTES) if nonce is None else nonce
    return PrivateTunnelAddress(nonce, _tag(key, nonce, portal), owner if with_owner else None, group)


# ---------------------------------------------------------------- text


def _encode(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode("ascii")


def _decode(text: str, size: int, name: str, offset: int) -> bytes:
    """Decode canonical unpadded base64url of `size` bytes: one spelling for each value."""
    good = _BASE64URL.match(text)
    end = good.end() if good else 0
    if end < len(text):
        raise AddressError(f"{name} is unpadded base64url", offset + end)
    try:
        value = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except binascii.Error:
        value = b""
    if len(value) != size or _encode(value) != text:
        raise AddressError(f"{name} is {size} bytes in canonical unpadded base64url", offset)
    return value


def _read_owner(text: str, offset: int) -> FeedId:
    name, mark, key_text = text.partition(":")
    if name != "shs" or not mark:
        raise AddressError("only ~shs:KEY comes behind the tag", offset)
    key = decode_key(key_text)
    if key is None:
        raise AddressError("a key is 44 characters of canonical base64", offset + len("shs:"))
    return FeedId(key)
