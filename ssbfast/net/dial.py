"""Reach a peer over TCP or a WebSocket: connect, tune the socket, run the handshake on top."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable
from typing import Any

from ssbfast import limits
from ssbfast.errors import DeadlineError, SessionEndedError, SSBError
from ssbfast.net.happy_eyeballs import FailedAddresses, RaceLostError, most_telling
from ssbfast.net.link import Link
from ssbfast.net.socket_names import needs_zone, system_reason, with_zone
from ssbfast.net.sockets import each_address, remote_address, tune_transport
from ssbfast.net.timeouts import run_within
from ssbfast.wire.address import WebSocketAddress


async def dial(
    host: str,
    port: int,
    make: Callable[[], Link],
    *,
    seconds: float = limits.DIAL_SECONDS,
    ready: Callable[[Link], Awaitable[None]] | None = None,
    failed: FailedAddresses | None = None,
    reached: Callable[[], None] = lambda: None,
    web: WebSocketAddress | None = None,
) -> Link:
    """Connect to host:port and start a link that `make` makes.

    The addresses of a name are tried one beside the other, see `net/happy_eyeballs.py`. Returns as soon as one is
    `ready`, which raises SSBError for a link of no use; without it as soon as the connection is there: the handshake
    is then under way, and its outcome goes to the link's handler. Links that are not returned are aborted.

    seconds: for the look-up, and for each connection. failed: remembers which addresses were of no use. reached:
    called when there is a connection. web: the WebSocket that is there, if it is one. Raises DeadlineError,
    SessionEndedError, MissingExtraError, and what `ready` raises; no text of ours has an address.
    """
    late = DeadlineError(f"no connection within {seconds:g} seconds")

    async def attempt(one: Any, note: Callable[[], None]) -> Link:
        if needs_zone(one[4]):
            raise SessionEndedError("could not connect: an address fe80:… needs its interface: fe80:…%eth0")
        connecting = _connect(make, with_zone(one[4]), one[4][1], web)
        try:
            transport, link = await run_within(connecting, seconds, lambda made: made[1].abort())
        except asyncio.TimeoutError:
            raise late from None
        tune_transport(transport)
        link.address = remote_address(transport)
        note()
        reached()
        if ready is not None:
            try:
                await ready(link)
            except BaseException:
                link.abort()
                raise
        return link

    try:
        return await each_address(host, port, attempt, Link.abort, failed=failed, seconds=seconds)
    except asyncio.TimeoutError:
        raise late from None
    except RaceLostError as lost:
        raise most_telling([_ours(problem) for problem in lost.problems]) from None
    except (OSError, UnicodeError) as error:
        raise _ours(error) from None


async def _connect(
    make: Callable[[], Link], host: str, port: int, web: WebSocketAddress | None
) -> tuple[asyncio.BaseTransport, Link]:
    if web is None:
        return await asyncio.get_running_loop().create_connection(make, host, port)
    from ssbfast.net.websocket import open_websocket  # an extra has what it needs

    link = await open_websocket(web, make, host, port)
    return link.transport, link


def _ours(error: Exception) -> SSBError:
    """Return a foreign error as one of ours, in the kernel's words: asyncio's own text holds addresses."""
    if isinstance(error, SSBError):
        return error
    if isinstance(error, ssl.SSLError):
        return SessionEndedError("could not connect: the certificate there cannot be believed")
    if not isinstance(error, OSError) or isinstance(error, socket.gaierror) or not error.errno:
        return SessionEndedError("could not connect: name not found")  # its numbers are other ones
    return SessionEndedError(f"could not connect: {system_reason(error)}")
