"""Pairing: let in the peer that holds a ticket of ours, once, and follow it.

    tickets = Tickets(me, data, name="home", on_paired=lambda paired: print(paired.nickname))
    ticket = await tickets.make(room, seconds=3600)
    async with RoomClient(me, trust=trust, tickets=tickets) as client: ...

The other end is `RoomClient.pair`, after `find_ticket` for words. docs/protocol/pairing.md has the rules.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

from ssbfast import limits
from ssbfast.client.joined_room import JoinedRoom
from ssbfast.client.words import CANCELLED, LOST, OpenWords, cut, draw, withdraw_nameplate
from ssbfast.errors import BadInputError, RefusedError, SSBError, StoreError
from ssbfast.ids import FeedId
from ssbfast.keys import Keypair
from ssbfast.net.api import Api
from ssbfast.net.peer import Peer
from ssbfast.store.peer_store import Store
from ssbfast.store.peer_tickets import Pairing
from ssbfast.wire.address import parse_address
from ssbfast.wire.address_types import MultiserverAddress
from ssbfast.wire.pairing import METHOD, NOT_NOW, UNUSABLE, USED, Take, Taken, Ticket, room_bytes
from ssbfast.wire.words import Words

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Paired:
    """A peer that has taken a ticket of ours.

    Attributes:
        id: The peer.
        nickname: What we call it; None when it has none.
        portal: The room that it came through.
    """

    id: FeedId
    nickname: str | None
    portal: FeedId | None


def room_of_tickets(text: str) -> MultiserverAddress:
    """Return the one of a room's addresses, joined by `;`, that is in its tickets. Raises BadInputError for none."""
    problem: BadInputError | None = None
    for address in parse_address(text):
        try:
            room_bytes(address)
        except BadInputError as error:
            problem = problem or error
        else:
            return address
    raise problem or BadInputError("a ticket needs a room's address")


def make_ticket(
    store: Store, me: FeedId, room: MultiserverAddress, seconds: float, now: Callable[[], float] = time.time
) -> Ticket:
    """Make a ticket, as `Tickets.make` does, for a process that waits with the same store.

    Args:
        store: The store of the peer.
        me: The peer.
        room: The address of the room where it waits.
        seconds: How long the ticket holds; a minute at least.
        now: The clock, seconds since 1970.

    Raises:
        BadInputError: The room's address cannot be in a ticket, or the time is out of bounds.
        LimitError: Too many tickets are open.
        StoreError: It cannot be written down.
    """
    if not 60.0 <= seconds <= limits.TICKET_SECONDS_MAX:
        raise BadInputError(f"a ticket holds for a minute to {limits.TICKET_SECONDS_MAX / 86_400:g} days")
    ticket = Ticket.new(me, room, now() + seconds)
    store.add_ticket(ticket.key().id, ticket.ends, str(room))
    return ticket


@dataclass(slots=True)
class _Guest:
    """A session of a ticket key that was let in. end: ends it in time. has_failed: our user was told so."""

    ticket: FeedId
    origin: FeedId | None
    end: asyncio.TimerHandle | None = None
    has_failed: bool = False


