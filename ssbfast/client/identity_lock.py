"""One `listen` for each data directory: a room knows a peer by its key, and the last one that comes takes its place.

A lock on a file decides, which the system takes back when its process is gone, however it ends. A Unix socket beside it
names its holder. One line of JSON is asked and one answered, to processes of the same user only::

    {"ask": "who"}   →   {"command": "listen", "pid": 4711, "since": "2026-11-30T08:15:00Z"}
    anything else    →   {"error": "unknown"}

Where there are no Unix sockets, or their names may not be so long, the file itself says the same.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import stat
import struct
import sys
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timezone
from pathlib import Path
from types import TracebackType
from typing import Any, Final, TypeVar

from ssbfast import limits
from ssbfast.errors import BadInputError

Lock = TypeVar("Lock", bound="IdentityLock")

LOCK: Final = "listen.lock"
SOCKET: Final = "listen.socket"
"""Their names in a data directory."""

_LOCKED_BYTE: Final = 1 << 20  # behind all that is ever read: Windows keeps others from reading what is locked


class IdentityLock:
    """An async context in which no other process has this data directory for the same command.

    data: the directory, which exists. command: our command's name. Entering raises BadInputError, in one line
    with the other's process id, when it is taken.
    """

    def __init__(self, data: Path, command: str = "listen") -> None:
        self._data = data
        self._about = {"command": command, "pid": os.getpid(), "since": _now()}
        self._file: int | None = None
        self._server: asyncio.AbstractServer | None = None
        self._clients = 0

    async def __aenter__(self: Lock) -> Lock:
        self._file = _locked(self._data / LOCK)
        if self._file is None:
            raise self._taken()
        try:
            _write(self._file, self._about)
            await self._serve()
        except BaseException:
            self._release()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._server is not None:
            self._server.close()
            with contextlib.suppress(OSError):
                (self._data / SOCKET).unlink()
        self._release()

    def _release(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _taken(self) -> BadInputError:
        other = who(self._data)
        process = "" if other is None else f" (pid {other['pid']})"
        return BadInputError(
            f"another ssbfast {self._about['command']}{process} uses this identity; end it, or give this one an "
            "identity of its own with --data DIR"
        )

    # ------------------------------------------------------------ the socket

    async def _serve(self) -> None:
        listener = _bound(self._data)
        if listener is not None:
            self._server = await asyncio.start_unix_server(self._client, sock=listener, limit=limits.WHO_LINE)

    async def _client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._clients += 1
        try:
            if self._clients <= limits.WHO_CLIENTS and _is_ours(writer.get_extra_info("socket")):
                line = await asyncio.wait_for(reader.readline(), limits.WHO_SECONDS)
                writer.write(_line(self._answer(line)))
                await asyncio.wait_for(writer.drain(), limits.WHO_SECONDS)
        except (OSError, ValueError, asyncio.TimeoutError):  # gone, too long, or too slow
            pass
        finally:
            self._clients -= 1
            writer.close()

    def _answer(self, line: bytes) -> Mapping[str, object]:
        asked = _object(line)
        return self._about if asked is not None and asked.get("ask") == "who" else {"error": "unknown"}


def who(data: Path) -> dict[str, Any] | None:
    """Return the directory's holder: its `command`, `pid` and `since`; None when it is unknown, or there is none.

    It blocks for `WHO_SECONDS` at most.
    """
    found = _asked(data) or _read(data / LOCK)
    return found if found is not None and isinstance(found.get("pid"), int) else None


def _now() -> str:
    return datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


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
    """Write the holder's data into the lock's file. It only helps other processes: a full disk does not matter."""
    with contextlib.suppress(OSError):
        os.lseek(file, 0, os.SEEK_SET)
        os.ftruncate(file, 0)
        os.write(file, _line(about))


def _read(path: Path) -> dict[str, Any] | None:
    with contextlib.suppress(OSError), path.open("rb") as file:
        return _object(file.readline(limits.WHO_LINE))
    return None


# ---------------------------------------------------------------- Unix sockets


@contextlib.contextmanager
def _named(data: Path) -> Iterator[str | None]:
    """Return a name of the socket that the system takes: about 100 bytes at most. None where there is none."""
    name = str(data / SOCKET)
    if len(os.fsencode(name)) <= limits.UNIX_PATH:
        yield name
        return
    if not os.path.isdir("/proc/self/fd"):
        yield None
        return
    directory = os.open(data, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
    try:
        yield f"/proc/self/fd/{directory}/{SOCKET}"
    finally:
        os.close(directory)


def _bound(data: Path) -> socket.socket | None:
    """Return our socket; None where there are none. One of that name has no process any more: we hold the lock."""
    if not hasattr(socket, "AF_UNIX"):
        return None
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        path = data / SOCKET
        if os.path.lexists(path) and stat.S_ISSOCK(os.lstat(path).st_mode):
            path.unlink()
        os.fchmod(listener.fileno(), 0o600)  # before it has a name
        with _named(data) as name:
            if name is None:
                raise OSError
            listener.bind(name)
        path.chmod(0o600)
        listener.listen(limits.WHO_CLIENTS)
        listener.setblocking(False)
    except OSError:  # a file system without sockets, or a name that is taken: the lock is enough
        listener.close()
        return None
    return listener


def _asked(data: Path) -> dict[str, Any] | None:
    if not hasattr(socket, "AF_UNIX"):
        return None
    with contextlib.suppress(OSError), _named(data) as name, socket.socket(socket.AF_UNIX) as client:
        if name is None:
            return None
        client.settimeout(limits.WHO_SECONDS)
        client.connect(name)
        client.sendall(_line({"ask": "who"}))
        with client.makefile("rb") as answer:
            return _object(answer.readline(limits.WHO_LINE))
    return None


def _is_ours(client: Any) -> bool:
    """Return whether the other end is of our user, or root. Without an answer the socket's permissions decide."""
    ask = _PEER_USER.get(sys.platform)
    if ask is None:
        return True
    try:
        return ask(client) in (os.getuid(), 0)
    except (OSError, struct.error):
        return False


def _user_on_linux(client: Any) -> int:
    _pid, user, _group = struct.unpack("3i", client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    return int(user)


def _user_on_macos(client: Any) -> int:
    """Return the other end's user: `struct xucred` begins with version and user; 0 is SOL_LOCAL, 1 LOCAL_PEERCRED."""
    _version, user = struct.unpack_from("2I", client.getsockopt(0, 1, 76))
    return int(user)


_PEER_USER: Final[dict[str, Callable[[Any], int]]] = {"linux": _user_on_linux, "darwin": _user_on_macos}
