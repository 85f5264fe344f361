"""Measurements and health of a room on a port of their own; every figure that is promised is there."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ssbfast import limits
from ssbfast.errors import BadInputError, HandshakeError
from ssbfast.net.endpoints import bind
from ssbfast.room.roles import Mode
from ssbfast.server.metrics_server import MetricsServer
from tests.helpers.kept_room import KEYS, KeptRoom, kept_room
from tests.helpers.rawpeer import PATIENCE, eventually
from tests.helpers.served_room import LOCAL

pytest.importorskip("prometheus_client")

TOKEN = "a token that nobody guesses"
PROMISED = {
    "sessions",
    "keys",
    "connections",
    "attendants",
    "tunnels",
    "bytes_relayed_total",
    "tunnels_ended_total",
    "handshakes_total",
    "refused_total",
    "limited_total",
    "members",
    "invites",
    "aliases",
    "denied",
    "ws_open",
    "memory_held_bytes",
    "loop_lag_seconds",
    "tasks",
    "store_problems_total",
    "store_write_seconds_count",
    "build_info",
}
"""What a room without a web site tells."""


class Asked:
    """A room and its port of measurements."""

    def __init__(self, room: KeptRoom, server: MetricsServer, port: int) -> None:
        self.room = room
        self.server = server
        self.port = port

    async def say(self, data: bytes) -> str:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(data)
        answer = await asyncio.wait_for(reader.read(), PATIENCE)
        writer.close()
        return answer.decode()

    async def get(self, path: str, *headers: str, method: str = "GET") -> tuple[int, str]:
        lines = [f"{method} {path} HTTP/1.1", *headers, "", ""]
        head, _, body = (await self.say("\r\n".join(lines).encode())).partition("\r\n\r\n")
        return int(head.split(" ")[1]), body


@pytest.fixture
async def asked(tmp_path: Path) -> AsyncIterator[Asked]:
    async with kept_room(tmp_path, Mode.RESTRICTED) as room:
        sockets = bind([LOCAL])
        async with MetricsServer(room.server, sockets) as server:
            yield Asked(room, server, sockets[0].getsockname()[1])


async def test_every_figure_that_is_promised(asked: Asked) -> None:
    room = asked.room.room
    first, second = [await room.raw(key) for key in KEYS.values() if asked.room.server.registry.decide(key.id)][:2]
    tunnel, there = await room.tunnel(first, second)
    tunnel.write(b"x" * 5000)
    await eventually(lambda: len(there.received) == 5000)
    with pytest.raises(HandshakeError):
        await room.raw()
    second.link.abort()
    await eventually(lambda: not len(room.server.tunnels))
    await asked.room.change_mode(Mode.COMMUNITY)
    status, text = await asked.get("/metrics")
    found = dict(re.findall(r"^ssbfast_(\w+)(?:\{[^}]*\})? (\S+)$", text, re.MULTILINE))
    assert status == 200 and set(found) >= PROMISED, PROMISED - set(found)
    assert 'ssbfast_refused_total{why="stranger"} 1.0' in text
    assert float(found["bytes_relayed_total"]) >= 5000
    assert {"process_resident_memory_bytes", "process_open_fds", "process_max_fds"} <= set(
        re.findall(r"^process_\w+", text, re.MULTILINE)
    )
    for secret in (first.id.short.strip("@…"), "127.0.0.1", "ed25519"):
        assert secret not in text


async def test_health_while_it_drains(asked: Asked) -> None:
    assert await asked.get("/healthz") == (200, "ok\n")
    assert await asked.get("/healthz", method="HEAD") == (200, "")
    await asked.room.server.drain(0)
    assert await asked.get("/healthz") == (503, "draining\n")
    assert (await asked.get("/metrics"))[0] == 200, "until the end"


async def test_a_token(asked: Asked) -> None:
    sockets = bind([LOCAL])
    async with MetricsServer(asked.room.server, sockets, token=TOKEN) as server:
        closed = Asked(asked.room, server, sockets[0].getsockname()[1])
        assert (await closed.get("/metrics", f"authorization:  Bearer {TOKEN}"))[0] == 200
        for wrong in (
            "",
            f"Authorization: Bearer {TOKEN}x",
            f"Authorization: Basic {TOKEN}",
            "Authorization: Bearer ä",
        ):
            assert await closed.get("/metrics", wrong) == (401, "Unauthorized\n")
        assert (await closed.get("/healthz"))[0] == 200


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", "404"),
        (b"GET /metrics/ HTTP/1.1\r\n\r\n", "404"),
        (b"POST /metrics HTTP/1.1\r\n\r\n", "405"),
        (b"\xff\xfe \r\n\r\n", "400"),
        (b"GET /metrics\r\n\r\n", "400"),
        (b"GET /metrics?x=1 HTTP/1.0\r\n\r\n", "200"),
    ],
)
async def test_odd_requests(asked: Asked, request_: bytes, status: str) -> None:
    assert (await asked.say(request_)).startswith(f"HTTP/1.1 {status} ")


async def test_heads_and_clients_are_bounded(asked: Asked) -> None:
    assert await asked.say(b"GET /" + b"x" * 2 * limits.WEB_HEADER) == "", "no head is as long"
    waiting = [await asyncio.open_connection("127.0.0.1", asked.port) for _ in range(limits.METRICS_CLIENTS)]
    await eventually(lambda: len(asked.server._clients) == limits.METRICS_CLIENTS)
    assert await asked.say(b"GET /healthz HTTP/1.1\r\n\r\n") == ""
    for _, writer in waiting:
        writer.close()
    await eventually(lambda: not asked.server._clients)
    assert (await asked.get("/healthz"))[0] == 200


async def test_a_client_that_says_nothing_is_cut(asked: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "WEB_HEADER_SECONDS", 0.01)
    assert await asked.say(b"GET /healthz HTTP/1.1\r\n") == ""


def test_only_this_machine_without_a_token() -> None:
    from ssbfast.cli.room.metrics import MetricsSite
    from ssbfast.net.endpoints import Endpoint
    from ssbfast.net.inherited_sockets import InheritedSockets

    for host in ("0.0.0.0", "", "192.0.2.1", "::", "room.example"):
        with pytest.raises(BadInputError, match="give --metrics-token-file"):
            MetricsSite(Endpoint(host, 0), None, InheritedSockets())
    for host in ("127.0.0.1", "localhost", "::1"):
        MetricsSite(Endpoint(host, 0), None, InheritedSockets()).close()
