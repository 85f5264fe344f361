"""`ssbfast room status`, `drain` and others: what only a running room knows and does, by its control socket."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ssbfast import limits
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


@click.command()
@room_options
def drain(data: Path, as_json: bool) -> None:
    """End a running room: it takes no connections any more, and waits for its tunnels.

    They have the time that the room was given with --drain-seconds. The web site's /healthz answers 503 meanwhile.

    \b
    Example:
      ssbfast room drain
    """
    told = ask(data, "drain")
    say({"event": "drain", **told}, f"The room ends: its tunnels have {told['seconds']:g} s.", as_json=as_json)


@click.command()
@room_options
def restart(data: Path, as_json: bool) -> None:
    """Start a running room anew, without refusing a connection: after an upgrade, or with other options in its file.

    A new process begins with the same command line and takes the sockets; the old one drains. If the new one fails,
    the old one goes on.

    \b
    Example:
      ssbfast room restart
    """
    told = ask(data, "restart", seconds=limits.HANDOVER_SECONDS + limits.CONTROL_SECONDS)
    say({"event": "restart", **told}, f"Process {told['pid']} is the room now; the old one drains.", as_json=as_json)


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
    if reached := told["limits"]:
        counts = ", ".join(f"{name} {count}" for name, count in sorted(reached.items(), key=lambda pair: -pair[1]))
        lines.append(f"  limits      reached: {counts}")
    if certificate := told.get("certificate"):
        lines.append(f"  certificate {_certificate(certificate)}")
    return "\n".join(lines)


def _certificate(told: dict[str, Any]) -> str:
    days = told["days"]
    text = "none yet" if days is None else f"{int(days)} days left" if days > 0 else "it is over"
    if told["aliases"]:
        text += f", and {told['aliases']} for names of aliases"
    return f"{text}; {told['problem']}" if told["problem"] else text
