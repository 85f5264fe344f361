"""Sessions of this process for `connect --stdio NICK` beside it, which then needs no session of its own.

The command (`cli/borrowing.py`) asks the control socket, and gets one end of a pair of sockets: a connection to the
service. Where none is lent it goes its own way, so everything unusual is refused here, with whatever words.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ssbfast import limits
from ssbfast.cli.nicknames import Nicknames
from ssbfast.cli.options import data_flag
from ssbfast.cli.output import clean_lines, clean_value
from ssbfast.cli.path_options import Paths
from ssbfast.cli.peer_options import RoomAddress, TrustOptions, cancelled
from ssbfast.cli.peer_output import PeerWords, forward_problem
from ssbfast.cli.resolve_target import split_service
from ssbfast.cli.stdio import PairListener
from ssbfast.errors import BadInputError, DeadlineError, LimitError, RemoteError, SessionEndedError, SSBError
from ssbfast.ids import MAIN_NETWORK, FeedId, NetworkId
from ssbfast.net.control_socket import Handler, WithSockets
from ssbfast.net.forward.tcp import SERVICES

if TYPE_CHECKING:
    from ssbfast.client.room_client import RoomClient
    from ssbfast.net.forward.failures import Complaint
    from ssbfast.net.peer import Peer
    from ssbfast.store.peer_store import Contact

_LINES: Final = 16
"""Lines that are kept for a command."""


def lending(
    stack: contextlib.AsyncExitStack,
    client: RoomClient,
    data: Path,
    network: NetworkId,
    trust: TrustOptions,
    paths: Paths,
    *,
    anyway: bool = False,
) -> Handler | None:
    """Return what lends the sessions of a client; None where a plain `connect` would not have such sessions.

    stack: ends it, before the client. The others are options of this process.
    """
    if network != MAIN_NETWORK or trust or paths.only_direct or anyway:
        return None
    lender = Lender(client, stack.enter_context(Nicknames(data)), data_flag(data))
    stack.push_async_callback(lender.close)
    return lender.lend


class Lender:
    """A lender of the sessions that a client has with contacts, and of those that it opens for this and keeps.

    client: its sessions are those of peers that we follow. names: of our contacts. flag: see `PeerWords`.
    """

    def __init__(self, client: RoomClient, names: Nicknames, flag: str = "") -> None:
        self._client = client
        self._names = names
        self._words = PeerWords(flag, names)
        self._friends: dict[FeedId, _Friend] = {}  # the one that was asked for longest ago first
        self._listeners: set[PairListener] = set()
        self._lent = 0
        self._is_closed = False

    async def lend(self, request: dict[str, Any]) -> AsyncGenerator[Any, None]:
        """Answer with a connection to a service, and with what became of it once it is over. Raises SSBError."""
        contact, service = self._find(request.get("target"))
        if self._is_closed or self._lent >= limits.LENT_STREAMS:
            raise LimitError("no more connections are lent")
        friend = self._friend(contact)
        self._lent += 1
        friend.users += 1
        friend.rest()
        try:
            peer = await _in_time(self._session(friend, contact), limits.LENDING_SECONDS)
            lines: list[str] = []
            listener = PairListener(service=service, told=lambda complaint: self._note(lines, complaint))
            self._listeners.add(listener)
            try:
                with listener.outer:
                    listener.peer = peer
                    await listener.start()
                    yield WithSockets({}, [listener.outer])
                yield {"lines": lines, "error": await _outcome(listener)}
            finally:
                self._listeners.discard(listener)
                await listener.close()
        finally:
            self._lent -= 1
            friend.users -= 1
            friend.rest(self._forget)

    async def close(self) -> None:
        """End all connections that are lent. The sessions are the client's to close."""
        self._is_closed = True
        for friend in self._friends.values():
            friend.rest()
        await cancelled([friend.opening for friend in self._friends.values() if friend.opening is not None])
        await asyncio.gather(*(listener.close() for listener in list(self._listeners)))

    # ------------------------------------------------------------ inside

    def _find(self, target: object) -> tuple[Contact, str | None]:
        """Return the contact that is meant, and which of its services. Raises BadInputError."""
        nickname, service = split_service(target if isinstance(target, str) else "")
        contact = self._names.contacts().get(nickname)
        if contact is None or contact.room is None or contact.id == self._client.me.id:
            raise BadInputError("no contact in a room is called so")
        return contact, service

    def _friend(self, contact: Contact) -> _Friend:
        friend = self._friends.pop(contact.id, None)
        if friend is None:
            if len(self._friends) >= limits.LENT_FRIENDS:
                idle = next((one for one in self._friends.values() if not one.users), None)
                if idle is None:
                    raise LimitError("no more sessions are lent")
                self._forget(idle)
            friend = _Friend(contact.id)
        self._friends[contact.id] = friend
        return friend

    def _forget(self, friend: _Friend) -> None:
        """End the session that was opened for a friend, if any."""
        if self._friends.get(friend.who) is friend:
            del self._friends[friend.who]
        friend.rest()
        if friend.opening is not None:
            friend.opening.cancel()
        if friend.opened is not None:
            friend.opened.link.close()

    async def _session(self, friend: _Friend, contact: Contact) -> Peer:
        """Return a session that lives: one that is there, or a new one. Raises SSBError."""
        peer = self._client.session_with(friend.who)
        if peer is not None and await _answers(peer):
            return peer
        if friend.opening is None:
            friend.opening = asyncio.ensure_future(self._open(friend, contact))
            friend.opening.add_done_callback(friend.on_opened)
        return await asyncio.shield(friend.opening)

    async def _open(self, friend: _Friend, contact: Contact) -> Peer:
        if friend.opened is not None and friend.opened.is_open:
            if friend.users > 1:
                raise DeadlineError("the session is busy, or its peer is away")
            friend.opened.link.close()
        room = RoomAddress.parse(str(contact.room))
        return await self._client.reach(friend.who, room.portal, room.text)

    def _note(self, lines: list[str], complaint: Complaint) -> None:
        if len(lines) < _LINES:
            words = clean_lines(self._words(clean_value(forward_problem(complaint))))
            lines.append(f"{time.strftime('%H:%M:%S')}  {words}")


