"""Port 80 of a site with a certificate of its own: answers to challenges of ACME; all else leads to https."""

from __future__ import annotations

import socket
from collections.abc import Mapping, Sequence
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from ssbfast.server.web.app import same_target
from ssbfast.server.web.http_listener import HttpListener
from ssbfast.server.web.request_limits import TooMany
from ssbfast.server.web.server import WebServer
from ssbfast.server.web.site import Site

CHALLENGES: Final = "/.well-known/acme-challenge/"
_CLOSE: Final = {"Connection": "close", "Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}


class PlainSite:
    """The application. Nothing of a request is looked for on the disk.

    Args:
        site: The site that requests are led to, and whose limits hold for them.
        answers: The challenges that are open just now: what is answered by token.
    """

    def __init__(self, site: Site, answers: Mapping[str, str]) -> None:
        self._site = site
        self._answers = answers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] == "http":
            await self._answer(Request(scope))(scope, receive, send)

    def _answer(self, request: Request) -> Response:
        site, scope = self._site, request.scope
        peer = request.client.host if request.client else ""
        try:
            site.limits.spend("requests", site.networks(peer, scope["headers"]), site.now())
        except TooMany as error:
            return Response(status_code=429, headers={**_CLOSE, "Retry-After": str(int(error.seconds) + 1)})
        if request.url.path.startswith(CHALLENGES):
            answer = self._answers.get(request.url.path.removeprefix(CHALLENGES))
            if answer is None or request.method not in ("GET", "HEAD"):
                return Response(status_code=404, headers=_CLOSE)
            return Response(answer, headers=_CLOSE, media_type="application/octet-stream")
        host = site.name.read(request.headers.get("host", ""), "http")
        origin = site.name.url if host is None or host.alias is None else host.origin
        return Response(status_code=308, headers={**_CLOSE, "Location": origin + same_target(scope)})


def plain_listener(web: WebServer, sockets: Sequence[socket.socket], answers: Mapping[str, str]) -> HttpListener:
    """Return the listener of port 80. Its connections have their places among those of the site."""
    return HttpListener(
        PlainSite(web.site, answers), sockets, web.places, full=lambda: web.site.room.limit_reached("files")
    )
