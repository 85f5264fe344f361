"""Web invites at a peer: claim one, and learn the room's address.

A link's page tells the code and where to post it; an `ssb:` URI has both in it. Who has claimed an invite is a member:
the room's next session with that key is a member's.

Spec: SIP 5.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final
from urllib.parse import urlsplit

from ssbfast import limits
from ssbfast.client.aliases import told_addresses
from ssbfast.client.web_request import NotThereError, request_json
from ssbfast.errors import AddressError, InviteError, WebSiteError
from ssbfast.ids import FeedId
from ssbfast.pasted.web_links import InviteLink, invite_from, is_loopback
from ssbfast.wire.address import format_address, parse_address

_GOOD: Final = ("successful", "success")
"""What rooms say; the second is go-ssb-room's."""

_NOT_VALID: Final = "the invite is not valid (any more)"


async def claim_invite(link: InviteLink, me: FeedId) -> str:
    """Claim a web invite for a key; return the room's address.

    Args:
        link: The invite, as `pasted` reads it.
        me: The key that becomes a member.

    Raises:
        InviteError: The room does not take it, or its answer cannot be used; the text says which.
    """
    until = asyncio.get_running_loop().time() + limits.WEB_SECONDS
    try:
        whole = link if link.url is None else await _facade(link.url)
        if whole.code is None or whole.post_to is None:
            raise InviteError("the invite is not whole")
        body = {"id": str(me), "invite": whole.code}
        left = max(0.0, until - asyncio.get_running_loop().time())
        answer = await request_json(whole.post_to, body=body, seconds=left)
    except NotThereError:
        raise InviteError(_NOT_VALID) from None
    except InviteError:
        raise
    except WebSiteError as error:
        raise InviteError(str(error)) from None
    return _address(_good(answer), is_here=is_loopback(urlsplit(whole.post_to).hostname or ""))


async def _facade(url: str) -> InviteLink:
    """Ask the page of a link for the code, and for where to post it."""
    answer = _good(await request_json(f"{url}&encoding=json"))
    whole = invite_from(str(answer.get("invite")), str(answer.get("postTo")))
    if whole is None or whole.post_to is None:
        raise InviteError("the web site does not say where to claim the invite")
    there, here = urlsplit(whole.post_to), urlsplit(url)
    if is_loopback(there.hostname or "") and not is_loopback(here.hostname or ""):
        raise InviteError("the web site sends us to this machine")
    return whole


def _good(answer: Any) -> dict[str, Any]:
    if not isinstance(answer, dict):
        raise InviteError("the web site's answer is not that of a room")
    if answer.get("status") not in _GOOD:
        raise InviteError(_NOT_VALID)
    return answer


def _address(answer: dict[str, Any], *, is_here: bool) -> str:
    try:
        found = told_addresses(parse_address(str(answer.get("multiserverAddress"))), is_here=is_here)
    except AddressError:
        found = ()
    if not found:
        raise InviteError("the invite was claimed, but the room's address cannot be read")
    return format_address(found)
