"""`ssbfast room`: run a room until it is told to stop."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, Final

import click

from ssbfast.app.commands.options import callback, data_home, json_option, network_option, several
from ssbfast.app.commands.peering import warn
from ssbfast.app.commands.printing import Printer
from ssbfast.app.commands.stopping import on_signals
from ssbfast.app.listening import Endpoint
from ssbfast.app.room_server import DEFAULT_LISTEN, RoomServer
from ssbfast.app.tidying import Tidier
from ssbfast.errors import BadInputError
from ssbfast.ids import NetworkId
from ssbfast.keys import load_secret
from ssbfast.wire.address import NetAddress


def default_data() -> Path:
    """Where the room keeps its secret: apart from a peer's, else the room would be its own peer."""
    return data_home("room")


_AS_BOUND: Final = -1


def _listen(texts: tuple[str, ...]) -> tuple[Endpoint, ...]:
    return tuple(Endpoint.parse(text) for text in texts) or DEFAULT_LISTEN


def _host(text: str | None) -> Endpoint | None:
    if text is None:
        return None
    host = Endpoint.parse(text, default_port=_AS_BOUND)
    NetAddress(host.host, 1 if host.port == _AS_BOUND else host.port)  # raises AddressError for what is no address
    return Endpoint(host.host, 0) if host.port == _AS_BOUND else host


@click.command()
@click.option("--data", type=click.Path(path_type=Path), metavar="DIR", help="Where the room's secret is kept.")
@click.option(
    "--listen",
    multiple=True,
    metavar="HOST:PORT",
    callback=callback(_listen),
    help="Where to listen; repeatable. Default: port 8008 of every address, IPv4 and IPv6.",
)
@click.option("--host", metavar="NAME[:PORT]", callback=callback(_host), help="The address that others dial.")
@click.option(
    "--udp",
    multiple=True,
    metavar="HOST:PORT",
    callback=several(Endpoint.parse),
    help="Where to tell peers, by STUN, which address they come from; repeatable. Default: as --listen, if possible.",
)
@click.option("--no-udp", is_flag=True, help="Do not answer STUN requests.")
@click.option("--name", default="", help="What the room calls itself.")
@network_option
@json_option
def room(
    data: Path | None,
    listen: tuple[Endpoint, ...],
    host: Endpoint | None,
    udp: tuple[Endpoint, ...],
    no_udp: bool,
    name: str,
    network: NetworkId,
    as_json: bool,
) -> None:
    """Run a room: peers that join can reach each other through it.

    It prints its address, an invite to paste into SSB apps, and then who comes, goes and tunnels. Ctrl-C or
    SIGTERM says goodbye to all; a second one quits at once. With uvloop installed it runs on that.
    """
    if udp and no_udp:
        raise BadInputError("either --udp or --no-udp")
    reflect = () if no_udp else udp or None
    secret = (default_data() if data is None else data) / "secret"
    me = load_secret(secret, create=True)
    more_files()
    options = {"me": me, "listen": listen, "host": host, "udp": reflect, "name": name, "network": network}
    run_fast(_run(secret, as_json=as_json, **options))


def run_fast(program: Coroutine[Any, Any, None]) -> None:
    """`asyncio.run`, on uvloop where that is installed: a fifth less CPU for small frames, the same for bulk."""
    try:
        import uvloop
    except ImportError:  # it is no dependency, and there is none for Windows
        asyncio.run(program)
    else:
        uvloop.run(program)


async def _run(secret: Path, *, as_json: bool, **options: Any) -> None:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    printer = Printer(sys.stdout, as_json=as_json, on_broken=lambda: _from_thread(loop, stop))

    def happened(event: dict[str, Any]) -> None:
        if event["event"] == "listening" and not as_json:
            printer.text(introduction(event, secret, only_here=server.is_wildcard_only))
        else:
            printer.event(event)

    server = RoomServer(**options, on_event=happened)
    tidier = Tidier(lambda: server.population)
    try:
        with on_signals(stop.set):
            async with server:
                tidier.start()
                if server.without_udp is not None:
                    warn(f"the room runs without UDP, so peers may not learn their addresses: {server.without_udp}")
                await stop.wait()
    finally:
        tidier.close()
        printer.close()


def _from_thread(loop: asyncio.AbstractEventLoop, stop: asyncio.Event) -> None:
    try:
        loop.call_soon_threadsafe(stop.set)
    except RuntimeError:  # the loop has just closed: we are stopping anyway
        return


def introduction(listening: dict[str, Any], secret: Path, *, only_here: bool) -> str:
    """What people see first: who we are, and what to do next."""
    lines = [
        f"Room {listening['id']}",
        f"  address  {listening['address']}",
        f"  invite   {listening['invite']}",
        f"  secret   {secret} (who has this file is the room: keep it safe)",
        "",
    ]
    if only_here:
        lines.append("That address can be dialled from this machine only.")
        lines.append("For others, say what they dial: ssbfast room --host NAME[:PORT]")
    lines.append("Next: ssbfast listen --room ADDRESS --forward HOST:PORT offers a service to friends; or paste the")
    lines.append("invite into an SSB app, or give the address to RoomClient.join in Python.")
    lines.append("Ctrl-C ends the room.")
    return "\n".join(lines)


def more_files() -> None:
    """Let the room have as many connections as the system allows: the usual 1,024 files are soon used up."""
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 65_536 if hard == resource.RLIM_INFINITY else min(hard, 65_536)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        except (OSError, ValueError):
            return
