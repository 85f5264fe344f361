"""Tickets in words: lead the peer that knows the words to a ticket of ours, and take one by its words.

`Tickets.make_words` and `RoomClient.find_ticket` use this. docs/protocol/pairing.md, "In words", has the rules.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Protocol

from ssbfast import limits
from ssbfast.client.joined_room import JoinedRoom
from ssbfast.errors import (
    BadInputError,
    FeedIdError,
    LimitError,
    RefusedError,
    RemoteError,
    SessionEndedError,
    SSBError,
)
from ssbfast.ids import FeedId
from ssbfast.net.api import Api
from ssbfast.net.peer import Peer
from ssbfast.wire.muxrpc import NOT_ALLOWED
from ssbfast.wire.pairing import Ticket
from ssbfast.wire.words import (
    ANNOUNCE,
    CONFIRM,
    EXCHANGE,
    FIND,
    TAKEN,
    WRONG,
    Exchange,
    Words,
    as_member,
    confirmation_in,
    message_in,
)

GUESSED = "guessed"
EXPIRED = "expired"
LOST = "lost"
CANCELLED = "cancelled"

_NO_WORDS = "the room knows no tickets in words: it is no ssbfast room, or an older one; use a ticket"


class InThread(Protocol):
    """Runs work in a thread."""

    def __call__(self, work: Callable[..., Any], *args: Any) -> Awaitable[Any]:
        """Return what the work returns, or raise what it raises."""


@dataclass(slots=True)
class _Guess:
    """A session of the words' key. exchange: the one it has begun, until its confirmation has come."""

    end: asyncio.TimerHandle
    has_asked: bool = False
    exchange: Exchange | None = None


class OpenWords:
    """The words of one ticket, while they hold, and the sessions of those that try them.

    words: the words. ticket: what they lead to. room: where the nameplate is announced, so far in `session`.
    on_ended: called with GUESSED, EXPIRED, LOST or CANCELLED when they hold no more although no peer was led to the
    ticket.
    """

    def __init__(
        self,
        words: Words,
        ticket: Ticket,
        room: JoinedRoom,
        session: Peer,
        in_thread: InThread,
        seconds: float,
        on_ended: Callable[[str], None],
    ) -> None:
        self.key = words.key(room.id, ticket.target).id
        self._words = words
        self._ticket = ticket
        self._room = room
        self._in_thread = in_thread
        self._on_ended = on_ended
        self._guesses: dict[Peer, _Guess] = {}
        self._sessions = 0
        self._answered = 0
        self._wrong = 0
        self._holds = True
        self._api = Api()
        self._api.call(EXCHANGE)(self._exchange)
        self._api.call(CONFIRM)(self._confirm)
        loop = asyncio.get_running_loop()
        self._expiry = loop.call_later(seconds, self.end, EXPIRED)
        self._keeper = loop.create_task(self._stay_announced(session))

    @property
    def room(self) -> JoinedRoom:
        """Return the room where the nameplate is announced."""
        return self._room

    @property
    def told(self) -> tuple[Words, Ticket] | None:
        """Return the words and their ticket while they hold."""
        return (self._words, self._ticket) if self._holds else None

    def end(self, reason: str | None = None, *, withdraw: bool = True) -> None:
        """Let the words hold no more. Harmless when they do not.

        reason: why, if the user is to hear of it. withdraw: take the nameplate back, which the room keeps otherwise.
        """
        if not self._holds:
            return
        self._holds = False
        self._expiry.cancel()
        self._keeper.cancel()
        if withdraw and self._room.is_open:
            self._room.session.background(withdraw_nameplate(self._room.session))
        if reason is not None:
            self._on_ended(reason)

    async def close(self, *, withdraw: bool = True) -> None:
        """End the words, and the sessions of those that try them. withdraw: as of `end`."""
        self.end(withdraw=withdraw)
        for guest, guess in self._guesses.items():
            guess.end.cancel()
            cut(guest)
        self._guesses = {}
        await asyncio.wait((self._keeper,))

    # ------------------------------------------------------------ the room

    async def _stay_announced(self, session: Peer) -> None:
        """Announce the nameplate in each session with the room; it is announced in the first one."""
        try:
            while True:
                await session.wait_closed()
                await self._room.wait_joined()
                session = self._room.session
                try:
                    await announce(session, self._words.nameplate)
                except SSBError:
                    if session.is_open:
                        raise
        except SSBError:
            self.end(LOST)

    # ------------------------------------------------------------ for incoming tunnels

    def admit(self, guest: Peer) -> Api | None:
        """Let in a session of the words' key; None when there is no place for it. `left` has to be called at its end.

        Returns:
            What the session is served.
        """
        is_full = len(self._guesses) >= limits.PAIRING_SESSIONS or self._sessions >= limits.PAIRING_ATTEMPTS
        if not self._holds or is_full or guest.portal != self._room.id:
            return None
        self._sessions += 1
        timer = asyncio.get_running_loop().call_later(limits.PAIRING_SECONDS, cut, guest)
        self._guesses[guest] = _Guess(timer)
        return self._api

    def left(self, guest: Peer) -> None:
        """Take note that a session is over. Harmless when it was none of these."""
        guess = self._guesses.pop(guest, None)
        if guess is not None:
            guess.end.cancel()
            self._fail(guess)
            if self._sessions >= limits.PAIRING_ATTEMPTS and not self._guesses:
                self.end(GUESSED)  # no session is left for these words

    def _fail(self, guess: _Guess) -> None:
        """Count a guess as wrong, unless it has been counted."""
        if guess.exchange is None:
            return
        guess.exchange = None
        self._wrong += 1
        if self._wrong >= limits.WORDS_GUESSES:
            self.end(GUESSED)

    async def _exchange(self, guest: Peer, *args: Any) -> dict[str, Any]:
        guess, message = self._guesses.get(guest), message_in(args[0]) if args else None
        is_over = not self._holds or self._answered >= limits.WORDS_GUESSES
        if guess is None or guess.has_asked or message is None or is_over:
            raise RefusedError(WRONG)
        guess.has_asked = True
        self._answered += 1
        guess.exchange = await self._begin(guest.link.session.export_key, message)
        return as_member("message", guess.exchange.message)

    async def _begin(self, export_key: bytes, message: bytes) -> Exchange:
        def run() -> Exchange:
            exchange = Exchange(self._words, export_key, is_taker=False)
            exchange.finish(message)
            return exchange

        try:
            found: Exchange = await self._in_thread(run)
        except BaseException:
            self._answered -= 1  # it left, or sent no point: it has learned nothing
            raise
        return found

    async def _confirm(self, guest: Peer, *args: Any) -> dict[str, Any]:
        guess, confirmation = self._guesses.get(guest), confirmation_in(args[0]) if args else None
        exchange = None if guess is None else guess.exchange
        if guess is None or exchange is None or not self._holds:
            raise RefusedError(WRONG)
        if confirmation is None or not exchange.is_confirmed(confirmation):
            self._fail(guess)
            raise RefusedError(WRONG)
        guess.exchange = None
        self.end()
        return {**as_member("confirm", exchange.confirmation()), "ticket": str(self._ticket)}


