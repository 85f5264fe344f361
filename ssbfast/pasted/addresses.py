"""Ids and addresses as people paste them: the one place where the commands read them.

The parsers of the library (`FeedId.parse`, `parse_address`, `parse_private_tunnel`) are strict: what they take is what
peers print. Here the same is read from other forms whose meaning is certain, and what is something else is named::

    ids        @KEY.ed25519, KEY.ed25519, @KEY, KEY; the key in either alphabet of base64, with or without padding
    addresses  net:HOST:PORT~shs:KEY; HOST:PORT~shs:KEY; HOST:PORT:@KEY.ed25519[~SEED] (before multiserver)
    URIs       ssb:feed/ed25519/KEY, ssb:address/multiserver?multiserverAddress=…, ssb:experimental?…
    web        https://alice.room.example, room.example/alice, @alice@room.example; https://room.example/join?invite=…

A text with two readings is refused, and both are named.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple, TypeAlias

from ssbfast.errors import AddressError, AliasError, BadInputError
from ssbfast.ids import FeedId, NetworkId
from ssbfast.pasted.address_repair import repaired
from ssbfast.pasted.key_text import read_feed
from ssbfast.pasted.ssb_uri import AliasUri, Uri, is_uri, parse_uri
from ssbfast.pasted.tidy_text import name_of, tidy
from ssbfast.pasted.web_links import AliasLink, InviteLink, alias_link, invite_link
from ssbfast.wire.address import (
    MultiserverAddress,
    NetAddress,
    OnionAddress,
    TunnelAddress,
    UnixAddress,
    WebSocketAddress,
    format_address,
    parse_address,
)
from ssbfast.wire.alias import Alias, decode_signature
from ssbfast.wire.private_tunnel import PREFIX, PrivateTunnelAddress, parse_private_tunnel

_ROOM_FORM: Final = "a room's address reads net:HOST:PORT~shs:KEY"
_ID_FORM: Final = "an id reads @, 44 characters, .ed25519"
_TARGET_FORM: Final = "give a friend's id (@….ed25519) or tunnel address (tunnel:…)"
_ALIAS_FORM: Final = "an alias reads alice.room.example or room.example/alice"
_INVITE: Final = "that is a web invite: open it in an SSB app, or ask for the room's address"

_Addresses: TypeAlias = tuple[MultiserverAddress, ...]
_Found: TypeAlias = FeedId | _Addresses | PrivateTunnelAddress | AliasUri | AliasLink | InviteLink


_DIALLED: Final = (NetAddress, WebSocketAddress)


class Room(NamedTuple):
    """The address of a room. text: as the library reads it. portal: the room's id."""

    text: str
    portal: FeedId


def read_id(text: str) -> FeedId:
    """Read the peer that an id, or an address that names one peer, stands for. Raises BadInputError."""
    match _read(text, _ID_FORM):
        case FeedId() as feed:
            return feed
        case AliasUri(user=user):
            return user
        case AliasLink():
            raise BadInputError(f"that is an alias; `ssbfast alias show` tells whose it is: {_ID_FORM}")
        case InviteLink():
            raise BadInputError(f"{_INVITE}; {_ID_FORM}")
        case PrivateTunnelAddress(owner=owner):
            if owner is None:
                raise BadInputError(f"that is a private tunnel address, which hides whose it is: {_ID_FORM}")
            return owner
        case addresses:
            return _person(addresses)


def read_room(text: str) -> Room:
    """Read a room's address or Rooms 1 invite. Raises BadInputError."""
    found = read_room_or_invite(text)
    if isinstance(found, InviteLink):
        raise BadInputError(f"{_INVITE}; {_ROOM_FORM}")
    return found


def read_room_or_invite(text: str) -> Room | InviteLink:
    """Do the same, and read web invites, which are claimed before the room is known. Raises BadInputError."""
    match _read(text, _ROOM_FORM):
        case FeedId():
            raise BadInputError(f"that is an id, which does not say where the room is: {_ROOM_FORM}")
        case PrivateTunnelAddress():
            raise BadInputError(f"that is a friend's private tunnel address, not a room's: {_ROOM_FORM}")
        case AliasLink():
            raise BadInputError(f"that is a friend's alias, not a room's address: {_ROOM_FORM}")
        case InviteLink() as invite:
            return invite
        case AliasUri(address=address):
            return _room(_addresses(tidy(address), _ROOM_FORM))
        case addresses:
            return _room(addresses)


def read_target(text: str) -> FeedId | PrivateTunnelAddress | tuple[TunnelAddress, ...] | AliasLink | Alias:
    """Read the peer to reach. Raises BadInputError.

    Returns:
        An id, a tunnel address with its alternatives, a private one, an alias that a web site has to be asked about,
        or one that is whole and verified.
    """
    match _read(text, _TARGET_FORM):
        case AliasUri() as uri:
            try:
                return _verified(uri, _TARGET_FORM)
            except AliasError as error:
                raise BadInputError(f"{error}: {_TARGET_FORM}") from None
        case InviteLink():
            raise BadInputError(f"{_INVITE}; {_TARGET_FORM}")
        case tuple() as addresses:
            found = tuple(one.transport for one in addresses if isinstance(one.transport, TunnelAddress))
            if not found:
                raise BadInputError(f"{_no_person(addresses)}: {_TARGET_FORM}, and the room with --room")
            return found
        case other:
            return other


def read_alias(text: str) -> AliasLink | Alias:
    """Read an alias. Raises BadInputError for other text, AliasError for one that is whole and false."""
    match _read(text, _ALIAS_FORM):
        case AliasUri() as uri:
            return _verified(uri, _ALIAS_FORM)
        case AliasLink() as link:
            return link
        case _:
            raise BadInputError(f"that is no alias: {_ALIAS_FORM}")


