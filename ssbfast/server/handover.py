"""A room that takes over from the one that runs: its sockets, so that no connection is refused in between.

The new process asks for the sockets (`take_over`), begins to accept on them, and says so (`serving`); then the old one
stops accepting, gives the control socket free, and drains. Should the new one die before that, the old one goes on.
"""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, Final

from ssbfast import limits
from ssbfast.errors import BadInputError
from ssbfast.net.control_socket import Handler, NotRunningError, WithSockets
from ssbfast.net.inherited_sockets import InheritedSockets
from ssbfast.server.control import Questions

_FOLLOWED: Final = "another room has taken over already"


class Predecessor:
    """The room that runs on a data directory, from the new process. It blocks.

    Args:
        data: The room's data directory.

    Attributes:
        sockets: Its sockets; none where no room runs.
        has_begun_us: Whether it is the process that began this one (`ssbfast room restart`).

    Raises:
        BadInputError: A room runs there, and does not give them.
    """

    def __init__(self, data: Path) -> None:
        self._questions: Questions | None = None
        self.sockets = InheritedSockets()
        self.has_begun_us = False
        try:
            self._questions = Questions(data)
        except NotRunningError:
            return
        try:
            answer, self.sockets = self._questions.ask("take_over", pid=os.getpid())
            self.has_begun_us = answer["pid"] == os.getppid()
        except BaseException:
            self._questions.close()
            raise

    def __bool__(self) -> bool:
        """Return whether there is one."""
        return self._questions is not None

    def retire(self) -> None:
        """Tell it that we accept connections; when this returns, it does not any more. Raises BadInputError.

        Sockets that nothing took are closed: a connection to one would wait for an answer forever.
        """
        self.sockets.close()
        if self._questions is not None:
            self._questions.ask("serving")
            self._questions.close()
            self._questions = None

    def close(self) -> None:
        """Let it go on, if it has not been retired."""
        if self._questions is not None:
            self._questions.close()
        self.sockets.close()


class Succession:
    """What a running room does to be followed by another process.

    Args:
        sockets: Returns the sockets that it listens on.
        stop_listening: Called when the successor accepts connections on them.

    Attributes:
        taken_over: Set when it has.
    """

    def __init__(
        self, sockets: Callable[[], Sequence[socket.socket]], stop_listening: Callable[[], Awaitable[None]]
    ) -> None:
        self._sockets = sockets
        self._stop_listening = stop_listening
        self._process: subprocess.Popen[bytes] | None = None
        self._is_followed = False
        self._is_ending = False
        self.taken_over = asyncio.Event()

    def handlers(self) -> dict[str, Handler]:
        """Return what the control socket answers."""
        return {"take_over": self._take_over, "serving": self._serving, "restart": self._restart}

    def end(self) -> None:
        """Have no process follow that we began: the room is to end, unless one has taken over."""
        self._is_ending = True
        if self._process is not None and not self.taken_over.is_set():
            self._process.kill()

    def _take_over(self, request: dict[str, Any]) -> WithSockets:
        if self._is_followed:
            raise BadInputError(_FOLLOWED)
        return WithSockets({"pid": os.getpid()}, self._sockets())

    async def _serving(self, request: dict[str, Any]) -> bool:
        if self._is_followed:
            raise BadInputError(_FOLLOWED)
        self._is_followed = True
        await self._stop_listening()
        self.taken_over.set()
        return True

    async def _restart(self, request: dict[str, Any]) -> dict[str, int]:
        """Begin the process that takes over: the same command, as it is installed now."""
        if self._is_ending:
            raise BadInputError("this room ends: start it when it has ended")
        if os.getpid() == 1:
            raise BadInputError("the room is the first process of a container, which ends with it: no other can follow")
        if self._process is not None:
            raise BadInputError(f"process {self._process.pid} takes over already")
        try:
            process = subprocess.Popen([sys.executable, *sys.orig_argv[1:]], env=_environment(), close_fds=True)
        except OSError as error:
            raise BadInputError(f"the new room does not begin, and this one goes on: {error.strerror}") from None
        self._process = process
        waiting = asyncio.create_task(self.taken_over.wait())
        try:
            for _ in range(int(limits.HANDOVER_SECONDS / limits.DRAIN_TICK)):
                if (await asyncio.wait([waiting], timeout=limits.DRAIN_TICK))[0]:
                    return {"pid": process.pid}
                if (code := process.poll()) is not None:
                    if self._is_ending:
                        raise BadInputError("this room was told to end, and so was the new one")
                    raise BadInputError(f"the new room ended with exit code {code}, and this one goes on: see its log")
            raise BadInputError(f"the new room was not ready in {limits.HANDOVER_SECONDS:.0f} s, and this one goes on")
        finally:
            waiting.cancel()
            if not self.taken_over.is_set():
                process.kill()
                process.wait()
                self._process = None


def _environment() -> dict[str, str]:
    """Return the environment of a successor. The watchdog is the service's: it holds for the new process, too."""
    taken = ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "WATCHDOG_PID")
    kept = {name: value for name, value in os.environ.items() if name not in taken}
    return {**kept, "SSBFAST_ROOM_TAKE_OVER": "1"}
