"""`ssbfast room --metrics`: measurements and health on a port of their own."""

from __future__ import annotations

import contextlib
import importlib.util
import ipaddress
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ssbfast import limits
from ssbfast.cli.output import Printer
from ssbfast.errors import BadInputError, MissingExtraError
from ssbfast.net.endpoints import Endpoint, bind
from ssbfast.net.inherited_sockets import InheritedSockets
from ssbfast.pasted.hosts import show

if TYPE_CHECKING:
    from ssbfast.server.metrics_server import MetricsServer
    from ssbfast.server.room_server import RoomServer

_TOKEN: Final = re.compile(r"[!-~]+")


def read_token(file: Path) -> str:
    """Read the token of a file: one line, long enough that it cannot be guessed."""
    try:
        with file.open(encoding="ascii") as opened:
            token = opened.read(limits.METRICS_TOKEN_MOST + 2).strip()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it holds other characters than ASCII"
        raise BadInputError(f"--metrics-token-file cannot be read: {reason}") from None
    if not limits.METRICS_TOKEN_LEAST <= len(token) <= limits.METRICS_TOKEN_MOST or _TOKEN.fullmatch(token) is None:
        raise BadInputError(
            f"--metrics-token-file: one line of {limits.METRICS_TOKEN_LEAST} to {limits.METRICS_TOKEN_MOST} characters"
            " without blanks, such as: openssl rand -hex 32"
        )
    return token


class MetricsSite:
    """The port of measurements of a room that is about to run.

    Args:
        endpoint: Where it listens.
        token: The file of the token that readers have to know; None on this machine only.
        inherited: Sockets that were bound for it.

    Attributes:
        every_socket: Those that it listens on.

    Raises:
        BadInputError: It cannot listen, or others could read it without a token.
        MissingExtraError: The extra `web` is not installed.
    """

    def __init__(self, endpoint: Endpoint, token: Path | None, inherited: InheritedSockets) -> None:
        if importlib.util.find_spec("prometheus_client") is None:
            raise MissingExtraError("--metrics needs an extra (prometheus_client): pip install 'ssbfast[web]'")
        if token is None and not _is_loopback(endpoint.host):
            raise BadInputError("--metrics: others reach that address: give --metrics-token-file, or use 127.0.0.1")
        self._token = None if token is None else read_token(token)
        self.every_socket = bind([endpoint], inherited)
        self._server: MetricsServer | None = None

    def close(self) -> None:
        """Stop listening, if it never began."""
        for sock in self.every_socket:
            sock.close()

    async def stop_listening(self) -> None:
        """Take no connections any more."""
        if self._server is not None:
            await self._server.stop_listening()

    def begin(self, room: RoomServer) -> None:
        """Do nothing: it has no certificates to get."""

    @contextlib.asynccontextmanager
    async def open(self, room: RoomServer, printer: Printer) -> AsyncIterator[None]:
        """Serve the measurements of a room that runs, and tell the operator where."""
        from ssbfast.server.metrics_server import MetricsServer

        url = f"http://{show(*self.every_socket[0].getsockname()[:2])}/metrics"
        async with MetricsServer(room, self.every_socket, token=self._token) as self._server:
            printer.event({"event": "metrics_listening", "url": url})
            yield


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.partition("%")[0]).is_loopback
    except ValueError:
        return False
