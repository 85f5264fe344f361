"""`ssbfast completion`: what a shell reads to complete commands and options."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class


@click.command("completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print what completes commands and options in a shell. Packages bring it along.

    \b
    Examples:
      ssbfast completion bash > ~/.local/share/bash-completion/completions/ssbfast
      ssbfast completion zsh > ~/.zfunc/_ssbfast
      ssbfast completion fish > ~/.config/fish/completions/ssbfast.fish
    """
    from ssbfast.cli.group import COMPLETE, group

    if (found := get_completion_class(shell)) is not None:
        click.echo(found(group, {}, "ssbfast", COMPLETE).source())
