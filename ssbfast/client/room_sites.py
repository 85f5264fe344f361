"""The name of a room: a host, whose web site tells the room's address.

What a site says is no secret and needs no proof: words that are taken in a false room lead to no ticket.
docs/protocol/pairing.md, "In words", has the rules.
"""

from __future__ import annotations

from typing import Any

from ssbfast import limits
from ssbfast.client.aliases import told_addresses
from ssbfast.client.web_request import request_json
from ssbfast.errors import AddressError, WebSiteError
from ssbfast.pasted.web_links import is_literal, is_loopback
from ssbfast.wire.address import MultiserverAddress, NetAddress, WebSocketAddress, format_address, parse_address

_HTTPS = 443


async def room_at(name: str, seconds: float = limits.WEB_SECONDS) -> str:
    """Ask a web site for the address of its room.

    Args:
        name: HOST or HOST:PORT of the site.
        seconds: For everything together.

    Raises:
        WebSiteError: There is none, or it is none of a room that tells its address.
    """
    host = name.partition(":")[0]
    scheme = "http" if is_loopback(host) else "https"
    answer = await request_json(f"{scheme}://{name}/?encoding=json", seconds=seconds)
    try:
        found = told_addresses(parse_address(_text(answer, "multiserverAddress")), is_here=is_loopback(host))
    except AddressError:
        found = ()
    if not found or {str(one.shs) for one in found} != {_text(answer, "roomId")}:
        raise WebSiteError("the web site tells no room's address")
    return format_address(found)


async def name_of(room: MultiserverAddress) -> str | None:
    """Return the name that stands for a room; None when no web site there tells of this room.

    Args:
        room: The room's address.
    """
    name = _site_of(room)
    try:
        told = () if name is None else parse_address(await room_at(name, limits.SITE_SECONDS))
    except WebSiteError:
        return None
    return name if any(one.shs == room.shs for one in told) else None


def _site_of(room: MultiserverAddress) -> str | None:
    match room.transport:
        case NetAddress(host=host) if not is_literal(host):
            return host
        case WebSocketAddress(host=host, port=port) if ":" not in host:
            return host if port == _HTTPS else f"{host}:{port}"
    return None


def _text(answer: Any, member: str) -> str:
    value = answer.get(member) if isinstance(answer, dict) else None
    return value if isinstance(value, str) else ""
