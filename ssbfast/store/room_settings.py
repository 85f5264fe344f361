"""What a room says of itself: settings, notices, and the address of its web site."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Final

from ssbfast import limits
from ssbfast.errors import BadInputError
from ssbfast.ids import FeedId
from ssbfast.room.records import Notice, Outcome, Settings
from ssbfast.room.roles import Action, Mode, Role
from ssbfast.store.database import decoding
from ssbfast.store.room_tables import TEXTS, RoomTables

_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_LANGUAGE: Final = re.compile(r"[a-z]{2,3}(-[A-Za-z0-9]{2,8})*")
_SHORT: Final = ("mode", "mode_by", "language", "invite_days", "alias_style")
"""Settings whose values stand in the audit log."""


class SettingsTables(RoomTables):
    """The tables of settings and of notices."""

    def change_settings(self, *, by: FeedId | None, expected: Settings | None = None, **changed: object) -> Outcome:
        """Change settings by the names of `Settings`.

        `members` may be given beside them: keys to make members in the same transaction. Returns DONE, UNCHANGED, or
        INVALID when the settings are not `expected` any more. Raises BadInputError for a value that cannot be.
        """
        new_members: Sequence[FeedId] = changed.pop("members", ())  # type: ignore[assignment]
        with self._writing():
            with decoding():
                before = self._settings()
            if expected not in (None, before):
                return Outcome.INVALID
            after = replace(before, **changed)  # type: ignore[arg-type]
            check_settings(after)
            if not self._may_change(by, before, after, new_members):
                return Outcome.FORBIDDEN
            added = [feed for feed in dict.fromkeys(new_members) if self._role(feed) is Role.EXTERNAL]
            for feed in added:
                self._insert_member(feed, Role.MEMBER, by)
                self._audit("add", by, feed, Role.MEMBER.word)
            if after == before:
                return Outcome.DONE if added else Outcome.UNCHANGED
            self._write_settings(before, after, by)
            return Outcome.DONE

    def _may_change(self, by: FeedId | None, before: Settings, after: Settings, members: Sequence[FeedId]) -> bool:
        """Return whether a key may change the mode, and the other settings, as far as they are changed."""
        rights = set()
        if members or after.mode is not before.mode:
            rights.add(Action.CHANGE_MODE)
        if replace(after, mode=before.mode) != before:
            rights.add(Action.CHANGE_SETTINGS)
        return all(self._may(by, right) for right in rights)

    def _write_settings(self, before: Settings, after: Settings, by: FeedId | None) -> None:
        said = []
        for one in fields(Settings):
            old, new = (_text(getattr(settings, one.name)) for settings in (before, after))
            if old != new:
                self._run("INSERT OR REPLACE INTO settings (key, value) VALUES (?, ?)", one.name, new)
                said.append(f"{one.name}: {old} → {new}" if one.name in _SHORT else one.name)
        self._audit("settings", by, None, ", ".join(said))

    def notices(self) -> Sequence[Notice]:
        """Return all notices."""
        with self._using(), decoding():
            rows = self._all("SELECT name, language, title, body, changed FROM notices ORDER BY name, language")
            return [Notice(name, language, title, body, float(when)) for name, language, title, body, when in rows]

    def write_notice(self, notice: Notice, *, by: FeedId | None) -> Outcome:
        """Write a notice; an empty body removes it. Returns DONE."""
        with self._writing():
            if not self._may(by, Action.EDIT_NOTICES):
                return Outcome.FORBIDDEN
            if notice.body:
                self._insert_notice(notice)
            else:
                self._run("DELETE FROM notices WHERE name = ? AND language = ?", notice.name, notice.language)
            self._audit("notice", by, None, f"{notice.name} ({notice.language})")
            return Outcome.DONE

    def _insert_notice(self, notice: Notice) -> None:
        self._run(
            "INSERT OR REPLACE INTO notices (name, language, title, body, changed) VALUES (?, ?, ?, ?, ?)",
            notice.name,
            notice.language,
            notice.title,
            notice.body,
            notice.changed,
        )

    def web_address(self) -> str | None:
        """Return the address of the room's web site, as it had it when it ran last; None when it never did."""
        with self._using():
            found = self._one("SELECT value FROM settings WHERE key = 'web_address'")
            return None if found is None else str(found)

    def keep_web_address(self, url: str | None) -> None:
        """Keep the address of the web site, without a slash at its end, for the links that commands make."""
        if url == self.web_address():
            return
        with self._writing():
            self._run("DELETE FROM settings WHERE key = 'web_address'")
            if url is not None:
                self._run("INSERT INTO settings (key, value) VALUES ('web_address', ?)", url)


def check_settings(settings: Settings) -> None:
    """Raise BadInputError, in one line, for settings that no room can have."""
    if not isinstance(settings.mode, Mode):
        raise BadInputError("the mode is open, community or restricted")
    if settings.mode_by not in (Role.MODERATOR, Role.ADMIN):
        raise BadInputError("the mode is changed by moderator or admin")
    if settings.alias_style not in ("path", "subdomain"):
        raise BadInputError("the style of aliases is path or subdomain")
    days = settings.invite_days
    if not isinstance(days, int) or not 1 <= days <= limits.INVITE_DAYS:
        raise BadInputError(f"invites are valid for 1 to {limits.INVITE_DAYS} days")
    for name in TEXTS:
        text = getattr(settings, name)
        if not isinstance(text, str) or len(text) > limits.SETTING_LETTERS:
            raise BadInputError(f"the {name} has at most {limits.SETTING_LETTERS} characters")
        if _CONTROL.search(text):
            raise BadInputError(f"the {name} is one line of text")
    if _LANGUAGE.fullmatch(settings.language) is None:
        raise BadInputError("the language is given by its code: en, de, pt-BR")


def _text(value: object) -> str:
    if isinstance(value, Role):
        return value.word
    return value.value if isinstance(value, Mode) else str(value)
