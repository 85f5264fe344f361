"""`ssbfast room members`: list members, add and remove them, change their roles."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from ssbfast.cli.list_group import ListGroup, is_alone
from ssbfast.cli.options import say
from ssbfast.cli.room.common import (
    called,
    day,
    force_option,
    id_or_none,
    must_not_be_last_admin,
    names_of,
    next_command,
    no_member,
    read_who,
    room_options,
    to_read,
    to_write,
    who_argument,
)
from ssbfast.errors import BadInputError
from ssbfast.room.records import Outcome
from ssbfast.room.roles import STORED_ROLES, Role

if TYPE_CHECKING:
    from ssbfast.ids import FeedId

_ROLES: Final = click.Choice([role.word for role in STORED_ROLES])


@click.group("members", cls=ListGroup)
@room_options
def members(data: Path, as_json: bool) -> None:
    """List members; add and remove them, change their roles.

    Without a command it lists. Moderators may block and remove; admins may make others admins.

    \b
    Examples:
      ssbfast room members
      ssbfast room members add @ID --role admin
      ssbfast room members role alice moderator
    """
    if is_alone():
        _list(data, as_json=as_json)


@members.command("list")
@room_options
def list_members(data: Path, as_json: bool) -> None:
    """List the members in the order of joining.

    \b
    Example:
      ssbfast room members list --json
    """
    _list(data, as_json=as_json)


@members.command("add")
@who_argument
@click.option("--role", type=_ROLES, default=Role.MEMBER.word, show_default=True, help="What it may do.")
@room_options
def add_member(who: str, role: str, data: Path, as_json: bool) -> None:
    """Make a key a member.

    \b
    Examples:
      ssbfast room members add @ID
      ssbfast room members add @ID --role admin
    """
    with to_write(data) as store:
        feed = read_who(who, store, data)
        outcome = store.add_member(feed, Role[role.upper()], by=None)
        member = store.member(feed)
    if outcome is Outcome.BLOCKED:
        raise BadInputError(f"{feed} is blocked: first {next_command(f'deny remove {feed}', data)}")
    is_role = "" if member is None else member.role.word
    event = {"event": "member_added", "id": str(feed), "role": is_role, "changed": outcome is Outcome.DONE}
    text = f"{feed}  {is_role}{'' if outcome is Outcome.DONE else ' (as before)'}"
    if outcome is Outcome.UNCHANGED and is_role != role:
        text += f"\nIt was a member already. To change its role: {next_command(f'members role {feed} {role}', data)}"
    say(event, text, as_json=as_json)


@members.command("remove")
@who_argument
@force_option
@room_options
def remove_member(who: str, force: bool, data: Path, as_json: bool) -> None:
    """Remove a member with its aliases, invites and web sessions.

    It may come back by another invite. To keep it out: ssbfast room deny add @ID

    \b
    Example:
      ssbfast room members remove @ID
    """
    with to_write(data) as store:
        feed = read_who(who, store, data)
        outcome = store.remove_member(feed, by=None, force=force)
    must_not_be_last_admin(outcome, feed, data)
    if outcome is Outcome.MISSING:
        raise no_member(feed, data)
    say({"event": "member_removed", "id": str(feed)}, f"{feed}  removed", as_json=as_json)


@members.command("role")
@who_argument
@click.argument("role", type=_ROLES)
@force_option
@room_options
def change_role(who: str, role: str, force: bool, data: Path, as_json: bool) -> None:
    """Change the role of a member: member, moderator or admin.

    \b
    Example:
      ssbfast room members role @ID moderator
    """
    with to_write(data) as store:
        feed = read_who(who, store, data)
        outcome = store.set_role(feed, Role[role.upper()], by=None, force=force)
    must_not_be_last_admin(outcome, feed, data)
    if outcome is Outcome.MISSING:
        raise no_member(feed, data)
    event = {"event": "role", "id": str(feed), "role": role, "changed": outcome is Outcome.DONE}
    say(event, f"{feed}  {role}{'' if outcome is Outcome.DONE else ' (as before)'}", as_json=as_json)


def _list(data: Path, *, as_json: bool) -> None:
    store = to_read(data)
    found, aliases, names = [], {}, {}
    if store is not None:
        with store as records:
            found, names = list(records.members()), names_of(records, data)
            aliases = _by_owner([(alias.feed, alias.name) for alias in records.aliases()])
    for member in found:
        event = {
            "event": "member",
            "id": str(member.feed),
            "role": member.role.word,
            "since": round(member.since, 3),
            "by": id_or_none(member.by),
            "invite": member.invite,
            "aliases": aliases.get(member.feed, []),
        }
        text = f"{member.feed}  {member.role.word:9}  since {day(member.since)}  by {called(member.by, names)}"
        if member.feed in aliases:
            text += f"  alias {', '.join(aliases[member.feed])}"
        say(event, text, as_json=as_json)
    if not found and not as_json:
        click.echo(f"This room has no members. Next: {next_command('members add @ID --role admin', data)}")


def _by_owner(pairs: list[tuple[FeedId, str]]) -> dict[FeedId, list[str]]:
    found: dict[FeedId, list[str]] = {}
    for feed, name in pairs:
        found.setdefault(feed, []).append(name)
    return found
