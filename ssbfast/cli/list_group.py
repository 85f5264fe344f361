"""A group of commands that lists when no command is given: `ssbfast contacts`, `ssbfast room members`."""

from __future__ import annotations

from typing import Any

import click

from ssbfast.cli.command_group import CommandGroup


class ListGroup(CommandGroup):
    """A group that lists when no command is given."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.invoke_without_command = True
        self.no_args_is_help = False
        self.subcommand_metavar = "[COMMAND [ARGS]...]"

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)


def is_alone() -> bool:
    """Return whether a group was given without a command."""
    return click.get_current_context().invoked_subcommand is None
