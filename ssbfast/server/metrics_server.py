"""Measurements and health of a room over HTTP, on a port of their own: `/metrics` and `/healthz`, nothing else.

For a room without a web site, or whose site is not to have them. A request is a line and headers; each connection has
one answer.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import socket
from collections.abc import Sequence
from typing import Final

from ssbfast import limits
from ssbfast.net.acceptor import Acceptor
from ssbfast.server.exposition import CONTENT_TYPE, exposition
from ssbfast.server.room_server import RoomServer

_PLAIN: Final = "text/plain; charset=utf-8"
_REASONS: Final = {
    200: "OK",
    400: "Bad Request",
    401: "Unauthorized",
    404: "Not Found",
    405: "Method Not Allowed",
    503: "Service Unavailable",
}


class MetricsServer:
    """The server of one room's measurements.

    Args:
        room: The room.
        sockets: Sockets that listen; closed with the server.
        token: What readers of `/metrics` have to know; None: nothing. Everyone may ask for `/healthz`.
    """

    def __init__(self, room: RoomServer, sockets: Sequence[socket.socket], *, token: str | None = None) -> None:
        self._room = room
        self._sockets = tuple(sockets)
        self._token = token
        self._acceptors: list[Acceptor[asyncio.StreamReaderProtocol]] = []
        self._clients: set[asyncio.Task[None]] = set()
        self._places = limits.METRICS_CLIENTS

    async def __aenter__(self) -> MetricsServer:
        self._acceptors = [
            Acceptor(sock, self._enter, failed=lambda _protocol: None, full=lambda: self._room.limit_reached("files"))
            for sock in self._sockets
        ]
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop_listening()
        for task in list(self._clients):
            task.cancel()
        await asyncio.gather(*self._clients, return_exceptions=True)

    async def stop_listening(self) -> None:
        """Take no connections any more. Harmless when done before."""
        for acceptor in self._acceptors:
            await acceptor.close()

    # ------------------------------------------------------------ inside

    def _enter(self, _sock: socket.socket, _host: str) -> asyncio.StreamReaderProtocol | None:
        if len(self._clients) >= self._places:
            return None
        return asyncio.StreamReaderProtocol(asyncio.StreamReader(limits.WEB_HEADER), self._begin)

    def _begin(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(self._serve(reader, writer))
        self._clients.add(task)
        task.add_done_callback(self._clients.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), limits.WEB_HEADER_SECONDS)
            writer.write(await self._answer(head.decode("latin-1")))
            await asyncio.wait_for(writer.drain(), limits.WEB_BODY_SECONDS)
        except (OSError, EOFError, asyncio.LimitOverrunError, asyncio.TimeoutError):
            pass  # gone, too long, or too slow
        finally:
            with contextlib.suppress(OSError):
                writer.close()

    async def _answer(self, head: str) -> bytes:
        first, *lines = head.split("\r\n")
        words = first.split(" ")
        if len(words) != 3 or not words[2].startswith("HTTP/1."):
            return _response(400)
        method, path = words[0], words[1].partition("?")[0]
        headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        if path not in ("/metrics", "/healthz"):
            return _response(404)
        if method not in ("GET", "HEAD"):
            return _response(405)
        if path == "/healthz":
            status, kind, body = (503 if self._room.is_draining else 200), _PLAIN, b""
            body = b"draining\n" if status == 503 else b"ok\n"
        elif not self._may_read(headers.get("authorization", "")):
            return _response(401)
        else:
            status, kind, body = 200, CONTENT_TYPE, await exposition(self._room)
        return _response(status, kind, body, with_body=method == "GET")

    def _may_read(self, said: str) -> bool:
        return self._token is None or hmac.compare_digest(said.encode(), f"Bearer {self._token}".encode())


def _response(status: int, kind: str = _PLAIN, body: bytes | None = None, *, with_body: bool = True) -> bytes:
    reason = _REASONS[status]
    data = f"{reason}\n".encode() if body is None else body
    head = (
        f"HTTP/1.1 {status} {reason}\r\nContent-Type: {kind}\r\nContent-Length: {len(data)}\r\nConnection: close\r\n"
        "Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n\r\n"
    )
    return head.encode() + (data if with_body else b"")
