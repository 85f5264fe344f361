"""`ssbfast room config`: check the file of options, and show what is set."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from ssbfast.cli.config_file import SYSTEM, key_of, loaded_config, read_config, system_file
from ssbfast.cli.options import json_option, say
from ssbfast.cli.room.run import CONFIG, run
from ssbfast.cli.standard_error import warn
from ssbfast.errors import BadInputError


@click.group("config")
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

    FILE: /etc/ssbfast/room.toml if it is not given. A room that runs does not notice.

    \b
    Example:
      ssbfast room config check room.toml
    """
    path = file or system_file(CONFIG)
    if path is None:
        raise BadInputError(f"there is no {SYSTEM / CONFIG}; say which file: ssbfast room config check FILE")
    found = read_config(path, run)
    for mistake in found.mistakes:
        warn(mistake)
    count = len(found.settings)
    event: dict[str, Any] = {"event": "config", "file": str(path), "mistakes": found.mistakes, "settings": count}
    fine = f"{path}: {count} option{'' if count == 1 else 's'}, no mistakes"
    if as_json or not found.mistakes:
        say(event, fine, as_json=as_json)
    return 2 if found.mistakes else 0


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
    loaded = loaded_config()
    if loaded is not None:
        loaded.must_be_right()
    shown = 0
    for option in run.params:
        if not isinstance(option, click.Option) or option.name is None:
            continue
        source = context.get_parameter_source(option.name)
        if source is ParameterSource.ENVIRONMENT:
            value: object = option.value_from_envvar(context)
            where = "environment"
        elif source is ParameterSource.DEFAULT_MAP and loaded is not None:
            setting = loaded.settings[option.name]
            value, where = setting.value, f"{loaded.path}:{setting.line}"
        else:
            continue
        shown += 1
        event = {"event": "option", "option": key_of(option), "value": value, "where": where}
        say(event, f"{key_of(option)} = {json.dumps(value, ensure_ascii=False)}  # {where}", as_json=as_json)
    if not shown and not as_json:
        click.echo("Nothing is set: every option has its default.")
