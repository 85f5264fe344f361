"""`ssbfast keys`: make an identity, and show it."""

from __future__ import annotations

import os
from pathlib import Path

import click

from ssbfast.cli.command_group import CommandGroup
from ssbfast.cli.options import SECRET, data_flag, peer_options, read_secret, say
from ssbfast.errors import KeyFileError
from ssbfast.ids import NetworkId
from ssbfast.keys import Keypair


@click.group(cls=CommandGroup, no_args_is_help=False)
def keys() -> None:
    """Make this peer's identity, and show it.

    \b
    Examples:
      ssbfast keys new
      ssbfast keys show
    """


@keys.command()
@peer_options
def new(data: Path, network: NetworkId, as_json: bool) -> None:
    """Make a new identity. An existing one is never overwritten.

    \b
    Example:
      ssbfast keys new
    """
    file = data / SECRET
    if os.path.lexists(file):
        raise KeyFileError(f"{file} exists and is not overwritten; see it with: ssbfast keys show{data_flag(data)}")
    _tell(read_secret(file, create=True), file, created=True, as_json=as_json)


@keys.command()
@peer_options
def show(data: Path, network: NetworkId, as_json: bool) -> None:
    """Show the id, which is public, and the file of the secret. The secret itself is never shown.

    \b
    Example:
      ssbfast keys show
    """
    file = data / SECRET
    if not os.path.lexists(file):
        raise KeyFileError(f"{file} does not exist; make an identity with: ssbfast keys new{data_flag(data)}")
    _tell(read_secret(file), file, created=False, as_json=as_json)


def _tell(me: Keypair, file: Path, *, created: bool, as_json: bool) -> None:
    event = {"event": "keys", "id": str(me.id), "file": file, "created": created}
    lines = [str(me.id), f"  secret   {file} (this file is your identity: keep it safe)"]
    if created:
        lines.append(f"Next: give the id to your friends, who let you in with: ssbfast follow {me.id}")
    say(event, "\n".join(lines), as_json=as_json)
