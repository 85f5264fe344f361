"""Which files are opened as a room's store, which are left alone, and how old ones are brought up to date."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from ssbfast.errors import BadInputError, StoreError
from ssbfast.room.roles import Role
from ssbfast.store import room_schema
from ssbfast.store.peer_store import Store
from ssbfast.store.room_store import FILE, RoomStore
from tests.helpers.room_stores import at_version, dump, raw
from tests.helpers.rooms import feed
from tests.helpers.stores import snapshot


def newer(data: Path) -> None:
    RoomStore(data).close()
    raw(data, f"PRAGMA user_version = {room_schema.schema().version + 1}", "CREATE TABLE from_the_future (x)")


def foreign(data: Path) -> None:
    raw(data, "CREATE TABLE members (name)", "INSERT INTO members VALUES ('somebody')")


def of_a_peer(data: Path) -> None:
    Store(data).close()
    (data / "store.sqlite").rename(data / FILE)


def garbage(data: Path) -> None:
    (data / FILE).write_bytes(b"not a database at all " * 100)


def empty(data: Path) -> None:
    RoomStore(data).close()
    os.truncate(data / FILE, 0)


@pytest.mark.parametrize("spoil", [newer, foreign, of_a_peer, garbage, empty])
@pytest.mark.parametrize("reading", [False, True])
def test_not_opened_and_not_changed(tmp_path: Path, spoil: Callable[[Path], None], reading: bool) -> None:
    spoil(tmp_path)
    before = snapshot(tmp_path)
    with pytest.raises(BadInputError) as caught:
        RoomStore(tmp_path, reading=reading)
    assert "\n" not in str(caught.value) and str(tmp_path / FILE) in str(caught.value)
    assert snapshot(tmp_path) == before


def test_the_messages(tmp_path: Path) -> None:
    for spoil, words in ((newer, "newer version"), (empty, "who is a member and who is blocked is lost")):
        spoil(tmp_path)
        with pytest.raises(BadInputError, match=words):
            RoomStore(tmp_path)
        (tmp_path / FILE).unlink()


def test_the_head_says_whose_it_is(tmp_path: Path) -> None:
    RoomStore(tmp_path).close()
    assert (tmp_path / FILE).read_bytes()[68:72] == b"ssbr"


def test_it_survives_a_power_cut(tmp_path: Path) -> None:
    with RoomStore(tmp_path) as store:
        assert store._connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert store._connection.execute("PRAGMA synchronous").fetchone() == (2,)


def test_reading_makes_nothing(tmp_path: Path) -> None:
    with pytest.raises(BadInputError):
        RoomStore(tmp_path / "room", reading=True)
    assert list(tmp_path.iterdir()) == []


def test_a_newer_version_comes_while_we_run(tmp_path: Path) -> None:
    with RoomStore(tmp_path) as store:
        store.add_member(feed(1), by=None)
        raw(tmp_path, f"PRAGMA user_version = {room_schema.schema().version + 1}")
        with pytest.raises(StoreError, match="newer version"):
            store.block(feed(1), "", by=None)
        assert len(store.members()) == 1


def test_damaged_in_the_middle(tmp_path: Path) -> None:
    with RoomStore(tmp_path) as store:
        for n in range(300):
            store.add_member(feed(n), by=None)
        store.check()
    with closing(sqlite3.connect(tmp_path / FILE)) as connection:
        (page,) = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'members'").fetchone()
        (size,) = connection.execute("PRAGMA page_size").fetchone()
    content = bytearray((tmp_path / FILE).read_bytes())
    content[(page - 1) * size : page * size] = b"\xff" * size
    (tmp_path / FILE).write_bytes(content)
    with RoomStore(tmp_path) as store:
        with pytest.raises(StoreError) as caught:
            store.news(None)
        assert "\n" not in str(caught.value)
        with pytest.raises(BadInputError):
            store.check()


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO settings VALUES ('mode', 'anarchy')",
        "INSERT INTO settings VALUES ('mode_by', 'nobody')",
        "INSERT INTO settings VALUES ('invite_days', 'many')",
    ],
)
def test_values_that_cannot_be(tmp_path: Path, statement: str) -> None:
    with RoomStore(tmp_path) as store:
        raw(tmp_path, statement)
        with pytest.raises(StoreError, match="values that cannot be"):
            store.news(None)


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO members (feed, role, since) VALUES (x'00', 1, 0)",
        f"INSERT INTO members (feed, role, since) VALUES ('{'x' * 32}', 1, 0)",
        "INSERT INTO members (feed, role, since) VALUES (zeroblob(32), 4, 0)",
        "INSERT INTO denied (feed, comment, since) VALUES (x'00', '', 0)",
        "INSERT INTO invites (hash, note, created, uses, used) VALUES (zeroblob(32), '', 0, 1, 2)",
        "INSERT INTO aliases VALUES ('x', zeroblob(32), zeroblob(63), 0, NULL)",
    ],
)
def test_rows_that_the_tables_refuse(tmp_path: Path, statement: str) -> None:
    RoomStore(tmp_path).close()
    with pytest.raises(sqlite3.IntegrityError):
        raw(tmp_path, statement)


def schema(data: Path) -> list[tuple[str, str]]:
    with closing(sqlite3.connect(data / FILE)) as connection:
        return connection.execute("SELECT name, sql FROM sqlite_master ORDER BY name").fetchall()


@pytest.mark.parametrize("number", range(1, room_schema.schema().version + 1))
def test_from_every_older_number(tmp_path: Path, number: int) -> None:
    (tmp_path / "new").mkdir()
    at_version(tmp_path, number)
    RoomStore(tmp_path / "new").close()
    with RoomStore(tmp_path) as store:
        assert [(one.feed, one.role, one.since) for one in store.members()] == [(feed(5), Role.ADMIN, 12.5)]
        store.block(feed(6), "", by=None)
    assert schema(tmp_path) == schema(tmp_path / "new")


def test_members_of_an_older_store_that_came_by_an_alias(tmp_path: Path) -> None:
    at_version(tmp_path, 1)
    insert = "INSERT INTO members (feed, role, since, by) VALUES (x'{}', {}, 1, x'{}')"
    keys = [feed(n).key.hex() for n in (7, 8, 9)]
    raw(tmp_path, *(insert.format(key, role, keys[0]) for key, role in zip(keys, (1, 1, 2), strict=True)))
    RoomStore(tmp_path).close()
    assert {row[0] for row in dump(tmp_path)["members"] if row[6]} == {feed(7).key}


def test_a_later_migration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the next version will do: all of it or, when it fails, nothing."""
    at_version(tmp_path, 1)
    before = schema(tmp_path)
    for last, works in (("CREATE TABLE members (again)", False), ("CREATE TABLE more (x)", True)):
        monkeypatch.setattr(
            room_schema, "MIGRATIONS", (*room_schema.MIGRATIONS[:1], ("ALTER TABLE members ADD COLUMN y", last))
        )
        if works:
            with RoomStore(tmp_path) as store:
                assert len(store.members()) == 1
                assert store.block(feed(6), "", by=None).value == "done"
            assert len(schema(tmp_path)) == len(before) + 1
        else:
            with pytest.raises(BadInputError):
                RoomStore(tmp_path)
            assert schema(tmp_path) == before
