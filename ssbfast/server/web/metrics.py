"""`/metrics`: what Prometheus reads, on this machine or with a token. No label holds a key or an address."""

from __future__ import annotations

import asyncio
import hmac
import importlib
import platform
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

import ssbfast
from ssbfast.native import BACKEND
from ssbfast.room.roles import Role
from ssbfast.server.limit_table import LIMITS
from ssbfast.server.measures import Histogram
from ssbfast.server.web.errors import WebError
from ssbfast.server.web.site import Site

if TYPE_CHECKING:
    from prometheus_client.core import Metric

_LAG_SECONDS = 0.05


def routes(site: Site) -> list[Route]:
    """Return the routes of the measurements."""

    async def metrics(request: Request) -> Response:
        if not _may_read(site, request):
            raise WebError(404)
        site.room.measures.lag_seconds = await _lag()
        invites = await site.keeper.read(_invites, site)
        await asyncio.to_thread(importlib.import_module, "prometheus_client.exposition")  # takes its time, once
        from prometheus_client.exposition import generate_latest  # 5 MiB that a room without readers saves
        from prometheus_client.registry import CollectorRegistry

        registry = CollectorRegistry(auto_describe=False)
        registry.register(_Collector(site, invites))
        text = generate_latest(registry)
        return Response(text, media_type="text/plain; version=0.0.4; charset=utf-8")

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


async def _lag() -> float:
    """Return how much later than asked the loop came back."""
    loop = asyncio.get_running_loop()
    due = loop.time() + _LAG_SECONDS
    await asyncio.sleep(_LAG_SECONDS)
    return max(0.0, loop.time() - due)


def _invites(site: Site) -> dict[str, int]:
    now, counts = time.time(), {"open": 0, "used": 0, "revoked": 0, "expired": 0}
    for invite in site.records.invites():
        if invite.is_open(now):
            state = "open"
        elif invite.revoked is not None:
            state = "revoked"
        else:
            state = "used" if invite.used >= invite.uses else "expired"
        counts[state] += 1
    return counts


class _Collector:
    """The figures of one moment, in Prometheus' form."""

    def __init__(self, site: Site, invites: Mapping[str, int]) -> None:
        self._site = site
        self._invites = invites

    def collect(self) -> Iterator[Metric]:
        yield from self._room()
        yield from self._members()
        yield from self._web()

    def _room(self) -> Iterator[Metric]:
        room = self._site.room
        counted, visitors = room.measures, len(room.live.visitors())
        limited = {**dict.fromkeys(LIMITS, 0), **room.limits.tally.total}
        sessions, sockets = len(room.limits.sessions), room.websockets
        yield _gauge("sessions", "Sessions by transport.", ["transport"], {"tcp": sessions - sockets, "ws": sockets})
        yield _gauge(
            "keys",
            "Keys with a session.",
            ["user"],
            {"internal": len(room.portal.feeds()) - visitors, "external": visitors},
        )
        yield _gauge("connections", "Connections that have not proved a key.", [], {"": len(room.limits.connections)})
        yield _gauge("attendants", "Keys that are announced.", [], {"": len(room.live.online())})
        yield _gauge("tunnels", "Tunnels that run.", [], {"": len(room.tunnels)})
        yield _counter("bytes_relayed", "Bytes of tunnels, both directions.", [], {"": room.tunnels.bytes_relayed})
        yield _counter("tunnels_ended", "Tunnels that are over, by reason.", ["reason"], counted.tunnels)
        yield _counter("handshakes", "Connections by what came of them.", ["result"], counted.handshakes)
        yield _counter("limited", "How often a limit was reached.", ["limit"], limited)
        yield _gauge("memory_held_bytes", "Bytes that wait in queues of tunnels.", [], {"": room.relay.hub.lent})
        yield _gauge("loop_lag_seconds", "How late the event loop is.", [], {"": counted.lag_seconds})
        labels = {(ssbfast.__version__, BACKEND, platform.python_version()): 1}
        yield _gauge("build_info", "Versions.", ["version", "backend", "python"], labels)

    def _members(self) -> Iterator[Metric]:
        registry = self._site.registry
        roles = {role.word: registry.count(role) for role in (Role.MEMBER, Role.MODERATOR, Role.ADMIN)}
        aliases = sum(len(standing.aliases) for standing in registry.keys().values())
        yield _gauge("members", "Members by role.", ["role"], roles)
        yield _gauge("denied", "Blocked keys.", [], {"": registry.count(Role.BLOCKED)})
        yield _gauge("aliases", "Aliases in use.", [], {"": aliases})
        yield _gauge("invites", "Invites by state.", ["state"], self._invites)
        yield _histogram("store_write_seconds", "Changes of the records.", self._site.room.measures.write_seconds)

    def _web(self) -> Iterator[Metric]:
        counted = self._site.room.measures
        requests = {(route, str(code)): count for (route, code), count in counted.requests.items()}
        yield _counter("http_requests", "Requests by route and status.", ["route", "code"], requests)
        yield _histogram("http_seconds", "How long requests took.", counted.request_seconds)
        yield _gauge("sse_open", "Streams of events that are open.", [], {"": len(self._site.streams)})
        state = None if self._site.room.web.certificate is None else self._site.room.web.certificate()
        if state is not None and state.ends is not None:
            left = {"": state.ends - time.time()}
            yield _gauge("certificate_expiry_seconds", "How long the site's certificate is still valid.", [], left)
        yield _counter("signins", "Sign-ins by way and result.", ["way", "result"], counted.sign_ins)


def _gauge(name: str, text: str, labels: list[str], values: Mapping[Any, float]) -> Metric:
    from prometheus_client.core import GaugeMetricFamily

    return _filled(GaugeMetricFamily(f"ssbfast_{name}", text, labels=labels), values)


def _counter(name: str, text: str, labels: list[str], values: Mapping[Any, float]) -> Metric:
    from prometheus_client.core import CounterMetricFamily

    return _filled(CounterMetricFamily(f"ssbfast_{name}", text, labels=labels), values)


def _filled(family: Any, values: Mapping[Any, float]) -> Metric:
    for labels, value in values.items():
        family.add_metric(_labels(labels), value)
    metric: Metric = family
    return metric


def _labels(labels: Any) -> Iterable[str]:
    return labels if isinstance(labels, tuple) else [labels] if labels else []


def _histogram(name: str, text: str, found: Histogram) -> Metric:
    from prometheus_client.core import HistogramMetricFamily

    family = HistogramMetricFamily(f"ssbfast_{name}", text)
    family.add_metric([], buckets=found.buckets(), sum_value=found.total)
    return family
