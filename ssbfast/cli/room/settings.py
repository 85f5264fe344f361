"""`ssbfast room mode` and `ssbfast room settings`."""

from __future__ import annotations

import contextlib
from dataclasses import fields
from pathlib import Path
from typing import Any, Final

import click

from ssbfast import limits
from ssbfast.cli.options import say
from ssbfast.cli.room.common import next_command, room_options, to_read, to_write
from ssbfast.errors import BadInputError
from ssbfast.ids import FeedId
from ssbfast.room.records import Outcome, Settings
from ssbfast.room.roles import Mode, Role
from ssbfast.server import control

_EFFECTS: Final = {
    Mode.OPEN: "Every peer may join, see who is there, and have aliases; everyone may make invites.",
    Mode.COMMUNITY: "Members see each other and make invites; others may only ask who has an alias and call them.",
    Mode.RESTRICTED: "Only members have a session, without aliases; moderators make invites.",
}


@click.command("mode")
@click.argument(
    "to", metavar="[open|community|restricted]", type=click.Choice([mode.value for mode in Mode]), required=False
)
@click.option("--keep-present", is_flag=True, help="Make the peers members that are in the running room now.")
@room_options
def mode(to: str | None, keep_present: bool, data: Path, as_json: bool) -> None:
    """Show or change the privacy mode.

    open: every peer may join. community: members see each other, others may call members who have an alias.
    restricted: members only. A running room follows within a second. Who is in an open room is no member by that.

    \b
    Examples:
      ssbfast room mode
      ssbfast room mode community --keep-present
    """
    if keep_present and to in (None, Mode.OPEN.value):
        raise click.UsageError("--keep-present is for the modes community and restricted")
    before = _read(data)
    changed = False
    after = before.mode
    kept: list[FeedId] = []
    lost: list[FeedId] = []
    if to is not None:
        after = Mode(to)
        if keep_present:
            kept = _present(data)
        elif before.mode is Mode.OPEN and after is not Mode.OPEN:
            with contextlib.suppress(BadInputError):  # it does not run
                lost = _present(data)
        with to_write(data) as store:
            changed = store.change_settings(by=None, mode=after, members=kept) is Outcome.DONE
    event: dict[str, Any] = {"event": "mode", "mode": after.value, "changed": changed}
    if to is not None:
        event |= {"kept": [str(one) for one in kept], "lost": [str(one) for one in lost]}
    lines = [f"{before.mode.value} → {after.value}" if after is not before.mode else after.value, _EFFECTS[after]]
    if to is not None and not changed:
        lines[0] += " (as before)"
    lines += [f"{one} is a member now." for one in kept]
    if lost:
        lines.append("These were there, and are no members. To make one a member:")
        lines += [f"  {next_command(f'members add {one}', data)}" for one in lost]
    say(event, "\n".join(lines), as_json=as_json)


def _present(data: Path) -> list[FeedId]:
    """Return who is in the running room without being a member. Raises BadInputError when it does not run."""
    found = [FeedId.parse(one["id"]) for one in control.ask(data, "attendants")]
    store = to_read(data)  # a running room follows it within a second only
    if store is None:
        return found
    with store as records:
        return [feed for feed in found if records.member(feed) is None]


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
