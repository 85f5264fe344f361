"""Aliases: one's own, for moderators all."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ssbfast import limits
from ssbfast.room.records import AliasRecord, Outcome
from ssbfast.room.roles import Action, has_aliases
from ssbfast.server.web.errors import WebError
from ssbfast.server.web.pages.common import back, done, names_of, page_of
from ssbfast.server.web.site import Site


def may_revoke(site: Site, request: Request, alias: AliasRecord) -> bool:
    """Return whether a visitor may revoke an alias."""
    feed = site.visitor(request).feed
    if feed is None:
        return False
    if alias.feed == feed:
        return site.registry.may(feed, Action.REVOKE_OWN_ALIAS)
    return site.registry.may(feed, Action.REVOKE_ANY_ALIAS) and site.registry.may_act_on(feed, alias.feed)


def routes(site: Site) -> list[Route]:
    """Return the routes of aliases."""

    async def show(request: Request) -> Response:
        visitor = site.require(request, Action.SIGN_IN)
        sees_all = site.registry.may(visitor.feed, Action.REVOKE_ANY_ALIAS)
        if sees_all:
            found = list(await site.keeper.read(site.records.aliases))
        else:
            found = list(site.registry.aliases_of(visitor.feed)) if visitor.feed else []
        page = page_of(request, found)
        rows = [(alias, site.room.web.alias_url(alias.name), may_revoke(site, request, alias)) for alias in page.items]
        return await site.render(
            request,
            "aliases.html",
            page=page,
            rows=rows,
            sees_all=sees_all,
            serves=has_aliases(site.registry.mode),
            most=limits.ALIASES_PER_KEY,
            names=names_of(site.registry),
            done=done(site, request),
        )

    def meant(request: Request) -> AliasRecord:
        site.require(request, Action.SIGN_IN)
        alias = site.registry.alias(str(request.path_params["name"]))
        if alias is None or not may_revoke(site, request, alias):
            raise WebError(404)
        return alias

    async def ask(request: Request) -> Response:
        alias = meant(request)
        return await site.render(
            request,
            "alias_ask.html",
            alias=alias,
            alias_url=site.room.web.alias_url(alias.name),
            is_own=alias.feed == site.visitor(request).feed,
            days=int(limits.ALIAS_REST / 86_400),
        )

    async def revoke(request: Request) -> Response:
        meant(request)
        await site.form(request)
        alias = meant(request)
        by = site.visitor(request).feed
        outcome = await site.change(site.records.revoke_alias, alias.name, by=by, owner=alias.feed)
        return back(site, "/aliases", "freed" if outcome is Outcome.DONE else "")

    return [
        Route("/aliases", show, methods=["GET"]),
        Route("/aliases/{name}/revoke", ask, methods=["GET"]),
        Route("/aliases/{name}/revoke", revoke, methods=["POST"]),
    ]
