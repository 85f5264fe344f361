"""`ssbfast room`: run a room until it is told to stop."""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

import click

from ssbfast import limits
from ssbfast.cli.config_file import SYSTEM, TableOption, config_option, system_file
from ssbfast.cli.garbage_collection import Tidier
from ssbfast.cli.log_budget import LogBudget
from ssbfast.cli.options import (
    callback,
    data_home,
    group_read_option,
    json_option,
    network_option,
    read_secret,
    several,
)
from ssbfast.cli.output import Event, LogForm, Printer, shell_word
from ssbfast.cli.room.common import next_command
from ssbfast.cli.room.course import Course
from ssbfast.cli.room.metrics import MetricsSite
from ssbfast.cli.runner import run_until_stopped
from ssbfast.cli.service_manager import is_journal
from ssbfast.cli.standard_error import mark_levels, warn
from ssbfast.errors import BadInputError
from ssbfast.ids import FeedId, NetworkId
from ssbfast.net.endpoints import DEFAULT_PORT, Endpoint
from ssbfast.net.inherited_sockets import InheritedSockets, from_service_manager
from ssbfast.pasted.endpoint import read_listen, read_name, read_service
from ssbfast.room.roles import Mode
from ssbfast.server.handover import Predecessor
from ssbfast.server.limit_table import RoomCaps, read_limits
from ssbfast.server.networks import Network, parse_networks

if TYPE_CHECKING:
    from ssbfast.cli.room.web import WebPlan, WebSite
    from ssbfast.server.web.acme_order import Authority
    from ssbfast.store.room_store import RoomStore

T = TypeVar("T")


class Closable(Protocol):
    """Something that is closed when the room has ended, or has not begun."""

    def close(self) -> None: ...


def default_data() -> Path:
    """Return where the room keeps its secret: apart from a peer's, else the room would be its own peer."""
    return data_home("room")


def _listen(texts: tuple[str, ...]) -> tuple[Endpoint, ...]:
    return tuple(read_listen(text) for text in texts)


def _host(text: str | None) -> Endpoint | None:
    return None if text is None else read_name(text)


def _http(text: str | None) -> Endpoint | None:
    return None if text is None else read_service(text)


def _metrics(text: str | None) -> Endpoint | None:
    return None if text is None else read_service(text)


def _seconds(seconds: float) -> float:
    if not math.isfinite(seconds):
        raise BadInputError("a number of seconds is needed")
    return seconds


def _admin(text: str | None) -> FeedId | None:
    if text is None:
        return None
    from ssbfast.pasted.addresses import read_id

    return read_id(text)


LETS_ENCRYPT: Final = "https://acme-v02.api.letsencrypt.org/directory"

_END: Final = "Ctrl-C ends the room."

CONFIG: Final = "room.toml"
"""The file of options in /etc/ssbfast."""


