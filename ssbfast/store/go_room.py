"""What go-ssb-room keeps, read from its data directory: `secret`, and the SQLite file `roomdb`.

Only the tables that matter are read, and of them only the columns that every version since 1.0 has. Passwords are not
taken: they are bcrypt's. Nor are the notices that a new room has, which nobody wrote. Whatever cannot be read is left
out, with one line that says so.

Source: the migrations of go-ssb-room 2.0 (facts only).
"""

from __future__ import annotations

import base64
import contextlib
import datetime
import hashlib
import re
import sqlite3
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from ssbfast import limits
from ssbfast.errors import BadInputError, FeedIdError
from ssbfast.ids import FeedId
from ssbfast.keys import Keypair, load_secret
from ssbfast.room.records import AliasRecord, Denied, Invite, Member, Notice, Settings
from ssbfast.room.roles import Mode, Role
from ssbfast.store import database, room_backup
from ssbfast.store.room_store import Contents
from ssbfast.wire.alias import may_be_alias, verify_alias
from ssbfast.wire.muxrpc_body import clean_text

FILE: Final = "roomdb"
SECRET: Final = "secret"

_ROLES: Final = {1: Role.MEMBER, 2: Role.MODERATOR, 3: Role.ADMIN}
_MODES: Final = {1: Mode.OPEN, 2: Mode.COMMUNITY, 3: Mode.RESTRICTED}
_NOTICES: Final = {
    "NoticeDescription": "description",
    "NoticeNews": "news",
    "NoticeCodeOfConduct": "conduct",
    "NoticePrivacyPolicy": "privacy",
}
_TITLE: Final = ("description", "en")
"""The notice whose title its web site shows as the room's name."""

_PLACEHOLDERS: Final = frozenset(
    {
        "18c182f553c4cfd4",
        "302e88ab16edb635",
        "3a527f41205bb17c",
        "262a0c9fdddc00a7",
        "cdea556700f6c4d6",
        "01c512f4978847cf",
    }
)
"""How the SHA-256 of title, line feed and content begins, for the notices that a new room has."""

_NEEDED: Final = ("members", "aliases", "invites", "denied_keys")
_TIME: Final = re.compile(r"(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d:\d\d)(?:\.\d+)?(?: ?(Z|[+-]\d\d:?\d\d))?")
_HASH: Final = re.compile(r"[0-9a-f]{64}")
_LANGUAGE: Final = re.compile(r"[a-z]{2,3}")


@dataclass(slots=True)
class GoRoom:
    """What was found.

    Attributes:
        me: The room's key pair.
        contents: What our store takes.
        with_password: Members that had a password for the web site.
        left_out: One line for each thing that was not taken.
    """

    me: Keypair
    contents: Contents
    with_password: list[FeedId] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)


def read(directory: Path) -> GoRoom:
    """Read the data directory of a go-ssb-room. Nothing in it is changed.

    Args:
        directory: Its `repo`, as it is called there.

    Raises:
        BadInputError: There is none, or it cannot be read.
    """
    path = directory / FILE
    if not path.is_file():
        raise BadInputError(f"{directory} is no data directory of go-ssb-room: there is no {FILE} in it")
    me = load_secret(directory / SECRET)
    with _one_line(path), contextlib.closing(_open(path)) as connection:
        return _Reader(connection, me).read(path)


def _open(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None)
    connection.execute("BEGIN")
    return connection


