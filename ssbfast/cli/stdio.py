"""Stdin and stdout of this process as one connection to a service: ssh's ProxyCommand, and pipes.

Both are read and written in threads of their own, through a pair of sockets: so they may be anything, a file or a
terminal as well as a pipe. The end of stdin ends our direction, the other one goes on until the service ends it. The
process may end when the connection is over; a thread that still waits for stdin does not hold it up.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import threading
from collections.abc import Callable
from typing import Any, Final

from ssbfast import limits
from ssbfast.errors import SessionEndedError
from ssbfast.net.forward.connection import Carried
from ssbfast.net.forward.tcp import ForwardListener

_STDIN: Final = 0
_STDOUT: Final = 1


class StdioListener(ForwardListener):
    """Carry stdin and stdout to a service of a peer, once.

    Args:
        **options: As for `ForwardListener`.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__("", 0, **options)
        self._inner, self._outer = socket.socketpair()
        self._ended: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._written: asyncio.Future[OSError | None] = asyncio.get_running_loop().create_future()

    async def start(self) -> None:
        """Begin to read stdin."""
        loop = asyncio.get_running_loop()
        self._inner.setblocking(False)
        await loop.connect_accepted_socket(lambda: Carried(self), self._inner)

        def write_all() -> None:
            problem = _write_stdout(self._outer)
            with contextlib.suppress(RuntimeError):  # the loop is closed: nothing waits any more
                loop.call_soon_threadsafe(self._on_written, problem)

        _in_thread("stdin", lambda: _send_stdin(self._outer))
        _in_thread("stdout", write_all)

    async def wait_over(self) -> int:
        """Wait until the connection is over and all that came is written, or the reader of stdout is gone. Return 0.

        Raises SessionEndedError when it was cut, OSError when stdout cannot be written.
        """
        problem = await asyncio.shield(self._written)
        if problem is None and not await asyncio.shield(self._ended):
            raise SessionEndedError("the connection was cut")
        if problem is not None and not isinstance(problem, BrokenPipeError):
            raise problem
        return 0

    def _on_written(self, problem: OSError | None) -> None:
        if not self._written.done():
            self._written.set_result(problem)

    def on_closed(self, connection: Carried) -> None:
        super().on_closed(connection)
        if not self._ended.done():
            self._ended.set_result(connection.has_finished)

    async def close(self) -> None:
        await super().close()
        with contextlib.suppress(OSError):
            self._outer.shutdown(socket.SHUT_RDWR)


def _in_thread(name: str, work: Callable[[], None]) -> None:
    threading.Thread(target=work, name=name, daemon=True).start()


def _send_stdin(sock: socket.socket) -> None:
    """Send all of stdin, then end our direction."""
    with contextlib.suppress(OSError):  # the connection is over
        while data := _read_stdin():
            sock.sendall(data)
    with contextlib.suppress(OSError):
        sock.shutdown(socket.SHUT_WR)


def _read_stdin() -> bytes:
    try:
        return os.read(_STDIN, limits.FORWARD_READ)
    except OSError:  # it is closed, or its terminal is gone
        return b""


def _write_stdout(sock: socket.socket) -> OSError | None:
    """Write what comes to stdout, and end it behind the last byte, so that its reader sees it.

    Return why not all of it was taken: BrokenPipeError when the reader is gone.
    """
    try:
        while data := _received(sock):
            view = memoryview(data)
            while view:
                view = view[os.write(_STDOUT, view) :]
    except OSError as error:
        return error
    with contextlib.suppress(OSError), open(os.devnull, "wb") as nothing:
        os.dup2(nothing.fileno(), _STDOUT)  # its number stays taken, or the next file would get it
    return None


def _received(sock: socket.socket) -> bytes:
    try:
        return sock.recv(limits.FORWARD_READ)
    except OSError:  # it was cut
        return b""