class Tickets:
    """The tickets of a peer, and the sessions of those that hold one.

    Args:
        me: The peer's identity.
        data: The data directory, which has the store.
        name: What it calls itself.
        services: Returns the names of what it offers to a peer.
        on_paired: Called in the loop with each peer that has taken a ticket.
        on_failed: Called in the loop with the reason why a ticket could not be taken, although it holds: our disk's.
        on_words_ended: Called in the loop when words hold no more although no peer used them: with `GUESSED`,
            `EXPIRED`, `LOST` or `CANCELLED` of `client/words.py`.
        now: The clock, seconds since 1970.

    Raises:
        BadInputError: The store cannot be used.
    """

    def __init__(
        self,
        me: Keypair,
        data: str | os.PathLike[str],
        *,
        name: str | None = None,
        services: Callable[[FeedId], Sequence[str]] = lambda _who: (),
        on_paired: Callable[[Paired], None] = lambda _paired: None,
        on_failed: Callable[[str], None] = lambda _reason: None,
        on_words_ended: Callable[[str], None] = lambda _reason: None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._me = me
        self._name = name
        self._services = services
        self._on_paired = on_paired
        self._on_failed = on_failed
        self._on_words_ended = on_words_ended
        self._now = now
        self._store = Store(data, now=now)
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="tickets")
        self._guests: dict[Peer, _Guest] = {}
        self._spending: set[asyncio.Task[Pairing]] = set()
        self._attempts: Counter[FeedId] = Counter()
        self._words: OpenWords | None = None
        self._making = asyncio.Lock()
        self._api = Api()
        self._api.call(METHOD)(self._take)

    async def make(self, room: MultiserverAddress, seconds: float = limits.TICKET_SECONDS) -> Ticket:
        """Make a ticket.

        Args:
            room: The address of the room where this peer waits.
            seconds: How long it holds; a minute at least.

        Raises:
            BadInputError: The room's address cannot be in a ticket, or the time is out of bounds.
            LimitError: Too many tickets are open.
            StoreError: It cannot be written down.
        """
        return await self._in_thread(make_ticket, self._store, self._me.id, room, seconds, self._now)

    async def make_words(self, room: JoinedRoom, seconds: float = limits.TICKET_SECONDS) -> tuple[Words, Ticket]:
        """Make a ticket, and three words that lead to it while this object is open. Words made before hold no more.

        Args:
            room: The room where this peer waits, joined.
            seconds: How long ticket and words hold; a minute at least.

        Returns:
            The words, and the ticket that they lead to.

        Raises:
            BadInputError: The room's address cannot be in a ticket, or the time is out of bounds.
            LimitError: Too many tickets are open, or the room's nameplates are taken.
            RefusedError: The room knows no tickets in words, or does not want this one.
            MissingExtraError: The extra `words` is not installed.
            StoreError: The ticket cannot be written down.
            SSBError: The session with the room ended, or there was no answer.
        """
        way, session = room_of_tickets(";".join(map(str, room.ways))), room.session
        async with self._making:  # words of one maker are one at a time
            words = await draw(session)
            try:
                ticket = await self.make(way, seconds)
            except BaseException:
                session.background(withdraw_nameplate(session))
                if self._words is not None and self._words.room is room:
                    self._words.end(LOST, withdraw=False)  # the room has given their nameplate away
                raise
            if self._words is not None:
                await self._words.close(withdraw=self._words.room is not room)
            self._words = OpenWords(words, ticket, room, session, self._in_thread, seconds, self._on_words_ended)
            return words, ticket

    @property
    def words(self) -> tuple[Words, Ticket] | None:
        """Return the words that hold, and the ticket that they lead to; None when there are none."""
        return None if self._words is None else self._words.told

    def cancel_words(self) -> bool:
        """Let words hold no more; return whether they did. Their ticket stays as it is."""
        if self._words is None or self._words.told is None:
            return False
        self._words.end(CANCELLED)
        return True

    async def close(self) -> None:
        """End the sessions of those that have not taken their ticket, and close the store. Harmless when closed."""
        if self._words is not None:
            await self._words.close()
        for guest in list(self._guests):
            self._end(guest)
        await asyncio.gather(*self._spending, return_exceptions=True)
        self._worker.shutdown(wait=True)
        self._store.close()

    # ------------------------------------------------------------ for incoming tunnels

    async def admit(self, guest: Peer, key: FeedId, origin: FeedId | None) -> Api | None:
        """Let in a caller that has proven a ticket key; None for other keys, and tickets that have no session left.

        Args:
            guest: The caller's session, which is not open yet. `left` has to be called at its end.
            key: The key that it has proven.
            origin: The caller's id, as the room names it, if it does.

        Returns:
            What the caller is served.
        """
        if self._words is not None and key == self._words.key:
            return self._words.admit(guest)
        try:
            is_ours = await self._in_thread(self._store.holds, key)
        except (StoreError, RuntimeError):  # it cannot be read, or is closed: then nobody is let in by it
            return None
        if not is_ours or len(self._guests) >= limits.PAIRING_SESSIONS:
            return None
        if self._attempts[key] >= limits.PAIRING_ATTEMPTS:
            return None
        self._attempts[key] += 1
        loop = asyncio.get_running_loop()
        self._guests[guest] = _Guest(key, origin, loop.call_later(limits.PAIRING_SECONDS, self._end, guest))
        return self._api

    def left(self, guest: Peer) -> None:
        """Take note that a session is over. Harmless when it was none of ours."""
        found = self._guests.pop(guest, None)
        if found is not None and found.end is not None:
            found.end.cancel()
        if self._words is not None:
            self._words.left(guest)

    def _end(self, guest: Peer) -> None:
        cut(guest)
        self.left(guest)  # one that was gone before it was let in does not tell of its end

    async def _take(self, guest: Peer, *args: Any) -> dict[str, Any]:
        found = self._guests.get(guest)
        take = Take.read(args[0]) if args else None
        if found is None or take is None or not self._is_good(guest, found, take):
            raise RefusedError(UNUSABLE)
        spending = asyncio.get_running_loop().create_task(self._spend(found, take, guest.portal))
        self._spending.add(spending)
        spending.add_done_callback(self._spent)
        try:
            outcome = await asyncio.shield(spending)
        except StoreError:  # its words are for our own user: they name files
            raise RefusedError(NOT_NOW) from None
        if outcome is Pairing.USED:
            raise RefusedError(USED)
        if outcome is Pairing.REFUSED:
            raise RefusedError(UNUSABLE)
        return Taken(self._name, tuple(self._services(take.taker))).as_json()

    async def _spend(self, found: _Guest, take: Take, portal: FeedId | None) -> Pairing:
        """Let a ticket be taken, and tell our user of it: also when its taker has left meanwhile. Raises StoreError."""
        try:
            outcome = await self._in_thread(self._store.pair, found.ticket, take.taker, take.name)
        except StoreError as error:
            if not found.has_failed:
                found.has_failed = True
                self._on_failed(str(error))
            raise
        if outcome is Pairing.DONE:
            nickname: str | None = None
            with contextlib.suppress(StoreError):  # it is ours all the same
                nickname = await self._in_thread(self._store.nickname, take.taker)
            self._on_paired(Paired(take.taker, nickname, portal))
        return outcome

    def _spent(self, spending: asyncio.Task[Pairing]) -> None:
        self._spending.discard(spending)
        if not spending.cancelled():
            spending.exception()  # which its taker may not have waited for

    def _is_good(self, guest: Peer, found: _Guest, take: Take) -> bool:
        is_other = take.taker != self._me.id and found.origin in (None, take.taker)
        return is_other and take.is_signed(guest.link.session.export_key, found.ticket, self._me.id)

    async def _in_thread(self, work: Callable[..., T], *args: Any) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._worker, work, *args)


async def take_ticket(peer: Peer, me: Keypair, ticket: Ticket, name: str | None) -> Taken:
    """Take a ticket, in a session that the ticket key has opened; the session stays open.

    Args:
        peer: The session with the ticket's target.
        me: Our identity.
        ticket: The ticket.
        name: What we call ourselves.

    Raises:
        RefusedError: It cannot be used, or has been used by another peer.
        SSBError: The session ended, or there was no answer.
    """
    take = Take.sign(me, name, peer.link.session.export_key, ticket.key().id, ticket.target)
    try:
        return Taken.read(await peer.call(METHOD, take.as_json(), timeout=limits.CALL_SECONDS))
    except SSBError as error:
        if str(error) in (USED, UNUSABLE):
            raise RefusedError(str(error)) from None
        raise
