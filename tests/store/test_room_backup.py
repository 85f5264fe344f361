"""A backup of a room that runs, and the room that is made from it."""

from __future__ import annotations

import io
import stat
import tarfile
import threading
from pathlib import Path

import pytest

from ssbfast.errors import BadInputError, KeyFileError
from ssbfast.keys import load_secret
from ssbfast.room.roles import Role
from ssbfast.store import room_schema
from ssbfast.store.room_backup import back_up, restore
from ssbfast.store.room_store import FILE, RoomStore
from tests.helpers.room_stores import at_version, dump, raw
from tests.helpers.rooms import feed
from tests.helpers.stores import posix_only, snapshot


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A room with a member."""
    load_secret(tmp_path / "room" / "secret", create=True)
    with RoomStore(tmp_path / "room") as store:
        store.add_member(feed(1), Role.ADMIN, by=None)
    return tmp_path / "room"


def tar(path: Path, *members: tuple[str, bytes, bytes]) -> Path:
    """A tar file of members: name, type, content."""
    with tarfile.open(path, "w") as archive:
        for name, kind, content in members:
            member = tarfile.TarInfo(name)
            member.type, member.size = kind, len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def test_there_and_back(tmp_path: Path, data: Path) -> None:
    with RoomStore(data) as running:  # what is in its log only is in the backup, too
        running.block(feed(2), "spam", by=feed(1))
        id = back_up(data, tmp_path / "backup.tar")
    new = tmp_path / "deep" / "new"
    assert restore(tmp_path / "backup.tar", new) == id == load_secret(data / "secret").id
    assert dump(new) == dump(data)
    assert sorted(path.name for path in new.iterdir()) == [FILE, "secret"]
    with RoomStore(new) as store:
        store.check()
        assert store.unblock(feed(2), by=None).value == "done"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["backup.tar", "deep", "room"]


@posix_only
def test_nobody_else_can_read_any_of_it(tmp_path: Path, data: Path) -> None:
    back_up(data, tmp_path / "backup.tar")
    restore(tmp_path / "backup.tar", tmp_path / "new")
    for path in (tmp_path / "backup.tar", tmp_path / "new" / FILE, tmp_path / "new" / "secret"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with tarfile.open(tmp_path / "backup.tar") as archive:
        assert {member.name: (member.mode, member.uid) for member in archive} == {
            "secret": (0o600, 0),
            FILE: (0o600, 0),
        }


def test_while_others_write(tmp_path: Path, data: Path) -> None:
    """Each backup is of one moment: a member and its line of the audit log, or neither."""
    stop = threading.Event()

    def write() -> None:
        with RoomStore(data) as store:
            n = 100
            while not stop.is_set():
                n += 1
                store.add_member(feed(n), by=None)

    thread = threading.Thread(target=write)
    thread.start()
    try:
        for n in range(5):
            back_up(data, tmp_path / f"{n}.tar")
    finally:
        stop.set()
        thread.join()
    for n in range(5):
        restore(tmp_path / f"{n}.tar", tmp_path / str(n))
        rows = dump(tmp_path / str(n))
        assert len(rows["members"]) == len(rows["audit"])


def test_a_room_that_keeps_nothing(tmp_path: Path) -> None:
    me = load_secret(tmp_path / "room" / "secret", create=True)
    assert back_up(tmp_path / "room", tmp_path / "backup.tar") == me.id
    assert restore(tmp_path / "backup.tar", tmp_path / "new") == me.id
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["secret"]


def test_nothing_is_overwritten(tmp_path: Path, data: Path) -> None:
    back_up(data, tmp_path / "backup.tar")
    content = (tmp_path / "backup.tar").read_bytes()
    with pytest.raises(BadInputError, match="exists already"):
        back_up(data, tmp_path / "backup.tar")
    assert (tmp_path / "backup.tar").read_bytes() == content
    for name in ("secret", FILE, f"{FILE}-wal"):
        there = tmp_path / f"with-{name}"
        there.mkdir()
        (there / name).write_bytes(b"something")
        before = snapshot(there)
        with pytest.raises(BadInputError, match="already"):
            restore(tmp_path / "backup.tar", there)
        assert snapshot(there) == before


def test_what_is_no_room(tmp_path: Path, data: Path) -> None:
    with pytest.raises(KeyFileError):
        back_up(tmp_path / "nothing", tmp_path / "backup.tar")
    with pytest.raises(BadInputError):
        back_up(data, tmp_path / "nowhere" / "backup.tar")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["room"]


@pytest.mark.parametrize(
    "members",
    [
        (),
        ((FILE, tarfile.REGTYPE, b"x"),),
        (("secret", tarfile.REGTYPE, b"no secret"),),
        (("secret", tarfile.SYMTYPE, b""),),
        (("../secret", tarfile.REGTYPE, b"x"),),
        (("/etc/passwd", tarfile.REGTYPE, b"x"),),
        (("secret", tarfile.REGTYPE, b"x" * 1_000_000),),
    ],
)
def test_what_is_no_backup(tmp_path: Path, members: tuple[tuple[str, bytes, bytes], ...]) -> None:
    tar(tmp_path / "backup.tar", *members)
    with pytest.raises(BadInputError) as caught:
        restore(tmp_path / "backup.tar", tmp_path / "new")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "new").exists() or list((tmp_path / "new").iterdir()) == []


def test_damaged_backups(tmp_path: Path, data: Path) -> None:
    back_up(data, tmp_path / "backup.tar")
    whole = (tmp_path / "backup.tar").read_bytes()
    secret = (data / "secret").read_bytes()
    raw(data, "PRAGMA user_version = 99", "PRAGMA wal_checkpoint(TRUNCATE)")
    newer = (data / FILE).read_bytes()
    damaged = {
        "cut": whole[: len(whole) // 2],
        "empty": b"",
        "text": b"hello" * 1000,
    }
    for name, content in damaged.items():
        (tmp_path / name).write_bytes(content)
    tar(tmp_path / "newer", ("secret", tarfile.REGTYPE, secret), (FILE, tarfile.REGTYPE, newer))
    tar(tmp_path / "spoilt", ("secret", tarfile.REGTYPE, secret), (FILE, tarfile.REGTYPE, b"\0" * 8192))
    for name in (*damaged, "newer", "spoilt", "missing"):
        with pytest.raises(BadInputError) as caught:
            restore(tmp_path / name, tmp_path / "new")
        assert str(caught.value).startswith(str(tmp_path / name)) and "\n" not in str(caught.value)
        assert list((tmp_path / "new").iterdir()) == []


@pytest.mark.parametrize("number", range(1, room_schema.schema().version + 1))
def test_a_backup_of_every_older_number(tmp_path: Path, number: int) -> None:
    """It was made by that version; the room that comes of it is of ours."""
    load_secret(tmp_path / "old" / "secret", create=True)
    at_version(tmp_path / "old", number)
    parts = [(name, tarfile.REGTYPE, (tmp_path / "old" / name).read_bytes()) for name in ("secret", FILE)]
    restore(tar(tmp_path / "backup.tar", *parts), tmp_path / "new")
    with RoomStore(tmp_path / "new", reading=True) as store:
        assert [(one.feed, one.role) for one in store.members()] == [(feed(5), Role.ADMIN)]
