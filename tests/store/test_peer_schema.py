"""Which files are opened as a store, which are left alone, and how old ones are brought up to date."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ssbfast.errors import BadInputError, StoreError
from ssbfast.room.tunnel_auth import Relation
from ssbfast.store import database, peer_schema
from ssbfast.store.peer_store import FILE, Contact, Store
from tests.helpers.rooms import feed
from tests.helpers.stores import RANDBELOW, batch, go, line, other_process, posix_only, raw, refusal, snapshot

# ---------------------------------------------------------------- what is not opened


def newer(data: Path) -> None:
    Store(data).close()
    raw(data, f"PRAGMA user_version = {peer_schema.schema().version + 1}", "CREATE TABLE from_the_future (x)")


def foreign(data: Path) -> None:
    raw(data, "CREATE TABLE contacts (name)", "INSERT INTO contacts VALUES ('somebody')")


def foreign_id(data: Path) -> None:
    raw(data, "PRAGMA application_id = 77")


def garbage(data: Path) -> None:
    (data / FILE).write_bytes(b"not a database at all " * 100)


def short_garbage(data: Path) -> None:
    (data / FILE).write_bytes(b"hello")


def empty(data: Path) -> None:
    """What a copy to a full disk leaves, or a power cut."""
    Store(data).close()
    os.truncate(data / FILE, 0)


def without_tables(data: Path) -> None:
    """SQLite's file all right, and nothing in it that says whose."""
    raw(data, "CREATE TABLE x (y)", "DROP TABLE x")


@pytest.mark.parametrize("spoil", [newer, foreign, foreign_id, garbage, short_garbage, empty, without_tables])
def test_not_opened_and_not_changed(tmp_path: Path, spoil: Callable[[Path], None]) -> None:
    spoil(tmp_path)
    before = snapshot(tmp_path)
    with pytest.raises(BadInputError) as caught:
        Store(tmp_path)
    assert "\n" not in str(caught.value) and str(tmp_path / FILE) in str(caught.value)
    assert snapshot(tmp_path) == before


def test_the_message_says_newer(tmp_path: Path) -> None:
    newer(tmp_path)
    with pytest.raises(BadInputError, match="newer version"):
        Store(tmp_path)


@posix_only
def test_newer_by_its_log_alone(tmp_path: Path) -> None:
    """A newer version that crashed: the number stands in the write-ahead log, not in the file yet."""
    version = peer_schema.schema().version + 1
    process = other_process(
        f"store._connection.execute('PRAGMA user_version = {version}'); os._exit(0)\n", str(tmp_path)
    )
    assert line(process) == "ready"
    go(process)
    process.communicate(timeout=60)
    before = snapshot(tmp_path)
    assert before[f"{FILE}-wal"][0] and version.to_bytes(4, "big") != before[FILE][0][60:64]
    with pytest.raises(BadInputError, match="newer version"):
        Store(tmp_path)
    after = snapshot(tmp_path)
    for name in (FILE, f"{FILE}-wal"):
        assert after[name] == before[name]


def test_a_newer_version_comes_while_we_run(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        raw(tmp_path, f"PRAGMA user_version = {peer_schema.schema().version + 1}")
        with pytest.raises(StoreError, match="newer version"):
            store.follow(feed(1))
        assert store.contacts() == []


def test_something_else_in_its_place(tmp_path: Path) -> None:
    (tmp_path / "a" / FILE).mkdir(parents=True)
    (tmp_path / "b").write_bytes(b"")
    for data in (tmp_path / "a", tmp_path / "b", tmp_path / "b" / "c", tmp_path / "zero\0byte"):
        with pytest.raises(BadInputError) as caught:
            Store(data)
        assert "\n" not in str(caught.value)


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="nothing is unreadable for root")
def test_unreadable(tmp_path: Path) -> None:
    Store(tmp_path).close()
    (tmp_path / FILE).chmod(0)
    with pytest.raises(BadInputError):
        Store(tmp_path)


def test_unreadable_for_sqlite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_args: object, **_options: object) -> sqlite3.Connection:
        raise sqlite3.OperationalError("unable to open database file")

    monkeypatch.setattr(sqlite3, "connect", refuse)
    with pytest.raises(BadInputError, match="unable to open"):
        Store(tmp_path)


def test_damaged_in_the_middle(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        for n in range(300):
            store.follow(feed(n))
    content = bytearray((tmp_path / FILE).read_bytes())
    content[4096:] = b"\xff" * (len(content) - 4096)
    (tmp_path / FILE).write_bytes(content)
    with Store(tmp_path) as store, pytest.raises(StoreError):
        store.contacts()


# ---------------------------------------------------------------- migrations


def at_version(data: Path, number: int) -> None:
    """A store as a version of ssbfast with so many migrations would have made it."""
    statements = [text for migration in peer_schema.MIGRATIONS[:number] for text in migration]
    statements += [
        f"INSERT INTO contacts (feed, follows, blocks, changed) VALUES (x'{feed(5).key.hex()}', 1, 0, 12.5)",
        f"PRAGMA application_id = {peer_schema.APPLICATION}",
        f"PRAGMA user_version = {number}",
    ]
    raw(data, *statements)


def schema(data: Path) -> list[tuple[str, str]]:
    connection = sqlite3.connect(data / FILE)
    rows = connection.execute("SELECT name, sql FROM sqlite_master ORDER BY name").fetchall()
    connection.close()
    return rows


@pytest.mark.parametrize("number", range(1, peer_schema.schema().version + 1))
def test_from_every_older_number(tmp_path: Path, number: int) -> None:
    (tmp_path / "new").mkdir()
    at_version(tmp_path, number)
    Store(tmp_path / "new").close()
    with Store(tmp_path) as store:
        assert store.contacts() == [Contact(feed(5), Relation(True), 12.5)]
        assert store.record(batch(refusal(1)), RANDBELOW)[0].number == 1
        store.follow(feed(6))
    assert schema(tmp_path) == schema(tmp_path / "new")


def test_a_migration_that_fails_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    at_version(tmp_path, 1)
    before = schema(tmp_path)
    broken = (*peer_schema.MIGRATIONS, ("CREATE TABLE fine (x)", "CREATE TABLE contacts (again)"))
    monkeypatch.setattr(peer_schema, "MIGRATIONS", broken)
    with pytest.raises(BadInputError):
        Store(tmp_path)
    monkeypatch.undo()
    assert schema(tmp_path) == before
    with Store(tmp_path) as store:
        assert len(store.contacts()) == 1


def test_it_is_made_while_another_looks_at_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who saw no mark of ours, and then our tables, took it for another program's."""
    path, connect = tmp_path / "store.sqlite", sqlite3.connect

    class Slow(sqlite3.Connection):
        def execute(self, sql: str, *values: Any) -> sqlite3.Cursor:
            if "sqlite_master" in sql and sqlite3.connect is not connect:
                monkeypatch.undo()
                with contextlib.suppress(BadInputError):  # it has to wait now, which it does not do for long
                    database.connect(path, peer_schema.schema(), busy=0.05).close()
            return super().execute(sql, *values)

    monkeypatch.setattr(sqlite3, "connect", lambda *args, **how: connect(*args, factory=Slow, **how))
    database.connect(path, peer_schema.schema()).close()
