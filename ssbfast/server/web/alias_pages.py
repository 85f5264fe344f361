"""Aliases: the page and the JSON of an endpoint, by path and by sub-domain.

Source: SIP 7, "Alias endpoint". An alias that is not there looks as any page that is not there.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final
from urllib.parse import quote, urlencode

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ssbfast.room.records import AliasRecord
from ssbfast.room.roles import has_aliases
from ssbfast.server.web.errors import WebError
from ssbfast.server.web.invite_pages import intent_for
from ssbfast.server.web.site import Site, wants_json
from ssbfast.server.web.templating import qr
from ssbfast.wire.alias import encode_signature, may_be_alias

UNKNOWN: Final = "no such alias"


def routes(site: Site) -> list[Route]:
    """Return the routes of this module: the last ones, because they take every name that is left."""
    show = _pages(site)

    async def by_path(request: Request) -> Response:
        return await show(request, request.path_params["alias"])

    return [Route("/alias/{alias}", by_path, methods=["GET"]), Route("/{alias}", by_path, methods=["GET"])]


def subdomain(site: Site) -> Callable[[Request], Awaitable[Response]]:
    """Return what answers requests to ALIAS.HOST: for "/", or what proxies set up for go-ssb-room make of it."""
    show = _pages(site)

    async def by_host(request: Request) -> Response:
        name = site.incoming(request).host.alias or ""
        if request.url.path not in ("/", f"/alias/{name}"):
            raise WebError(404)
        if request.method not in ("GET", "HEAD"):
            raise WebError(405, headers={"Allow": "GET, HEAD"})
        return await show(request, name)

    return by_host


def alias_uri(site: Site, alias: AliasRecord) -> str:
    """Return the URI by which an app consumes an alias."""
    members = {
        "action": "consume-alias",
        "alias": alias.name,
        "userId": str(alias.feed),
        "signature": encode_signature(alias.signature),
        "roomId": str(site.room.me.id),
        "multiserverAddress": site.address,
    }
    return f"ssb:experimental?{urlencode(members, quote_via=quote, safe='')}"


def _pages(site: Site) -> Callable[[Request, str], Awaitable[Response]]:
    async def show(request: Request, name: str) -> Response:
        site.has_left(request, "misses")
        if not has_aliases(site.registry.mode) or not may_be_alias(name):
            raise WebError(404)
        site.spend(request, "aliases")
        alias = site.registry.alias(name)
        if alias is None:
            if wants_json(request):
                site.spend(request, "misses")
                return site.json({"status": "failed", "error": UNKNOWN})
            raise WebError(404)
        if wants_json(request):
            return site.json(
                {
                    "status": "successful",
                    "multiserverAddress": site.address,
                    "roomId": str(site.room.me.id),
                    "userId": str(alias.feed),
                    "alias": alias.name,
                    "signature": encode_signature(alias.signature),
                }
            )
        uri = alias_uri(site, alias)
        return await site.render(
            request,
            "alias.html",
            alias=alias.name,
            user=alias.feed,
            uri=intent_for(request, uri) or uri,
            address=site.address,
            qr=await site.in_thread(qr, site.room.web.alias_url(alias.name)),
        )

    return show