@contextlib.contextmanager
def _one_line(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise BadInputError(f"{path} cannot be read: {database.cause(path, error)}") from None


class _Reader:
    """A reader of one roomdb."""

    def __init__(self, connection: sqlite3.Connection, me: Keypair) -> None:
        self._connection = connection
        self._me = me
        self._now = time.time()
        self._left_out: list[str] = []
        self._feeds: dict[int, FeedId] = {}

    def read(self, path: Path) -> GoRoom:
        tables = {name for (name,) in self._rows("SELECT name FROM sqlite_master WHERE type = 'table'")}
        if missing := [name for name in _NEEDED if name not in tables]:
            raise BadInputError(f"{path} is not of a go-ssb-room that we know: it has no table {missing[0]}")
        denied = self._denied()
        members = self._members({one.feed for one in denied})
        notices = self._notices(tables)
        name = next((one.title for one in notices if (one.name, one.language) == _TITLE), "")
        contents = Contents(
            settings=self._settings(tables, clean_text(name, limits.SETTING_LETTERS)),
            members=members,
            denied=denied,
            aliases=self._aliases({member.feed for member in members}),
            invites=self._invites({member.feed for member in members}),
            notices=notices,
        )
        with_password: list[FeedId] = []
        if "fallback_passwords" in tables:
            ids = [id for (id,) in self._rows("SELECT DISTINCT member_id FROM fallback_passwords")]
            with_password = [self._feeds[id] for id in ids if id in self._feeds]
        return GoRoom(self._me, contents, with_password, self._left_out)

    def _rows(self, statement: str) -> list[tuple[Any, ...]]:
        return self._connection.execute(statement).fetchall()

    def _feed(self, text: object, what: str) -> FeedId | None:
        try:
            return FeedId.parse(str(text))
        except FeedIdError:
            self._left_out.append(f"{what}: {str(text)[:60]!r} is no id")
            return None

    def _denied(self) -> list[Denied]:
        found: dict[FeedId, Denied] = {}
        for key, comment, created in self._rows("SELECT pub_key, comment, created_at FROM denied_keys ORDER BY id"):
            if (feed := self._feed(key, "blocked key")) is not None:
                found[feed] = Denied(feed, str(comment)[: limits.NOTE_LETTERS], None, self._time(created))
        return list(found.values())

    def _members(self, denied: set[FeedId]) -> list[Member]:
        found: dict[FeedId, Member] = {}
        for id, role, key in self._rows("SELECT id, role, pub_key FROM members ORDER BY id"):
            feed = self._feed(key, "member")
            if feed is None:
                continue
            if feed in denied:
                self._left_out.append(f"member {feed}: it is blocked, too")
                continue
            if role not in _ROLES:
                self._left_out.append(f"role {role!r} of {feed}: it becomes a member")
            self._feeds[id] = feed
            # It keeps no times of joining; its order stays.
            since = self._now - 1.0 + len(found) / 1_000_000
            found[feed] = Member(feed, _ROLES.get(role, Role.MEMBER), since)
        return list(found.values())

    def _aliases(self, members: set[FeedId]) -> list[AliasRecord]:
        found = []
        for name, member, signature in self._rows("SELECT name, member_id, signature FROM aliases ORDER BY id"):
            owner = self._feeds.get(member)
            if owner not in members or owner is None:
                self._left_out.append(f"alias {str(name)[:63]!r}: its owner is no member")
            elif not may_be_alias(str(name)):
                self._left_out.append(f"alias {str(name)[:63]!r}: no host name can be that")
            elif not isinstance(signature, bytes) or not verify_alias(self._me.id, owner, str(name), signature):
                self._left_out.append(f"alias {name!r}: its signature is not valid")
            else:
                found.append(AliasRecord(name, owner, signature, self._now))
        return found

    def _invites(self, members: set[FeedId]) -> list[tuple[bytes, Invite]]:
        found = []
        rows = self._rows("SELECT hashed_token, created_by, created_at FROM invites WHERE active = 1 ORDER BY id")
        for text, maker, created in rows:
            by = self._feeds.get(maker)
            if by not in members or by is None:
                self._left_out.append("an invite: its maker is no member")
            elif (hash := _hash(text)) is None:
                self._left_out.append("an invite: its hash cannot be read")
            else:
                found.append((hash, Invite(0, by, "", self._time(created), None, 1, 0, None)))
        return found

    def _settings(self, tables: set[str], room_name: str) -> Settings:
        mode, language = Mode.COMMUNITY, ""
        if "config" in tables:
            columns = {row[1] for row in self._rows("PRAGMA table_info(config)")}
            for (number,) in self._rows("SELECT privacyMode FROM config"):
                if number in _MODES:
                    mode = _MODES[number]
                else:
                    self._left_out.append(f"privacy mode {number!r}: it becomes community")
            if "defaultLanguage" in columns:
                language = "".join(str(text) for (text,) in self._rows("SELECT defaultLanguage FROM config"))
        return Settings(mode=mode, name=room_name, language=_language(language) or "en")

    def _notices(self, tables: set[str]) -> list[Notice]:
        if not {"pins", "notices", "pin_notices"} <= tables:
            return []
        found: dict[tuple[str, str], Notice] = {}
        rows = self._rows(
            "SELECT pins.name, notices.language, notices.title, notices.content FROM notices"
            " JOIN pin_notices ON pin_notices.notice_id = notices.id JOIN pins ON pins.id = pin_notices.pin_id"
            " ORDER BY notices.id"
        )
        for pin, spoken, title, body in rows:
            if hashlib.sha256(f"{title}\n{body}".encode()).hexdigest()[:16] in _PLACEHOLDERS:
                continue
            language = _language(str(spoken))
            name = _NOTICES.get(str(pin))
            if name is None or language is None or (name, language) in found:
                self._left_out.append(f"notice {str(title)[:60]!r} in {str(spoken)[:20]!r}")
            elif body:
                found[name, language] = Notice(name, language, str(title), str(body), self._now)
        return list(found.values())

    def _time(self, text: object) -> float:
        found = _TIME.match(str(text))
        if found is None:
            return self._now
        zone = "+00:00" if found[3] in (None, "Z") else found[3]
        zone = zone if ":" in zone else f"{zone[:3]}:{zone[3:]}"
        try:
            return datetime.datetime.fromisoformat(f"{found[1]}T{found[2]}{zone}").timestamp()
        except ValueError:
            return self._now


def _hash(text: object) -> bytes | None:
    """Read the SHA-256 of an invite's code, which is in hexadecimal; versions before 1.0 had base64."""
    if isinstance(text, bytes):
        text = text.decode("ascii", "replace")
    if not isinstance(text, str):
        return None
    if _HASH.fullmatch(text):
        return bytes.fromhex(text)
    with contextlib.suppress(ValueError):
        hash = base64.b64decode(text.translate(str.maketrans("-_", "+/")), validate=True)
        return hash if len(hash) == 32 else None
    return None


def _language(tag: str) -> str | None:
    """Return the language of a tag: "en" of "en-GB"."""
    first = re.split(r"[-_]", tag.strip().lower())[0]
    return first if _LANGUAGE.fullmatch(first) else None


def take_over(found: GoRoom, directory: Path, data: Path, *, needs_secret: bool) -> None:
    """Make a room in `data` of what was found: all of it, or nothing under its name.

    Raises:
        BadInputError: There is a room already, or nothing can be written there.
    """
    room_backup.publish_room(data, directory / SECRET if needs_secret else None, found.contents)
