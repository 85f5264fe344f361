"""A group of commands that knows what a misspelt one was meant to be."""

from __future__ import annotations

import difflib

import click


class CommandGroup(click.Group):
    """A group that names the nearest command when there is none of a name, as click does for options."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if not ctx.resilient_parsing and not name.startswith("-") and self.get_command(ctx, name) is None:
            near = difflib.get_close_matches(name, self.list_commands(ctx), 1)
            advice = f"Did you mean {near[0]!r}?" if near else f"See: {ctx.command_path} --help"
            raise click.UsageError(f"No such command {name!r}. {advice}", ctx)
        return super().resolve_command(ctx, args)
