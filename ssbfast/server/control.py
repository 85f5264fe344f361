"""The control socket of a running room: commands on the same machine ask it what only the running room knows.

It lies in the room's data directory; `net/control_socket.py` has the protocol. What a room keeps on disk is not asked
for here: commands read and write the store (`ssbfast.store.room_store`) whether or not the room runs.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from ssbfast import limits
from ssbfast.errors import BadInputError
from ssbfast.net import control_socket
from ssbfast.net.control_socket import ControlServer, Handler, NotRunningError, Words, is_supported

FILE: Final = "control"
"""The socket's name in a room's data directory."""

_NEW: Final = ".new"


class Control:
    """The control socket of one room.

    Args:
        data: The room's data directory.
        handlers: What can be asked, by name.
    """

    def __init__(self, data: Path, handlers: Mapping[str, Handler]) -> None:
        self._data = data
        self._server = ControlServer(handlers, "this room")
        self._file: tuple[int, int] | None = None

    @property
    def path(self) -> Path:
        """Return the socket's place."""
        return self._data / FILE

    @property
    def _new(self) -> Path:
        return self._data / f"{FILE}{_NEW}"

    async def start(self, *, takes_over: bool = False) -> None:
        """Listen. A socket that a dead room has left is replaced.

        Args:
            takes_over: Listen beside that of a living room, until `take_place`.

        Raises:
            BadInputError: Another room runs on this data directory, or the socket cannot be made.
        """
        if not is_supported():
            return
        path = self._new if takes_over else self.path
        try:
            _remove_dead(path)
            sock = control_socket.bind(path)
        except OSError as error:
            raise BadInputError(f"{self.path}: {error.strerror or error}") from None
        status = os.stat(path)
        self._file = status.st_dev, status.st_ino
        await self._server.start(sock)

    def take_place(self) -> None:
        """Replace the socket of the room that we took over from: it answers none of what is asked from now on."""
        if self._file is not None:
            os.replace(self._new, self.path)

    def stop_listening(self) -> None:
        """Leave the place to another room: what is connected goes on. Harmless when done before."""
        if self._server.stop_listening():
            for path in (self.path, self._new):
                with contextlib.suppress(OSError):
                    status = os.lstat(path)
                    if (status.st_dev, status.st_ino) == self._file:
                        path.unlink()
            self._file = None

    async def close(self) -> None:
        """Stop listening, send the answers that are under way, and cut what is connected."""
        self.stop_listening()
        await self._server.close()


def ask(data: Path, name: str, *, seconds: float = limits.CONTROL_SECONDS, **members: Any) -> Any:
    """Ask the room that runs on a data directory. Blocks until it answers.

    Args:
        data: The room's data directory.
        name: What to ask for.
        seconds: How long it may take.
        members: What belongs to the question.

    Returns:
        The answer.

    Raises:
        NotRunningError: No room runs there.
        BadInputError: It is another user's, or it answered with an error.
    """
    with Questions(data, seconds) as questions:
        return questions.ask(name, **members)[0]


class Questions(control_socket.Questions):
    """A connection to the control socket of the room that runs on a data directory. It blocks.

    Args:
        data: The room's data directory.
        seconds: How long an answer may take.

    Raises:
        NotRunningError: No room runs there.
        BadInputError: It is another user's, or does not answer.
    """

    def __init__(self, data: Path, seconds: float = limits.CONTROL_SECONDS) -> None:
        if not is_supported():
            raise NotRunningError("a running room cannot be asked on this system")
        words = Words(
            absent=f"no room runs on {data}: start it with ssbfast room --data {data}",
            foreign=f"the room on {data} is another user's: ask as that user, or as root",
            silent=f"the room on {data} does not answer",
        )
        super().__init__(data / FILE, words, seconds)


def _remove_dead(path: Path) -> None:
    """Remove a socket that nothing listens on. Raises BadInputError when something does."""
    if not os.path.lexists(path):
        return
    if not control_socket.is_dead(path):
        raise BadInputError("another room runs on this data directory: end it first, or give another --data")
    with contextlib.suppress(FileNotFoundError):
        path.unlink()
