"""A group of commands from a table, so that nothing needs to be loaded for its help or for a shell's completion."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import click
from click.shell_completion import CompletionItem

from ssbfast.cli.command_group import CommandGroup


class LazyGroup(CommandGroup):
    """A group that loads a command's module when the command is used.

    Args:
        package: Where the modules are.
        table: By name of a command: the module that has it, and what `--help` says.
        sections: The names of options by the title under which `--help` shows them; the others are under "Options".
        command_sections: The same for commands; the others are under "Commands".

    The other arguments are those of `click.Group`.
    """

    def __init__(
        self,
        *args: Any,
        package: str,
        table: Mapping[str, tuple[str, str]],
        sections: Mapping[str, Sequence[str]] = MappingProxyType({}),
        command_sections: Mapping[str, Sequence[str]] = MappingProxyType({}),
        **options: Any,
    ) -> None:
        super().__init__(*args, **options)
        self._package = package
        self._table = table
        self._sections = sections
        self._command_sections = command_sections

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self._table)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        return self.load(self._table[cmd_name][0], cmd_name) if cmd_name in self._table else None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        near = () if name.startswith("-") else difflib.get_close_matches(name, self._table, 1)
        if near and not ctx.resilient_parsing and self.get_command(ctx, name) is None:
            raise click.UsageError(f"No such command {name!r}. Did you mean {near[0]!r}?", ctx)
        return super().resolve_command(ctx, args)

    def load(self, module: str, name: str) -> click.Command | None:
        """Return a command of one of the package's modules."""
        command = getattr(importlib.import_module(f"{self._package}.{module}"), name.replace("-", "_"))
        return command if isinstance(command, click.Command) else None

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        records = [(option.name or "", option.get_help_record(ctx)) for option in self.get_params(ctx)]
        rows = {name: record for name, record in records if record is not None}
        _write_sections(formatter, rows, self._sections, "Options")
        self.format_commands(ctx, formatter)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        rows = {name: (name, text) for name, (_module, text) in self._table.items()}
        _write_sections(formatter, rows, self._command_sections, "Commands")

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        fitting = [
            CompletionItem(name, help=text)
            for name, (_module, text) in self._table.items()
            if name.startswith(incomplete)
        ]
        return fitting + click.Command.shell_complete(self, ctx, incomplete)


def _write_sections(
    formatter: click.HelpFormatter,
    rows: Mapping[str, tuple[str, str]],
    sections: Mapping[str, Sequence[str]],
    others: str,
) -> None:
    """Write rows, by their names, below the title that has them; those that no title has below that for others."""
    placed = {name for names in sections.values() for name in names}
    for title, names in (*sections.items(), (others, [name for name in rows if name not in placed])):
        records = [rows[name] for name in names if name in rows]
        if records:
            with formatter.section(title):
                formatter.write_dl(records)
