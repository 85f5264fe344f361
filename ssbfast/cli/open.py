"""`ssbfast open`: reach several services of friends at once, at their own ports."""

from __future__ import annotations

from typing import Any

import click

from ssbfast.cli.calling import calling_options, run_calls
from ssbfast.cli.nicknames import complete_service, full_option
from ssbfast.cli.options import callback, parse_place, peer_options
from ssbfast.cli.path_options import paths_from
from ssbfast.cli.peer_options import claim, load_me, trust_from
from ssbfast.net.endpoints import Endpoint, Place


@click.command()
@click.argument("targets", metavar="NICK/SERVICE...", nargs=-1, shell_complete=complete_service)
@click.option(
    "--socks",
    metavar="HOST:PORT",
    callback=callback(parse_place),
    help="Serve SOCKS5 there for the services of all friends: SERVICE.NICK.ssb, or NICK.ssb.",
)
@calling_options(bind="Local address for one service, unix:PATH or udp:HOST:PORT. Default: its own port on 127.0.0.1.")
@full_option
@peer_options
def open(targets: tuple[str, ...], socks: Place | None, **options: Any) -> int:
    """Reach services of friends that you paired with, each at its own port on this machine, or at a free one.

    NICK alone stands for all that the friend offers to you, each at a free port. It prints where each service is found,
    and stays: tunnels open as soon as a friend is in the room, and again whenever they were lost.

    With --socks programs name what they want: jellyfin.home.ssb is the service jellyfin of home, on any port; home.ssb
    is the service of home that has this port there, else its first. Nothing else is reached through it. Tunnels open
    when they are needed, also to friends that you pair with meanwhile.

    \b
    Examples:
      ssbfast open home/jellyfin
      ssbfast open home/jellyfin home/git laptop
      ssbfast open home/jellyfin --bind 127.0.0.1:9000
      ssbfast open home/wg --bind udp:127.0.0.1:51820
      ssbfast open --socks 127.0.0.1:1080
      curl --proxy socks5h://127.0.0.1:1080 http://jellyfin.home.ssb
    """
    if socks is not None:
        return _serve_socks(socks, targets, options)
    if not targets:
        raise click.UsageError("Missing argument 'NICK/SERVICE...', or --socks.")
    if options["bind"] is not None and len(targets) > 1:
        raise click.UsageError("--bind is for one service")
    return run_calls(targets, trust=trust_from(options), paths=paths_from(options), **options)


def _serve_socks(place: Place, targets: tuple[str, ...], options: dict[str, Any]) -> int:
    from ssbfast.cli.socks import run_socks

    if targets or options.pop("bind") is not None:
        raise click.UsageError("--socks is for all friends: without NICK/SERVICE and --bind")
    if not isinstance(place, Endpoint):
        raise click.BadParameter("programs expect SOCKS5 at HOST:PORT", param_hint="--socks")
    rooms = options.pop("rooms")
    known = claim(rooms, load_me(options["data"]).id) if rooms else ()
    return run_socks(place, rooms=known, trust=trust_from(options), paths=paths_from(options), **options)
