"""One end of a pair of sockets as one connection to a service, and with that stdin and stdout of this process.

Through that pair stdin and stdout are read and written in threads of their own. The end of stdin ends our direction,
the other one goes on until the service ends it.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from typing import Any

from ssbfast.cli.stdio_pipes import send_stdin, write_stdout
from ssbfast.errors import SessionEndedError
from ssbfast.net.forward.connection import Carried
from ssbfast.net.forward.tcp_listener import ForwardListener


class PairListener(ForwardListener):
    """Carry one connection to a service of a peer: what is sent and read at one end of a pair of sockets.

    Args:
        **options: As for `ForwardListener`.

    Attributes:
        outer: That end, which blocks. It is closed by its user.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__("", 0, **options)
        self._inner, self.outer = socket.socketpair()
        self._ended: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

    async def start(self) -> None:
        """Begin to carry."""
        self._inner.setblocking(False)
        await asyncio.get_running_loop().connect_accepted_socket(lambda: Carried(self), self._inner)

    async def wait_ended(self) -> None:
        """Wait until both directions have ended. Raises SessionEndedError when the connection was cut."""
        if not await asyncio.shield(self._ended):
            raise SessionEndedError("the connection was cut")

    def on_closed(self, connection: Carried) -> None:
        super().on_closed(connection)
        if not self._ended.done():
            self._ended.set_result(connection.has_finished)


class StdioListener(PairListener):
    """Carry stdin and stdout to a service of a peer, once.

    Args:
        **options: As for `ForwardListener`.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._written: asyncio.Future[OSError | None] = asyncio.get_running_loop().create_future()

    async def start(self) -> None:
        """Begin to read stdin."""
        loop = asyncio.get_running_loop()
        await super().start()

        def write_all() -> None:
            problem = write_stdout(self.outer)
            with contextlib.suppress(RuntimeError):  # the loop is closed: nothing waits any more
                loop.call_soon_threadsafe(self._on_written, problem)

        send_stdin(self.outer)
        threading.Thread(target=write_all, name="stdout", daemon=True).start()

    async def wait_over(self) -> int:
        """Wait until the connection is over and all that came is written, or the reader of stdout is gone. Return 0.

        Raises SessionEndedError when it was cut, OSError when stdout cannot be written.
        """
        problem = await asyncio.shield(self._written)
        if problem is None:
            await self.wait_ended()
        elif not isinstance(problem, BrokenPipeError):
            raise problem
        return 0

    def _on_written(self, problem: OSError | None) -> None:
        if not self._written.done():
            self._written.set_result(problem)

    async def close(self) -> None:
        await super().close()
        with contextlib.suppress(OSError):
            self.outer.shutdown(socket.SHUT_RDWR)
