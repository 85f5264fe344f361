"""One `listen` for each data directory: a room knows a peer by its key, and the last one that comes takes its place.

A lock on a file decides, which the system takes back when its process is gone, however it ends. The control socket
beside it (`client/control_socket.py`) tells which process has it. Where there are no Unix sockets, or their names may
not be so long, the file itself says the same.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Final, TypeVar

from ssbfast import limits
from ssbfast.client.control_names import SOCKET
from ssbfast.client.control_socket import ControlSocket, questions
from ssbfast.errors import BadInputError

Lock = TypeVar("Lock", bound="IdentityLock")

LOCK: Final = "listen.lock"
"""Its name in a data directory."""

_LOCKED_BYTE: Final = 1 << 20  # behind all that is ever read: Windows keeps others from reading what is locked


class IdentityLock:
    """An async context in which no other process has this data directory for the same command.

    data: the directory, which exists. command: the name of our command. Entering raises BadInputError, in one line
    with the other's process id, when it is taken.
    control: the control socket of this process; nothing answers there where there are no Unix sockets.
    """

    def __init__(self, data: Path, command: str = "listen") -> None:
        self._data = data
        self.control = ControlSocket(data / SOCKET, command)
        self._file: int | None = None

    async def __aenter__(self: Lock) -> Lock:
        self._file = _locked(self._data / LOCK)
        if self._file is None:
            raise self._taken()
        try:
            _write(self._file, self.control.about)
            await self.control.start()
        except BaseException:
            self._release()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.control.close()
        self._release()

    def _release(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _taken(self) -> BadInputError:
        other = who(self._data)
        process = "" if other is None else f" (pid {other['pid']})"
        command = (other or self.control.about).get("command")
        return BadInputError(
            f"another ssbfast {command}{process} uses this identity; end it, or give this one an identity of its own "
            "with --data DIR"
        )


def who(data: Path) -> dict[str, Any] | None:
    """Return the directory's holder: its `command`, `pid` and `since`; None when it is unknown, or there is none.

    It blocks for `WHO_SECONDS` at most.
    """
    found = _asked(data) or _read(data / LOCK)
    return found if found is not None and isinstance(found.get("pid"), int) else None


def _line(value: Mapping[str, object]) -> bytes:
    return json.dumps(value).encode() + b"\n"


def _object(line: bytes) -> dict[str, Any] | None:
    with contextlib.suppress(ValueError, RecursionError):
        found = json.loads(line)
        if isinstance(found, dict):
            return found
    return None


# ---------------------------------------------------------------- the file


def _locked(path: Path) -> int | None:
    """Return the file, open and locked; None when another process has locked it.

    The file stays when it is not needed any more: to remove it could remove one that a third process has just locked.
    """
    try:
        file = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0), 0o600)
    except OSError as error:
        raise BadInputError(f"{path}: {(error.strerror or 'cannot be used').lower()}") from None
    try:
        _lock(file)
    except (BlockingIOError, PermissionError):
        os.close(file)
        return None
    except OSError:  # a file system that has no locks: then the process that answers has it
        if _asked(path.parent) is not None:
            os.close(file)
            return None
    return file


if sys.platform == "win32":
    import msvcrt

    def _lock(file: int) -> None:
        os.lseek(file, _LOCKED_BYTE, os.SEEK_SET)
        msvcrt.locking(file, msvcrt.LK_NBLCK, 1)
else:
    import fcntl

    def _lock(file: int) -> None:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _write(file: int, about: Mapping[str, object]) -> None:
    """Write which process holds the lock. Only other processes read this: a full disk does not matter."""
    with contextlib.suppress(OSError):
        os.lseek(file, 0, os.SEEK_SET)
        os.ftruncate(file, 0)
        os.write(file, _line(about))


def _read(path: Path) -> dict[str, Any] | None:
    with contextlib.suppress(OSError), path.open("rb") as file:
        return _object(file.readline(limits.WHO_LINE))
    return None


def _asked(data: Path) -> dict[str, Any] | None:
    with contextlib.suppress(BadInputError), questions(data / SOCKET, limits.WHO_SECONDS) as asking:
        found = asking.ask("who")[0]
        return found if isinstance(found, dict) else None
    return None
