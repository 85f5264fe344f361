"""Options of our TCP sockets, and questions to one."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import socket
import stat
import struct
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from ssbfast import limits
from ssbfast.net.happy_eyeballs import FailedAddresses, RaceLostError, race
from ssbfast.net.name_lookup import interleaved, resolve
from ssbfast.net.timeouts import run_within

T = TypeVar("T")

try:
    import fcntl
    import termios
except ImportError:  # Windows
    _HAVE_OUTQ = False
else:
    _HAVE_OUTQ = True

_LINGER = "hh" if os.name == "nt" else "ii"


def _options(*wanted: tuple[str, str, int]) -> tuple[tuple[int, int, int], ...]:
    """Return (level, option, value) of those that this platform has: looked up once, for every connection."""
    known = ((level, getattr(socket, name, None), value) for level, name, value in wanted)
    return tuple((getattr(socket, level), option, value) for level, option, value in known if option is not None)


_NO_DELAY = ("IPPROTO_TCP", "TCP_NODELAY", 1)
_KEEP_ALIVE = (
    ("SOL_SOCKET", "SO_KEEPALIVE", 1),
    ("IPPROTO_TCP", "TCP_KEEPIDLE", limits.KEEPALIVE_IDLE),
    ("IPPROTO_TCP", "TCP_KEEPALIVE", limits.KEEPALIVE_IDLE),  # the name that macOS gives to KEEPIDLE
    ("IPPROTO_TCP", "TCP_KEEPINTVL", limits.KEEPALIVE_INTERVAL),
    ("IPPROTO_TCP", "TCP_KEEPCNT", max(1, int(limits.USER_TIMEOUT) // limits.KEEPALIVE_INTERVAL)),
)
_CARRIED = _options(_NO_DELAY, *_KEEP_ALIVE)
_OURS = _options(
    _NO_DELAY,
    *_KEEP_ALIVE,
    ("IPPROTO_TCP", "TCP_USER_TIMEOUT", int(limits.USER_TIMEOUT * 1000)),
    ("IPPROTO_TCP", "TCP_NOTSENT_LOWAT", limits.KERNEL_UNSENT),
)


def tune(sock: socket.socket) -> None:
    """Set no delay (JS defaults cost 88 ms a round trip), and notice a vanished peer within 60 s."""
    _set(sock, _OURS)


def no_delay(transport: asyncio.BaseTransport) -> None:
    """Send what is written at once: asyncio does so for sockets only that were made with the number of TCP."""
    sock = transport.get_extra_info("socket")
    if sock is not None and sock.family in (socket.AF_INET, socket.AF_INET6):
        _set(sock, _options(_NO_DELAY))


def tune_carried(transport: asyncio.BaseTransport) -> None:
    """Set up a TCP connection that is carried: no delay, and keepalive.

    No TCP_USER_TIMEOUT: it would also cut readers that take their time. Its close is a reset until `end_on_close`.
    """
    sock = transport.get_extra_info("socket")
    if sock is not None and sock.family in (socket.AF_INET, socket.AF_INET6):
        _set(sock, _CARRIED)
        reset_on_close(sock)


def end_on_close(transport: asyncio.BaseTransport) -> None:
    """Deliver what was sent before the close: a carried connection has finished in order."""
    sock = transport.get_extra_info("socket")
    if sock is not None:
        reset_on_close(sock, False)


def reset_on_close(sock: socket.socket, yes: bool = True) -> None:
    """Choose what the other end sees when a TCP socket is closed: a reset, or the end of what was sent.

    It holds for every close, also for that of a process that is killed.
    """
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack(_LINGER, int(yes), 0))


def reset(transport: asyncio.Transport) -> None:
    """Close a TCP connection so that the other end sees a reset, not an end. What it has not got is lost."""
    sock = transport.get_extra_info("socket")
    if sock is not None:
        reset_on_close(sock)
    transport.abort()


async def connect(
    host: str, port: int, prepare: Callable[[socket.socket], None], *, failed: FailedAddresses | None = None
) -> socket.socket:
    """Connect a TCP socket that `prepare` has set up before, and return it.

    The addresses of a name are tried one beside the other, see `net/happy_eyeballs.py`; the sockets of those that lose
    are closed. failed: remembers which were of no use. Raises OSError with the reason of the last one, UnicodeError
    for what cannot be a name. When cancelled it closes every socket.
    """

    async def attempt(one: Any, _reached: Callable[[], None]) -> socket.socket:
        return await _connect_one(one, prepare)

    try:
        return await each_address(host, port, attempt, socket.socket.close, failed=failed)
    except RaceLostError as lost:
        raise lost.problems[-1] from None


def bound_unix(path: str) -> socket.socket:
    """Return a Unix socket that is bound, for our user alone. One of that name that nothing listens at is replaced.

    Raises OSError.
    """
    sock = socket.socket(socket.AF_UNIX)
    try:
        _remove_dead(path)
        with contextlib.suppress(OSError):
            os.fchmod(sock.fileno(), 0o600)  # before it has a name; some systems cannot
        sock.bind(path)
        os.chmod(path, 0o600)
        sock.setblocking(False)
    except BaseException:
        sock.close()
        raise
    return sock


def _remove_dead(path: str) -> None:
    """Remove a socket whose process is gone."""
    if not os.path.lexists(path) or not stat.S_ISSOCK(os.lstat(path).st_mode):
        return
    with socket.socket(socket.AF_UNIX) as probe:
        probe.setblocking(False)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)
        except OSError:  # a full backlog, or another user's: it is taken
            return


async def each_address(
    host: str,
    port: int,
    attempt: Callable[[Any, Callable[[], None]], Awaitable[T]],
    drop: Callable[[T], None],
    *,
    failed: FailedAddresses | None = None,
    seconds: float | None = None,
) -> T:
    """Look a name up and race through its addresses; return what the first attempt to succeed makes.

    attempt: gets a result of `socket.getaddrinfo`, and what to call once there is a connection. drop: gets what others
    make all the same. seconds: for the look-up alone. Raises RaceLostError; OSError, UnicodeError and
    asyncio.TimeoutError when no address was found.
    """
    known = failed or FailedAddresses()
    addresses = await run_within(resolve(host, port), seconds, lambda _found: None)
    found = interleaved(addresses)[: limits.DIAL_ADDRESSES]
    found = known.order(found, lambda one: one[4])

    async def judged(one: Any, reached: Callable[[], None]) -> T:
        with known.judging(one[4]):
            return await attempt(one, reached)

    if not found:
        raise OSError("no address")
    return await race([functools.partial(judged, one) for one in found], drop)


async def _connect_one(one: Any, prepare: Callable[[socket.socket], None]) -> socket.socket:
    family, kind, protocol, _name, address = one
    sock = socket.socket(family, kind, protocol)
    try:
        prepare(sock)
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, address)
    except BaseException:
        sock.close()
        raise
    return sock


def tune_transport(transport: asyncio.BaseTransport) -> None:
    """`tune` the socket of a transport, if it has one."""
    sock = transport.get_extra_info("socket")
    # asyncio hands out a TransportSocket, which passes setsockopt through.
    if sock is not None and sock.family in (socket.AF_INET, socket.AF_INET6):
        tune(sock)


def files_allowed() -> int | None:
    """Return how many files this process may have open; None where there is no limit, or none that can be asked."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    soft, _hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return None if soft == resource.RLIM_INFINITY else soft


def remote_address(transport: asyncio.BaseTransport) -> tuple[str, int] | None:
    """Return IP literal and port of the other end; the scope of a link-local address is in the literal."""
    name = transport.get_extra_info("peername")
    if not isinstance(name, tuple) or len(name) < 2:
        return None
    host = str(name[0])
    if len(name) == 4 and name[3] and "%" not in host:
        host = f"{host}%{name[3]}"
    return host, int(name[1])


def unacknowledged(transport: asyncio.BaseTransport) -> int:
    """Return the bytes in the kernel that the other end has not acknowledged; 0 where that cannot be asked."""
    sock = transport.get_extra_info("socket")
    if not _HAVE_OUTQ or sock is None:
        return 0
    try:
        answer = fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, b"\0\0\0\0")
    except OSError:
        return 0
    return int(struct.unpack("i", answer)[0])


def _set(sock: socket.socket, options: tuple[tuple[int, int, int], ...]) -> None:
    """Set what this kind of socket has of them."""
    for level, option, value in options:
        try:
            sock.setsockopt(level, option, value)
        except OSError:  # one that it has not
            continue
