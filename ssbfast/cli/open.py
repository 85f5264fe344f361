"""`ssbfast open`: reach several services of friends at once, at their own ports."""

from __future__ import annotations

from typing import Any

import click

from ssbfast.cli.calling import calling_options, run_calls
from ssbfast.cli.nicknames import complete, full_option
from ssbfast.cli.options import peer_options
from ssbfast.cli.path_options import paths_from
from ssbfast.cli.peer_options import trust_from


@click.command()
@click.argument("targets", metavar="NICK/SERVICE...", nargs=-1, required=True, shell_complete=complete)
@calling_options(bind="Local address for one service, or unix:PATH. Default: its own port on 127.0.0.1.")
@full_option
@peer_options
def open(targets: tuple[str, ...], **options: Any) -> int:
    """Reach services of friends that you paired with, each at its own port on this machine, or at a free one.

    NICK alone stands for all that the friend offers to you. It prints where each service is found, and stays: tunnels
    open as soon as a friend is in the room, and again whenever they were lost.

    \b
    Examples:
      ssbfast open home/jellyfin
      ssbfast open home/jellyfin home/git laptop
      ssbfast open home/jellyfin --bind 127.0.0.1:9000
    """
    if options["bind"] is not None and len(targets) > 1:
        raise click.UsageError("--bind is for one service")
    return run_calls(targets, trust=trust_from(options), paths=paths_from(options), **options)
