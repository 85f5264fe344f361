"""`/metrics`: what Prometheus reads, on this machine or with a token. No label holds a key or an address."""

from __future__ import annotations

import hmac
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ssbfast.server.exposition import CONTENT_TYPE, counter, exposition, gauge, histogram
from ssbfast.server.web.errors import WebError
from ssbfast.server.web.site import Site

if TYPE_CHECKING:
    from prometheus_client.core import Metric


def routes(site: Site) -> list[Route]:
    """Return the routes of the measurements."""

    async def metrics(request: Request) -> Response:
        if not _may_read(site, request):
            raise WebError(404)
        return Response(await exposition(site.room, lambda: of_site(site)), media_type=CONTENT_TYPE)

    return [Route("/metrics", metrics)]


def _may_read(site: Site, request: Request) -> bool:
    """Return whether a request comes from this machine, not through a proxy, or has the token."""
    token = site.metrics_token
    said = request.headers.get("authorization", "")
    if token and said.startswith("Bearer "):
        return hmac.compare_digest(said[7:].encode(), token.encode())
    incoming = request.scope["ssbfast"]
    peer = request.client.host if request.client else ""
    is_proxied = any(name in request.headers for name in ("x-forwarded-for", "forwarded", "via"))
    return incoming.host.is_loopback and not is_proxied and peer in ("127.0.0.1", "::1")


def of_site(site: Site) -> Iterator[Metric]:
    """Yield the figures of a web site."""
    counted = site.room.measures
    requests = {(route, str(code)): count for (route, code), count in counted.requests.items()}
    yield counter("http_requests", "Requests by route and status.", ["route", "code"], requests)
    yield histogram("http_seconds", "How long requests took.", counted.request_seconds)
    yield gauge("sse_open", "Streams of events that are open.", [], {"": len(site.streams)})
    state = None if site.room.web.certificate is None else site.room.web.certificate()
    if state is not None and state.ends is not None:
        left = {"": state.ends - time.time()}
        yield gauge("certificate_expiry_seconds", "How long the site's certificate is still valid.", [], left)
    yield counter("signins", "Sign-ins by way and result.", ["way", "result"], counted.sign_ins)
