"""`ssbfast config`: check the file of options of `ssbfast share`, and show what is set."""

from __future__ import annotations

from pathlib import Path

import click

from ssbfast.cli.command_group import CommandGroup
from ssbfast.cli.config_file import ConfigFile, loaded_config, user_path
from ssbfast.cli.config_report import report_mistakes, report_settings
from ssbfast.cli.options import json_option
from ssbfast.cli.share import CONFIG, planned, share
from ssbfast.errors import BadInputError, SSBError


@click.group("config", cls=CommandGroup)
def config() -> None:
    """Check the file of options of `ssbfast share`, and show what is set.

    It is $XDG_CONFIG_HOME/ssbfast/peer.toml, or that of --config. Options stand in it by their names without dashes:

    \b
      room = "net:room.example:8008~shs:KEY"
      name = "home"
      [services]
      jellyfin = 8096
      git = "127.0.0.1:9418"
      [for]
      git = ["laptop", "phone"]

    \b
    Examples:
      ssbfast config check
      ssbfast config show
    """


@config.command("check")
@click.argument("file", type=click.Path(path_type=Path), required=False)
@json_option
def check(file: Path | None, as_json: bool) -> int:
    """Read a file as `ssbfast share` would, and name every mistake in it with line and column.

    FILE: $XDG_CONFIG_HOME/ssbfast/peer.toml if it is not given. An `ssbfast share` that runs does not notice.

    \b
    Example:
      ssbfast config check peer.toml
    """
    return report_mistakes(checked(share_context(*_of(file))), as_json=as_json)


@config.command("show")
@click.option("--config", "file", type=click.Path(path_type=Path), metavar="FILE", help="The file to look at.")
@json_option
def show(file: Path | None, as_json: bool) -> None:
    """Show the options that `ssbfast share` without arguments would have, and where each was set.

    \b
    Examples:
      ssbfast config show
      ssbfast config show --config peer.toml
    """
    report_settings(share_context(*_of(file)), share.params, as_json=as_json)


def share_context(*options: str) -> click.Context:
    """Return the context that `ssbfast share` would have with these options. Raises click.ClickException."""
    return share.make_context("share", list(options))


def _of(file: Path | None) -> list[str]:
    return [] if file is None else ["--config", str(file)]


def checked(context: click.Context) -> ConfigFile:
    """Return the file of options with all mistakes, also those that show when services and friends are put together.

    Raises BadInputError when there is no file.
    """
    found = loaded_config(context)
    if found is None:
        raise BadInputError(f"there is no {user_path(CONFIG)}; say which file: ssbfast config check FILE")
    if not found.mistakes and context.params["services"]:
        try:
            with context.scope(cleanup=False):
                planned(needs_room=False)
        except SSBError as error:
            found.mistakes.append(str(error))
    return found
