"""Schema of a room's store.

No table holds an address. Codes, tokens and links are there as SHA-256 of their bytes. An empty `by` is the operator.
"""

from __future__ import annotations

from typing import Final

from ssbfast.store import database

_FEED: Final = "BLOB NOT NULL CHECK (typeof({0}) = 'blob' AND length({0}) = 32)"
_FEED_OR_NULL: Final = "BLOB CHECK ({0} IS NULL OR (typeof({0}) = 'blob' AND length({0}) = 32))"
_KEY: Final = "BLOB PRIMARY KEY NOT NULL CHECK (typeof({0}) = 'blob' AND length({0}) = 32)"


def _feed(name: str) -> str:
    return f"{name} {_FEED.format(name)}"


def _feed_or_null(name: str) -> str:
    return f"{name} {_FEED_OR_NULL.format(name)}"


def _key(name: str) -> str:
    return f"{name} {_KEY.format(name)}"


MIGRATIONS: Final[tuple[tuple[str, ...], ...]] = (
    # 1: all that a room keeps. AUTOINCREMENT: people and processes use the numbers, so none is ever given again.
    (
        "CREATE TABLE settings (key TEXT PRIMARY KEY NOT NULL, value TEXT NOT NULL) WITHOUT ROWID",
        f"""
        CREATE TABLE members (
            {_key("feed")},
            role INTEGER NOT NULL CHECK (role IN (1, 2, 3)),
            since REAL NOT NULL,
            {_feed_or_null("by")},
            invite INTEGER,
            password BLOB
        ) WITHOUT ROWID
        """,
        f"""
        CREATE TABLE denied (
            {_key("feed")},
            comment TEXT NOT NULL,
            {_feed_or_null("by")},
            since REAL NOT NULL
        ) WITHOUT ROWID
        """,
        f"""
        CREATE TABLE invites (
            number INTEGER PRIMARY KEY AUTOINCREMENT,
            {_feed("hash")} UNIQUE,
            {_feed_or_null("by")},
            note TEXT NOT NULL,
            created REAL NOT NULL,
            expires REAL,
            uses INTEGER NOT NULL CHECK (uses > 0),
            used INTEGER NOT NULL DEFAULT 0 CHECK (used BETWEEN 0 AND uses),
            revoked REAL
        )
        """,
        "CREATE INDEX invites_by ON invites (by)",
        f"""
        CREATE TABLE claims (
            invite INTEGER NOT NULL,
            {_feed("feed")},
            time REAL NOT NULL,
            PRIMARY KEY (invite, feed)
        ) WITHOUT ROWID
        """,
        "CREATE INDEX claims_feed ON claims (feed)",
        # freed: kept from others for a while
        f"""
        CREATE TABLE aliases (
            name TEXT PRIMARY KEY NOT NULL,
            {_feed("feed")},
            signature BLOB NOT NULL CHECK (typeof(signature) = 'blob' AND length(signature) = 64),
            since REAL NOT NULL,
            freed REAL
        ) WITHOUT ROWID
        """,
        "CREATE INDEX aliases_feed ON aliases (feed)",
        f"""
        CREATE TABLE web_sessions (
            {_key("hash")},
            {_feed("feed")},
            created REAL NOT NULL,
            seen REAL NOT NULL,
            browser TEXT NOT NULL
        ) WITHOUT ROWID
        """,
        "CREATE INDEX web_sessions_feed ON web_sessions (feed)",
        f"""
        CREATE TABLE links (
            {_key("hash")},
            {_feed_or_null("feed")},
            purpose TEXT NOT NULL,
            expires REAL NOT NULL,
            {_feed_or_null("by")}
        ) WITHOUT ROWID
        """,
        """
        CREATE TABLE notices (
            name TEXT NOT NULL,
            language TEXT NOT NULL,
            title TEXT NOT NULL,
            body TEXT NOT NULL,
            changed REAL NOT NULL,
            PRIMARY KEY (name, language)
        ) WITHOUT ROWID
        """,
        f"""
        CREATE TABLE audit (
            number INTEGER PRIMARY KEY AUTOINCREMENT,
            time REAL NOT NULL,
            {_feed_or_null("by")},
            action TEXT NOT NULL,
            {_feed_or_null("subject")},
            detail TEXT NOT NULL
        )
        """,
    ),
    # 2: members that came in by themselves, or by the invite of a key that did: they are limited in all.
    (
        "ALTER TABLE members ADD COLUMN self_joined INTEGER NOT NULL DEFAULT 0 CHECK (self_joined IN (0, 1))",
        "UPDATE members SET self_joined = 1 WHERE by = feed AND role = 1",
        "CREATE INDEX members_self_joined ON members (feed) WHERE self_joined",
    ),
)

APPLICATION: Final = 0x73736272
"""`ssbr`, at its place in the file's head."""


def schema() -> database.Schema:
    """Return what is in the store of a room."""
    return database.Schema(MIGRATIONS, APPLICATION, "who is a member and who is blocked")