@click.command("room", context_settings={"auto_envvar_prefix": "SSBFAST_ROOM"})
@config_option(lambda: system_file(CONFIG), str(SYSTEM / CONFIG))
@click.option("--data", type=click.Path(path_type=Path), metavar="DIR", help="Directory of the room's secret.")
@click.option(
    "--listen",
    multiple=True,
    metavar="HOST:PORT",
    callback=callback(_listen),
    help=f"Address to listen on; repeatable. Default: port {DEFAULT_PORT} of every address, IPv4 and IPv6.",
)
@click.option("--host", metavar="NAME[:PORT]", callback=callback(_host), help="Address that other peers dial.")
@click.option(
    "--udp",
    multiple=True,
    metavar="HOST:PORT",
    callback=several(read_listen),
    help="Address that answers STUN requests, by which peers learn their own; repeatable. Default: as --listen, and on"
    " the next free port, too.",
)
@click.option("--no-udp", is_flag=True, help="Do not answer STUN requests.")
@click.option("--name", default="", help="Name of the room, for people.")
@click.option(
    "--web",
    is_flag=False,
    flag_value="",
    default=None,
    metavar="[HOST:PORT]",
    help="Run the room's web site, too: invites, aliases, sign-in. Default: 127.0.0.1:3000, for a proxy with a"
    " certificate in front of it. A new room is a community then, in which members invite.",
)
@click.option(
    "--web-url", metavar="URL", help="Where browsers find the site. Default: https:// and the name of --host."
)
@click.option(
    "--trust-proxy",
    multiple=True,
    metavar="CIDR",
    help="Network of proxies that tell the addresses of visitors; repeatable. Default: this machine, when the site"
    " listens on it only.",
)
@click.option("--tls-cert", metavar="FILE", help="Certificate chain of the site (PEM), when no proxy has one.")
@click.option("--tls-key", metavar="FILE", help="Its key (PEM).")
@click.option(
    "--tls",
    type=click.Choice(["auto"]),
    help="Get the site's certificate from Let's Encrypt, whose terms you agree to so, and renew it (ACME, HTTP-01). It"
    " needs --host, and port 80 and 443 of that name.",
)
@click.option(
    "--http",
    metavar="HOST:PORT",
    callback=callback(_http),
    help="Where port 80 is listened at, for --tls auto and to lead browsers to https. Default with --tls auto: port 80"
    " of every address.",
)
@click.option(
    "--acme-directory",
    metavar="URL",
    default=LETS_ENCRYPT,
    show_default=True,
    help="Certificate authority of --tls auto.",
)
@click.option("--acme-email", metavar="ADDRESS", default="", help="Where it writes to when something is wrong.")
@click.option("--acme-ca", metavar="FILE", default="", help="Roots (PEM) by which a private authority is checked.")
@click.option(
    "--metrics",
    metavar="HOST:PORT",
    callback=callback(_metrics),
    help="Serve /metrics, for Prometheus, and /healthz on a port of their own, with or without --web. PORT alone is"
    " 127.0.0.1; elsewhere it needs --metrics-token-file.",
)
@click.option(
    "--metrics-token-file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="File with a token, by which /metrics may be read from elsewhere than this machine.",
)
@click.option("--admin", metavar="@ID", callback=callback(_admin), help="Make this peer an admin of the room.")
@click.option(
    "--limit",
    cls=TableOption,
    multiple=True,
    metavar="NAME=VALUE",
    callback=callback(read_limits),
    help="Set a limit on what peers may hold and spend; repeatable. `ssbfast room limits` lists them. In the file: a"
    " table [limit].",
)
@click.option(
    "--allow-address",
    multiple=True,
    metavar="CIDR",
    callback=callback(parse_networks),
    help="Address or network that never has a penalty, however many of its connections fail; repeatable.",
)
@click.option(
    "--log",
    type=click.Choice([form.value for form in LogForm]),
    help="Form of the log. Default: journald (levels, no times) where it goes to the journal, json with --json, else"
    " text.",
)
@click.option(
    "--log-addresses",
    is_flag=True,
    help="Log from which address each key comes, too (of IPv6 its /64): to look for a fault.",
)
@click.option(
    "--drain-seconds",
    metavar="N",
    type=click.FloatRange(0),
    default=limits.DRAIN_SECONDS,
    show_default=True,
    callback=callback(_seconds),
    help="How long tunnels may go on when SIGTERM or `ssbfast room drain` ends the room.",
)
@click.option(
    "--take-over",
    is_flag=True,
    help="Take the sockets of the room that runs on the same directory, which then drains: no connection is refused."
    " `ssbfast room restart` does this.",
)
@network_option
@group_read_option
@json_option
def run(
    data: Path | None,
    listen: tuple[Endpoint, ...],
    host: Endpoint | None,
    udp: tuple[Endpoint, ...],
    no_udp: bool,
    name: str,
    web: str | None,
    web_url: str | None,
    trust_proxy: tuple[str, ...],
    tls_cert: str | None,
    tls_key: str | None,
    tls: str | None,
    http: Endpoint | None,
    acme_directory: str,
    acme_email: str,
    acme_ca: str,
    metrics: Endpoint | None,
    metrics_token_file: Path | None,
    admin: FeedId | None,
    limit: dict[str, float],
    allow_address: tuple[Network, ...],
    log: str | None,
    log_addresses: bool,
    drain_seconds: float,
    take_over: bool,
    network: NetworkId,
    as_json: bool,
    config: Path | None,
) -> int:
    """Run a room: peers that join can reach each other through it.

    It prints its address, an invite to paste into SSB apps, and then each peer that joins or leaves, and each tunnel.
    Ctrl-C says goodbye to all peers; a second one quits at once. SIGTERM lets tunnels end first (--drain-seconds). If
    uvloop is installed, it runs on that.
    The commands below look after a room; they work whether or not it runs, and a running one follows within a second.
    Each option can stand in a file (--config), and in the environment: SSBFAST_ROOM_HOST is --host.

    \b
    Examples:
      ssbfast room --listen 0.0.0.0:8008 --host room.example --name "Our room"
      ssbfast room --web --host room.example --admin @ID
      ssbfast room members add @ID --role admin
    """
    if udp and no_udp:
        raise BadInputError("either --udp or --no-udp")
    form = _log_form(log, as_json=as_json)
    reflect = () if no_udp else udp or None
    authority = None if tls is None else _authority(acme_directory, acme_email, acme_ca)
    token_of_site = None if web is None and metrics is not None else metrics_token_file
    plan = _plan(web, web_url, host, trust_proxy, (tls_cert, tls_key), token_of_site, authority, http)
    secret = (default_data() if data is None else data) / "secret"
    me = read_secret(secret, create=True)
    name = name or (host.host if host is not None else "")
    is_new = not has_records(secret.parent)
    terminated = asyncio.Event()

    def terminate() -> bool:
        terminated.set()
        return True

    with contextlib.ExitStack() as opened:

        def kept(one: Closable | None) -> None:
            if one is not None:
                opened.callback(one.close)

        kept(records := open_records(secret.parent))
        kept(predecessor := Predecessor(secret.parent) if take_over else None)
        inherited = from_service_manager() if predecessor is None else predecessor.sockets
        kept(site := _site(plan, records, inherited, secret.parent, is_new=is_new, admin=admin, me=me.id))
        kept(measured := None if metrics is None else MetricsSite(metrics, metrics_token_file, inherited))
        if log_addresses:
            warn("the log names the addresses of peers (--log-addresses)")
        options = {
            "me": me,
            "records": records,
            "alias_url": None if site is None else site.alias_url,
            "listen": listen,
            "host": host,
            "udp": reflect,
            "name": name,
            "network": network,
            "inherited": inherited,
            "caps": RoomCaps(limit, allow_address),
            "log_addresses": log_addresses,
        }
        course = Course(terminated, drain_seconds, predecessor)
        return run_until_stopped(
            lambda printer: _run(printer, secret, site, measured, course, **options),
            log=form,
            runner=run_fast,
            terminate=terminate,
        )


