"""The web site of a room, beside it in its own loop: started and ended with it, on sockets that are given."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

from starlette.routing import Route

from ssbfast.net import websocket
from ssbfast.server.web.app import Application
from ssbfast.server.web.certificate import SiteCertificate
from ssbfast.server.web.connection import ConnectionPlaces
from ssbfast.server.web.http_listener import HttpListener
from ssbfast.server.web.site import Site

DEFAULT_PORT: Final = 3000
"""The port of a site, as that of go-ssb-room: a proxy in front of it has 443."""


class WebServer:
    """The web server of one room.

    Args:
        site: The site.
        sockets: Sockets that listen; closed with the server.
        routes: Further routes, as the modules of pages make them.
        certificate: What connections begin with; None behind a proxy, or on this machine only.

    Attributes:
        site: The site.
    """

    def __init__(
        self,
        site: Site,
        sockets: Sequence[socket.socket],
        *,
        routes: Iterable[Callable[[Site], list[Route]]] = (),
        certificate: SiteCertificate | None = None,
    ) -> None:
        self.site = site
        self.places = ConnectionPlaces(site.proxies, site.connections)
        self.listener = HttpListener(
            Application(site, routes),
            sockets,
            self.places,
            full=lambda: site.room.limit_reached("files"),
            tls=None if certificate is None else certificate.context,
            ws=websocket.protocol_class(site.room.take_connection, client_host=self._client_host),
        )
        self._certificate = certificate
        self._following: asyncio.Task[None] | None = None

    async def __aenter__(self) -> WebServer:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    @property
    def port(self) -> int:
        """Return the port of the first socket."""
        return self.listener.port

    async def start(self) -> None:
        """Answer requests. The room tells from now on that it has a web site."""
        await self.listener.start()
        room = self.site.room
        room.web.sign_ins = self.site.sign_ins
        room.web.is_running = True
        if self._certificate is not None:
            room.web.certificate = self._certificate.state
            self._following = asyncio.get_running_loop().create_task(self._certificate.run(room.events))

    async def stop_listening(self) -> None:
        """Take no connections any more; what is there goes on. Harmless when done before."""
        await self.listener.stop_listening()

    async def close(self) -> None:
        """Stop listening, let answers that have begun end, and say goodbye to peers on WebSockets."""
        room = self.site.room
        room.web.is_running = False
        room.web.sign_ins = None
        room.web.certificate = None
        self.site.close()
        if self._following is not None:
            self._following.cancel()
            await asyncio.gather(self._following, return_exceptions=True)
        await self.listener.close()

    def _client_host(self, host: str, headers: Any) -> str:
        pairs = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers.raw_items()]
        return self.site.proxies.client(host, pairs)
