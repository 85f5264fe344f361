"""`ssbfast connect`: reach a friend's service through rooms."""

from __future__ import annotations

from typing import Any

import click

from ssbfast.cli.connect import calling_options, run_call
from ssbfast.cli.options import peer_options
from ssbfast.cli.path_options import paths_from
from ssbfast.cli.peer_options import trust_from


@click.command()
@click.argument("target", metavar="TARGET")
@calling_options(required=True)
@peer_options
def connect(target: str, **options: Any) -> int:
    """Reach a friend's service: each TCP connection to --bind goes through a tunnel to what the friend offers.

    TARGET is the address that `ssbfast listen` printed at your friend's (tunnel:… or ptunnel:…), or his @ID. You have
    to follow each other. The tunnel is opened as soon as he comes, and again whenever it was lost; meanwhile new
    connections wait for 15 seconds. You are not listed in the room.
    """
    return run_call(target, trust=trust_from(options), paths=paths_from(options), **options)
