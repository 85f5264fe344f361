"""The measurements of a room as Prometheus reads them. No label holds a key or an address."""

from __future__ import annotations

import asyncio
import importlib
import platform
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

import ssbfast
from ssbfast.errors import StoreError
from ssbfast.native import BACKEND
from ssbfast.net.relayed_tunnel import Ending
from ssbfast.room.roles import Role
from ssbfast.server.limit_table import LIMITS
from ssbfast.server.measures import HANDSHAKES, Histogram
from ssbfast.server.refusals import Why
from ssbfast.server.room_server import RoomServer

if TYPE_CHECKING:
    from prometheus_client.core import Metric

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
_LAG_SECONDS: Final = 0.05


async def exposition(room: RoomServer, more: Callable[[], Iterator[Metric]] = lambda: iter(())) -> bytes:
    """Return the figures of a room at this moment.

    Args:
        room: The room.
        more: Returns further figures, such as those of a web site.
    """
    room.measures.lag_seconds = await _lag()
    invites = await _invites(room)
    await asyncio.to_thread(importlib.import_module, "prometheus_client")  # takes its time, once
    from prometheus_client import ProcessCollector, generate_latest  # 5 MiB that a room without readers saves
    from prometheus_client.registry import CollectorRegistry

    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collector(room, invites, more))
    ProcessCollector(registry=registry)
    return generate_latest(registry)


async def _lag() -> float:
    """Return how much later than asked the loop came back."""
    loop = asyncio.get_running_loop()
    due = loop.time() + _LAG_SECONDS
    await asyncio.sleep(_LAG_SECONDS)
    return max(0.0, loop.time() - due)


async def _invites(room: RoomServer) -> dict[str, int] | None:
    """Count the invites by their state; None while they cannot be read, or where none are kept."""
    if room.keeper is None:
        return None
    try:
        invites = await room.keeper.read(room.keeper.records.invites)
    except StoreError:
        return None
    now, counts = time.time(), {"open": 0, "used": 0, "revoked": 0, "expired": 0}
    for invite in invites:
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

    def __init__(
        self, room: RoomServer, invites: Mapping[str, int] | None, more: Callable[[], Iterator[Metric]]
    ) -> None:
        self.room = room
        self.invites = invites
        self._more = more

    def collect(self) -> Iterator[Metric]:
        yield from self._of_room()
        yield from self._members()
        yield from self._more()

    def _of_room(self) -> Iterator[Metric]:
        room = self.room
        counted, visitors = room.measures, len(room.live.visitors())
        limited = {**dict.fromkeys(LIMITS, 0), **room.limits.tally.total}
        sessions, sockets = len(room.limits.sessions), room.websockets
        yield gauge("sessions", "Sessions by transport.", ["transport"], {"tcp": sessions - sockets, "ws": sockets})
        yield gauge(
            "keys",
            "Keys with a session.",
            ["user"],
            {"internal": len(room.portal.feeds()) - visitors, "external": visitors},
        )
        yield gauge("connections", "Connections that have not proved a key.", [], {"": len(room.limits.connections)})
        yield gauge("attendants", "Keys that are announced.", [], {"": len(room.live.online())})
        yield gauge("tunnels", "Tunnels that run.", [], {"": len(room.tunnels)})
        yield counter("bytes_relayed", "Bytes of tunnels, both directions.", [], {"": room.tunnels.bytes_relayed})
        ended = {**dict.fromkeys((ending.value for ending in Ending), 0), **counted.tunnels}
        handshakes = {**dict.fromkeys(HANDSHAKES, 0), **counted.handshakes}
        refused = {**dict.fromkeys((why.label for why in Why), 0), **counted.refused}
        yield counter("tunnels_ended", "Tunnels that are over, by reason.", ["reason"], ended)
        yield counter("handshakes", "Connections by what came of them.", ["result"], handshakes)
        yield counter("limited", "How often a limit was reached.", ["limit"], limited)
        yield counter("refused", "Keys that got no session, by reason.", ["why"], refused)
        yield gauge("ws_open", "WebSockets that are open.", [], {"": room.websockets_open})
        yield gauge("memory_held_bytes", "Bytes that wait in queues of tunnels.", [], {"": room.relay.hub.lent})
        yield gauge("tasks", "Tasks of the event loop.", [], {"": len(asyncio.all_tasks())})
        yield gauge("loop_lag_seconds", "How late the event loop is.", [], {"": counted.lag_seconds})
        labels = {(ssbfast.__version__, BACKEND, platform.python_version()): 1}
        yield gauge("build_info", "Versions.", ["version", "backend", "python"], labels)

    def _members(self) -> Iterator[Metric]:
        registry = self.room.registry
        roles = {role.word: registry.count(role) for role in (Role.MEMBER, Role.MODERATOR, Role.ADMIN)}
        aliases = sum(len(standing.aliases) for standing in registry.keys().values())
        yield gauge("members", "Members by role.", ["role"], roles)
        yield gauge("denied", "Blocked keys.", [], {"": registry.count(Role.BLOCKED)})
        yield gauge("aliases", "Aliases in use.", [], {"": aliases})
        if self.invites is not None:
            yield gauge("invites", "Invites by state.", ["state"], self.invites)
        problems = "How often it was told that records cannot be read or written."
        yield counter("store_problems", problems, [], {"": self.room.measures.store_problems})
        yield histogram("store_write_seconds", "Changes of the records.", self.room.measures.write_seconds)


def gauge(name: str, text: str, labels: list[str], values: Mapping[Any, float]) -> Metric:
    from prometheus_client.core import GaugeMetricFamily

    return _filled(GaugeMetricFamily(f"ssbfast_{name}", text, labels=labels), values)


def counter(name: str, text: str, labels: list[str], values: Mapping[Any, float]) -> Metric:
    from prometheus_client.core import CounterMetricFamily

    return _filled(CounterMetricFamily(f"ssbfast_{name}", text, labels=labels), values)


def _filled(family: Any, values: Mapping[Any, float]) -> Metric:
    for labels, value in values.items():
        family.add_metric(_labels(labels), value)
    metric: Metric = family
    return metric


def _labels(labels: Any) -> Iterable[str]:
    return labels if isinstance(labels, tuple) else [labels] if labels else []


def histogram(name: str, text: str, found: Histogram) -> Metric:
    from prometheus_client.core import HistogramMetricFamily

    family = HistogramMetricFamily(f"ssbfast_{name}", text)
    family.add_metric([], buckets=found.buckets(), sum_value=found.total)
    return family
