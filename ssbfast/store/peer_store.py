"""A peer's store: the peers that it knows, its tickets, and the connections that it refused, in one SQLite file.

Several processes may use one store at a time: `ssbfast listen` reads what `ssbfast block` writes. A `Store` is one
connection to it. Its methods may be called from any thread; reads take microseconds and never wait for a writer, but a
write may wait for another process, up to `STORE_BUSY_SECONDS`: programs with an event loop write from a thread
(`DenialLog` does).
"""

from __future__ import annotations

import contextlib
import itertools
import os
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from ssbfast import limits
from ssbfast.errors import BadInputError, StoreError
from ssbfast.ids import FeedId
from ssbfast.room.denials import Batch, Denial, RandBelow, RoomTally, Row, plan
from ssbfast.room.tunnel_auth import Reason, Relation
from ssbfast.store import database, peer_schema
from ssbfast.store.database import Place, decoding
from ssbfast.store.peer_tickets import Pairing, TicketTable
from ssbfast.wire.pairing import is_name

FILE: Final = "store.sqlite"
"""The store's name in a data directory."""

_DENIAL: Final = "room, origin, reason, time, known, proven, number, alias, verified_at"


@dataclass(frozen=True, slots=True)
class Contact:
    """A peer that we know.

    Attributes:
        id: Its id.
        relation: What we have said of it.
        changed: When we said so last, seconds since 1970.
        nickname: What we call it, or None.
        room: The address of the room where it is met, or None.
    """

    id: FeedId
    relation: Relation
    changed: float
    nickname: str | None = None
    room: str | None = None


@dataclass(frozen=True, slots=True)
class DenialCount:
    """The refusals of one room in figures.

    refused: all. kept: those that can be looked at. faults: those in which the room named a wrong origin.
    """

    refused: int
    kept: int
    faults: int

    @property
    def rest(self) -> int:
        """Return how many refusals are only counted."""
        return self.refused - self.kept


