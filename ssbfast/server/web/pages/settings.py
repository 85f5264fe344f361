"""Settings: the privacy mode, with what a change of it does, and the rest."""

from __future__ import annotations

from dataclasses import dataclass, replace

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ssbfast import limits
from ssbfast.ids import FeedId
from ssbfast.room.records import Outcome, Settings
from ssbfast.room.roles import Action, Mode, Role, may
from ssbfast.server.web.errors import WebError
from ssbfast.server.web.languages import LANGUAGES
from ssbfast.server.web.pages.common import CHANGED, N_, back, done, is_sure, must_be, number_in, one_line
from ssbfast.server.web.pages.invites import BAD_DAYS
from ssbfast.server.web.site import Form, Site, wall_time

FIRST_SETTINGS = "/settings/first"
"""Where the first admin goes after the sign-in."""

BAD_LANGUAGE = N_("Choose a language from the list.")
BAD_STYLE = N_("Choose how aliases are written.")
BAD_MODE_BY = N_("Choose who may change the mode.")


@dataclass(frozen=True, slots=True)
class Effects:
    """What another mode does to those who are here.

    Attributes:
        turned: Announced keys without a row that become visitors: they can be made members instead.
        cut: Keys whose sessions end.
        aliases: Aliases that are not served any more, and are kept.
        invites: Open invites whose makers may not invite any more.
        back: Aliases that are served again.
    """

    turned: tuple[FeedId, ...]
    cut: int
    aliases: int
    invites: int
    back: int


_NO_EFFECTS = Effects((), 0, 0, 0, 0)


async def effects_of(site: Site, mode: Mode) -> Effects:
    """Return what a change to a mode does now."""
    registry, room = site.registry, site.room
    was = registry.mode
    strangers = tuple(feed for feed in room.live.online() if registry.role(feed) is Role.EXTERNAL)
    is_shut = mode is Mode.RESTRICTED and was is not Mode.RESTRICTED
    present = {feed for feed in (*room.live.online(), *room.live.visitors()) if registry.role(feed) is Role.EXTERNAL}
    aliases = sum(len(standing.aliases) for standing in registry.keys().values())
    asleep = 0
    for maker, count in (await site.keeper.read(site.records.open_invites, wall_time())).items():
        if maker is not None:
            role = registry.role(maker)
            falls_asleep = may(role, was, Action.CREATE_INVITE) and not may(role, mode, Action.CREATE_INVITE)
            asleep += count if falls_asleep else 0
    return Effects(
        turned=strangers if was is Mode.OPEN and mode is not Mode.OPEN else (),
        cut=len(present) if is_shut else 0,
        aliases=aliases if is_shut else 0,
        invites=asleep,
        back=aliases if was is Mode.RESTRICTED and mode is not Mode.RESTRICTED else 0,
    )


def routes(site: Site) -> list[Route]:
    """Return the routes of settings."""
    pages = _Pages(site)
    return [
        Route("/settings", pages.show, methods=["GET"]),
        Route("/settings", pages.change, methods=["POST"]),
        Route(FIRST_SETTINGS, pages.first, methods=["GET"]),
        Route(FIRST_SETTINGS, pages.answer_first, methods=["POST"]),
        Route("/settings/mode", pages.change_mode, methods=["POST"]),
    ]


