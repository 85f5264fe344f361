"""`ssbfast connect`: reach a service of a friend at a local address, or by stdin and stdout."""

from __future__ import annotations

from typing import Any

import click

from ssbfast.cli.calling import calling_options, run_calls
from ssbfast.cli.nicknames import complete_service, full_option
from ssbfast.cli.options import peer_options
from ssbfast.cli.path_options import paths_from
from ssbfast.cli.peer_options import trust_from


@click.command()
@click.argument("target", metavar="TARGET", shell_complete=complete_service)
@calling_options(bind="Local address where programs reach the service; port 0 picks a free port. Or unix:PATH.")
@click.option("--stdio", is_flag=True, help="Carry stdin and stdout to the service, once: for ssh's ProxyCommand.")
@full_option
@peer_options
def connect(target: str, stdio: bool, **options: Any) -> int:
    """Reach a friend's service: each TCP connection to --bind goes through a tunnel to the friend's service.

    TARGET is NICK/SERVICE or @ID/SERVICE; without /SERVICE it is the friend's first service, and may be an alias as
    well, or the address that `ssbfast listen` printed on the friend's machine (tunnel:… or ptunnel:…). An alias, and a
    friend that you paired with, need no --room. You must follow each other. The tunnel opens as soon as the friend is
    in the room, and again whenever it was lost; meanwhile new connections wait for 15 seconds. You are not listed in
    the room.

    NICK.ssb stands for NICK/ssh, and SERVICE.NICK.ssb for NICK/SERVICE. So that `ssh NICK.ssb` works, ~/.ssh/config
    needs `Host *.ssb` with `ProxyCommand ssbfast connect --stdio %n`.

    \b
    Examples:
      ssbfast connect home/git --bind 127.0.0.1:9418
      ssbfast connect home/ssh --stdio
      ssbfast connect @ID --room ROOM --bind 127.0.0.1:8080
      ssbfast connect tunnel:PORTAL:TARGET~shs:KEY --room ROOM --bind 127.0.0.1:0
      ssbfast connect alice.room.example --bind 127.0.0.1:8080
    """
    if stdio and (options["bind"] is not None or options["as_json"]):
        raise click.UsageError("--stdio leaves stdout to the service: no --bind, no --json")
    if not stdio and options["bind"] is None:
        raise click.UsageError("Missing option '--bind'.")
    return run_calls([target], stdio=stdio, trust=trust_from(options), paths=paths_from(options), **options)
