"""A store that is damaged, on a full disk, not to be written, removed or exchanged: nothing is forgotten in silence."""

from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from ssbfast import limits
from ssbfast.client.denial_log import DenialLog
from ssbfast.client.follow_graph import StoreGraph
from ssbfast.errors import BadInputError, GraphAwayError, StoreError
from ssbfast.room.denials import Denial
from ssbfast.room.tunnel_auth import Reason, Relation, Verdict
from ssbfast.store import database
from ssbfast.store.peer_store import FILE, Store
from tests.helpers.commands import assert_unusable
from tests.helpers.processes import run
from tests.helpers.rawpeer import eventually
from tests.helpers.rooms import feed
from tests.helpers.small_disks import SmallDisk, small_disk
from tests.helpers.stores import RANDBELOW, batch, posix_only, raw, refusal

ROOM = feed(1000)
STRANGER = Verdict(Reason.STRANGER, Relation())
PATIENCE = 60.0


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    with small_disk(tmp_path / "disk") as made:
        yield made


def damage(data: Path) -> None:
    """The page with all contacts; the head of the file stays good."""
    with Store(data) as store:
        store.follow(feed(1))
    with sqlite3.connect(data / FILE) as connection:
        root = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'contacts'").fetchone()[0]
        size = connection.execute("PRAGMA page_size").fetchone()[0]
    connection.close()
    with open(data / FILE, "r+b") as file:
        file.seek((root - 1) * size)
        file.write(b"\xee" * size)


def fill_up(store: Store) -> None:
    """From now on SQLite itself says that the disk is full."""
    pages = store._connection.execute("PRAGMA page_count").fetchone()[0]
    store._connection.execute(f"PRAGMA max_page_count = {pages}")


# ---------------------------------------------------------------- damaged


def test_a_damaged_page_is_found_by_looking(tmp_path: Path) -> None:
    damage(tmp_path)
    with Store(tmp_path) as store, pytest.raises(BadInputError, match="damaged") as caught:
        store.check()
    assert "\n" not in str(caught.value)


