"""`ssbfast room status`, `attendants`, `tunnels`: what only a running room knows, by its control socket."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ssbfast.cli.options import say
from ssbfast.cli.output import amount, duration
from ssbfast.cli.room.common import next_command, room_options
from ssbfast.server.control import ask


@click.command()
@room_options
def status(data: Path, as_json: bool) -> None:
    """Show how a running room does: sessions, tunnels, bytes, members.

    \b
    Examples:
      ssbfast room status
      ssbfast room status --data /var/lib/ssbfast --json
    """
    told = ask(data, "status")
    say({"event": "status", **told}, _status_text(told), as_json=as_json)


@click.command()
@room_options
def attendants(data: Path, as_json: bool) -> None:
    """List the peers that can be reached through a running room, in the order of joining.

    \b
    Example:
      ssbfast room attendants
    """
    found = ask(data, "attendants")
    for one in found:
        names = ", ".join(one["aliases"]) or "-"
        load = f"{_many(one['sessions'], 'session')}, {_many(one['tunnels'], 'tunnel')}"
        text = f"{one['id']}  {one['role']:<9}  {names}  {load}"
        say({"event": "attendant", **one}, text, as_json=as_json)
    if not found and not as_json:
        click.echo(f"Nobody is there. Next: {next_command('invite create', data)} lets someone in")


@click.command()
@room_options
def tunnels(data: Path, as_json: bool) -> None:
    """List the tunnels of a running room, the one that carried most first.

    \b
    Example:
      ssbfast room tunnels --json
    """
    found = ask(data, "tunnels")
    for one in found:
        text = f"{one['origin']} → {one['target']}  {amount(one['bytes'])} in {duration(one['seconds'])}"
        say({"event": "tunnel", **one}, text, as_json=as_json)
    if not found and not as_json:
        click.echo("There is no tunnel just now.")


def _many(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"


def _status_text(told: dict[str, Any]) -> str:
    lines = [
        f"Room {told['id']}",
        f"  name        {told['name']}",
        f"  mode        {told['mode']}",
        f"  runs since  {duration(told['seconds'])}",
        f"  online      {_many(told['attendants'], 'attendant')}, {_many(told['visitors'], 'visitor')},"
        f" {_many(told['sessions'], 'session')}",
        f"  tunnels     {told['tunnels']} now, {amount(told['bytes'])} relayed in all",
    ]
    if members := told.get("members"):
        counts = ", ".join(f"{_many(count, role)}" for role, count in members.items() if role != "blocked")
        lines.append(f"  members     {counts}; {members['blocked']} blocked keys, {told['aliases']} aliases")
    return "\n".join(lines)
