"""What several pages share: reading ids and numbers, telling what was done, and names for keys."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import Response

from ssbfast import limits
from ssbfast.errors import BadInputError
from ssbfast.ids import FeedId
from ssbfast.pasted.key_text import read_feed
from ssbfast.room.records import Outcome
from ssbfast.room.registry import Registry
from ssbfast.room.roles import STORED_ROLES, Role
from ssbfast.server.refusals import Why
from ssbfast.server.web.errors import WebError
from ssbfast.server.web.site import Form, Site
from ssbfast.server.web.templating import feed_of_path

T = TypeVar("T")


def N_(text: str) -> str:
    """Mark a text for the catalogues; it is translated where it is shown."""
    return text


DONE = {
    "added": N_("The member was added."),
    "role": N_("The role was changed."),
    "removed": N_("The member was removed."),
    "blocked": N_("The key is blocked, and its sessions have ended."),
    "unblocked": N_("The key is not blocked any more."),
    "revoked": N_("The invite was revoked."),
    "freed": N_("The alias was revoked."),
    "mode": N_("The mode was changed."),
    "saved": N_("Saved."),
    "ended": N_("That browser is signed out."),
    "ended-all": N_("All other browsers are signed out."),
    "password": N_("The password was set."),
    "password-gone": N_("The password was removed."),
}
"""What a page says at its head after a form, by the word in its address."""

LAST_ADMIN = N_("The last admin stays: make another one first.")
CHANGED = N_("Somebody else has changed this in the meantime. Look again, and try once more if you still want to.")

OUTCOMES = {
    Outcome.LAST_ADMIN: LAST_ADMIN,
    Outcome.MISSING: CHANGED,
    Outcome.INVALID: CHANGED,
    Outcome.BLOCKED: N_("This key is blocked. Unblock it first."),
    Outcome.UNCHANGED: N_("Nothing had to be changed."),
}
"""Why a change was not made, or was not needed."""


REFUSED = {
    Why.BLOCKED: N_("It is blocked here."),
    Why.STRANGER: N_("It is no member."),
    Why.NO_PLACE: N_("The room was full."),
}
"""Why a key was refused last."""


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """One page of a long list. number: from 1."""

    items: Sequence[T]
    number: int
    count: int
    total: int


def page_of(request: Request, items: Sequence[T], size: int = limits.WEB_PAGE) -> Page[T]:
    """Return the page of a list that a request asks for; the last one when there are fewer."""
    count = max(1, -(-len(items) // size))
    number = min(max(1, number_in(request.query_params.get("page", "1"), 1)), count)
    return Page(items[(number - 1) * size : number * size], number, count, len(items))


def number_in(text: str, default: int = 0) -> int:
    """Return a whole number of at most nine digits; `default` for anything else."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else default


def done(site: Site, request: Request) -> str:
    """Return what the page says was done just now; nothing for most requests."""
    return site.text(request)(DONE[word]) if (word := request.query_params.get("done", "")) in DONE else ""


def back(site: Site, path: str, word: str = "") -> Response:
    """Send a browser on to a page, which says what was done."""
    return site.redirect(f"{path}?done={quote(word)}" if word else path)


def feed_in(request: Request) -> FeedId:
    """Return the id in a request's path. Raises WebError 404."""
    feed = feed_of_path(str(request.path_params["id"]))
    if feed is None:
        raise WebError(404)
    return feed


def read_person(registry: Registry, text: str) -> FeedId | None:
    """Return the key that is meant by an id in any form, or by an alias of this room; None for anything else."""
    alias = registry.alias(text.strip().lower())
    if alias is not None:
        return alias.feed
    try:
        return read_feed(text.strip(), "")
    except BadInputError:
        return None


def one_line(text: str) -> str:
    """Return a text without line breaks and other characters that are not to be seen."""
    return "".join(" " if char in "\r\n\t" else char for char in text if not _is_odd(char)).strip()


def lines(text: str) -> str:
    """Return a text of several lines without other characters that are not to be seen."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    return "".join(char for char in text if char in "\n\t" or not _is_odd(char)).strip()


def _is_odd(char: str) -> bool:
    """Return whether a character is a control, or changes the direction of what others wrote around it."""
    return (unicodedata.category(char) in ("Cc", "Cs", "Co", "Cn") and char not in "\r\n\t") or char in _TURNING


_TURNING = frozenset("\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def names_of(registry: Registry) -> Callable[[FeedId | None], tuple[str, ...]]:
    """Return a function that gives the aliases of a key."""

    def names(feed: FeedId | None) -> tuple[str, ...]:
        return () if feed is None else tuple(alias.name for alias in registry.aliases_of(feed))

    return names


def is_stored(role: Role) -> bool:
    """Return whether a role is a member's."""
    return role in STORED_ROLES


def must_be(condition: bool, status: int = 403) -> None:
    """Raise WebError unless a right is there."""
    if not condition:
        raise WebError(status)


def is_sure(form: Form) -> bool:
    """Return whether a form comes from the page that asks once more."""
    return form.get("sure") == "yes"
