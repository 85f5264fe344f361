"""The control socket of a running room: commands on the same machine ask it what only the running room knows.

A Unix socket in the room's data directory, which its owner and root may use. One JSON object in a line is a request,
{"ask": NAME, …}; the answer is one line, {"answer": …} or {"error": TEXT}. A connection may ask again. What a room
keeps on disk is not asked for here: commands read and write the store (`ssbfast.store.room_store`) whether or not the
room runs.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import json
import os
import socket
import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, TypeAlias

from ssbfast import limits
from ssbfast.errors import BadInputError, SSBError

FILE: Final = "control"
"""The socket's name in a room's data directory."""

Handler: TypeAlias = Callable[[dict[str, Any]], Any]
"""Returns the answer of a request, or an awaitable of it; raises SSBError with the text of the error."""

_CREDENTIALS: Final = struct.Struct("3i")  # pid, uid, gid: SO_PEERCRED


def is_supported() -> bool:
    """Return whether this system has Unix sockets that an event loop can serve."""
    return hasattr(socket, "AF_UNIX") and os.name == "posix"


class Control:
    """The control socket of one room.

    Args:
        data: The room's data directory.
        handlers: What can be asked, by name.
    """

    def __init__(self, data: Path, handlers: Mapping[str, Handler]) -> None:
        self._data = data
        self._handlers = handlers
        self._server: asyncio.AbstractServer | None = None
        self._clients: set[asyncio.Task[None]] = set()
        self._file: tuple[int, int] | None = None

    @property
    def path(self) -> Path:
        """Return the socket's place."""
        return self._data / FILE

    async def start(self) -> None:
        """Listen. A socket that a dead room has left is replaced.

        Raises:
            BadInputError: Another room runs on this data directory, or the socket cannot be made.
        """
        if not is_supported():
            return
        try:
            with _ShortName(self.path) as name:
                _remove_dead(name)
                sock = _bind(name)
        except OSError as error:
            raise BadInputError(f"{self.path}: {error.strerror or error}") from None
        status = os.stat(self.path)
        self._file = status.st_dev, status.st_ino
        self._server = await asyncio.start_unix_server(self._accept, sock=sock, limit=limits.CONTROL_LINE)

    async def close(self) -> None:
        """Stop listening, cut what is connected, and remove the socket, unless it is another room's by now."""
        if self._server is not None:
            self._server.close()
        for task in list(self._clients):
            task.cancel()
        await asyncio.gather(*self._clients, return_exceptions=True)
        with contextlib.suppress(OSError):
            status = os.lstat(self.path)
            if (status.st_dev, status.st_ino) == self._file:
                self.path.unlink()

    # ------------------------------------------------------------ inside

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is None or len(self._clients) >= limits.CONTROL_CLIENTS or not _is_allowed(writer):
            writer.close()
            return
        self._clients.add(task)
        try:
            await self._serve(reader, writer)
        except (OSError, ValueError, asyncio.TimeoutError, asyncio.CancelledError):
            pass  # gone, a line that is too long, silent for too long, or we close
        finally:
            self._clients.discard(task)
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await asyncio.wait_for(reader.readline(), limits.CONTROL_SECONDS):
            writer.write(json.dumps(await self._answer(line), ensure_ascii=False).encode() + b"\n")
            await asyncio.wait_for(writer.drain(), limits.CONTROL_SECONDS)

    async def _answer(self, line: bytes) -> dict[str, Any]:
        try:
            request = json.loads(line)
        except (ValueError, RecursionError):
            return {"error": "not a line of JSON"}
        name = request.get("ask") if isinstance(request, dict) else None
        handler = self._handlers.get(name) if isinstance(name, str) else None
        if handler is None:
            return {"error": "this room does not know that question"}
        try:
            answer = handler(request)
            return {"answer": await answer if inspect.isawaitable(answer) else answer}
        except SSBError as error:
            return {"error": str(error)}


def ask(data: Path, name: str, **members: Any) -> Any:
    """Ask the room that runs on a data directory. Blocks, up to `limits.CONTROL_SECONDS`.

    Args:
        data: The room's data directory.
        name: What to ask for.
        members: What belongs to the question.

    Returns:
        The answer.

    Raises:
        BadInputError: No room runs there, it is another user's, or it answered with an error.
    """
    if not is_supported():
        raise BadInputError("a running room cannot be asked on this system")
    line = json.dumps({"ask": name, **members}).encode() + b"\n"
    try:
        with _ShortName(data / FILE) as path, socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(limits.CONTROL_SECONDS)
            sock.connect(path)
            sock.sendall(line)
            with sock.makefile("rb") as file:
                reply = file.readline()
        answer = json.loads(reply)
    except (FileNotFoundError, ConnectionRefusedError):
        raise BadInputError(f"no room runs on {data}: start it with ssbfast room --data {data}") from None
    except PermissionError:
        raise BadInputError(f"the room on {data} is another user's: ask as that user, or as root") from None
    except (OSError, ValueError) as error:
        raise BadInputError(f"the room on {data} does not answer: {_reason(error)}") from None
    if "error" in answer:
        raise BadInputError(str(answer["error"]))
    return answer["answer"]


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and not isinstance(error, TimeoutError):
        return error.strerror or "no answer"
    return "closed, or not in time"


class _ShortName:
    """A name of a socket that is short enough: the system takes about 100 characters, directories may have more."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._directory = -1

    def __enter__(self) -> str:
        if len(os.fsencode(self._path)) < limits.SOCKET_PATH or not os.path.isdir("/proc/self/fd"):
            return str(self._path)
        self._directory = os.open(self._path.parent, os.O_RDONLY | os.O_CLOEXEC)
        return f"/proc/self/fd/{self._directory}/{self._path.name}"

    def __exit__(self, *_: object) -> None:
        if self._directory >= 0:
            os.close(self._directory)


def _remove_dead(name: str) -> None:
    """Remove a socket that nothing listens on. Raise BadInputError when something does."""
    if not os.path.lexists(name):
        return
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(limits.CONTROL_SECONDS)
        try:
            sock.connect(name)
        except (ConnectionRefusedError, FileNotFoundError):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(name)
            return
    raise BadInputError("another room runs on this data directory: end it first, or give another --data")


def _bind(name: str) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)
    try:
        sock.bind(name)
        sock.listen(limits.CONTROL_CLIENTS)
    except OSError:
        sock.close()
        raise
    finally:
        os.umask(before)
    sock.setblocking(False)
    return sock


def _is_allowed(writer: asyncio.StreamWriter) -> bool:
    """Return whether the process at the other end is ours or root's, where the system tells; the mode says it, too."""
    sock = writer.get_extra_info("socket")
    option = getattr(socket, "SO_PEERCRED", None)
    if sock is None or option is None:
        return True
    _, user, _ = _CREDENTIALS.unpack(sock.getsockopt(socket.SOL_SOCKET, option, _CREDENTIALS.size))
    return user in (0, os.geteuid())
