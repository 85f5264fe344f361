"""Reach a peer over TCP: connect, tune the socket, run the handshake on top."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable

from ssbfast import limits
from ssbfast.errors import DeadlineError, SessionEndedError
from ssbfast.net.link import Link
from ssbfast.net.sockets import remote_address, tune_transport


async def dial(host: str, port: int, make: Callable[[], Link], *, seconds: float = limits.DIAL_SECONDS) -> Link:
    """Connect to host:port and start the link that `make` makes.

    Returns as soon as the connection is there; the handshake is then under way, and its outcome goes to the
    link's handler. Raises DeadlineError or SessionEndedError, with no address in the text.
    """
    loop = asyncio.get_running_loop()
    try:
        transport, link = await asyncio.wait_for(loop.create_connection(make, host, port), seconds)
    except asyncio.TimeoutError:
        raise DeadlineError(f"no connection within {seconds:g} seconds") from None
    except OSError as error:
        raise SessionEndedError(f"could not connect: {_reason(error)}") from None
    tune_transport(transport)
    link.address = remote_address(transport)
    return link


def _reason(error: OSError) -> str:
    """The kernel's word for it; asyncio's own text holds addresses."""
    if isinstance(error, socket.gaierror) or not error.errno:  # its numbers are other ones
        return "name not found"
    return os.strerror(error.errno).lower()
