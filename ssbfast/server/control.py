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
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeAlias

from ssbfast import limits
from ssbfast.errors import BadInputError, SSBError
from ssbfast.net.inherited_sockets import InheritedSockets, receive, send

FILE: Final = "control"
"""The socket's name in a room's data directory."""

Handler: TypeAlias = Callable[[dict[str, Any]], Any]
"""Returns the answer of a request, or an awaitable of it; raises SSBError with the text of the error."""


@dataclass(frozen=True, slots=True)
class WithSockets:
    """An answer with copies of sockets."""

    answer: Any
    sockets: Sequence[socket.socket]


_NEW: Final = ".new"

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
        self._answering: set[asyncio.Task[None]] = set()
        self._is_closing = False
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
        try:
            with _ShortName(self.path) as name:
                if takes_over:
                    _remove_dead(f"{name}{_NEW}")
                    sock = _bind(f"{name}{_NEW}")
                else:
                    _remove_dead(name)
                    sock = _bind(name)
        except OSError as error:
            raise BadInputError(f"{self.path}: {error.strerror or error}") from None
        status = os.stat(self._new if takes_over else self.path)
        self._file = status.st_dev, status.st_ino
        self._server = await asyncio.start_unix_server(self._accept, sock=sock, limit=limits.CONTROL_LINE)

    def take_place(self) -> None:
        """Replace the socket of the room that we took over from: it answers none of what is asked from now on."""
        if self._server is not None:
            os.replace(self._new, self.path)

    def stop_listening(self) -> None:
        """Leave the place to another room: what is connected goes on. Harmless when done before."""
        if self._server is not None:
            self._server.close()
            self._server = None
            for path in (self.path, self._new):
                with contextlib.suppress(OSError):
                    status = os.lstat(path)
                    if (status.st_dev, status.st_ino) == self._file:
                        path.unlink()

    async def close(self) -> None:
        """Stop listening, send the answers that are under way, and cut what is connected."""
        self.stop_listening()
        self._is_closing = True
        for task in self._clients - self._answering:
            task.cancel()
        if self._answering:
            await asyncio.wait(self._answering, timeout=limits.CONTROL_CLOSE_SECONDS)
        for task in list(self._clients):
            task.cancel()
        await asyncio.gather(*self._clients, return_exceptions=True)

    # ------------------------------------------------------------ inside

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is None or len(self._clients) >= limits.CONTROL_CLIENTS or not _is_allowed(writer):
            writer.close()
            return
        self._clients.add(task)
        try:
            await self._serve(reader, writer, task)
        except (OSError, ValueError, asyncio.TimeoutError, asyncio.CancelledError):
            pass  # gone, a line that is too long, silent for too long, or we close
        finally:
            self._clients.discard(task)
            self._answering.discard(task)
            writer.close()

    async def _serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, task: asyncio.Task[None]
    ) -> None:
        while not self._is_closing and (line := await asyncio.wait_for(reader.readline(), limits.CONTROL_SECONDS)):
            self._answering.add(task)
            answer, sockets = await self._answer(line)
            data = json.dumps(answer, ensure_ascii=False).encode() + b"\n"
            if sockets:  # nothing else waits to be written: answers are read before the next question is
                with socket.socket(fileno=os.dup(writer.get_extra_info("socket").fileno())) as channel:
                    send(channel, data, sockets)
            else:
                writer.write(data)
                await asyncio.wait_for(writer.drain(), limits.CONTROL_SECONDS)
            self._answering.discard(task)

    async def _answer(self, line: bytes) -> tuple[dict[str, Any], Sequence[socket.socket]]:
        try:
            request = json.loads(line)
        except (ValueError, RecursionError):
            return {"error": "not a line of JSON"}, ()
        name = request.get("ask") if isinstance(request, dict) else None
        handler = self._handlers.get(name) if isinstance(name, str) else None
        if handler is None:
            return {"error": "this room does not know that question"}, ()
        try:
            answer = handler(request)
            answer = await answer if inspect.isawaitable(answer) else answer
        except SSBError as error:
            return {"error": str(error)}, ()
        if isinstance(answer, WithSockets):
            return {"answer": answer.answer}, answer.sockets
        return {"answer": answer}, ()


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
        NoRoomError: No room runs there.
        BadInputError: It is another user's, or it answered with an error.
    """
    with Questions(data, seconds) as questions:
        return questions.ask(name, **members)[0]


class NoRoomError(BadInputError):
    """No room runs on a data directory."""


class Questions:
    """A connection to the control socket of the room that runs on a data directory. It blocks.

    Args:
        data: The room's data directory.
        seconds: How long an answer may take.

    Raises:
        NoRoomError: No room runs there.
        BadInputError: It is another user's, or does not answer.
    """

    def __init__(self, data: Path, seconds: float = limits.CONTROL_SECONDS) -> None:
        if not is_supported():
            raise NoRoomError("a running room cannot be asked on this system")
        self._data = data
        self._sock = socket.socket(socket.AF_UNIX)
        self._sock.settimeout(seconds)
        try:
            with self._errors(), _ShortName(data / FILE) as path:
                self._sock.connect(path)
        except BadInputError:
            self._sock.close()
            raise

    def ask(self, name: str, **members: Any) -> tuple[Any, InheritedSockets]:
        """Ask one question; return its answer and the sockets that came with it. Raises BadInputError."""
        with self._errors():
            self._sock.sendall(json.dumps({"ask": name, **members}).encode() + b"\n")
            reply, sockets = receive(self._sock, limits.CONTROL_ANSWER)
            answer = json.loads(reply)
        if "error" in answer:
            raise BadInputError(str(answer["error"]))
        return answer["answer"], sockets

    def close(self) -> None:
        self._sock.close()

    def __enter__(self) -> Questions:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        """Say what an error means for a user."""
        data = self._data
        try:
            yield
        except (FileNotFoundError, ConnectionRefusedError):
            raise NoRoomError(f"no room runs on {data}: start it with ssbfast room --data {data}") from None
        except PermissionError:
            raise BadInputError(f"the room on {data} is another user's: ask as that user, or as root") from None
        except (OSError, ValueError) as error:
            raise BadInputError(f"the room on {data} does not answer: {_reason(error)}") from None


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
