"""`ssbfast room limits`: what peers may hold and spend, and how often that was reached."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ssbfast.cli.options import say
from ssbfast.cli.room.common import room_options
from ssbfast.net.control_socket import NotRunningError
from ssbfast.server.control import ask
from ssbfast.server.limit_table import RoomCaps, limit_rows


@click.command()
@room_options
def limits(data: Path, as_json: bool) -> None:
    """List what peers may hold and spend, and how often each limit was reached.

    A line is a limit's name, value (with a * where that is no default), how often it was reached, and what it bounds.
    Without a running room it is what a room started here would have. Set one with --limit NAME=VALUE, or in the file:
    a table [limit].

    \b
    Examples:
      ssbfast room limits
      ssbfast room --limit sessions=500 --limit calls=50
    """
    try:
        rows = ask(data, "limits")
    except NotRunningError:
        rows = limit_rows(RoomCaps(_given()), None)
    for row in rows:
        say({"event": "limit", **row}, _text(row), as_json=as_json)


def _given() -> dict[str, float]:
    above = click.get_current_context().parent
    found: dict[str, float] = above.params.get("limit", {}) if above is not None else {}
    return found


def _text(row: dict[str, Any]) -> str:
    value = "-" if row["value"] is None else f"{row['value']:.10g}"
    changed = "" if row["value"] == row["default"] else "*"
    reached = "-" if row["reached"] is None else row["reached"]
    return f"{row['limit']:<34} {value + changed:>10} {reached:>8}  {row['meaning']}"
