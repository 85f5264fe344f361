"""`ssbfast room config`: check the file of options, and show what is set."""

from __future__ import annotations

from pathlib import Path

import click

from ssbfast.cli.command_group import CommandGroup
from ssbfast.cli.config_file import SYSTEM, loaded_config, read_config, system_file
from ssbfast.cli.config_report import report_mistakes, report_settings
from ssbfast.cli.options import json_option
from ssbfast.cli.room.run import CONFIG, run
from ssbfast.errors import BadInputError


@click.group("config", cls=CommandGroup)
def config() -> None:
    """Check the file of options, and show what is set.

    \b
    Examples:
      ssbfast room config check /etc/ssbfast/room.toml
      ssbfast room config show
    """


@config.command("check")
@click.argument("file", type=click.Path(path_type=Path), required=False)
@json_option
def check(file: Path | None, as_json: bool) -> int:
    """Read a file as the room would, and name every mistake in it with line and column.

    FILE: that of --config, or /etc/ssbfast/room.toml, if it is not given. A room that runs does not notice.

    \b
    Example:
      ssbfast room config check room.toml
    """
    loaded = loaded_config()
    path = file or (system_file(CONFIG) if loaded is None else loaded.path)
    if path is None:
        raise BadInputError(f"there is no {SYSTEM / CONFIG}; say which file: ssbfast room config check FILE")
    return report_mistakes(read_config(path, run), as_json=as_json)


@config.command("show")
@json_option
def show(as_json: bool) -> None:
    """Show the options that a room started here would have, and where each was set: in the environment or the file.

    \b
    Examples:
      ssbfast room config show
      ssbfast room --config room.toml config show
    """
    context = click.get_current_context()
    while context.command.params is not run.params and context.parent is not None:
        context = context.parent
    report_settings(context, run.params, as_json=as_json)
