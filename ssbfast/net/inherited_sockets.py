"""Sockets that another process has bound for us: the service manager, or the room that ran here before."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterable, MutableMapping, Sequence
from typing import Any, Final

MOST: Final = 64
"""Sockets that are taken at once."""

_PIECE: Final = 65_536

_FIRST: Final = 3
"""The first descriptor that systemd passes."""


class InheritedSockets:
    """Sockets that wait to be taken by what listens on their addresses.

    Args:
        sockets: Bound sockets; those of TCP listen. They are owned from now on.
    """

    def __init__(self, sockets: Iterable[socket.socket] = ()) -> None:
        self._sockets = list(sockets)
        for sock in self._sockets:
            sock.setblocking(False)
            sock.set_inheritable(False)

    def __len__(self) -> int:
        return len(self._sockets)

    def take(
        self, family: socket.AddressFamily, kind: socket.SocketKind, address: tuple[Any, ...]
    ) -> socket.socket | None:
        """Return the socket that is bound to an address, which is the caller's then; None if there is none.

        Args:
            family: AF_INET or AF_INET6.
            kind: SOCK_STREAM or SOCK_DGRAM.
            address: Host and port, as `socket.bind` takes them; port 0 means any port.
        """
        for sock in self._sockets:
            host, port = sock.getsockname()[:2]
            if (sock.family, sock.type, host) == (family, kind, address[0]) and address[1] in (0, port):
                self._sockets.remove(sock)
                return sock
        return None

    def covers(self, kind: socket.SocketKind, port: int) -> bool:
        """Return whether a socket that waits, or was taken as one of IPv6, serves IPv4 at this port as well."""
        return any(
            sock.family == socket.AF_INET6
            and (sock.type, sock.getsockname()[:2]) == (kind, ("::", port))
            and not sock.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY)
            for sock in self._sockets
        )

    def close(self) -> None:
        """Close those that nothing took."""
        for sock in self._sockets:
            sock.close()
        self._sockets.clear()


def from_service_manager(environ: MutableMapping[str, str] = os.environ) -> InheritedSockets:
    """Take what systemd passes to this process (socket activation); nothing where it passes nothing.

    The variables that tell of them are removed: programs that we begin have none of these sockets.
    """
    pid, count = environ.pop("LISTEN_PID", ""), environ.pop("LISTEN_FDS", "")
    environ.pop("LISTEN_FDNAMES", None)
    if pid != str(os.getpid()) or not count.isdigit():
        return InheritedSockets()
    return InheritedSockets(_internet(range(_FIRST, _FIRST + min(int(count), MOST))))


def send(channel: socket.socket, message: bytes, sockets: Sequence[socket.socket]) -> None:
    """Send a message and copies of sockets over a Unix socket. Raises OSError; ValueError for more than `MOST`."""
    if len(sockets) > MOST:
        raise ValueError(f"more than {MOST} sockets")
    sent = socket.send_fds(channel, [message], [sock.fileno() for sock in sockets])
    channel.sendall(message[sent:])


def receive(channel: socket.socket, longest: int) -> tuple[bytes, InheritedSockets]:
    """Receive a line and sockets from a Unix socket.

    Args:
        channel: The Unix socket; it blocks, or has a timeout.
        longest: Bytes of the line.

    Returns:
        The line, and what came with it.

    Raises:
        OSError: The channel fails, or ends before the line does, or the line is too long.
    """
    descriptors: list[int] = []
    line = bytearray()
    try:
        while not line.endswith(b"\n"):
            data, found, _flags, _address = socket.recv_fds(channel, _PIECE, MOST)
            descriptors += found
            line += data
            if not data or len(line) > longest:
                raise OSError("no whole line")
        return bytes(line), InheritedSockets(_internet(descriptors))
    except BaseException:
        for descriptor in descriptors:
            with contextlib.suppress(OSError):
                os.close(descriptor)
        raise


def _internet(descriptors: Iterable[int]) -> list[socket.socket]:
    """Return the descriptors that are sockets of IP; close the others."""
    found = []
    for descriptor in descriptors:
        try:
            sock = socket.socket(fileno=descriptor)
        except OSError:  # no socket
            with contextlib.suppress(OSError):
                os.close(descriptor)
            continue
        if sock.family in (socket.AF_INET, socket.AF_INET6):
            found.append(sock)
        else:
            sock.close()
    return found
