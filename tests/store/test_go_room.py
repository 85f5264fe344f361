"""What is taken over from go-ssb-room, and what is not."""

from __future__ import annotations

import base64
import calendar
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from ssbfast import Keypair
from ssbfast.errors import BadInputError, KeyFileError
from ssbfast.keys import load_secret
from ssbfast.room.codes import hash_of
from ssbfast.room.records import Outcome
from ssbfast.room.roles import Mode, Role
from ssbfast.store.go_room import read, take_over
from ssbfast.store.room_store import RoomStore
from tests.helpers.go_rooms import TABLES, GoRoomFiles
from tests.helpers.rooms import feed
from tests.helpers.stores import snapshot

ADMIN, MEMBER = Keypair.from_seed(bytes([1] * 32)), Keypair.from_seed(bytes([2] * 32))
CODE = bytes(range(50))
AN_INVITE = base64.urlsafe_b64encode(CODE).decode()


@pytest.fixture
def files(tmp_path: Path) -> GoRoomFiles:
    return GoRoomFiles(tmp_path / "go")


def furnish(files: GoRoomFiles) -> None:
    admin = files.member(ADMIN.id, 3)
    member = files.member(MEMBER.id)
    files.member(feed(3), 2)
    files.alias("alice", ADMIN, admin)
    files.alias("1st-of-all", MEMBER, member)
    files.denied(feed(4), "spam")
    files.invite(CODE, admin)
    files.invite(bytes(50), admin, active=False)
    files.notice(1, "en-GB", "About", "*A room*")
    files.notice(2, "en-GB", "News", "Some recent updates...")  # what a new room has
    files.notice(1, "de-DE", "Über", "*Ein Raum*")
    files.notice(3, "en-GB", "Conduct", "Be kind.")
    files.run("INSERT INTO fallback_passwords (password_hash, member_id) VALUES (x'00', ?)", member)


def test_all_of_it(tmp_path: Path, files: GoRoomFiles) -> None:
    furnish(files)
    before = snapshot(files.data)
    found = read(files.data)
    assert (found.me.id, found.left_out, found.with_password) == (files.me.id, [], [MEMBER.id])
    data = tmp_path / "room"
    take_over(found, files.data, data, needs_secret=True)
    assert snapshot(files.data) == before
    assert sorted(path.name for path in data.iterdir()) == ["room.sqlite", "secret"]
    assert load_secret(data / "secret").id == files.me.id
    with RoomStore(data) as store:
        store.check()
        assert [(one.feed, one.role) for one in store.members()] == [
            (ADMIN.id, Role.ADMIN),
            (MEMBER.id, Role.MEMBER),
            (feed(3), Role.MODERATOR),
        ]
        assert {one.name: one.feed for one in store.aliases()} == {"alice": ADMIN.id, "1st-of-all": MEMBER.id}
        (denied,) = store.denied()
        assert (denied.feed, denied.comment) == (feed(4), "spam")
        assert denied.since == calendar.timegm((2021, 4, 12, 10, 11, 12))
        assert [(one.name, one.language, one.body) for one in store.notices()] == [
            ("conduct", "en", "Be kind."),
            ("description", "de", "*Ein Raum*"),
            ("description", "en", "*A room*"),
        ]
        settings = store.news(None).settings
        assert (settings.mode, settings.name) == (Mode.COMMUNITY, "About")
        assert not store.news(0).is_whole and len(store.news(0).standings) == 4
        # an invite that go-ssb-room made lets one key in
        hash = hash_of(AN_INVITE)
        assert hash is not None
        assert store.claim_invite(hash, feed(10), 5.0).outcome is Outcome.DONE
        assert store.claim_invite(hash, feed(11), 5.0).outcome is Outcome.INVALID
        assert len(store.invites()) == 1


