"""`ssbfast room import-go`: take over a room of go-ssb-room."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ssbfast.cli.options import SECRET, say
from ssbfast.cli.room.common import next_command, room_options
from ssbfast.errors import BadInputError

if TYPE_CHECKING:
    from ssbfast.store.go_room import GoRoom


@click.command("import-go")
@click.argument("directory", type=click.Path(path_type=Path, file_okay=False), metavar="DIR")
@click.option("--yes", is_flag=True, help="Write. Without it nothing is changed.")
@room_options
def import_go(directory: Path, yes: bool, data: Path, as_json: bool) -> None:
    """Take over a room of go-ssb-room: its identity, members, roles, aliases, blocked keys, invites, notices and mode.

    DIR is its data directory, with `secret` and `roomdb`. It only says what it would take; --yes takes it. Stop
    go-ssb-room first, and never start it again with this secret. Passwords are not taken.

    \b
    Examples:
      ssbfast room import-go /var/lib/go-ssb-room --data /srv/room
      ssbfast room import-go /var/lib/go-ssb-room --data /srv/room --yes
    """
    from ssbfast.store import go_room

    found = go_room.read(directory)
    contents = found.contents
    is_new = _check_target(found, data)
    if yes:
        go_room.take_over(found, directory, data, needs_secret=is_new)
    counts = {
        "members": len(contents.members),
        "denied": len(contents.denied),
        "aliases": len(contents.aliases),
        "invites": len(contents.invites),
        "notices": len(contents.notices),
    }
    event = {
        "event": "imported" if yes else "would_import",
        "id": str(found.me.id),
        "mode": contents.settings.mode.value,
    }
    event_all = {
        **event,
        **counts,
        "left_out": found.left_out,
        "with_password": [str(one) for one in found.with_password],
    }
    figures = ", ".join(f"{n} {name}" for name, n in counts.items())
    lines = [f"Room {found.me.id}, mode {contents.settings.mode.value}: {figures}."]
    lines += [f"  left out: {line}" for line in found.left_out]
    if found.with_password:
        lines.append("These members had a password, which is not taken. Give each a link:")
        lines += [f"  {next_command(f'login-link {one}', data)}" for one in found.with_password]
    if yes:
        lines.append(f"All of it is in {data} now. Next: {next_command('', data)}")
    else:
        again = next_command(f"import-go {directory}", data)
        lines.append(f"Nothing was changed. To take it: {again} --yes")
    say(event_all, "\n".join(lines), as_json=as_json)


def _check_target(found: GoRoom, data: Path) -> bool:
    """Return whether the secret is to be copied. Raises BadInputError when another room, or members, are there."""
    from ssbfast.keys import load_secret
    from ssbfast.store.room_store import FILE

    if os.path.lexists(data / FILE):
        raise BadInputError(f"there is a room in {data} already ({FILE}); nothing was changed: give another --data")
    if not os.path.lexists(data / SECRET):
        return True
    if load_secret(data / SECRET).id != found.me.id:
        raise BadInputError(f"{data / SECRET} is another room's identity; nothing was changed: give another --data")
    return False
