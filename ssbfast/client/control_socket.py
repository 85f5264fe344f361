"""The control socket of a running peer, in its data directory: `ssbfast status` and `ssbfast path` ask there.

The process that holds the identity's lock (`client/identity_lock.py`) has `listen.socket`, each other one that runs
beside it a name of its own, with its process id. `net/control_socket.py` has the protocol. What can be asked::

    {"ask": "who"}      →   {"command": "listen", "pid": 4711, "since": "2026-11-30T08:15:00Z"}
    {"ask": "status"}   →   the same, and what `Status.as_json` returns
    {"ask": "path", "peer": "@…", "path": "tunnel" | "direct" | "auto"}
                        →   one object for each session with that peer: session, path, reached, reason
    {"ask": "services", "peer": "@…"}
                        →   the names of the services that this peer offers to us, asked in a session that is there
    {"ask": "words", "room": "@…" or null, "seconds_of_life": 3600}
                        →   words: a ticket in words, address: of its room, expires
    {"ask": "open_words"}
                        →   the words that hold, and ticket: the public key of their ticket; or null
    {"ask": "cancel_words"}
                        →   whether there were words, which hold no more
    {"ask": "lend", "target": "home.ssb"}
                        →   {} with one end of a pair of sockets, which is a connection to that service by a session of
                            the process; when it is over, a second answer: lines for people, error: a text or null
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import stat
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timezone
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, TypeVar

from ssbfast import limits
from ssbfast.client.control_names import LEND, PREFIX, SOCKET, SUFFIX
from ssbfast.direct.options import PreferredPath
from ssbfast.errors import BadInputError, FeedIdError, SSBError
from ssbfast.ids import FeedId
from ssbfast.net import control_socket
from ssbfast.net.control_socket import ControlServer, Handler, Questions, Words, is_supported

if TYPE_CHECKING:
    from ssbfast.client.pairing import Tickets
    from ssbfast.client.room_client import RoomClient

_NOWHERE: Final = "the running process is in no room now: ssbfast status tells why"

_OTHERS: Final = re.compile(rf"{PREFIX}([1-9][0-9]{{0,9}})-[0-9a-f]{{8}}{re.escape(SUFFIX)}")

_Self = TypeVar("_Self", bound="ControlSocket")


class ControlSocket:
    """The control socket of this process: an async context. Where there can be none, nothing answers.

    Args:
        path: Its place.
        command: Name of our command.

    Attributes:
        about: What "who" is answered.
    """

    def __init__(self, path: Path, command: str) -> None:
        self.about: Mapping[str, Any] = {"command": command, "pid": os.getpid(), "since": in_seconds()}
        self._path = path
        self._handlers: dict[str, Handler] = {"who": lambda _request: self.about}
        self._server = ControlServer(self._handlers, "this process")

    @classmethod
    def beside(cls: type[_Self], data: Path, command: str) -> _Self:
        """Return one for a process that does not hold the lock of `data`."""
        return cls(data / f"{PREFIX}{os.getpid()}-{secrets.token_hex(4)}{SUFFIX}", command)

    async def __aenter__(self: _Self) -> _Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def start(self) -> None:
        """Answer, if this system and directory allow it."""
        if not is_supported():
            return
        with contextlib.suppress(OSError):  # a file system without sockets, or a name that is taken: without it then
            if self._path.name == SOCKET:
                _remove(self._path)  # its process is gone: we hold the lock
            elif len(_others(self._path.parent)) >= limits.PEER_SOCKETS:
                return
            await self._server.start(control_socket.bind(self._path))

    async def close(self) -> None:
        """Answer no more."""
        if self._server.stop_listening():
            _remove(self._path)
        await self._server.close()

    def serve(
        self,
        client: RoomClient,
        offered: Callable[[], Iterable[Mapping[str, Any]]] = tuple,
        tickets: Tickets | None = None,
        lend: Handler | None = None,
    ) -> None:
        """Answer for a client from now on: what it does, and which path its sessions take.

        Args:
            client: The client of this process.
            offered: Returns the services that it offers, each with `name` and `kind`.
            tickets: Makes tickets in words.
            lend: Lends its sessions; None: it does not.
        """

        async def status(_request: dict[str, Any]) -> dict[str, Any]:
            return {**self.about, **(await client.status()).as_json(), "offered": [dict(one) for one in offered()]}

        async def path(request: dict[str, Any]) -> list[dict[str, Any]]:
            peer = _peer_of(request)
            try:
                preferred = PreferredPath(request.get("path"))
            except ValueError:
                raise BadInputError("not a path") from None
            return [outcome.as_json() for outcome in await client.choose_path(peer, preferred)]

        async def services(request: dict[str, Any]) -> list[str]:
            from ssbfast.net.forward.service import Offered
            from ssbfast.net.forward.tcp import SERVICES

            session = client.session_with(_peer_of(request))
            if session is None:
                raise BadInputError("there is no session with that peer")
            answer = await session.call(SERVICES, timeout=limits.LENT_ANSWER_SECONDS)
            return [one.name for one in Offered.read(answer)]

        self._handlers.update(status=status, path=path, services=services)
        if lend is not None:
            self._handlers[LEND] = lend
        if tickets is not None:
            self._handlers["words"] = lambda request: _make_words(client, tickets, request)
            self._handlers["open_words"] = lambda _request: _open_words(tickets)
            self._handlers["cancel_words"] = lambda _request: tickets.cancel_words()


def _peer_of(request: dict[str, Any]) -> FeedId:
    """Return the peer of a question. Raises BadInputError."""
    try:
        return FeedId.parse(str(request.get("peer")))
    except FeedIdError:
        raise BadInputError("not a peer's id") from None


async def _make_words(client: RoomClient, tickets: Tickets, request: dict[str, Any]) -> dict[str, Any]:
    wanted, seconds = request.get("room"), request.get("seconds_of_life")
    rooms = [room for room in client.rooms if wanted is None or str(room.id) == wanted]
    if not rooms:
        raise BadInputError("the running process is not in that room now" if wanted else _NOWHERE)
    if not isinstance(seconds, int | float):
        raise BadInputError("not a number of seconds")
    try:
        words, ticket = await tickets.make_words(rooms[0], seconds)
    except SSBError as error:
        raise BadInputError(str(error)) from error
    return {"words": str(words), "address": str(ticket.room), "expires": in_seconds(ticket.ends)}


def _open_words(tickets: Tickets) -> dict[str, str] | None:
    if tickets.words is None:
        return None
    words, ticket = tickets.words
    return {"words": str(words), "ticket": str(ticket.key().id)}


def questions(path: Path, seconds: float = limits.CONTROL_SECONDS) -> Questions:
    """Return a connection to a peer's control socket. Raises BadInputError as `Questions` does."""
    words = Words(
        absent="the process has ended",
        foreign="the process is another user's: ask as that user, or as root",
        silent="the process does not answer",
    )
    return Questions(path, words, seconds)


