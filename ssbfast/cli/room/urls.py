"""The address of a room's web site in links that its operator gives away."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import click

from ssbfast.cli.options import callback
from ssbfast.errors import BadInputError

if TYPE_CHECKING:
    from ssbfast.store.room_store import RoomStore


def _base(text: str | None) -> str | None:
    """Read the address of a web site, to be put before a path."""
    if text is None:
        return None
    base = text.strip()
    if "://" not in base:
        base = f"https://{base}"
    try:
        parts = urlsplit(base)
        has_port = parts.port is None or parts.port > 0
    except ValueError:
        has_port = False
    if not has_port or parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise BadInputError(f"{text!r} is no address of a web site; it reads https://HOST")
    return base.rstrip("/")


url_option = click.option(
    "--url",
    metavar="https://HOST",
    callback=callback(_base),
    help="Address of the room's web site. Default: the one with which it ran last.",
)


def web_address(given: str | None, store: RoomStore) -> str | None:
    """Return the address of the web site: as given, or as the room had it when it ran last; None when it is unknown."""
    return given or store.web_address()