def _log_form(given: str | None, *, as_json: bool) -> LogForm:
    if given is not None and as_json and given != LogForm.JSON.value:
        raise BadInputError(f"either --json or --log {given}")
    if given is not None:
        form = LogForm(given)
    elif as_json:
        form = LogForm.JSON
    else:
        form = LogForm.JOURNALD if is_journal(sys.stdout) else LogForm.TEXT
    if form is LogForm.JOURNALD:
        mark_levels()
    return form


def _authority(directory: str, email: str, ca: str) -> Authority:
    from ssbfast.server.web.acme_order import Authority

    return Authority(directory, email, ca)


def has_records(data: Path) -> bool:
    """Return whether a room has a store already."""
    from ssbfast.store.room_store import FILE

    return os.path.lexists(data / FILE)


def _plan(
    web: str | None,
    url: str | None,
    host: Endpoint | None,
    proxies: tuple[str, ...],
    certificate: tuple[str | None, str | None],
    metrics_token: Path | None,
    authority: Authority | None,
    http: Endpoint | None,
) -> WebPlan | None:
    """Read the options of a web site; None without one, which then loads nothing of it."""
    if web is None:
        if url or proxies or any(certificate) or metrics_token or authority or http:
            raise BadInputError(
                "--web-url, --trust-proxy, --tls-cert, --tls-key, --tls, --http and --metrics-token-file are for a room"
                " with --web (the last one also for --metrics)"
            )
        return None
    from ssbfast.cli.room.web import plan_web

    cert, key = certificate
    if (cert is None) != (key is None):
        raise BadInputError("--tls-cert and --tls-key belong together")
    files = None if cert is None or key is None else (cert, key)
    if files is not None and authority is not None:
        raise BadInputError("either --tls auto, or --tls-cert and --tls-key")
    return plan_web(
        web,
        url=url,
        host=host,
        proxies=proxies,
        certificate=files,
        metrics_token=metrics_token,
        authority=authority,
        http=http,
    )


def _site(
    plan: WebPlan | None,
    records: RoomStore | None,
    inherited: InheritedSockets,
    data: Path,
    *,
    is_new: bool,
    admin: FeedId | None,
    me: FeedId,
) -> WebSite | None:
    """Prepare the records for a web site and an admin."""
    if plan is None and admin is None:
        return None
    if records is None:
        raise BadInputError("a web site and an admin need a directory that can be written")
    if admin == me:
        raise BadInputError("--admin: that is the room's own id, not a peer's")
    from ssbfast.cli.room.web import WebSite, prepare

    links = prepare(records, is_new=is_new, admin=admin, with_web=plan is not None)
    return None if plan is None else WebSite(plan, links, records, inherited, data)


def open_records(data: Path) -> RoomStore | None:
    """Open the room's store, made if it is missing; None, with a warning, where none is and nothing can be written."""
    from ssbfast.store.room_store import FILE, RoomStore

    is_new = not os.path.lexists(data / FILE)
    try:
        return RoomStore(data)
    except BadInputError as error:
        if not is_new or os.path.lexists(data / FILE):
            raise
        warn(f"the room keeps no members and blocks nobody: {error}")
        return None