def _verified(uri: AliasUri, form: str) -> Alias:
    signature = decode_signature(uri.signature)
    if signature is None:
        raise AliasError("the alias's signature cannot be read")
    addresses = tuple(one for one in _addresses(tidy(uri.address), form) if one.shs is not None)
    return Alias(uri.name.lower(), uri.user, uri.portal, addresses, signature)


def read_network(text: str) -> NetworkId:
    """Read a network's key. Raises BadInputError."""
    return NetworkId.parse(tidy(text))


# ---------------------------------------------------------------- what was found


def _room(addresses: _Addresses) -> Room:
    keys = {one.shs for one in addresses if isinstance(one.transport, _DIALLED) and one.shs is not None}
    if not keys:
        raise BadInputError(f"{_no_room(addresses)}: {_ROOM_FORM}")
    if len(keys) > 1:
        raise BadInputError("the alternatives have different keys: give each room its own --room")
    return Room(format_address(addresses), keys.pop())


def _no_room(addresses: _Addresses) -> str:
    kinds = [type(one.transport) for one in addresses]
    if TunnelAddress in kinds:
        return "that is the address of a peer behind a room, not the room's own"
    if NetAddress in kinds or WebSocketAddress in kinds:
        return "the address has no key (was it cut off?)"
    if OnionAddress in kinds:
        return "that is an address within Tor, which ssbfast does not dial; the room may have another"
    if UnixAddress in kinds:
        return "that is a socket of one machine, not a room"
    return "that is an address of a kind which ssbfast does not dial"


def _person(addresses: _Addresses) -> FeedId:
    targets = {one.transport.target for one in addresses if isinstance(one.transport, TunnelAddress)}
    if len(targets) > 1:
        raise BadInputError("the alternatives lead to different peers: give one id at a time")
    if not targets:
        raise BadInputError(f"{_no_person(addresses)}: {_ID_FORM}")
    return targets.pop()


def _no_person(addresses: _Addresses) -> str:
    if all(one.shs is None for one in addresses):
        return "that is an address without a key, not a person's id"
    return "that is a room's address, not a person's id"


# ---------------------------------------------------------------- from text


def _read(text: str, form: str) -> _Found:
    """Read a pasted text of any form. form: what was expected, for messages."""
    word = _one_word(tidy(text), form)
    if _PERCENT.match(word):
        word = tidy(_unquoted(word))
    link = invite_link(word) or alias_link(word)
    if link is not None:
        return link
    _refuse_others(word, form)
    try:
        return _parse(word, form)
    except AddressError as error:
        raise BadInputError(f"{error.problem}: {form}") from None


_PERCENT: Final = re.compile(r"(?i)%40|@?[A-Z0-9_-]+%3A|[^:@]{43}%3D")
_BEGINS: Final = re.compile(r"(?i)@|(net|wss?|onion|unix|p?tunnel|ssb):")
_WEB: Final = re.compile(r"(?i)https?:|(localhost|[a-z0-9-]+(\.[a-z0-9-]+)+)(:[0-9]+)?/")
_WEB_INVITE: Final = re.compile(r"(?i)/join\b|/invite\b|[?&](token|invite)=")
_HASH: Final = re.compile(r"(?i)([%&])?[A-Za-z0-9+/=_-]+\.sha256.*")


def _unquoted(word: str) -> str:
    from urllib.parse import unquote

    return unquote(word)


def _one_word(text: str, form: str) -> str:
    """Undo the line ends that mail puts into long addresses; refuse several of them, and text around one."""
    if text.startswith("[") and text.endswith("]"):
        text = tidy(text[1:-1])
    if not text:
        raise BadInputError(f"nothing was given: {form}")
    words = text.split()
    if len(words) == 1:
        return text
    if not _BEGINS.match(text):
        raise BadInputError(f"there are several words; give the id or address alone: {form}")
    if any(_BEGINS.match(word) for word in words[1:]):
        raise BadInputError("there is more than one id or address: give one at a time")
    return "".join(words)


def _refuse_others(word: str, form: str) -> None:
    """Name what is certainly neither an id nor an address. Its text is not repeated: invites are secret."""
    if _WEB.match(word):
        if _WEB_INVITE.search(word):
            raise BadInputError(f"{_INVITE}; {form}")
        raise BadInputError(f"that is the address of a web page: {form}")
    found = _HASH.fullmatch(word)
    if found is not None or word[:1] in "%&":
        sigil = "%" if word[:1] == "%" else "&" if word[:1] == "&" else ""
        kind = {"%": "an SSB message id", "&": "an SSB blob id", "": "an SSB blob/message id"}[sigil]
        raise BadInputError(f"that is {kind}, not a person's: {form}")
    if word.startswith("#"):
        raise BadInputError(f"that is a channel's name: {form}")


def _parse(word: str, form: str) -> _Found:
    scheme = word.partition(":")[0].lower()
    if is_uri(word):
        return _from_uri(parse_uri(word, form), form)
    if f"{scheme}:" == PREFIX:
        return parse_private_tunnel(f"{scheme}{word[len(scheme) :]}")
    if word.startswith("@") or ":" not in word:
        return read_feed(word, form)
    return _addresses(word, form)


def _from_uri(uri: Uri, form: str) -> _Found:
    if isinstance(uri, str):
        return _addresses(tidy(uri), form)
    return uri


def _addresses(word: str, form: str) -> _Addresses:
    text = repaired(word, form)
    bad = next((char for char in text if not "\x21" <= char <= "\x7e"), None)
    if bad is not None:
        raise BadInputError(f"it contains {name_of(bad)}, which no address has: {form}")
    return parse_address(text)
