"""Notices: what the room says about itself, in languages of a list; moderators write them in Markdown."""

from __future__ import annotations

from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ssbfast import limits
from ssbfast.room.records import Notice
from ssbfast.room.roles import Action
from ssbfast.server.web.errors import WebError
from ssbfast.server.web.languages import NOTICE_LANGUAGES, SOURCE
from ssbfast.server.web.notice_choice import notice_html
from ssbfast.server.web.pages.common import N_, back, done, lines, one_line
from ssbfast.server.web.site import Site, wall_time
from ssbfast.server.web.templating import markdown

NOTICES = {
    "description": N_("Description"),
    "news": N_("News"),
    "conduct": N_("Code of conduct"),
    "privacy": N_("Privacy"),
}
"""The notices that a room may have, with their titles; the first is shown on the front page."""

TOO_LONG = N_("A notice has at most %(most)s characters.")
NO_LANGUAGE = N_("Choose a language from the list.")


def routes(site: Site) -> list[Route]:
    """Return the routes of notices."""

    def name_in(request: Request) -> str:
        name = str(request.path_params["name"])
        if name not in NOTICES:
            raise WebError(404)
        return name

    async def list_(request: Request) -> Response:
        site.require(request, Action.EDIT_NOTICES)
        every = await site.keeper.read(site.records.notices)
        rows = [
            (name, site.text(request)(title), sorted(one.language for one in every if one.name == name))
            for name, title in NOTICES.items()
        ]
        return await site.render(
            request, "notices.html", rows=rows, notice_languages=NOTICE_LANGUAGES, done=done(site, request)
        )

    async def show(request: Request) -> Response:
        name = name_in(request)
        found = await notice_html(site, request, name)
        _ = site.text(request)
        return await site.render(
            request,
            "notice.html",
            name=name,
            title=(found[0].title if found else "") or _(NOTICES[name]),
            language=found[0].language if found else site.language(request),
            body=found[1] if found else None,
            changed=found[0].changed if found else None,
        )

    async def edit(request: Request) -> Response:
        site.require(request, Action.EDIT_NOTICES)
        name = name_in(request)
        language = request.query_params.get("language", site.registry.settings.language)
        if language not in NOTICE_LANGUAGES:
            language = SOURCE
        every = await site.keeper.read(site.records.notices)
        found = next((one for one in every if (one.name, one.language) == (name, language)), None)
        return await editor(request, found or Notice(name, language, "", "", 0.0))

    async def editor(
        request: Request, notice: Notice, status: int = 200, problem: str = "", preview: Markup | None = None
    ) -> Response:
        return await site.render(
            request,
            "notice_edit.html",
            status,
            notice=notice,
            title=site.text(request)(NOTICES[notice.name]),
            notice_languages=NOTICE_LANGUAGES,
            problem=problem,
            preview=preview,
            letters=limits.NOTICE_LETTERS,
            title_letters=limits.SETTING_LETTERS,
        )

    async def write(request: Request) -> Response:
        visitor = site.require(request, Action.EDIT_NOTICES)
        name = name_in(request)
        form = await site.form(request)
        _ = site.text(request)
        title, body = one_line(form.get("title"))[: limits.SETTING_LETTERS], lines(form.get("body"))
        notice = Notice(name, form.get("language"), title, body, wall_time())
        if notice.language not in NOTICE_LANGUAGES:
            return await editor(request, Notice(name, SOURCE, title, body, 0.0), 400, _(NO_LANGUAGE))
        if len(body) > limits.NOTICE_LETTERS:
            return await editor(request, notice, 400, _(TOO_LONG, most=limits.NOTICE_LETTERS))
        if "preview" in form:
            return await editor(request, notice, preview=await site.in_thread(markdown, body))
        site.require(request, Action.EDIT_NOTICES)
        await site.change(site.records.write_notice, notice, by=visitor.feed)
        return back(site, "/notices", "saved")

    return [
        Route("/notices", list_, methods=["GET"]),
        Route("/notices/{name}", show, methods=["GET"]),
        Route("/notices/{name}", write, methods=["POST"]),
        Route("/notices/{name}/edit", edit, methods=["GET"]),
    ]
