"""`ssbfast room backup` and `restore`."""

from __future__ import annotations

from pathlib import Path

import click

from ssbfast.cli.options import say
from ssbfast.cli.room.common import next_command, room_options

_FILE = click.argument("file", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE")


@click.command("backup")
@_FILE
@room_options
def backup(file: Path, data: Path, as_json: bool) -> None:
    """Write all that a room keeps into one file.

    The room may run meanwhile. The file holds the room's secret: whoever has it can be the room. Keep it safe.

    \b
    Example:
      ssbfast room backup room-backup.tar
    """
    from ssbfast.store.room_backup import back_up

    room = back_up(data, file)
    event = {"event": "backup", "id": str(room), "file": file}
    say(event, f"{file} holds room {room}, its secret included: keep it safe.", as_json=as_json)


@click.command("restore")
@_FILE
@room_options
def restore(file: Path, data: Path, as_json: bool) -> None:
    """Bring a room back from such a file, where no room is.

    Never run a room in two places at a time.

    \b
    Example:
      ssbfast room restore room-backup.tar --data /srv/room
    """
    from ssbfast.store import room_backup

    room = room_backup.restore(file, data)
    text = f"Room {room} is in {data} again. Next: {next_command('', data)}"
    say({"event": "restored", "id": str(room), "data": data}, text, as_json=as_json)
