"""What every TCP socket of ours is set to, and what can be asked of one."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import struct

from ssbfast import limits

try:
    import fcntl
    import termios
except ImportError:  # Windows
    _HAVE_OUTQ = False
else:
    _HAVE_OUTQ = True

_NOTSENT_LOWAT = 64 * limits.KiB
"""Unsent bytes the kernel may hold. Without it some MiB would hide a stalled peer, and delay late sealing."""

_LINGER = "hh" if os.name == "nt" else "ii"


def tune(sock: socket.socket) -> None:
    """No delay (JS defaults cost 88 ms a round trip), and a vanished peer is noticed within 60 s."""
    _set(sock, "IPPROTO_TCP", "TCP_NODELAY", 1)
    _keep_alive(sock)
    _set(sock, "IPPROTO_TCP", "TCP_USER_TIMEOUT", int(limits.USER_TIMEOUT * 1000))
    _set(sock, "IPPROTO_TCP", "TCP_NOTSENT_LOWAT", _NOTSENT_LOWAT)


def _keep_alive(sock: socket.socket) -> None:
    _set(sock, "SOL_SOCKET", "SO_KEEPALIVE", 1)
    _set(sock, "IPPROTO_TCP", "TCP_KEEPIDLE", limits.KEEPALIVE_IDLE)
    _set(sock, "IPPROTO_TCP", "TCP_KEEPALIVE", limits.KEEPALIVE_IDLE)  # the name that macOS gives to KEEPIDLE
    _set(sock, "IPPROTO_TCP", "TCP_KEEPINTVL", limits.KEEPALIVE_INTERVAL)
    _set(sock, "IPPROTO_TCP", "TCP_KEEPCNT", max(1, int(limits.USER_TIMEOUT) // limits.KEEPALIVE_INTERVAL))


def tune_carried(transport: asyncio.BaseTransport) -> None:
    """For a TCP connection that is carried: no delay, and keepalive.

    No TCP_USER_TIMEOUT: it would also cut readers that take their time.
    """
    sock = transport.get_extra_info("socket")
    if sock is not None and sock.family in (socket.AF_INET, socket.AF_INET6):
        _set(sock, "IPPROTO_TCP", "TCP_NODELAY", 1)
        _keep_alive(sock)


def reset(transport: asyncio.Transport) -> None:
    """Close a TCP connection so that the other end sees a reset, not an end. What it has not got is lost."""
    sock = transport.get_extra_info("socket")
    if sock is not None:
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack(_LINGER, 1, 0))
    transport.abort()


def tune_transport(transport: asyncio.BaseTransport) -> None:
    """`tune` the socket of a transport, if it has one."""
    sock = transport.get_extra_info("socket")
    # asyncio hands out a TransportSocket, which passes setsockopt through.
    if sock is not None and sock.family in (socket.AF_INET, socket.AF_INET6):
        tune(sock)


def remote_address(transport: asyncio.BaseTransport) -> tuple[str, int] | None:
    """IP literal and port of the other end; the scope of a link-local address is in the literal."""
    name = transport.get_extra_info("peername")
    if not isinstance(name, tuple) or len(name) < 2:
        return None
    host = str(name[0])
    if len(name) == 4 and name[3] and "%" not in host:
        host = f"{host}%{name[3]}"
    return host, int(name[1])


def unacknowledged(transport: asyncio.BaseTransport) -> int:
    """Bytes in the kernel that the other end has not acknowledged; 0 where that cannot be asked."""
    sock = transport.get_extra_info("socket")
    if not _HAVE_OUTQ or sock is None:
        return 0
    try:
        answer = fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, b"\0\0\0\0")
    except OSError:
        return 0
    return int(struct.unpack("i", answer)[0])


def _set(sock: socket.socket, level: str, name: str, value: int) -> None:
    """Set an option where this platform and this kind of socket have it."""
    option = getattr(socket, name, None)
    if option is None:
        return
    with contextlib.suppress(OSError):
        sock.setsockopt(getattr(socket, level), option, value)
