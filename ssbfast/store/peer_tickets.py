"""The tickets that a peer has made: by their public keys, with the peer that each has let in."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from ssbfast import limits
from ssbfast.errors import LimitError
from ssbfast.ids import FeedId
from ssbfast.store.database import StoreFile, decoding

_DAY = 86_400.0
_HOLDS = "expires > ? AND made <= ?"
"""A ticket holds from its making on: a clock that is set back opens no expired one."""


class Pairing(enum.Enum):
    """What became of an attempt to take a ticket."""

    DONE = "done"
    AGAIN = "again"
    """The same peer has taken it before."""

    USED = "used"
    REFUSED = "refused"
    """It is not ours, or expired, or its taker is blocked, or followed no more."""


@dataclass(frozen=True, slots=True)
class TicketRecord:
    """A ticket as the store knows it.

    Attributes:
        key: The public ticket key.
        made: When, seconds since 1970.
        expires: When it ends to hold.
        room: The address of its room.
        taker: The peer that it has let in, or None.
        taken: When that was.
    """

    key: FeedId
    made: float
    expires: float
    room: str
    taker: FeedId | None
    taken: float | None


class TicketTable(StoreFile):
    """The table of tickets."""

    def add_ticket(self, key: FeedId, expires: float, room: str) -> None:
        """Note a new ticket. Old ones are forgotten by the way.

        key: the public ticket key. expires: seconds since 1970. room: the address of its room. Raises LimitError when
        `TICKETS` are open.
        """
        now = self._now()
        with self._writing():
            self._run("DELETE FROM tickets WHERE expires < ?", now - _DAY)
            if self._one("SELECT count(*) FROM tickets WHERE taker IS NULL AND expires > ?", now) >= limits.TICKETS:
                raise LimitError(f"{limits.TICKETS} tickets are open already; end some: ssbfast ticket --cancel")
            self._run("INSERT INTO tickets (key, made, expires, room) VALUES (?, ?, ?, ?)", key.key, now, expires, room)

    def tickets(self) -> list[TicketRecord]:
        """Return all tickets of which we know, the newest first."""
        with self._using(), decoding():
            rows = self._all("SELECT key, made, expires, room, taker, taken FROM tickets ORDER BY made DESC, key")
            return [
                TicketRecord(FeedId(key), float(made), float(ends), room, taker and FeedId(taker), taken)
                for key, made, ends, room, taker, taken in rows
            ]

    def holds(self, ticket: FeedId) -> bool:
        """Return whether a ticket is ours and not expired, spent or not."""
        with self._using():
            return bool(self._all(f"SELECT 1 FROM tickets WHERE key = ? AND {_HOLDS}", ticket.key, *self._times()))

    def _times(self) -> tuple[float, float]:
        now = self._now()
        return now, now + limits.CLOCK_SLACK

    def cancel_tickets(self) -> int:
        """Forget all tickets that no peer has taken; return how many."""
        with self._writing():
            return self._run("DELETE FROM tickets WHERE taker IS NULL AND expires > ?", self._now()).rowcount

    def _spend(self, ticket: FeedId, taker: FeedId) -> Pairing:
        """Let a ticket be taken, within a transaction."""
        found = self._all(f"SELECT taker FROM tickets WHERE key = ? AND {_HOLDS}", ticket.key, *self._times())
        if not found:
            return Pairing.REFUSED
        if found[0][0] is not None:
            return Pairing.AGAIN if found[0][0] == taker.key else Pairing.USED
        self._run("UPDATE tickets SET taker = ?, taken = ? WHERE key = ?", taker.key, self._now(), ticket.key)
        return Pairing.DONE