@pytest.mark.parametrize(("number", "mode"), [(1, Mode.OPEN), (2, Mode.COMMUNITY), (3, Mode.RESTRICTED)])
def test_modes_and_language(files: GoRoomFiles, number: int, mode: Mode) -> None:
    files.run("UPDATE config SET privacyMode = ?, defaultLanguage = 'de-DE'", number)
    settings = read(files.data).contents.settings
    assert (settings.mode, settings.language) == (mode, "de")


def test_what_is_left_out_is_named(files: GoRoomFiles) -> None:
    files.member("@nobody")
    member = files.member(MEMBER.id)
    both = files.member(ADMIN.id, 3)
    files.denied(ADMIN.id, "out")
    files.denied("@AAAA.ed25519")
    files.member(feed(9), 7)
    files.alias("blocked", ADMIN, both)
    files.alias("Shout", MEMBER, member)
    files.alias("forged", MEMBER, member, ADMIN.sign(b"something else"))
    files.alias("short", MEMBER, member, b"x")
    files.invite(b"x", both)
    files.run("INSERT INTO invites (hashed_token, created_by) VALUES ('no hash', ?)", member)
    files.notice(2, "not a language!", "News", "x")
    files.run("UPDATE config SET privacyMode = 9")
    found = read(files.data)
    assert [(one.feed, one.role) for one in found.contents.members] == [
        (MEMBER.id, Role.MEMBER),
        (feed(9), Role.MEMBER),
    ]
    assert [one.feed for one in found.contents.denied] == [ADMIN.id]
    assert not (found.contents.aliases or found.contents.invites or found.contents.notices)
    assert found.contents.settings.mode is Mode.COMMUNITY
    text = "\n".join(found.left_out)
    for word in ("@nobody", "@AAAA", str(ADMIN.id), "7", "blocked", "Shout", "forged", "short", "hash", "News", "9"):
        assert word in text
    assert len(found.left_out) == 12


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("2021-04-12T10:11:12Z", 0),
        ("2021-04-12 10:11:12.123456789 +0000 UTC", 0),
        ("2021-04-12 12:11:12+02:00", 0),
        ("2021-04-12 12:11:12.5 +0200 CEST m=+0.01", 0),
    ],
)
def test_times_in_every_spelling(files: GoRoomFiles, text: str, seconds: float) -> None:
    files.denied(feed(1), when=text)
    (denied,) = read(files.data).contents.denied
    assert denied.since - calendar.timegm((2021, 4, 12, 10, 11, 12)) == seconds


def test_an_older_one(tmp_path: Path) -> None:
    """Without notices, config and passwords."""
    files = GoRoomFiles(tmp_path, [text for text in TABLES if any(name in text for name in (" members ", " invites "))])
    with pytest.raises(BadInputError, match="no table aliases"):
        read(tmp_path)
    for text in TABLES:
        if "TABLE aliases" in text or "TABLE denied_keys" in text:
            files.run(text)
    files.member(MEMBER.id)
    found = read(tmp_path)
    assert len(found.contents.members) == 1 and found.contents.settings.mode is Mode.COMMUNITY


def test_what_is_no_such_directory(tmp_path: Path, files: GoRoomFiles) -> None:
    with pytest.raises(BadInputError, match="no data directory"):
        read(tmp_path)
    (files.data / "roomdb").write_bytes(b"not a database at all " * 100)
    with pytest.raises(BadInputError, match="damaged"):
        read(files.data)
    (files.data / "secret").unlink()
    with pytest.raises(KeyFileError):
        read(files.data)


def test_it_reads_while_that_room_still_runs(files: GoRoomFiles) -> None:
    with closing(sqlite3.connect(files.data / "roomdb", isolation_level=None)) as busy:
        busy.execute("BEGIN IMMEDIATE")
        assert read(files.data).contents.members == []


def test_nothing_is_overwritten(tmp_path: Path, files: GoRoomFiles) -> None:
    furnish(files)
    found = read(files.data)
    data = tmp_path / "room"
    RoomStore(data).close()
    before = snapshot(data)
    with pytest.raises(BadInputError, match="exists"):
        take_over(found, files.data, data, needs_secret=True)
    assert snapshot(data) == before