async def withdraw_nameplate(session: Peer) -> None:
    """Tell a room that we have no nameplate any more, as far as it listens."""
    with contextlib.suppress(SSBError):
        await session.call(ANNOUNCE, None, timeout=limits.CALL_SECONDS)


def cut(guest: Peer) -> None:
    """Cut a guest's session. One that has not opened yet is served nothing any more."""
    with contextlib.suppress(SessionEndedError):
        guest.link.abort()


async def announce(session: Peer, nameplate: str) -> None:
    """Announce a nameplate in a session with a room. Raises RemoteError when the room does not want it."""
    await session.call(ANNOUNCE, nameplate, timeout=limits.CALL_SECONDS)


async def draw(session: Peer) -> Words:
    """Draw words whose nameplate is free in a room, and announce it.

    Args:
        session: Our session with the room.

    Raises:
        LimitError: Each nameplate that was drawn is taken.
        RefusedError: The room knows no nameplates.
        RemoteError: It does not want to keep one.
        MissingExtraError: The extra `words` is not installed.
    """
    for _ in range(limits.WORDS_DRAWS):
        words = Words.draw()
        try:
            await announce(session, words.nameplate)
        except RemoteError as error:
            if error.message == TAKEN:
                continue
            raise _plainer(error) from None
        return words
    raise LimitError("the nameplates of this room are taken: try again later, or use a ticket")


async def find_target(session: Peer, words: Words) -> FeedId:
    """Return the id of the peer that has announced the nameplate of some words, as the room says.

    Args:
        session: Our session with the room.
        words: The words.

    Raises:
        RefusedError: No peer has, the room does not tell, or it knows no nameplates.
        SSBError: The session ended, or there was no answer.
    """
    try:
        found = await session.call(FIND, words.nameplate, timeout=limits.CALL_SECONDS)
        return FeedId.parse(found if isinstance(found, str) else "")
    except RemoteError as error:
        raise _plainer(error) from None
    except FeedIdError:
        raise RefusedError("the room gives no id for these words") from None


def _plainer(error: RemoteError) -> SSBError:
    return RefusedError(_NO_WORDS if error.message.endswith(NOT_ALLOWED) else error.message)


async def ask_for_ticket(guest: Peer, words: Words, room: FeedId, target: FeedId) -> Ticket:
    """Prove that we know the words, in a session that their key has opened, and return the ticket that they lead to.

    Args:
        guest: The session with the target; it stays open.
        words: The words.
        room: The room.
        target: The peer at the other end.

    Raises:
        RefusedError: The words are wrong or hold no more, or the other end does not know them.
        SSBError: The session ended, or there was no answer.
    """
    in_thread = asyncio.get_running_loop().run_in_executor
    exchange = await in_thread(None, lambda: Exchange(words, guest.link.session.export_key, is_taker=True))
    answer = message_in(await _ask(guest, EXCHANGE, as_member("message", exchange.message)))
    if answer is None:
        raise RefusedError(WRONG)
    await in_thread(None, exchange.finish, answer)
    told = await _ask(guest, CONFIRM, as_member("confirm", exchange.confirmation()))
    confirmation = confirmation_in(told)
    if confirmation is None or not exchange.is_confirmed(confirmation):
        raise RefusedError("the other end does not know the words: the room may have named another peer")
    text = told.get("ticket")
    try:
        ticket = Ticket.parse(text if isinstance(text, str) else "")
    except BadInputError:
        raise RefusedError("the words lead to no ticket") from None
    if ticket.target != target or ticket.room.shs != room:
        raise RefusedError("the words lead to the ticket of another peer, or of another room")
    return ticket


async def _ask(guest: Peer, name: str, argument: dict[str, Any]) -> Any:
    try:
        return await guest.call(name, argument, timeout=limits.CALL_SECONDS)
    except RemoteError as error:
        if error.message == WRONG:
            raise RefusedError(WRONG) from None
        raise
