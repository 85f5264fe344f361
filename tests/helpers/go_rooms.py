"""A data directory as go-ssb-room makes one: its tables, written anew from what is known of them."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from ssbfast import Keypair
from ssbfast.ids import FeedId
from ssbfast.keys import load_secret
from ssbfast.wire.alias import registration_text

TABLES = (
    "CREATE TABLE gorp_migrations (id TEXT PRIMARY KEY, applied_at DATETIME)",
    "CREATE TABLE members (id INTEGER PRIMARY KEY AUTOINCREMENT, role INTEGER CHECK (role > 0), pub_key TEXT UNIQUE)",
    "CREATE TABLE fallback_passwords (id INTEGER PRIMARY KEY, password_hash BLOB, member_id INTEGER UNIQUE)",
    "CREATE TABLE invites (id INTEGER PRIMARY KEY AUTOINCREMENT, hashed_token TEXT UNIQUE, created_by INTEGER,"
    " created_at DATETIME DEFAULT CURRENT_TIMESTAMP, active BOOLEAN DEFAULT TRUE)",
    "CREATE TABLE aliases (id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT UNIQUE, member_id INTEGER, signature BLOB)",
    "CREATE TABLE denied_keys (id INTEGER PRIMARY KEY AUTOINCREMENT, pub_key TEXT UNIQUE, comment TEXT,"
    " created_at DATETIME DEFAULT CURRENT_TIMESTAMP)",
    "CREATE TABLE pins (id INTEGER PRIMARY KEY, name TEXT UNIQUE)",
    "CREATE TABLE notices (id INTEGER PRIMARY KEY AUTOINCREMENT, title TEXT, content TEXT, language TEXT)",
    "CREATE TABLE pin_notices (notice_id INTEGER, pin_id INTEGER, PRIMARY KEY (notice_id, pin_id))",
    "CREATE TABLE config (id INTEGER PRIMARY KEY CHECK (id = 0), privacyMode INTEGER, defaultLanguage TEXT,"
    " use_subdomain_for_aliases BOOLEAN)",
    "INSERT INTO config VALUES (0, 2, 'en', 1)",
    "INSERT INTO pins VALUES (1, 'NoticeDescription'), (2, 'NoticeNews'), (3, 'NoticeCodeOfConduct'),"
    " (4, 'NoticePrivacyPolicy')",
)


class GoRoomFiles:
    """A directory that is filled step by step.

    Attributes:
        data: The directory.
        me: The room's key pair.
    """

    def __init__(self, data: Path, tables: Sequence[str] = TABLES) -> None:
        self.data = data
        self.me = load_secret(data / "secret", create=True)
        for statement in tables:
            self.run(statement)

    def run(self, statement: str, *values: object) -> int:
        """Run a statement; return the number of the row that it made."""
        with closing(sqlite3.connect(self.data / "roomdb", isolation_level=None)) as connection:
            return connection.execute(statement, values).lastrowid or 0

    def member(self, who: FeedId | str, role: int = 1) -> int:
        return self.run("INSERT INTO members (role, pub_key) VALUES (?, ?)", role, str(who))

    def denied(self, who: FeedId | str, comment: str = "", when: str = "2021-04-12 10:11:12") -> None:
        self.run("INSERT INTO denied_keys (pub_key, comment, created_at) VALUES (?, ?, ?)", str(who), comment, when)

    def alias(self, name: str, owner: Keypair, member: int, signature: bytes | None = None) -> None:
        if signature is None:
            signature = owner.sign(registration_text(self.me.id, owner.id, name))
        self.run("INSERT INTO aliases (name, member_id, signature) VALUES (?, ?, ?)", name, member, signature)

    def invite(self, code: bytes, maker: int, *, active: bool = True) -> None:
        self.run(
            "INSERT INTO invites (hashed_token, created_by, active) VALUES (?, ?, ?)",
            hashlib.sha256(code).hexdigest(),
            maker,
            active,
        )

    def notice(self, pin: int, language: str, title: str, content: str) -> None:
        number = self.run("INSERT INTO notices (title, content, language) VALUES (?, ?, ?)", title, content, language)
        self.run("INSERT INTO pin_notices VALUES (?, ?)", number, pin)
