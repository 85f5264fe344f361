"""Control sockets: how commands on the same machine ask a running process, for its owner and root only.

A Unix socket in a data directory. One JSON object in a line is a request, {"ask": NAME, …}; the answer is one line,
{"answer": …} or {"error": TEXT}; a connection may ask again. Some requests have several answers, as they come; with the
last one the connection ends. The side that serves is asyncio's, the side that asks blocks.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import json
import os
import socket
import stat
import struct
import sys
import time
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeAlias

from ssbfast import limits
from ssbfast.errors import BadInputError, SSBError
from ssbfast.net.inherited_sockets import InheritedSockets, receive, send

Handler: TypeAlias = Callable[[dict[str, Any]], Any]
"""Returns the answer of a request, or an awaitable of it; raises SSBError with the text of the error.

An asynchronous generator yields several answers. It is closed when the client is gone, or says anything meanwhile.
"""


@dataclass(frozen=True, slots=True)
class WithSockets:
    """An answer with copies of sockets."""

    answer: Any
    sockets: Sequence[socket.socket]


def is_supported() -> bool:
    """Return whether this system has Unix sockets that an event loop can serve."""
    return hasattr(socket, "AF_UNIX") and os.name == "posix"


class ControlServer:
    """The serving side of a control socket.

    When there are too many clients, the one that has been silent for longest makes room.

    Args:
        handlers: What can be asked, by name. It is read at each question.
        whose: What answers, for errors: "this room".
    """

    def __init__(self, handlers: Mapping[str, Handler], whose: str) -> None:
        self._handlers = handlers
        self._whose = whose
        self._server: asyncio.AbstractServer | None = None
        self._clients: dict[asyncio.Task[None], None] = {}  # those that were silent for longest first
        self._answering: set[asyncio.Task[None]] = set()
        self._is_closing = False

    async def start(self, sock: socket.socket) -> None:
        """Serve a socket of `bind`, which is the server's from now on."""
        # Few at a time: what they ask is read before more can make them go.
        at_once = max(1, limits.CONTROL_CLIENTS // 16)
        self._server = await asyncio.start_unix_server(
            self._accept, sock=sock, limit=limits.CONTROL_LINE, backlog=at_once
        )

    def stop_listening(self) -> bool:
        """Take no more clients; return whether any were taken until now. What is connected goes on."""
        server, self._server = self._server, None
        if server is not None:
            server.close()
        return server is not None

    async def close(self) -> None:
        """Stop listening, send the answers that are under way, and cut what is connected."""
        self.stop_listening()
        self._is_closing = True
        for task in self._clients.keys() - self._answering:
            task.cancel()
        if self._answering:
            await asyncio.wait(self._answering, timeout=limits.CONTROL_CLOSE_SECONDS)
        for task in self._clients:
            task.cancel()
        await asyncio.gather(*self._clients, return_exceptions=True)

    # ------------------------------------------------------------ inside

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is None or not is_ours(writer.get_extra_info("socket")) or not self._make_room():
            writer.close()
            return
        self._clients[task] = None
        try:
            await self._serve(reader, writer, task)
        except (OSError, ValueError, asyncio.TimeoutError, asyncio.CancelledError):
            pass  # gone, a line that is too long, silent for too long, or we close
        finally:
            self._clients.pop(task, None)
            self._answering.discard(task)
            writer.close()

    def _make_room(self) -> bool:
        """Send away the client that has been silent for longest, if there are too many; return whether there is room.

        Clients that wait for an answer stay.
        """
        if len(self._clients) < limits.CONTROL_CLIENTS:
            return True
        silent = next((client for client in self._clients if client not in self._answering), None)
        if silent is None:
            return False
        silent.cancel()
        del self._clients[silent]
        return True

    async def _serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, task: asyncio.Task[None]
    ) -> None:
        while not self._is_closing and (line := await asyncio.wait_for(reader.readline(), limits.CONTROL_SECONDS)):
            self._answering.add(task)
            try:
                answer = await self._answer(line)
                if isinstance(answer, AsyncGenerator):
                    async with contextlib.aclosing(answer) as answers:
                        await _write_all(writer, answers, reader)
                    return
                await _write_answer(writer, answer)
            except SSBError as error:
                await _write(writer, {"error": str(error)})
            self._answering.discard(task)
            self._clients[task] = self._clients.pop(task, None)

    async def _answer(self, line: bytes) -> Any:
        """Return what a request's handler does. Raises SSBError for what is answered with an error."""
        try:
            request = json.loads(line)
        except (ValueError, RecursionError):
            raise BadInputError("not a line of JSON") from None
        name = request.get("ask") if isinstance(request, dict) else None
        handler = self._handlers.get(name) if isinstance(name, str) else None
        if handler is None:
            raise BadInputError(f"{self._whose} does not know that question")
        answer = handler(request)
        return await answer if inspect.isawaitable(answer) else answer


async def _write_all(
    writer: asyncio.StreamWriter, answers: AsyncGenerator[Any, None], reader: asyncio.StreamReader
) -> None:
    """Write answers as they come. Raises ConnectionError when the other end is gone meanwhile, or speaks."""
    gone = asyncio.ensure_future(reader.read(1))
    try:
        while True:
            coming = asyncio.ensure_future(answers.__anext__())
            try:
                await asyncio.wait((coming, gone), return_when=asyncio.FIRST_COMPLETED)
                if not coming.done():
                    raise ConnectionError
                await _write_answer(writer, coming.result())
            except StopAsyncIteration:
                return
            finally:
                coming.cancel()
                await asyncio.gather(coming, return_exceptions=True)
    finally:
        gone.cancel()
        await asyncio.gather(gone, return_exceptions=True)