def test_a_file_that_was_cut_off(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        for n in range(300):
            store.follow(feed(n))
    os.truncate(tmp_path / FILE, 8192)
    with pytest.raises(BadInputError), Store(tmp_path) as store:
        store.check()


def test_values_that_no_ssbfast_has_written(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        store.record(batch(refusal(1)), RANDBELOW)
        store.check()
        raw(tmp_path, "UPDATE denials SET reason = 'weather'")
        with pytest.raises(StoreError, match="damaged"):
            store.denials()
        with pytest.raises(StoreError, match="damaged"):
            store.denial(1)


@pytest.mark.parametrize("command", [("listen", "--forward", "127.0.0.1:9"), ("connect", str(feed(5)))])
def test_a_service_does_not_begin_with_a_damaged_store(tmp_path: Path, command: tuple[str, ...]) -> None:
    damage(tmp_path)
    more = ("--bind", "127.0.0.1:0") if command[0] == "connect" else ()
    room = f"net:127.0.0.1:9~shs:{str(feed(3))[1:-8]}"
    done = run(*command, *more, "--room", room, "--data", str(tmp_path))
    assert done.returncode == 2 and "Offering" not in done.stdout
    assert "damaged" in done.stderr and done.stderr.count("\n") == 1


# ---------------------------------------------------------------- no room, no right


def test_the_cause_is_told_not_what_came_of_it(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        fill_up(store)
        with pytest.raises(StoreError, match="the disk is full"):
            for n in range(1000):
                store.follow(feed(n))
        assert store.contacts()  # what was there before


@pytest.mark.parametrize("what", ["full", "protected"])
def test_reading_needs_no_room(disk: SmallDisk, what: str) -> None:
    with Store(disk.path) as store:
        store.block(feed(1))
    if what == "full":
        disk.fill()
        cause = "the disk is full"
    else:
        disk.protect()
        cause = "read-only"
    done = run("contacts", "--data", str(disk.path))
    assert (done.returncode, done.stderr) == (0, "") and str(feed(1)) in done.stdout
    assert run("denials", "--data", str(disk.path)).returncode == 0
    assert_unusable(run("follow", str(feed(2)), "--data", str(disk.path)), cause)


def test_what_is_only_in_the_log_is_not_overlooked(disk: SmallDisk, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that was killed has left it; without room nobody can read it, and the rest is not all."""
    store = Store(disk.path)
    monkeypatch.setattr(store, "_fold_log", lambda: None)
    store.block(feed(1))
    kept = {name: (disk.path / name).read_bytes() for name in (FILE, f"{FILE}-wal")}
    store.close()
    for name, content in kept.items():
        (disk.path / name).write_bytes(content)
    disk.protect()
    with pytest.raises(BadInputError, match="read-only"):
        Store(disk.path, reading=True)


async def test_refusals_are_told_without_a_number_while_nothing_can_be_written(tmp_path: Path) -> None:
    told: list[Denial] = []
    said: list[str] = []
    log = DenialLog(tmp_path, recorded=told.append, randbelow=RANDBELOW, report=said.append)
    fill_up(log._store)
    sent = 0
    while log.failure is None:  # as much as the last page holds is written
        sent += 20
        for n in range(20):
            log.refused(feed(2000 + sent), feed(n), STRANGER)
        before = len(told)
        await eventually(lambda before=before: len(told) > before)
    first = [denial for denial in told if denial.number is None]
    assert len(told) == sent and len(first) == 20
    assert len(said) == 1 and "the disk is full" in said[0]
    log._store._connection.execute("PRAGMA max_page_count = 100000")
    await log.close()
    assert len(told) == sent  # not again with their numbers
    assert len(said) == 2
    with Store(tmp_path) as store:
        assert sum(count.refused for count in store.denial_counts().values()) == sent


# ---------------------------------------------------------------- removed, exchanged


def test_a_new_store_appears_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever looks while it is made sees none; and if that fails nothing is left."""
    seen: list[bool] = []
    migrate = database._migrate

    def looking(connection: sqlite3.Connection, path: Path, schema: database.Schema) -> None:
        seen.append((tmp_path / FILE).exists())
        if len(seen) == 1:
            raise sqlite3.OperationalError("database or disk is full")
        migrate(connection, path, schema)

    monkeypatch.setattr(database, "_migrate", looking)
    with pytest.raises(BadInputError, match="the disk is full"):
        Store(tmp_path)
    assert list(tmp_path.iterdir()) == []
    Store(tmp_path).close()
    assert seen[:2] == [False, False]
    assert [path.name for path in tmp_path.iterdir()] == [FILE]


def test_a_new_store_does_not_inherit_the_log_of_a_removed_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Store(tmp_path) as store:
        monkeypatch.setattr(store, "_fold_log", lambda: None)
        store.follow(feed(1))
        (tmp_path / FILE).unlink()
        with Store(tmp_path) as other:
            other.follow(feed(2))
            assert [contact.id for contact in other.contacts()] == [feed(2)]
            other.check()
    with Store(tmp_path) as store:
        assert [contact.id for contact in store.contacts()] == [feed(2)]


def test_what_was_written_is_in_the_file(tmp_path: Path) -> None:
    """A copy of it is one of the store, while a service has it open."""
    with Store(tmp_path) as one, Store(tmp_path) as two:
        one.contacts(), two.follow(feed(1))
        (tmp_path / "copy").mkdir()
        shutil.copy(tmp_path / FILE, tmp_path / "copy" / FILE)
    with Store(tmp_path / "copy") as copy:
        assert [contact.id for contact in copy.contacts()] == [feed(1)]


@posix_only
@pytest.mark.parametrize("how", ["renamed", "copied"])
def test_a_store_in_the_place_of_ours_counts(tmp_path: Path, how: str) -> None:
    (tmp_path / "other").mkdir()
    with Store(tmp_path / "other") as other:
        other.block(feed(1))
    with Store(tmp_path) as store:
        store.follow(feed(1))
        assert store.relation(feed(1)) == Relation(True)
        stamp = store.stamp()
        if how == "renamed":
            os.replace(tmp_path / "other" / FILE, tmp_path / FILE)
        else:
            shutil.copyfile(tmp_path / "other" / FILE, tmp_path / FILE)
        assert store.stamp() != stamp
        assert store.relation(feed(1)) == Relation(blocks=True)
        assert store.exchanged == (how == "renamed")


def nothing(path: Path) -> None:
    path.unlink()


def emptied(path: Path) -> None:
    os.truncate(path, 0)


def garbage(path: Path) -> None:
    path.unlink()
    path.write_bytes(b"no store at all " * 1000)


def damaged(path: Path) -> None:
    damage(path.parent / "other")
    os.replace(path.parent / "other" / FILE, path)


@posix_only
@pytest.mark.parametrize("spoil", [nothing, emptied, garbage, damaged])
async def test_without_a_store_nobody_is_known(tmp_path: Path, spoil: object) -> None:
    """Live tunnels end, nobody new comes, the user learns it; and with a store again all is as that one says."""
    with Store(tmp_path) as store:
        store.follow(feed(1))
    (tmp_path / "other").mkdir()
    good = (tmp_path / FILE).read_bytes()
    said: list[str] = []
    told: asyncio.Queue[Relation | None] = asyncio.Queue()
    graph = StoreGraph(tmp_path, report=said.append)
    graph.watch(feed(1), Relation(True), told.put_nowait)
    assert callable(spoil)
    spoil(tmp_path / FILE)
    with pytest.raises(GraphAwayError):
        await graph.relation(feed(1))
    assert await asyncio.wait_for(told.get(), PATIENCE) is None
    assert len(said) == 1 and "nobody is let in" in said[0]
    if spoil is not nothing:
        (tmp_path / FILE).unlink()
    (tmp_path / FILE).write_bytes(good)
    assert await asyncio.wait_for(told.get(), PATIENCE) == Relation(True)
    assert await graph.relation(feed(1)) == Relation(True)
    assert len(said) == 2
    await graph.close()


async def test_a_store_is_looked_at_without_anybody_there(tmp_path: Path) -> None:
    Store(tmp_path).close()
    said: asyncio.Queue[str] = asyncio.Queue()
    graph = StoreGraph(tmp_path, report=said.put_nowait)
    (tmp_path / FILE).unlink()
    assert "was removed" in await asyncio.wait_for(said.get(), PATIENCE)
    await graph.close()


async def test_a_moment_without_a_store_ends_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever copies a store removes the old one first."""
    monkeypatch.setattr(limits, "STORE_GONE_SECONDS", 3600.0)
    with Store(tmp_path) as store:
        store.follow(feed(1))
    good = (tmp_path / FILE).read_bytes()
    said: asyncio.Queue[str] = asyncio.Queue()
    told: list[Relation | None] = []
    graph = StoreGraph(tmp_path, report=said.put_nowait)
    graph.watch(feed(1), Relation(True), told.append)
    (tmp_path / FILE).unlink()
    await asyncio.wait_for(said.get(), PATIENCE)
    (tmp_path / FILE).write_bytes(good)
    await asyncio.wait_for(said.get(), PATIENCE)
    assert told == []
    await graph.close()