def running(data: Path) -> list[Path]:
    """Return the control sockets in a data directory, that of the lock's holder first. Dead ones are removed.

    Those of processes that have just ended may be among them.
    """
    if not is_supported():
        return []
    try:
        others = _others(data)
    except OSError:  # no such directory
        return []
    first = data / SOCKET
    return [first, *others] if os.path.lexists(first) else others


def _others(data: Path) -> list[Path]:
    """Return the sockets beside that of the lock's holder, `PEER_SOCKETS` at most, without dead ones.

    A socket is removed when its process is gone and nothing serves it: either alone may be said of a living one, which
    has just bound it or runs in another container.
    """
    found: list[Path] = []
    for path in sorted(data.iterdir()):
        match = _OTHERS.fullmatch(path.name)
        if match is None or len(found) >= limits.PEER_SOCKETS:
            continue
        if _is_gone(int(match[1])) and control_socket.is_dead(path, limits.WHO_SECONDS):
            _remove(path)
        else:
            found.append(path)
    return found


def _is_gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):  # another user's, or no process id at all
        return False
    return False


def _remove(path: Path) -> None:
    """Remove a socket, and nothing else of that name."""
    with contextlib.suppress(OSError):
        if stat.S_ISSOCK(os.lstat(path).st_mode):
            path.unlink()


def in_seconds(moment: float | None = None) -> str:
    """Return a time as RFC 3339 has it, in UTC and seconds. moment: seconds since 1970; None: now."""
    now = datetime.now(timezone.utc) if moment is None else datetime.fromtimestamp(moment, timezone.utc)
    return now.strftime("%Y-%m-%dT%H:%M:%SZ")