class _Pages:
    def __init__(self, site: Site) -> None:
        self._site = site

    async def show(self, request: Request) -> Response:
        visitor = self._site.require(request, Action.SIGN_IN)
        may_any = (Action.CHANGE_MODE, Action.CHANGE_SETTINGS)
        must_be(any(self._site.registry.may(visitor.feed, action) for action in may_any))
        return await self._shown(request)

    async def _shown(
        self, request: Request, status: int = 200, problem: str = "", wanted: Settings | None = None
    ) -> Response:
        return await self._site.render(
            request,
            "settings.html",
            status,
            settings=wanted or self._site.registry.settings,
            mode=self._site.registry.mode,
            host=self._site.room_name,
            problem=problem,
            letters=limits.SETTING_LETTERS,
            most_days=limits.INVITE_DAYS,
            done=done(self._site, request),
        )

    async def change(self, request: Request) -> Response:
        visitor = self._site.require(request, Action.CHANGE_SETTINGS)
        form = await self._site.form(request)
        _ = self._site.text(request)
        wanted, problem = self._read(form)
        if problem:
            return await self._shown(request, 400, _(problem, most=limits.INVITE_DAYS), wanted)
        self._site.require(request, Action.CHANGE_SETTINGS)
        await self._site.change(
            self._site.records.change_settings,
            by=visitor.feed,
            name=wanted.name,
            description=wanted.description,
            language=wanted.language,
            invite_days=wanted.invite_days,
            alias_style=wanted.alias_style,
            mode_by=wanted.mode_by,
        )
        return back(self._site, "/settings", "saved")

    def _read(self, form: Form) -> tuple[Settings, str]:
        days, mode_by = number_in(form.get("invite_days")), form.get("mode_by")
        wanted = replace(
            self._site.registry.settings,
            name=one_line(form.get("name"))[: limits.SETTING_LETTERS],
            description=one_line(form.get("description"))[: limits.SETTING_LETTERS],
            language=form.get("language"),
            invite_days=days,
            alias_style=form.get("alias_style"),
            mode_by=Role.MODERATOR if mode_by == Role.MODERATOR.word else Role.ADMIN,
        )
        problem = ""
        if not 1 <= days <= limits.INVITE_DAYS:
            problem = BAD_DAYS
        elif wanted.language not in LANGUAGES:
            problem = BAD_LANGUAGE
        elif wanted.alias_style not in ("path", "subdomain"):
            problem = BAD_STYLE
        elif mode_by not in (Role.MODERATOR.word, Role.ADMIN.word):
            problem = BAD_MODE_BY
        return wanted, problem

    async def first(self, request: Request) -> Response:
        """Ask the first admin of a room for its name and its mode."""
        self._site.require(request, Action.CHANGE_SETTINGS)
        return await self._site.render(
            request,
            "first.html",
            settings=self._site.registry.settings,
            mode=self._site.registry.mode,
            host=self._site.room_name,
            letters=limits.SETTING_LETTERS,
        )

    async def answer_first(self, request: Request) -> Response:
        """Take both answers; ask once more for a mode that is felt by those who are here."""
        visitor = self._site.require(request, Action.CHANGE_SETTINGS)
        form = await self._site.form(request)
        mode, was = _mode_in(form), self._site.registry.mode
        if mode is not was:
            self._site.require(request, Action.CHANGE_MODE)
        effects = await effects_of(self._site, mode)
        is_felt = mode is not was and effects != _NO_EFFECTS
        self._site.require(request, Action.CHANGE_SETTINGS)
        await self._site.change(
            self._site.records.change_settings,
            by=visitor.feed,
            name=one_line(form.get("name"))[: limits.SETTING_LETTERS],
            **({} if is_felt else {"mode": mode}),
        )
        if is_felt:
            return await self._site.render(request, "mode_ask.html", mode=mode, was=was, effects=effects)
        return back(self._site, "/dashboard", "saved")

    async def change_mode(self, request: Request) -> Response:
        """Ask once more, with what will happen; then change the mode."""
        visitor = self._site.require(request, Action.CHANGE_MODE)
        form = await self._site.form(request)
        mode = _mode_in(form)
        was = self._site.registry.mode
        if mode is was:
            return back(self._site, "/settings")
        effects = await effects_of(self._site, mode)
        if not is_sure(form):
            return await self._site.render(request, "mode_ask.html", mode=mode, was=was, effects=effects)
        if form.get("was") != was.value:
            return await self._shown(request, 409, self._site.text(request)(CHANGED))
        self._site.require(request, Action.CHANGE_MODE)
        expected = self._site.registry.settings
        members = effects.turned if form.get("keep") == "yes" else ()
        outcome = await self._site.change(
            self._site.records.change_settings, by=visitor.feed, expected=expected, mode=mode, members=members
        )
        if outcome is Outcome.INVALID:
            return await self._shown(request, 409, self._site.text(request)(CHANGED))
        return back(self._site, "/settings", "mode")


def _mode_in(form: Form) -> Mode:
    """Return the mode that a form names. Raises WebError 400."""
    try:
        return Mode(form.get("mode"))
    except ValueError:
        raise WebError(400) from None