def run_fast(program: Coroutine[Any, Any, T]) -> T:
    """Run as `asyncio.run`, on uvloop where that is installed: a fifth less CPU for small frames, the same for bulk."""
    run: Callable[[Coroutine[Any, Any, T]], T] = asyncio.run
    with contextlib.suppress(ImportError):  # it is no dependency, and there is none for Windows
        from uvloop import run
    return run(program)


async def _run(
    printer: Printer,
    secret: Path,
    site: WebSite | None,
    measured: MetricsSite | None,
    course: Course,
    **options: Any,
) -> int:
    log = RoomLog(printer)

    def on_event(event: dict[str, Any]) -> None:
        if event["event"] == "listening":
            is_open = server.registry.mode is Mode.OPEN
            end = f"{next_command('drain', secret.parent)} ends the room." if course.is_restarted else _END
            printer.text(introduction(event, secret, only_here=server.is_wildcard_only, is_open=is_open, end=end))
        if event["event"] != "listening" or printer.as_json:
            log.event(event)

    from ssbfast.server.room_server import DEFAULT_LISTEN, RoomServer

    options["listen"] = options["listen"] or DEFAULT_LISTEN
    server = RoomServer(**options, on_event=on_event)
    with contextlib.closing(Tidier(lambda: server.population, server.compact)) as tidier, contextlib.closing(log):
        async with contextlib.AsyncExitStack() as running:
            await running.enter_async_context(server)
            sites = [one for one in (site, measured) if one is not None]
            for one in sites:
                await running.enter_async_context(one.open(server, printer))
            tidier.start()
            if server.without_udp is not None:
                warn(f"the room runs without UDP, so peers may not learn their addresses: {server.without_udp}")
            if server.one_udp_port is not None:
                warn(f"one UDP port only, so peers cannot tell a symmetric NAT from others: {server.one_udp_port}")
            await course.run(server, sites, secret.parent)
    return 0


class RoomLog:
    """The log of a room: as many events as `LogBudget` allows, and how many lines were left out."""

    def __init__(self, printer: Printer) -> None:
        self._printer = printer
        self._loop = asyncio.get_running_loop()
        self._budget = LogBudget(self._loop.time())
        self._timer: asyncio.TimerHandle | None = None

    def event(self, event: Event) -> None:
        """Print one event, or count it."""
        now = self._loop.time()
        if not self._budget.leaves_out(event["event"]):
            line = self._printer.line(event)
            if self._budget.passes(event["event"], len(line), now):
                self._printer.put(line)
        self._plan(now)

    def close(self) -> None:
        """Print how many lines are missing at the end."""
        if self._timer is not None:
            self._timer.cancel()
            self._tell(self._loop.time())

    # ------------------------------------------------------------ inside

    def _plan(self, now: float) -> None:
        if self._timer is None and (seconds := self._budget.due(now)) is not None:
            self._timer = self._loop.call_later(seconds, self._on_due)

    def _on_due(self) -> None:
        self._timer = None
        now = self._loop.time()
        if not self._budget.due(now):
            self._tell(now)
        self._plan(now)

    def _tell(self, now: float) -> None:
        line = self._printer.line({"event": "skipped", "counts": self._budget.skipped(now)})
        self._budget.pay(len(line), now)
        self._printer.put(line)


def introduction(
    listening: dict[str, Any], secret: Path, *, only_here: bool, is_open: bool = True, end: str = _END
) -> str:
    """Return what people see first: the room's id, and what to do next."""
    lines = [
        f"Room {listening['id']}",
        f"  address  {shell_word(listening['address'])}",
        *([f"  invite   {listening['invite']}"] if is_open else []),
        f"  secret   {secret} (this file is the room's identity: keep it safe)",
    ]
    if listening["udp"]:
        ports = dict.fromkeys(place.rpartition(":")[2] for place in listening["udp"])
        these = "these ports" if len(ports) > 1 else "this port"
        lines.append(f"  UDP      {', '.join(ports)} (STUN, for direct paths: open {these} in firewalls, too)")
    lines.append("")
    if only_here:
        lines.append("That address can be dialled from this machine only.")
        lines.append("For other machines, say what they dial: ssbfast room --host NAME[:PORT]")
    if is_open:
        lines += [
            "Next: ssbfast share web=8000 --room ADDRESS offers a service to friends.",
            "Or paste the invite into an SSB app, or give the address to RoomClient.join.",
        ]
    else:
        lines.append("Only members may announce themselves here: ssbfast room members, ssbfast room invite.")
    lines.append(end)
    return "\n".join(lines)
