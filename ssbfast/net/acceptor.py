"""Accept connections, a few a tick and none without a file to spare.

asyncio's own servers accept as many as the backlog holds in one turn of the loop, and when the process is out of files
they fail again at once, forever. This one takes at most `ACCEPTS_PER_TICK` of them, asks before a connection costs
anything, and waits when there is no file left.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from ssbfast import limits

P = TypeVar("P", bound=asyncio.BaseProtocol)


class Acceptor(Generic[P]):
    """An acceptor of connections on one listening socket, which it owns.

    enter: gets a connection and the host that it comes from; makes its protocol, or returns None to close it at once.
    failed: called with a protocol whose connection was gone before it began.
    full: called when the process has no file left for a connection.
    tls: None, or what a connection begins with.
    """

    def __init__(
        self,
        sock: socket.socket,
        enter: Callable[[socket.socket, str], P | None],
        *,
        failed: Callable[[P], None],
        full: Callable[[], None],
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        sock.setblocking(False)
        self._sock = sock
        self._enter = enter
        self._failed = failed
        self._full = full
        self._tls: dict[str, Any] = {}
        if tls is not None:
            self._tls = {"ssl": tls, "ssl_handshake_timeout": limits.TLS_SECONDS}
        self._beginning: set[asyncio.Task[None]] = set()
        self._is_closing = False
        self._task = self._loop.create_task(self._accept())

    async def close(self) -> None:
        """Stop accepting and close the socket; connections that have begun go on, and none that was accepted is lost.

        A handshake of TLS is not waited for: a stranger could let it last. Harmless when it is closed.
        """
        self._is_closing = True
        with contextlib.suppress(NotImplementedError, ValueError):  # Windows; closed before
            self._loop.remove_reader(self._sock)
        await asyncio.sleep(0)  # one that was accepted in this turn begins
        self._task.cancel()
        await asyncio.gather(self._task, *(() if self._tls else self._beginning), return_exceptions=True)
        self._sock.close()

    async def _accept(self) -> None:
        taken = 0
        while not self._is_closing:
            try:
                sock, address = await self._loop.sock_accept(self._sock)
            except ConnectionError:  # gone before it was ours
                continue
            except OSError:
                self._full()
                await asyncio.sleep(limits.ACCEPT_PAUSE)
                continue
            self._begin(sock, str(address[0]) if address else "")
            taken += 1
            if taken % limits.ACCEPTS_PER_TICK == 0:
                await asyncio.sleep(0)

    def _begin(self, sock: socket.socket, host: str) -> None:
        protocol = self._enter(sock, host)
        if protocol is None:
            sock.close()
            return
        task = self._loop.create_task(self._connect(sock, protocol))
        self._beginning.add(task)
        task.add_done_callback(self._beginning.discard)

    async def _connect(self, sock: socket.socket, protocol: P) -> None:
        try:
            await self._loop.connect_accepted_socket(lambda: protocol, sock, **self._tls)
        except OSError:  # also what is no TLS
            sock.close()
            self._failed(protocol)
