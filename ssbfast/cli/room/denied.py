"""`ssbfast room deny`: list blocked keys; block and unblock keys."""

from __future__ import annotations

from pathlib import Path

import click

from ssbfast.cli.list_group import ListGroup, is_alone
from ssbfast.cli.options import say
from ssbfast.cli.output import clean_line
from ssbfast.cli.room.common import (
    called,
    day,
    force_option,
    id_or_none,
    must_not_be_last_admin,
    names_of,
    next_command,
    read_who,
    room_options,
    short_text_callback,
    to_read,
    to_write,
    who_argument,
)
from ssbfast.errors import BadInputError
from ssbfast.room.records import Denied, Outcome


@click.group("deny", cls=ListGroup)
@room_options
def deny(data: Path, as_json: bool) -> None:
    """List blocked keys; block and unblock keys.

    Without a command it lists. A blocked key has no session with the room, in any mode, and does not learn why.

    \b
    Examples:
      ssbfast room deny
      ssbfast room deny add @ID --comment "spam"
      ssbfast room deny remove @ID
    """
    if is_alone():
        _list(data, as_json=as_json)


@deny.command("list")
@room_options
def list_denied(data: Path, as_json: bool) -> None:
    """List the blocked keys, newest first.

    \b
    Example:
      ssbfast room deny list --json
    """
    _list(data, as_json=as_json)


@deny.command("add")
@who_argument
@click.option("--comment", default="", callback=short_text_callback, help="Why, for those who moderate.")
@force_option
@room_options
def add_denied(who: str, comment: str, force: bool, data: Path, as_json: bool) -> None:
    """Block a key: its sessions and tunnels end, and its aliases, invites and web sessions are deleted.

    \b
    Example:
      ssbfast room deny add @ID --comment "spam"
    """
    with to_write(data) as store:
        feed = read_who(who, store, data)
        outcome = store.block(feed, comment, by=None, force=force)
    must_not_be_last_admin(outcome, feed, data)
    changed = outcome is Outcome.DONE
    event = {"event": "denied_added", "id": str(feed), "changed": changed}
    say(event, f"{feed}  blocked{'' if changed else ' (as before)'}", as_json=as_json)


@deny.command("remove")
@who_argument
@room_options
def remove_denied(who: str, data: Path, as_json: bool) -> None:
    """Unblock a key. Nothing of what it had comes back by itself.

    \b
    Example:
      ssbfast room deny remove @ID
    """
    with to_write(data) as store:
        feed = read_who(who, store, data)
        outcome = store.unblock(feed, by=None)
    if outcome is Outcome.MISSING:
        raise BadInputError(f"{feed} is not blocked; see the blocked keys with: {next_command('deny', data)}")
    say({"event": "denied_removed", "id": str(feed)}, f"{feed}  not blocked any more", as_json=as_json)


def _list(data: Path, *, as_json: bool) -> None:
    store = to_read(data)
    found: list[Denied] = []
    names = {}
    if store is not None:
        with store as records:
            found, names = list(records.denied()), names_of(records, data)
    for one in found:
        event = {
            "event": "denied",
            "id": str(one.feed),
            "comment": one.comment,
            "by": id_or_none(one.by),
            "since": round(one.since, 3),
        }
        text = f"{one.feed}  since {day(one.since)}  by {called(one.by, names)}"
        say(event, f"{text}  {clean_line(one.comment)}".rstrip(), as_json=as_json)
    if not found and not as_json:
        click.echo(f"This room blocks nobody. Next: {next_command('deny add @ID', data)}")
