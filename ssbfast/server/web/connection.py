"""HTTP connections of a web site: uvicorn's, with places for so many, and deadlines for slow peers."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import Callable
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from ssbfast import limits
from ssbfast.budgets import Caps, Places, rings
from ssbfast.net.sockets import no_delay
from ssbfast.server.web.client_address import Proxies

_SILENT = logging.getLogger("ssbfast.web.connection")
_SILENT.addHandler(logging.NullHandler())
_SILENT.propagate = False  # uvicorn's own lines have addresses and paths in them
_SILENT.setLevel(logging.CRITICAL)

_BAD_REQUEST = (
    b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 12\r\n"
    b"Connection: close\r\nCache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n\r\nBad request\n"
)


class ConnectionPlaces:
    """The places of a site's connections. The greediest address loses its idlest one first.

    proxies: whose connections belong to many people, so that they are counted in the whole only.
    most: how many there may be, of visitors and of proxies each.
    """

    def __init__(self, proxies: Proxies, most: int = limits.WEB_CONNECTIONS) -> None:
        self._proxies = proxies
        caps = Caps(most, limits.WEB_CONNECTIONS_PER_ADDRESS)
        self._strangers: Places[HttpConnection] = Places("web_connections", caps, lambda one: one.worth)
        whole = Caps(most, most)
        self._proxied: Places[HttpConnection] = Places("web_connections", whole, lambda one: one.worth)
        self.buffer = memoryview(bytearray(limits.WEB_HEADER))
        """What is read goes through it: of more, h11 would take a head of any length, and a crowd a lot of memory."""

    def __len__(self) -> int:
        return len(self._strangers) + len(self._proxied)

    def enter(self, connection: HttpConnection, host: str) -> bool:
        """Give a new connection a place; send another one away for it, if that has to be."""
        places = self._proxied if self._proxies.trusts(host) else self._strangers
        verdict = places.ask(rings(host))
        if verdict.leaves is not None:
            places.remove(verdict.leaves)
            verdict.leaves.abort()
        if verdict.enters:
            places.add(connection, rings(host))
        return verdict.enters

    def leave(self, connection: HttpConnection) -> None:
        """Take the place of a connection back."""
        self._strangers.remove(connection)
        self._proxied.remove(connection)


class JoinedWrites:
    """A transport that sends what is written in one turn of the loop as one piece: an answer with its head."""

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self.plain = transport
        self._loop = loop
        self._pieces: list[bytes] = []

    def write(self, data: bytes) -> None:
        """Send bytes at the end of this turn."""
        if not self._pieces:
            self._loop.call_soon(self.flush)
        self._pieces.append(data)

    def flush(self) -> None:
        """Send at once what waits."""
        pieces, self._pieces = self._pieces, []
        if pieces and not self.plain.is_closing():
            self.plain.write(b"".join(pieces))

    def close(self) -> None:
        """Send what waits, then close."""
        self.flush()
        self.plain.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.plain, name)


class HttpConnection(H11Protocol, asyncio.BufferedProtocol):
    """One connection. `protocol_class` binds it to the places of a site.

    sock: its socket, until it begins: a handshake of TLS may come before that.
    """

    places: ConnectionPlaces
    sock: socket.socket | None = None

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.logger = _SILENT
        self.access_log = False
        self.app_state = {**self.app_state, "connection": self}
        self._is_over = False
        self._timer: asyncio.TimerHandle | None = None
        self._timer_of = ""
        self._stalled: asyncio.TimerHandle | None = None

    @property
    def worth(self) -> int | None:
        """Return what the connection deserves of its place: one whose request is answered just now has it for good.

        Not so one that still sends its request, or that takes nothing of its answer: that costs it nothing, and would
        shut the site.
        """
        is_waited_for = self.conn.their_state is h11.SEND_BODY or self._stalled is not None
        if self.cycle is not None and not self.cycle.response_complete:
            return 0 if is_waited_for else None
        return 1 if self.timeout_keep_alive_task is not None else 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.sock = None
        no_delay(transport)
        self._joined = JoinedWrites(transport, self.loop)
        self.transport = self._joined  # type: ignore[assignment]  # it has all that uvicorn uses
        self._wait_for("head", limits.WEB_HEADER_SECONDS)

    @property
    def has_unsent(self) -> bool:
        """Return whether the other end has not taken all that was sent."""
        return not self._is_over and self._joined.plain.get_write_buffer_size() > 0

    def abort(self) -> None:
        """End the connection at once."""
        if self.sock is None:
            self.transport.abort()
            return
        with contextlib.suppress(OSError):  # it is gone already
            self.sock.shutdown(socket.SHUT_RDWR)

    def connection_lost(self, exc: Exception | None) -> None:
        self.leave()
        super().connection_lost(exc)
        self._unset_keepalive_if_required()
        self._forget()

    def _forget(self) -> None:
        """Drop what refers back to the connection, which is over or a WebSocket's.

        Nothing of it would be given back before the next full collection of garbage, and those are rare.
        """
        self._is_over = True
        self.app_state = {}
        self.cycle = self.scope = self.flow = self.transport = self._joined = None  # type: ignore[assignment]

    def leave(self) -> None:
        """Give the place back: the connection ends, or becomes a stream or a WebSocket."""
        self.places.leave(self)
        self._wait_for("", None)
        if self._stalled is not None:
            self._stalled.cancel()
            self._stalled = None

    def get_buffer(self, sizehint: int) -> memoryview:
        return self.places.buffer

    def buffer_updated(self, nbytes: int) -> None:
        self.data_received(bytes(self.places.buffer[:nbytes]))

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._is_over or self.transport.is_closing():
            return
        state = self.conn.their_state
        if state is h11.SEND_BODY:
            self._wait_for("body", limits.WEB_BODY_SECONDS)
        elif state is h11.IDLE:
            self._wait_for("head", limits.WEB_HEADER_SECONDS)
        else:
            self._wait_for("", None)

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if not self._is_over and self.conn.their_state is h11.IDLE and not self.transport.is_closing():
            is_next_there = self.conn.trailing_data[0] != b""  # else uvicorn waits for it
            self._wait_for("head" if is_next_there else "", limits.WEB_HEADER_SECONDS if is_next_there else None)

    def handle_websocket_upgrade(self, event: h11.Request) -> None:
        self.leave()
        self._joined.flush()
        self.transport = self._joined.plain
        super().handle_websocket_upgrade(event)
        self._forget()

    def send_400_response(self, msg: str) -> None:
        self.transport.write(_BAD_REQUEST)
        self.transport.close()

    def pause_writing(self) -> None:
        super().pause_writing()
        if self._stalled is None:
            self._stalled = self.loop.call_later(limits.WEB_BODY_SECONDS, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._stalled is not None:
            self._stalled.cancel()
            self._stalled = None

    def _wait_for(self, part: str, seconds: float | None) -> None:
        """Give a part of a request so long, from its beginning."""
        if part == self._timer_of:
            return
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._timer_of = part
        if seconds is not None:
            self._timer = self.loop.call_later(seconds, self.transport.abort)


def protocol_class(places: ConnectionPlaces) -> Callable[..., HttpConnection]:
    """Return what `uvicorn.Config(http=…)` takes."""
    return type("SiteConnection", (HttpConnection,), {"places": places})
