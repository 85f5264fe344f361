"""The reports of `config check` and `config show`, for the room and for the peer."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import click
from click.core import ParameterSource

from ssbfast.cli.config_file import ConfigFile, TableArgument, key_of, loaded_config
from ssbfast.cli.options import say
from ssbfast.cli.standard_error import warn


def report_mistakes(found: ConfigFile, *, as_json: bool) -> int:
    """Tell of every mistake in a file, or how many options it sets. Returns the exit code."""
    for mistake in found.mistakes:
        warn(mistake)
    count = len(found.settings)
    event: dict[str, Any] = {"event": "config", "file": str(found.path), "mistakes": found.mistakes, "settings": count}
    fine = f"{found.path}: {count} option{'' if count == 1 else 's'}, no mistakes"
    if as_json or not found.mistakes:
        say(event, fine, as_json=as_json)
    return 2 if found.mistakes else 0


def report_settings(context: click.Context, parameters: Sequence[click.Parameter], *, as_json: bool) -> None:
    """Show what the environment and the loaded file set. Raises BadInputError for a file with a mistake.

    context: of the command that would use it. parameters: those of the command.
    """
    loaded = loaded_config(context)
    if loaded is not None:
        loaded.must_be_right()
    shown = 0
    for option in parameters:
        if not isinstance(option, click.Option | TableArgument) or option.name is None:
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