async def _write_answer(writer: asyncio.StreamWriter, answer: Any) -> None:
    if isinstance(answer, WithSockets):
        await _write(writer, {"answer": answer.answer}, answer.sockets)
    else:
        await _write(writer, {"answer": answer})


async def _write(writer: asyncio.StreamWriter, line: dict[str, Any], sockets: Sequence[socket.socket] = ()) -> None:
    data = json.dumps(line, ensure_ascii=False).encode() + b"\n"
    if sockets:  # nothing else waits to be written: answers are read before the next question is
        with socket.socket(fileno=os.dup(writer.get_extra_info("socket").fileno())) as channel:
            send(channel, data, sockets)
    else:
        writer.write(data)
        await asyncio.wait_for(writer.drain(), limits.CONTROL_SECONDS)


class NotRunningError(BadInputError):
    """No process serves a control socket."""


@dataclass(frozen=True, slots=True)
class Words:
    """The errors of one kind of process, for its user.

    Attributes:
        absent: Nothing serves the socket.
        foreign: It is another user's.
        silent: It does not answer; the reason is put behind it.
    """

    absent: str
    foreign: str
    silent: str


class Questions:
    """A connection to a control socket. It blocks.

    Args:
        path: The socket.
        words: What errors say.
        seconds: How long an answer may take.

    Raises:
        NotRunningError: Nothing serves it.
        BadInputError: It is another user's, or does not answer.
    """

    def __init__(self, path: Path, words: Words, seconds: float = limits.CONTROL_SECONDS) -> None:
        if not is_supported():
            raise NotRunningError("this system has no control sockets")
        _must_be_ours(path, words)
        self._words = words
        self._sock = socket.socket(socket.AF_UNIX)
        self._sock.settimeout(seconds)
        try:
            with self._errors(), short_name(path) as name:
                _connect(self._sock, name, seconds)
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
        try:
            yield
        except (FileNotFoundError, ConnectionRefusedError):
            raise NotRunningError(self._words.absent) from None
        except PermissionError:
            raise BadInputError(self._words.foreign) from None
        except (OSError, ValueError) as error:
            raise BadInputError(f"{self._words.silent}: {_reason(error)}") from None


def _must_be_ours(path: Path, words: Words) -> None:
    """Raise BadInputError for anything else of that name, and for a socket that another user has put there.

    A link is not followed. Root asks processes of all users.
    """
    try:
        found = os.lstat(path)
    except (OSError, ValueError):
        return  # there is none: to connect says so
    if not stat.S_ISSOCK(found.st_mode):
        what = "a link" if stat.S_ISLNK(found.st_mode) else "no socket"
        raise BadInputError(f"{path} is {what}, and keeps what runs here from being asked: remove it, start that anew")
    if os.geteuid() and found.st_uid not in (os.geteuid(), 0):
        raise BadInputError(words.foreign)


def _connect(sock: socket.socket, name: str, seconds: float) -> None:
    """Connect; wait while too many others wait to be taken. Raises OSError."""
    until = time.monotonic() + seconds
    while True:
        try:
            sock.connect(name)
            return
        except BlockingIOError:
            if time.monotonic() >= until:
                raise TimeoutError from None
            time.sleep(limits.CONTROL_PAUSE)


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and not isinstance(error, TimeoutError):
        return error.strerror or "no answer"
    return "closed, or not in time"


@contextlib.contextmanager
def short_name(path: Path) -> Iterator[str]:
    """Yield a name of a socket that is short enough: the system takes about 100 bytes, directories may have more."""
    if len(os.fsencode(path)) < limits.SOCKET_PATH or not os.path.isdir("/proc/self/fd"):
        yield str(path)
        return
    directory = os.open(path.parent, os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{directory}/{path.name}"
    finally:
        os.close(directory)


def bind(path: Path) -> socket.socket:
    """Return a socket that listens at `path`, for its owner alone. Raises OSError."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)
    try:
        with short_name(path) as name:
            sock.bind(name)
        sock.listen(limits.CONTROL_CLIENTS)
    except OSError:
        sock.close()
        raise
    finally:
        os.umask(before)
    sock.setblocking(False)
    return sock


def is_dead(path: Path, seconds: float = limits.CONTROL_SECONDS) -> bool:
    """Return whether nothing serves the socket at `path`, which exists. Raises OSError when that cannot be told.

    seconds: how long it may take to be taken by a busy process.
    """
    with socket.socket(socket.AF_UNIX) as sock, short_name(path) as name:
        sock.settimeout(seconds)
        try:
            sock.connect(name)
        except (ConnectionRefusedError, FileNotFoundError):
            return True
        except BlockingIOError:  # so many wait to be taken
            return False
    return False


# ---------------------------------------------------------------- the user at the other end


def is_ours(client: Any) -> bool:
    """Return whether the other end is of our user, or root. Without an answer the socket's permissions decide."""
    ask = _PEER_USER.get(sys.platform)
    if ask is None:
        return True
    try:
        return ask(client) in (os.geteuid(), 0)
    except (OSError, struct.error):
        return False


def _user_on_linux(client: Any) -> int:
    _pid, user, _group = struct.unpack("=i2I", client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    return int(user)


def _user_on_macos(client: Any) -> int:
    """Return the other end's user: `struct xucred` begins with version and user; 0 is SOL_LOCAL, 1 LOCAL_PEERCRED."""
    _version, user = struct.unpack_from("2I", client.getsockopt(0, 1, 76))
    return int(user)


_PEER_USER: Final[dict[str, Callable[[Any], int]]] = {"linux": _user_on_linux, "darwin": _user_on_macos}
