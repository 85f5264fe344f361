"""The web site of a room, beside it in its own loop: started and ended with it, on sockets that are given."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Final

from starlette.routing import Route
from uvicorn import Config, Server

from ssbfast import limits
from ssbfast.net import websocket
from ssbfast.net.acceptor import Acceptor
from ssbfast.net.logs import silence
from ssbfast.server.web.app import Application
from ssbfast.server.web.connection import ConnectionPlaces, HttpConnection, protocol_class
from ssbfast.server.web.site import Site

DEFAULT_PORT: Final = 3000
"""The port of a site, as that of go-ssb-room: a proxy in front of it has 443."""

_GRACE_SECONDS: Final = 2


class WebServer:
    """The web server of one room.

    Args:
        site: The site.
        sockets: Sockets that listen; closed with the server.
        routes: Further routes, as the modules of pages make them.
        certificate: The files of a certificate and its key; None behind a proxy, or on this machine only.

    Attributes:
        site: The site.
    """

    def __init__(
        self,
        site: Site,
        sockets: Sequence[socket.socket],
        *,
        routes: Iterable[Callable[[Site], list[Route]]] = (),
        certificate: tuple[str, str] | None = None,
    ) -> None:
        self.site = site
        self._sockets = list(sockets)
        self.places = ConnectionPlaces(site.proxies, site.connections)
        options: dict[str, Any] = {}
        if certificate is not None:
            options = {"ssl_certfile": certificate[0], "ssl_keyfile": certificate[1]}
        silence("uvicorn.error")
        self._config = Config(
            Application(site, routes),
            http=protocol_class(self.places),  # type: ignore[arg-type]
            ws=websocket.protocol_class(site.room.take_connection, client_host=self._client_host),  # type: ignore[arg-type]
            lifespan="off",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            date_header=False,
            timeout_keep_alive=int(limits.WEB_IDLE_SECONDS),
            timeout_graceful_shutdown=_GRACE_SECONDS,
            h11_max_incomplete_event_size=limits.WEB_HEADER,
            **options,
        )
        self._server = Server(self._config)
        self._acceptors: list[Acceptor[HttpConnection]] = []
        self._certificate = certificate
        self._seen = self._stamp()
        self._looking: asyncio.Task[None] | None = None

    async def __aenter__(self) -> WebServer:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    @property
    def port(self) -> int:
        """Return the port of the first socket."""
        return int(self._sockets[0].getsockname()[1])

    async def start(self) -> None:
        """Answer requests. The room tells from now on that it has a web site."""
        self._config.load()
        self._server.lifespan = self._config.lifespan_class(self._config)
        await self._server.startup(sockets=[])
        room = self.site.room
        self._acceptors = [
            Acceptor(
                sock,
                self._enter,
                failed=self.places.leave,
                full=lambda: room.limit_reached("files"),
                tls=self._config.ssl,
            )
            for sock in self._sockets
        ]
        room.web.sign_ins = self.site.sign_ins
        room.web.is_running = True
        if self._certificate is not None:
            self._looking = asyncio.get_running_loop().create_task(self._look())

    async def stop_listening(self) -> None:
        """Take no connections any more; what is there goes on. Harmless when done before."""
        for acceptor in self._acceptors:
            await acceptor.close()

    async def close(self) -> None:
        """Stop listening, let answers that have begun end, and say goodbye to peers on WebSockets."""
        room = self.site.room
        room.web.is_running = False
        room.web.sign_ins = None
        self.site.close()
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.gather(self._looking, return_exceptions=True)
        await self.stop_listening()
        with contextlib.suppress(OSError):
            await self._server.shutdown(sockets=[])

    def _enter(self, sock: socket.socket, host: str) -> HttpConnection | None:
        """Make the protocol of a connection; return None when it has no place."""
        connection: HttpConnection = self._config.http_protocol_class(  # type: ignore[call-arg,assignment]
            config=self._config, server_state=self._server.server_state, app_state={}
        )
        connection.sock = sock
        return connection if self.places.enter(connection, host) else None

    async def _look(self) -> None:
        """Take a renewed certificate for new connections; keep the old one when it cannot be used."""
        while True:
            await asyncio.sleep(limits.CERTIFICATE_LOOK_SECONDS)
            stamp = self._stamp()
            if stamp is None or stamp == self._seen or self._certificate is None or self._config.ssl is None:
                continue
            self._seen = stamp
            try:
                self._config.ssl.load_cert_chain(*self._certificate)
                self.site.room.events.emit("certificate_loaded")
            except (OSError, ValueError):
                self.site.room.events.emit("certificate_problem")

    def _stamp(self) -> tuple[int, ...] | None:
        """Return something that differs once the files of the certificate do; None while one is away."""
        try:
            return tuple(Path(file).stat().st_mtime_ns for file in self._certificate or ())
        except OSError:
            return None

    def _client_host(self, host: str, headers: Any) -> str:
        pairs = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers.raw_items()]
        return self.site.proxies.client(host, pairs)
