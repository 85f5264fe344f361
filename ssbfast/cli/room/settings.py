"""`ssbfast room mode` and `ssbfast room settings`."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any, Final

import click

from ssbfast import limits
from ssbfast.cli.options import say
from ssbfast.cli.room.common import room_options, to_read, to_write
from ssbfast.room.records import Outcome, Settings
from ssbfast.room.roles import Mode, Role

_EFFECTS: Final = {
    Mode.OPEN: "Every peer may join, see who is there, and have aliases; everyone may make invites.",
    Mode.COMMUNITY: "Members see each other and make invites; others may only ask who has an alias and call them.",
    Mode.RESTRICTED: "Only members have a session, without aliases; moderators make invites.",
}


@click.command("mode")
@click.argument(
    "to", metavar="[open|community|restricted]", type=click.Choice([mode.value for mode in Mode]), required=False
)
@room_options
def mode(to: str | None, data: Path, as_json: bool) -> None:
    """Show or change the privacy mode.

    open: every peer may join. community: members see each other, others may call members who have an alias.
    restricted: members only. A running room follows within a second.

    \b
    Examples:
      ssbfast room mode
      ssbfast room mode community
    """
    before = _read(data)
    changed = False
    after = before.mode
    if to is not None:
        after = Mode(to)
        with to_write(data) as store:
            changed = store.change_settings(by=None, mode=after) is Outcome.DONE
    event = {"event": "mode", "mode": after.value, "changed": changed}
    text = f"{before.mode.value} → {after.value}" if changed else after.value
    if to is not None and not changed:
        text += " (as before)"
    say(event, f"{text}\n{_EFFECTS[after]}", as_json=as_json)


@click.command("settings")
@click.option("--name", help="The room's name, for people.")
@click.option("--description", help="One line about the room.")
@click.option("--language", help="Language of pages for visitors who ask for none that we have: en, de, …")
@click.option("--invite-days", type=click.IntRange(1, limits.INVITE_DAYS), help="Days that a new invite is valid.")
@click.option(
    "--alias-style",
    type=click.Choice(["path", "subdomain"]),
    help="https://HOST/ALIAS or https://ALIAS.HOST; the second needs DNS and certificates for it.",
)
@click.option("--mode-by", type=click.Choice(["moderator", "admin"]), help="Who may change the mode on the web site.")
@room_options
def settings(data: Path, as_json: bool, **given: Any) -> None:
    """Show or change name, language and other settings.

    \b
    Examples:
      ssbfast room settings
      ssbfast room settings --name "Our room" --invite-days 7
    """
    changes = {name: value for name, value in given.items() if value is not None}
    if "mode_by" in changes:
        changes["mode_by"] = Role[changes["mode_by"].upper()]
    changed = False
    if changes:
        with to_write(data) as store:
            changed = store.change_settings(by=None, **changes) is Outcome.DONE
    now = _read(data)
    shown = {one.name: _text(getattr(now, one.name)) for one in fields(Settings)}
    lines = [f"{name.replace('_', ' '):12}  {value}".rstrip() for name, value in shown.items()]
    if changes and not changed:
        lines.append("(as before)")
    say({"event": "settings", **shown, "changed": changed}, "\n".join(lines), as_json=as_json)


def _read(data: Path) -> Settings:
    store = to_read(data)
    if store is None:
        return Settings()
    with store as records:
        return records.news(None).settings


def _text(value: object) -> object:
    if isinstance(value, Role):
        return value.word
    return value.value if isinstance(value, Mode) else value
