"""Sockets on which HTTP is spoken: uvicorn's protocol, with our acceptor and our places for connections."""

from __future__ import annotations

import contextlib
import socket
import ssl
from collections.abc import Callable, Sequence
from typing import Any, Final

from uvicorn import Config, Server

from ssbfast import limits
from ssbfast.net.acceptor import Acceptor
from ssbfast.net.logs import silence
from ssbfast.server.web.connection import ConnectionPlaces, HttpConnection, protocol_class

_GRACE_SECONDS: Final = 2


class HttpListener:
    """A server of one ASGI application.

    Args:
        app: The application.
        sockets: Sockets that listen; closed with the listener.
        places: The places of its connections.
        full: Called when the process has no file left for a connection.
        tls: None, or what a connection begins with.
        ws: The protocol of WebSockets, as `uvicorn.Config` takes it; "none" for none.
    """

    def __init__(
        self,
        app: Any,
        sockets: Sequence[socket.socket],
        places: ConnectionPlaces,
        *,
        full: Callable[[], None],
        tls: ssl.SSLContext | None = None,
        ws: Any = "none",
    ) -> None:
        silence("uvicorn.error")
        self.app = app
        self._sockets = list(sockets)
        self._places = places
        self._full = full
        self._tls = tls
        self._config = Config(
            app,
            http=protocol_class(places),  # type: ignore[arg-type]
            ws=ws,
            lifespan="off",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            date_header=False,
            timeout_keep_alive=int(limits.WEB_IDLE_SECONDS),
            timeout_graceful_shutdown=_GRACE_SECONDS,
            h11_max_incomplete_event_size=limits.WEB_HEADER,
        )
        self._server = Server(self._config)
        self._acceptors: list[Acceptor[HttpConnection]] = []

    @property
    def port(self) -> int:
        """Return the port of the first socket."""
        return int(self._sockets[0].getsockname()[1])

    async def start(self) -> None:
        """Answer requests."""
        self._config.load()
        self._server.lifespan = self._config.lifespan_class(self._config)
        await self._server.startup(sockets=[])
        self._acceptors = [
            Acceptor(sock, self._enter, failed=self._places.leave, full=self._full, tls=self._tls)
            for sock in self._sockets
        ]

    async def stop_listening(self) -> None:
        """Take no connections any more; what is there goes on. Harmless when done before."""
        for acceptor in self._acceptors:
            await acceptor.close()

    async def close(self) -> None:
        """Stop listening, let answers that have begun end, and say goodbye to peers on WebSockets."""
        await self.stop_listening()
        with contextlib.suppress(OSError):
            await self._server.shutdown(sockets=[])

    def _enter(self, sock: socket.socket, host: str) -> HttpConnection | None:
        """Make the protocol of a connection; return None when it has no place."""
        connection: HttpConnection = self._config.http_protocol_class(  # type: ignore[call-arg,assignment]
            config=self._config, server_state=self._server.server_state, app_state={}
        )
        connection.sock = sock
        return connection if self._places.enter(connection, host) else None
