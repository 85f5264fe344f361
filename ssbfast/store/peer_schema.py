"""Schema of a peer's store."""

from __future__ import annotations

from typing import Final

from ssbfast.store import database

MIGRATIONS: Final[tuple[tuple[str, ...], ...]] = (
    # 1: the peers that we follow and block. Both are statements of their own: unblocking does not forget a follow.
    (
        """
        CREATE TABLE contacts (
            feed BLOB PRIMARY KEY CHECK (typeof(feed) = 'blob' AND length(feed) = 32),
            follows INTEGER NOT NULL CHECK (follows IN (0, 1)),
            blocks INTEGER NOT NULL CHECK (blocks IN (0, 1)),
            changed REAL NOT NULL
        ) WITHOUT ROWID
        """,
    ),
    # 2: refused connections. AUTOINCREMENT: people use the numbers, so none is ever given again.
    (
        """
        CREATE TABLE denials (
            number INTEGER PRIMARY KEY AUTOINCREMENT,
            room BLOB NOT NULL CHECK (typeof(room) = 'blob' AND length(room) = 32),
            origin BLOB NOT NULL CHECK (typeof(origin) = 'blob' AND length(origin) = 32),
            address TEXT,
            proven INTEGER NOT NULL CHECK (proven IN (0, 1)),
            known INTEGER NOT NULL CHECK (known IN (0, 1)),
            reason TEXT NOT NULL,
            time REAL NOT NULL
        )
        """,
        """
        CREATE TABLE denial_rooms (
            room BLOB PRIMARY KEY CHECK (typeof(room) = 'blob' AND length(room) = 32),
            refused INTEGER NOT NULL,
            faults INTEGER NOT NULL,
            population INTEGER NOT NULL,
            places INTEGER NOT NULL
        ) WITHOUT ROWID
        """,
    ),
    # 3: the names of refused peers, once they are verified.
    (
        "ALTER TABLE denials ADD COLUMN alias TEXT",
        "ALTER TABLE denials ADD COLUMN verified_at REAL",
    ),
    # 4: what we call a peer, and the address of the room where it is met; the tickets that we have made, by their
    # public keys, and the addresses of their rooms. Their secrets are nowhere.
    (
        "ALTER TABLE contacts ADD COLUMN nickname TEXT",
        "ALTER TABLE contacts ADD COLUMN room TEXT",
        "CREATE UNIQUE INDEX nicknames ON contacts (nickname) WHERE nickname IS NOT NULL",
        """
        CREATE TABLE tickets (
            key BLOB PRIMARY KEY CHECK (typeof(key) = 'blob' AND length(key) = 32),
            made REAL NOT NULL,
            expires REAL NOT NULL,
            room TEXT NOT NULL,
            taker BLOB CHECK (taker IS NULL OR (typeof(taker) = 'blob' AND length(taker) = 32)),
            taken REAL
        ) WITHOUT ROWID
        """,
    ),
)

APPLICATION: Final = 0x73736266
"""`ssbf`, at its place in the file's head: other programs' databases are left alone."""


def schema() -> database.Schema:
    """Return what is in the store of a peer."""
    return database.Schema(MIGRATIONS, APPLICATION, "whom you follow and block")
