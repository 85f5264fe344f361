"""Streams of events to browsers (`text/event-stream`): bounded, with pings, ended with their visitor's rights."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, TypeAlias

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from ssbfast import limits
from ssbfast.server.web.site import Site

Events: TypeAlias = AsyncIterator[tuple[str, Mapping[str, Any]]]
"""What a stream sends: the name of each event and its data. When it ends, the stream does."""


class EventStream(Response):
    """One stream, as the answer to a request.

    Args:
        site: The site.
        request: The request.
        events: What is sent. It is closed when the browser goes.
        is_allowed: Asked before something is sent, once in `WEB_STREAM_CHECK` seconds; False ends the stream.

    Raises:
        WebError: 429, when the visitor or the site has too many.
    """

    def __init__(
        self,
        site: Site,
        request: Request,
        events: Events,
        is_allowed: Callable[[], Awaitable[bool]] | None = None,
    ) -> None:
        super().__init__(media_type="text/event-stream", headers={"X-Accel-Buffering": "no", "Connection": "close"})
        del self.headers["content-length"]
        self._streams = site.streams
        self._events = events
        self._is_allowed = is_allowed
        self._connection = request.scope.get("state", {}).get("connection")
        self._closing = site.streams.enter(site.incoming(request).networks)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send events until one of the ends has enough."""
        if self._connection is not None:
            self._connection.leave()
        try:
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            await self._run(receive, send)
            with contextlib.suppress(OSError):
                await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            self._streams.leave(self._closing)
            close = getattr(self._events, "aclose", None)
            if close is not None:
                await close()

    async def _run(self, receive: Receive, send: Send) -> None:
        gone = asyncio.ensure_future(_disconnected(receive))
        closing = asyncio.ensure_future(self._closing.wait())
        closing.add_done_callback(self._cut)
        following: asyncio.Future[tuple[str, Mapping[str, Any]]] = asyncio.ensure_future(_next(self._events))
        loop = asyncio.get_running_loop()
        asks = loop.time() + limits.WEB_STREAM_CHECK
        try:
            await send(_chunk(b": \n\n"))
            while True:
                done, _ = await asyncio.wait(
                    (gone, closing, following), timeout=limits.WEB_STREAM_PING, return_when=asyncio.FIRST_COMPLETED
                )
                if gone in done or closing in done:
                    return
                if self._is_allowed is not None and loop.time() >= asks:
                    asks = loop.time() + limits.WEB_STREAM_CHECK
                    if not await self._is_allowed():
                        return
                if following not in done:
                    await send(_event("ping", {}))
                    continue
                try:
                    name, data = following.result()
                except _Ended:
                    return
                await send(_event(name, data))
                following = asyncio.ensure_future(_next(self._events))
        finally:
            for task in (gone, closing, following):
                task.cancel()
            await asyncio.gather(gone, closing, following, return_exceptions=True)

    def _cut(self, _closing: object) -> None:
        """Cut the connection when the stream has lost its place and the browser reads nothing: it holds a file."""
        if self._connection is not None and self._closing.is_set() and self._connection.has_unsent:
            self._connection.abort()


async def _next(events: Events) -> tuple[str, Mapping[str, Any]]:
    try:
        return await events.__anext__()
    except StopAsyncIteration:
        raise _Ended from None


class _Ended(Exception):
    """There are no more events: a future takes no StopAsyncIteration."""


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _event(name: str, data: Mapping[str, Any]) -> dict[str, Any]:
    return _chunk(f"event: {name}\ndata: {json.dumps(dict(data), separators=(',', ':'))}\n\n".encode())


def _chunk(body: bytes) -> dict[str, Any]:
    return {"type": "http.response.body", "body": body, "more_body": True}
