"""Templates of a room's web site, and what they draw: ids, doors, QR codes, times, notices."""

from __future__ import annotations

import base64
import hashlib
import time
from datetime import datetime, timezone
from functools import cache, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import jinja2
from markupsafe import Markup, escape

from ssbfast.ids import ID_BYTES, FeedId
from ssbfast.server.web.languages import LANGUAGES, Text

if TYPE_CHECKING:
    from markdown_it import MarkdownIt

HERE: Final = Path(__file__).parent
STATIC: Final = HERE / "static"
MINUTE: Final = 60
HOUR: Final = 60 * MINUTE
DAY: Final = 24 * HOUR
_HUES: Final = 10
_ROW: Final = 6
_WINDOWS: Final = (
    '<rect x="11" y="11" width="10" height="8" rx="1.5" class="pane"/>',
    '<circle cx="16" cy="14" r="4.5" class="pane"/>',
    '<path d="M11 19v-4a5 5 0 0 1 10 0v4z" class="pane"/>',
    '<rect x="11" y="10" width="4" height="9" rx="1" class="pane"/>'
    '<rect x="17" y="10" width="4" height="9" rx="1" class="pane"/>',
    '<rect x="12" y="9" width="8" height="4" rx="1" class="pane"/>'
    '<rect x="12" y="15" width="8" height="4" rx="1" class="pane"/>',
    '<path d="M16 8l5 6-5 6-5-6z" class="pane"/>',
)


class Templates:
    """The templates of the web site.

    Args:
        shared: What every template gets.
    """

    def __init__(self, **shared: object) -> None:
        self.environment = jinja2.Environment(
            loader=jinja2.FileSystemLoader(HERE / "templates"),
            autoescape=True,
            auto_reload=False,
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self.environment.globals.update(
            static=static_url,
            door=door,
            doors=doors,
            feed_path=feed_path,
            day=day,
            stamp=stamp,
            languages=LANGUAGES,
            **shared,
        )

    def render(self, name: str, text: Text, /, **context: Any) -> str:
        """Return a page.

        Args:
            name: The template's file.
            text: The visitor's language.
            context: What the template needs besides.
        """
        now = time.time()
        return self.environment.get_template(name).render(
            _=text.html,
            n_=text.html_plural,
            lang=text.language,
            ago=lambda moment: ago(text, now - moment),
            until=lambda moment: until(text, moment - now),
            now=now,
            **context,
        )


# ---------------------------------------------------------------- static files


@cache
def static_hash() -> str:
    """Return what stands for the contents of all static files, 12 characters: they never change under one address."""
    digest = hashlib.sha256()
    for path in sorted(STATIC.iterdir()):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:12]


def static_url(name: str) -> str:
    """Return the path of a static file."""
    return f"/static/{static_hash()}/{name}"


# ---------------------------------------------------------------- ids


def feed_path(feed: FeedId) -> str:
    """Return an id as it stands in our paths: `@` and base64 for URLs, 44 characters."""
    return "@" + base64.urlsafe_b64encode(feed.key).decode("ascii").rstrip("=")


def feed_of_path(text: str) -> FeedId | None:
    """Return the id of a part of a path; None for anything else."""
    try:
        key = base64.urlsafe_b64decode(text[1:] + "=")
        found = FeedId(key) if len(key) == ID_BYTES else None
    except ValueError:
        return None
    return found if found is not None and feed_path(found) == text else None


def door(feed: FeedId | None, size: str = "") -> Markup:
    """Return a picture of an id: everyone in a room has a door. None: the operator's, or a visitor's.

    Args:
        feed: The id.
        size: A class for another size: "large" or "huge".
    """
    if feed is None:
        hue, window, knob = "none", "", 21
    else:
        digest = hashlib.sha256(feed.key).digest()
        hue, window, knob = str(digest[0] % _HUES), _WINDOWS[digest[1] % len(_WINDOWS)], (11, 21)[digest[2] % 2]
    return Markup(  # the parts are ours, except `size`, which is a template's
        f'<svg class="door hue-{hue} {escape(size)}" viewBox="0 0 32 32" aria-hidden="true" focusable="false">'
        f'<rect width="32" height="32" rx="9" class="wall"/>'
        f'<path d="M8 28V14a8 8 0 0 1 16 0v14z" class="leaf"/>{window}'
        f'<circle cx="{knob}" cy="22.5" r="1.3" class="knob"/></svg>'
    )


def doors(seed: str) -> Markup:
    """Return a row of doors, for the looks: they are of nobody, and the same each time. seed: the room's id."""
    parts = [door(FeedId(hashlib.sha256(f"{seed} {number}".encode()).digest())) for number in range(_ROW)]
    return Markup('<div class="doors" aria-hidden="true">') + Markup("").join(parts) + Markup("</div>")


# ---------------------------------------------------------------- QR codes


def qr(content: str) -> Markup:
    """Return a QR code as SVG. Takes milliseconds: call it in a thread."""
    import segno  # a megabyte: loaded with the first code

    code = segno.make(content, error="m", boost_error=False, micro=False)
    return Markup(code.svg_inline(border=2, omitsize=True, svgclass="qr", lineclass=None, dark="#111", light="#fff"))


# ---------------------------------------------------------------- times


def day(moment: float) -> str:
    """Return a day, UTC: 2026-11-29."""
    return datetime.fromtimestamp(moment, timezone.utc).strftime("%Y-%m-%d")


def stamp(moment: float) -> str:
    """Return a time, UTC, to the minute: 2026-11-29 14:05."""
    return datetime.fromtimestamp(moment, timezone.utc).strftime("%Y-%m-%d %H:%M")


def ago(text: Text, seconds: float) -> str:
    """Return how long ago something was: "2 days ago"."""
    if seconds < MINUTE:
        return text("just now")
    if seconds < HOUR:
        return text.plural("%(n)s minute ago", "%(n)s minutes ago", int(seconds / MINUTE))
    if seconds < DAY:
        return text.plural("%(n)s hour ago", "%(n)s hours ago", int(seconds / HOUR))
    return text.plural("%(n)s day ago", "%(n)s days ago", int(seconds / DAY))


def until(text: Text, seconds: float) -> str:
    """Return how long something still is valid: "3 days left"."""
    if seconds <= 0:
        return text("expired")
    if seconds < HOUR:
        return text.plural("%(n)s minute left", "%(n)s minutes left", max(1, int(seconds / MINUTE)))
    if seconds < DAY:
        return text.plural("%(n)s hour left", "%(n)s hours left", int(seconds / HOUR))
    return text.plural("%(n)s day left", "%(n)s days left", int(seconds / DAY))


# ---------------------------------------------------------------- notices

_NOTICES: Final = 32
"""Notices whose HTML is kept: 2 MB at the worst."""


@cache
def _notices() -> MarkdownIt:
    from markdown_it import MarkdownIt  # a megabyte: loaded with the first notice

    return MarkdownIt("commonmark", {"html": False, "linkify": False}).disable(["image", "html_block"])


@lru_cache(_NOTICES)
def markdown(source: str) -> Markup:
    """Return a notice as HTML. HTML in it is shown as text; images, which would ask other servers, are left out.

    Long notices take a tenth of a second, the first time: call it in a thread.
    """
    notices = _notices()
    tokens = notices.parse(source)
    for token in tokens:
        if token.type in ("heading_open", "heading_close"):  # the page has the first one
            token.tag = f"h{min(6, int(token.tag[1]) + 1)}"
    return Markup(notices.renderer.render(tokens, notices.options, {}))