class Store(TicketTable):
    """A connection to the store in `data`, which is made if it is missing (`StoreFile`).

    Attributes:
        exchanged: How often another file has taken the place of the one that was open.
    """

    def __init__(
        self,
        data: str | os.PathLike[str],
        *,
        busy: float = limits.STORE_BUSY_SECONDS,
        now: Callable[[], float] = time.time,
        reading: bool = False,
    ) -> None:
        path = Path(data).expanduser() / FILE
        super().__init__(path, peer_schema.schema(), "store", busy=busy, now=now, reading=reading)
        self._opened = 1
        self.exchanged = 0

    # ------------------------------------------------------------ contacts

    def follow(self, who: FeedId, nickname: str | None = None) -> bool:
        """Follow a peer; return whether that is news. A block, if there is one, stays, and is stronger.

        nickname: what to call it from now on; None: as before. Raises BadInputError when another peer has the nickname.
        """
        with self._writing():
            changed = self._change(who, lambda relation: replace(relation, follows=True))
            return (nickname is not None and self.rename(who, nickname)) or changed

    def unfollow(self, who: FeedId) -> bool:
        return self._change(who, lambda relation: replace(relation, follows=False))

    def block(self, who: FeedId) -> bool:
        """Block a peer; return whether that is news. A follow is not forgotten: it counts again after `unblock`."""
        return self._change(who, lambda relation: replace(relation, blocks=True))

    def unblock(self, who: FeedId) -> bool:
        return self._change(who, lambda relation: replace(relation, blocks=False))

    def relation(self, who: FeedId) -> Relation:
        """Return our relation to `who`."""
        return self.relations((who,))[who]

    def relations(self, who: Iterable[FeedId]) -> dict[FeedId, Relation]:
        """Return our relations to several peers at one moment."""
        found: dict[FeedId, Relation] = {}
        with self._transaction():
            for feed in who:
                rows = self._all("SELECT follows, blocks FROM contacts WHERE feed = ?", feed.key)
                found[feed] = Relation(bool(rows[0][0]), bool(rows[0][1])) if rows else Relation()
        return found

    def contacts(self) -> list[Contact]:
        """Return all peers that we follow or block, ordered by id."""
        with self._using():
            rows = self._all("SELECT feed, follows, blocks, changed, nickname, room FROM contacts ORDER BY feed")
            with decoding():
                return [
                    Contact(FeedId(feed), Relation(bool(follows), bool(blocks)), float(changed), nickname, room)
                    for feed, follows, blocks, changed, nickname, room in rows
                ]

    def contact(self, nickname: str) -> Contact | None:
        """Return the peer of that nickname; None when there is none."""
        return next((one for one in self.contacts() if one.nickname == nickname), None)

    def nickname(self, who: FeedId) -> str | None:
        """Return what we call a peer; None when it has no nickname."""
        with self._using():
            found = self._one("SELECT nickname FROM contacts WHERE feed = ?", who.key)
        return None if found is None else str(found)

    def rename(self, who: FeedId, nickname: str | None) -> bool:
        """Call a peer so from now on; return whether that is news.

        nickname: None takes it away. Raises BadInputError when another peer has the nickname, or it is none.
        """
        if nickname is not None and not is_name(nickname):
            raise BadInputError(f"a nickname has 1 to 32 of a-z, 0-9 and -, no - at an end: {nickname!r} has not")
        with self._writing():
            if self.nickname(who) == nickname:
                return False
            if nickname is not None and self.contact(nickname) is not None:
                raise BadInputError(f"another peer is called {nickname} already")
            self._run(
                "INSERT INTO contacts (feed, follows, blocks, changed, nickname) VALUES (?, 0, 0, ?, ?)"
                " ON CONFLICT (feed) DO UPDATE SET nickname = excluded.nickname",
                who.key,
                self._now(),
                nickname,
            )
            self._forget_unknown(who)
            return True

    def forget(self, who: FeedId) -> bool:
        """Forget a peer's nickname and room, and that we follow it; a block stays. Return whether that is news."""
        with self._writing():
            changed = self.unfollow(who)
            changed = self.rename(who, None) or changed
            self._run("UPDATE contacts SET room = NULL WHERE feed = ?", who.key)
            return changed

    def free_nickname(self, wanted: str) -> str:
        """Return a nickname that no peer has: what is wanted, or that with a number."""
        with self._using():
            taken = {name for (name,) in self._all("SELECT nickname FROM contacts WHERE nickname IS NOT NULL")}
        numbered = (f"{wanted[: 31 - len(str(number))].rstrip('-')}-{number}" for number in itertools.count(2))
        return next(name for name in itertools.chain((wanted,), numbered) if name not in taken)

    def stamp(self) -> tuple[int, int, int]:
        """Return numbers that differ as soon as anything was changed: cheap to ask for again and again."""
        with self._using():
            return self._opened, int(self._all("PRAGMA data_version")[0][0]), self._connection.total_changes

    def _change(self, who: FeedId, change: Callable[[Relation], Relation]) -> bool:
        with self._writing():
            before = self.relation(who)
            after = change(before)
            if after == before:
                return False
            self._run(
                "INSERT INTO contacts (feed, follows, blocks, changed) VALUES (?, ?, ?, ?) ON CONFLICT (feed)"
                " DO UPDATE SET follows = excluded.follows, blocks = excluded.blocks, changed = excluded.changed",
                who.key,
                after.follows,
                after.blocks,
                self._now(),
            )
            self._forget_unknown(who)
            return True

    def _forget_unknown(self, who: FeedId) -> None:
        """Forget a peer that we neither follow nor block, and have no nickname for."""
        self._run(
            "DELETE FROM contacts WHERE feed = ? AND follows = 0 AND blocks = 0 AND nickname IS NULL",
            who.key,
        )

    # ------------------------------------------------------------ pairing

    def check_writing(self) -> None:
        """Write what is there already, and so find out whether the store can be written. Raises StoreError."""
        with self._writing():
            self._run(f"PRAGMA user_version = {self._schema.version}")

    def pair(self, ticket: FeedId, taker: FeedId, wanted: str | None) -> Pairing:
        """Spend a ticket and follow its taker, or return why not; one transaction.

        ticket: the public ticket key. wanted: the nickname for a taker that has none; with a number if it is taken.
        """
        with self._writing():
            if self.relation(taker).blocks:
                return Pairing.REFUSED
            outcome = self._spend(ticket, taker)
            if outcome is Pairing.DONE:
                self.befriend(taker, wanted)
            if outcome is Pairing.AGAIN and not self.relation(taker).follows:
                return Pairing.REFUSED  # we have stopped following it since
            return outcome

    def befriend(
        self, who: FeedId, wanted: str | None, room: str | None = None, *, nickname: str | None = None
    ) -> str | None:
        """Follow a peer and return its nickname.

        wanted: the nickname for a peer that has none; with a number if it is taken. room: the address of the room where
        it is met from now on; None: as before. nickname: what to call it from now on, in any case. Raises BadInputError
        when another peer has that nickname; then nothing is changed.
        """
        with self._writing():
            self.follow(who, nickname)
            if room is not None:
                self._run("UPDATE contacts SET room = ? WHERE feed = ?", room, who.key)
            if wanted is not None and self.nickname(who) is None:
                self.rename(who, self.free_nickname(wanted))
            return self.nickname(who)

    # ------------------------------------------------------------ denials

    def record(self, batch: Batch, randbelow: RandBelow) -> list[Denial]:
        """Write a batch of refusals, as far as they are to be kept; return the kept ones with their numbers."""
        with self._writing():
            changes = plan(
                batch,
                randbelow,
                strangers=self._rows(known=False),
                known=self._rows(known=True) if batch.known else (),
                tallies=self._tallies(),
            )
            for number in changes.delete:
                self._run("DELETE FROM denials WHERE number = ?", number)
            recorded = [replace(denial, number=self._insert(denial)) for denial in changes.insert]
            for room, tally in changes.rooms.items():
                self._run(
                    "INSERT OR REPLACE INTO denial_rooms (room, refused, faults, population, places)"
                    " VALUES (?, ?, ?, ?, ?)",
                    room.key,
                    tally.refused,
                    tally.faults,
                    tally.population,
                    tally.places,
                )
        return recorded

    def denials(self) -> list[Denial]:
        """Return the refused connections that are remembered, oldest first."""
        with self._using():
            rows = self._all(f"SELECT {_DENIAL} FROM denials ORDER BY number")
            with decoding():
                return [_denial(row) for row in rows]

    def denial(self, number: int) -> Denial | None:
        """Return one of them by its number; None if there is none (any more)."""
        if not 0 < number < 2**63:
            return None
        with self._using():
            rows = self._all(f"SELECT {_DENIAL} FROM denials WHERE number = ?", number)
            with decoding():
                return _denial(rows[0]) if rows else None

    def name_denials(self, room: FeedId, origin: FeedId, alias: str, verified_at: float) -> int:
        """Note a verified alias of a refused peer in all that is remembered of it; return how many that are."""
        with self._writing():
            cursor = self._run(
                "UPDATE denials SET alias = ?, verified_at = ? WHERE room = ? AND origin = ? AND proven",
                alias,
                verified_at,
                room.key,
                origin.key,
            )
            return cursor.rowcount

    def denial_counts(self) -> dict[FeedId, DenialCount]:
        """Return the refusals of each room in figures, those included that are not remembered."""
        with self._transaction():
            kept = dict(self._all("SELECT room, count(*) FROM denials GROUP BY room"))
            tallies = self._tallies()
        return {
            room: DenialCount(tally.refused, kept.get(room.key, 0), tally.faults) for room, tally in tallies.items()
        }

    def _rows(self, *, known: bool) -> list[Row]:
        rows = self._all("SELECT room, origin, number FROM denials WHERE known = ? ORDER BY number", known)
        with decoding():
            return [Row(FeedId(room), FeedId(origin), int(number)) for room, origin, number in rows]

    def _tallies(self) -> dict[FeedId, RoomTally]:
        rows = self._all("SELECT room, refused, faults, population, places FROM denial_rooms")
        with decoding():
            return {FeedId(room): RoomTally(*map(int, numbers)) for room, *numbers in rows}

    def _insert(self, denial: Denial) -> int:
        cursor = self._run(
            "INSERT INTO denials (room, origin, address, proven, known, reason, time) VALUES (?, ?, ?, ?, ?, ?, ?)",
            denial.room.key,
            denial.origin.key,
            denial.address,
            denial.proven,
            denial.known,
            denial.reason.value,
            denial.time,
        )
        return cursor.lastrowid or 0

    # ------------------------------------------------------------ the file

    def _read_all(self) -> None:
        self.contacts()

    def _is_current(self, place: Place) -> bool:
        """Return whether the file is the one that we have open, and nothing but SQLite has written to it.

        SQLite trusts what it has read of a file until another SQLite tells it of a change, and a program that copies a
        file over it does not: it is opened again.
        """
        return place == self._place

    def _on_opened(self, is_other: bool) -> None:
        if is_other and (problem := database.damage(self._connection)) is not None:
            raise StoreError(f"{self.path} is damaged: {problem}")
        self.exchanged += is_other
        self._opened += 1

    def _fold_log(self) -> None:
        """Fold the log into the file itself, as far as no process is reading just now.

        So a copy of the file is a copy of the store, and a store that takes its place does not get its changes.
        """
        with contextlib.suppress(sqlite3.Error, StoreError):
            self._connection.execute("PRAGMA busy_timeout = 0")
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            place = self._look()
            if self._place and place and place.file == self._place.file:
                self._place = place  # that was us
        with contextlib.suppress(sqlite3.Error):
            self._connection.execute(f"PRAGMA busy_timeout = {int(self._busy * 1000)}")

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        with super()._writing():
            yield
        with self._lock:
            self._fold_log()


def _denial(row: tuple[bytes, bytes, str, float, int, int, int, str | None, float | None]) -> Denial:
    room, origin, reason, when, known, proven, number, alias, verified_at = row
    return Denial(
        FeedId(room),
        FeedId(origin),
        Reason(reason),
        float(when),
        bool(known),
        bool(proven),
        number,
        None if alias is None else str(alias),
        None if verified_at is None else float(verified_at),
    )
