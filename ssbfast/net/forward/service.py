"""The TCP service behind a forward: checks whether it listens, and messages for when it does not."""

from __future__ import annotations

import asyncio
import errno
import socket
import sys
from typing import Any, Final

from ssbfast import limits
from ssbfast.net.name_lookup import resolve
from ssbfast.net.socket_names import system_reason
from ssbfast.net.sockets import connect, reset_on_close
from ssbfast.pasted.hosts import show

NOT_THERE: Final = "nothing listens at the other end"
"""What a peer is told: not where the service would be."""

NO_ANSWER: Final = "the service does not answer"

FAILURES: Final = (OSError, UnicodeError, asyncio.TimeoutError)
"""What a connection to a service may fail with."""


def why_not(error: BaseException, host: str, port: int) -> str:
    """Return why there was no connection, in words for our own user. error: one of `FAILURES`."""
    place = show(host, port)
    if isinstance(error, asyncio.TimeoutError) or getattr(error, "errno", None) == errno.ETIMEDOUT:
        return f"{place} does not answer"
    if isinstance(error, ConnectionRefusedError):
        return f"nothing listens at {place}"
    if not isinstance(error, OSError) or isinstance(error, socket.gaierror) or not error.errno:
        return f"no such host: {host}"
    return f"{place} cannot be reached: {system_reason(error)}"


def told_to_peers(error: BaseException) -> str:
    """Return the same in words for the peer."""
    return NOT_THERE if isinstance(error, ConnectionRefusedError) else NO_ANSWER


async def look_for(host: str, port: int) -> str | None:
    """Return why the service cannot be reached just now, in words, or None.

    A service of this machine is not connected to where that can be found out otherwise: `nc -l` serves one connection.
    """
    try:
        found = await asyncio.wait_for(resolve(host, port), limits.DIAL_SECONDS)
        if not any(map(_is_taken, found)):
            (await asyncio.wait_for(connect(host, port, reset_on_close), limits.DIAL_SECONDS)).close()
    except FAILURES as error:
        return why_not(error, host, port)
    return None


def _is_taken(found: Any) -> bool:
    """Return whether a socket listens at this address of ours; False also where that cannot be told."""
    if not sys.platform.startswith("linux"):
        return False  # elsewhere SO_REUSEADDR lets us bind beside a listener
    family, kind, protocol, _name, address = found
    try:
        with socket.socket(family, kind, protocol) as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind(address)
    except OSError as error:
        return error.errno == errno.EADDRINUSE
    return False
