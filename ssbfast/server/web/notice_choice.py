"""Which notice a visitor reads: the languages that a room is written about in are more than its pages have."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup
from starlette.requests import Request

from ssbfast.room.records import Notice
from ssbfast.server.web.languages import SOURCE
from ssbfast.server.web.site import Site
from ssbfast.server.web.templating import markdown


def best_of(notices: Sequence[Notice], name: str, *languages: str) -> Notice | None:
    """Return a notice in the first of some languages that there is one in; else in English, else in any."""
    found = {notice.language: notice for notice in notices if notice.name == name}
    for language in (*languages, SOURCE, *sorted(found)):
        if language in found:
            return found[language]
    return None


async def notice_html(site: Site, request: Request, name: str) -> tuple[Notice, Markup] | None:
    """Return a notice in the visitor's language, and its text as HTML; None when there is none."""
    every = await site.keeper.read(site.records.notices)
    notice = best_of(every, name, *site.notice_languages(request))
    return None if notice is None else (notice, await site.in_thread(markdown, notice.body))
