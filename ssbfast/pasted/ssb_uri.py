"""`ssb:` URIs, as far as they name a peer or an address.

::

    ssb:feed/ed25519/KEY              KEY in the alphabet for URLs; also ssb://feed/…, and feed/classic
    ssb:address/multiserver?multiserverAddress=ADDRESS     also …/multiserver/ADDRESS
    ssb:experimental?action=ACTION&…&multiserverAddress=ADDRESS
        consume-alias has alias, signature, roomId and userId, too; claim-http-invite has invite and postTo instead

Spec: ssb-uri-spec; SIP 7, "Consume alias"; SIP 5.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, TypeAlias
from urllib.parse import unquote

from ssbfast.errors import BadInputError
from ssbfast.ids import FeedId
from ssbfast.pasted.key_text import read_feed
from ssbfast.pasted.web_links import InviteLink, invite_from

_SCHEME: Final = "ssb:"
_ACTIONS: Final = {
    "claim-http-invite": "a web invite that is not whole: ask for the room's address",
    "start-http-auth": "a link to sign in to a room's web site, without its address",
    "consume-alias": "an alias without the room's address",
}
_KINDS: Final = {"message": "an SSB message id", "blob": "an SSB blob id"}


@dataclass(frozen=True, slots=True)
class AliasUri:
    """An alias as it stands in a URI, neither read nor verified. address: the room's. name, signature: or empty."""

    portal: FeedId
    user: FeedId
    address: str
    name: str
    signature: str


Uri: TypeAlias = FeedId | AliasUri | InviteLink | str


def is_uri(text: str) -> bool:
    """Return whether it is meant to be a URI of SSB, well-formed or not."""
    return text[: len(_SCHEME)].lower() == _SCHEME


def parse_uri(text: str, form: str) -> Uri:
    """Read a URI: the id it names, or the multiserver address in it, not yet read.

    form: what was expected, for messages. Raises BadInputError, which names what it is instead.
    """
    path, _, query = text[len(_SCHEME) :].lstrip("/").partition("?")
    parts = path.rstrip("/").split("/", 2)
    members = _members(query)
    match [part.lower() for part in parts[:2]]:
        case ["feed", "ed25519" | "classic"] if len(parts) == 3:
            return read_feed(unquote(parts[2]), form)
        case ["feed", kind, *_]:
            raise BadInputError(f"that is a feed of another kind ({kind}), not a peer's id: {form}")
        case ["address", "multiserver"]:
            address = members.get("multiserveraddress") or (unquote(parts[2]) if len(parts) == 3 else "")
            return _address(address, "a URI without an address", form)
        case ["experimental"]:
            return _experimental(members, form)
    if path.startswith("@") or path[:3] == "%40":
        return read_feed(unquote(path), form)
    first = unquote(path)[:1]
    kind = {"%": "message", "&": "blob"}.get(first, parts[0].lower())
    raise BadInputError(f"that is {_KINDS.get(kind, 'a URI of another kind')}, not a person's or a room's: {form}")


def _experimental(members: dict[str, str], form: str) -> Uri:
    action = members.get("action", "").lower()
    what = _ACTIONS.get(action, "a URI for SSB apps")
    if action == "claim-http-invite":
        invite = invite_from(members.get("invite", ""), members.get("postto", ""))
        if invite is None:
            raise BadInputError(f"that is {what}; {form}")
        return invite
    address = _address(members.get("multiserveraddress", ""), what, form)
    if action != "consume-alias" or "roomid" not in members or "userid" not in members:
        return address
    room, user = (_member(members[name], form) for name in ("roomid", "userid"))
    return AliasUri(room, user, address, members.get("alias", ""), members.get("signature", ""))


def _member(text: str, form: str) -> FeedId:
    found = parse_uri(text, form) if is_uri(text) else read_feed(text, form)
    if not isinstance(found, FeedId):
        raise BadInputError(f"an id in the URI is none: {form}")
    return found


def _address(text: str, what: str, form: str) -> str:
    if not text:
        raise BadInputError(f"that is {what}: {form}")
    return text


def _members(query: str) -> dict[str, str]:
    """Return the query's members. A plus is a plus: base64 has it, and many programs do not escape it."""
    pairs = (pair.partition("=") for pair in query.partition("#")[0].split("&"))
    return {unquote(name).lower(): unquote(value) for name, _, value in pairs}