class _Friend:
    """A friend. users: connections to it. opened: the session that was opened for them. opening: what opens one."""

    def __init__(self, who: FeedId) -> None:
        self.who = who
        self.users = 0
        self.opened: Peer | None = None
        self.opening: asyncio.Future[Peer] | None = None
        self._timer: asyncio.TimerHandle | None = None

    def on_opened(self, opening: asyncio.Future[Peer]) -> None:
        """Keep what has been opened."""
        self.opening = None
        if not opening.cancelled() and opening.exception() is None:
            self.opened = opening.result()

    def rest(self, over: Any = None) -> None:
        """Wait for the next command, for `LENT_KEEP_SECONDS`. over: called then, with this; None: not any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if over is not None and not self.users:
            self._timer = asyncio.get_running_loop().call_later(limits.LENT_KEEP_SECONDS, over, self)


async def _answers(peer: Peer) -> bool:
    """Return whether a peer is awake and reached: it may have gone to sleep, or we to another network."""
    try:
        await peer.call(SERVICES, timeout=limits.LENT_ANSWER_SECONDS)
    except RemoteError:  # an older one that has no names
        return True
    except SSBError:
        return False
    return True


async def _in_time(work: Any, seconds: float) -> Peer:
    try:
        peer: Peer = await asyncio.wait_for(work, seconds)
    except asyncio.TimeoutError:
        raise DeadlineError("no session in time") from None
    return peer


async def _outcome(listener: PairListener) -> str | None:
    """Return why a connection ended before its time; None when it did not."""
    try:
        await listener.wait_ended()
    except SessionEndedError as error:
        return str(error)
    return None
