"""`ssbfast room alias`: list aliases, and revoke them."""

from __future__ import annotations

from pathlib import Path

import click

from ssbfast.cli.list_group import ListGroup, is_alone
from ssbfast.cli.options import say
from ssbfast.cli.room.common import day, next_command, room_options, to_read, to_write
from ssbfast.errors import BadInputError
from ssbfast.room.records import AliasRecord, Outcome


@click.group("alias", cls=ListGroup)
@room_options
def alias(data: Path, as_json: bool) -> None:
    """List aliases, and revoke them.

    Without a command it lists. Members register aliases by themselves, with their SSB app.

    \b
    Examples:
      ssbfast room alias
      ssbfast room alias revoke alice
    """
    if is_alone():
        _list(data, as_json=as_json)


@alias.command("list")
@room_options
def list_aliases(data: Path, as_json: bool) -> None:
    """List the aliases by name.

    \b
    Example:
      ssbfast room alias list --json
    """
    _list(data, as_json=as_json)


@alias.command("revoke")
@click.argument("name")
@room_options
def revoke_alias(name: str, data: Path, as_json: bool) -> None:
    """Revoke an alias. Only its owner may take it again within 30 days.

    \b
    Example:
      ssbfast room alias revoke alice
    """
    with to_write(data) as store:
        outcome = store.revoke_alias(name.strip().lower(), by=None)
    if outcome is Outcome.MISSING:
        raise BadInputError(f"there is no alias {name!r}; see the aliases with: {next_command('alias', data)}")
    say({"event": "alias_revoked", "alias": name}, f"{name}  revoked", as_json=as_json)


def _list(data: Path, *, as_json: bool) -> None:
    store = to_read(data)
    found: list[AliasRecord] = []
    if store is not None:
        with store as records:
            found = list(records.aliases())
    width = max((len(one.name) for one in found), default=0)
    for one in found:
        event = {"event": "alias", "alias": one.name, "id": str(one.feed), "since": round(one.since, 3)}
        say(event, f"{one.name:{width}}  {one.feed}  since {day(one.since)}", as_json=as_json)
    if not found and not as_json:
        click.echo("This room has no aliases: members register them with their SSB app.")
