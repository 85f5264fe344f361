"""Aliases at a peer: resolve one, verify it, visit the room that it leads to; and register our own.

An `Alias` is verified when it is made: its signature is its owner's, over the room, the owner and the name. So nothing
is dialled because of an alias that a web site has made up. What a web site cannot be kept from is to be silent.

Spec: SIP 7, "Alias consumption", "Registration", "Revocation".
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Final
from urllib.parse import urlsplit

from ssbfast import limits
from ssbfast.client.web_request import NotThereError, request_json
from ssbfast.errors import AddressError, AliasError, BadInputError, FeedIdError, RemoteError, WebSiteError
from ssbfast.ids import FeedId
from ssbfast.keys import Keypair
from ssbfast.net.peer import Peer
from ssbfast.pasted.addresses import read_alias
from ssbfast.pasted.web_links import AliasLink, alias_link, is_loopback
from ssbfast.wire.address import MultiserverAddress, NetAddress, WebSocketAddress, parse_address
from ssbfast.wire.alias import Alias, decode_signature, is_alias, may_be_alias, sign_alias
from ssbfast.wire.muxrpc_body import clean_text

_GOOD: Final = "successful"
_JSON: Final = "?encoding=json"


def names_alias(text: str) -> bool:
    """Return whether a text is an alias by its form."""
    return text.startswith("ssb:experimental?") or alias_link(text) is not None


async def resolve_alias(text: str | AliasLink | Alias) -> Alias:
    """Return the alias that a text stands for, verified. A web site is asked unless it is all in the text.

    Args:
        text: `https://alice.room.example`, `https://room.example/alice` (or `/alias/alice`), the same without
            `https://`, `@alice@room.example`, or `ssb:experimental?action=consume-alias&…`; or what was read from it.

    Raises:
        AliasError: It is not there, or a check failed; the text says which.
        BadInputError: The text is no alias.
    """
    link = read_alias(text) if isinstance(text, str) else text
    if isinstance(link, Alias):
        return link
    until = asyncio.get_running_loop().time() + limits.WEB_SECONDS
    problem: WebSiteError | None = None
    for url in link.urls:
        left = until - asyncio.get_running_loop().time()
        if left <= 0:
            break
        try:
            answer = await request_json(f"{url}{_JSON}", seconds=left)
        except NotThereError:
            problem = problem or AliasError("the room has no such alias")
        except WebSiteError as error:
            problem = problem or AliasError(str(error))
        else:
            if not isinstance(answer, dict) or answer.get("status") == _GOOD:
                return alias_from(answer, link.name, url)
            problem = problem or AliasError("the room has no such alias")
    raise problem or AliasError("the web site did not answer in time")


def alias_from(answer: Any, name: str, url: str) -> Alias:
    """Read and verify what a web site says about an alias. Raises AliasError, which names the check that failed."""
    if not isinstance(answer, dict):
        raise AliasError("the web site's answer is not that of a room")
    if answer.get("status") != _GOOD:
        raise AliasError("the room has no such alias")
    if answer.get("alias") != name:
        raise AliasError("the web site tells of another alias")
    try:
        user, room = (FeedId.parse(_text(answer, member)) for member in ("userId", "roomId"))
    except FeedIdError:
        raise AliasError("an id in the web site's answer is none") from None
    signature = decode_signature(_text(answer, "signature"))
    if signature is None:
        raise AliasError("the alias's signature cannot be read")
    try:
        addresses = parse_address(_text(answer, "multiserverAddress"))
    except AddressError:
        raise AliasError("the room's address cannot be read") from None
    is_here = is_loopback(urlsplit(url).hostname or "")
    return Alias(name, user, room, told_addresses(addresses, is_here=is_here), signature, url)


def told_addresses(addresses: Sequence[MultiserverAddress], *, is_here: bool) -> tuple[MultiserverAddress, ...]:
    """Return the addresses that a web site told and that we dial. is_here: the web site is on this machine.

    Others are left out: a web site elsewhere does not send us to this machine, nor to a WebSocket without TLS.
    """
    found = []
    for one in addresses:
        transport = one.transport
        if not isinstance(transport, NetAddress | WebSocketAddress) or one.shs is None:
            continue
        is_local = is_loopback(transport.host)
        is_plain = isinstance(transport, WebSocketAddress) and not transport.secure
        if is_here or not (is_local or is_plain):
            found.append(one)
    return tuple(found)


def check_owner(alias: Alias, user: FeedId, room: FeedId) -> None:
    """Check that an alias is of this peer, in this room. Raises AliasError."""
    if alias.user != user:
        raise AliasError("the alias is another peer's")
    if alias.room != room:
        raise AliasError("the alias is in another room")


def _text(answer: dict[str, Any], member: str) -> str:
    value = answer.get(member)
    return value if isinstance(value, str) else ""


# ---------------------------------------------------------------- our own


def new_alias(name: str) -> str:
    """Return a name that can be registered. Raises BadInputError."""
    if not is_alias(name):
        raise BadInputError("an alias is a small letter, then letters, digits and hyphens: at most 63, no hyphen last")
    return name


async def register_alias(session: Peer, me: Keypair, name: str) -> str:
    """Register an alias in a room; return its web address, cleaned.

    Raises:
        BadInputError: The name cannot be an alias.
        RemoteError: The room does not want it; the text is the room's.
    """
    signature = sign_alias(me, session.id, new_alias(name))
    url = await session.call("room.registerAlias", name, signature, timeout=limits.CALL_SECONDS)
    if not isinstance(url, str):
        raise RemoteError("the room did not tell the alias's address")
    return clean_text(url, limits.WEB_URL)


async def revoke_alias(session: Peer, name: str) -> None:
    """Give up one of our aliases. Raises RemoteError when the room has none of that name for us."""
    if await session.call("room.revokeAlias", name, timeout=limits.CALL_SECONDS) is not True:
        raise RemoteError("the room did not revoke the alias")


async def list_aliases(session: Peer, who: FeedId) -> list[str]:
    """Return the aliases that a peer has in a room, as the room says."""
    names = await session.call("room.listAliases", str(who), timeout=limits.CALL_SECONDS)
    if not isinstance(names, list):
        raise RemoteError("the room's list of aliases cannot be read")
    return [name for name in names[: limits.ALIASES_PER_KEY * 2] if isinstance(name, str) and may_be_alias(name)]
