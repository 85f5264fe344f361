"""Stores of rooms, and what is in them."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from ssbfast.room.records import AuditLine
from ssbfast.store import room_schema
from ssbfast.store.room_store import FILE, RoomStore
from tests.helpers.rooms import feed

SIGNATURE = bytes(range(64))


class Clock:
    """A clock that a test moves."""

    def __init__(self, now: float = 1_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def hash_number(n: int) -> bytes:
    """The hash of some code."""
    return n.to_bytes(32, "big")


def dump(data: Path) -> dict[str, list[Any]]:
    """All rows of a store, by table."""
    with closing(sqlite3.connect(data / FILE)) as connection:
        tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return {name: sorted(connection.execute(f"SELECT * FROM {name}").fetchall(), key=repr) for name in tables}


def raw(data: Path, *statements: str) -> None:
    """Do something to the file that no store does."""
    with closing(sqlite3.connect(data / FILE, isolation_level=None)) as connection:
        for statement in statements:
            connection.execute(statement)


def at_version(data: Path, number: int) -> None:
    """A store as a version of ssbfast with so many migrations would have made it; one admin is in it."""
    statements = [text for migration in room_schema.MIGRATIONS[:number] for text in migration]
    statements += [
        f"INSERT INTO members (feed, role, since) VALUES (x'{feed(5).key.hex()}', 3, 12.5)",
        f"PRAGMA application_id = {room_schema.APPLICATION}",
        f"PRAGMA user_version = {number}",
    ]
    raw(data, *statements)


def newest(store: RoomStore) -> AuditLine:
    """The last line of the audit log."""
    return store.audit(count=1)[0]
