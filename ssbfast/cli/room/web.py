"""`ssbfast room --web`: the web site beside the room, and what its operator is told at the start."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import importlib.util
import re
import socket
import ssl
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from ssbfast import limits
from ssbfast.cli.output import Printer
from ssbfast.cli.qr import qr
from ssbfast.cli.room.metrics import read_token
from ssbfast.cli.standard_error import warn
from ssbfast.errors import BadInputError, MissingExtraError
from ssbfast.ids import FeedId, encode_key
from ssbfast.net.endpoints import Endpoint, bind
from ssbfast.net.inherited_sockets import InheritedSockets
from ssbfast.pasted.endpoint import read_service
from ssbfast.pasted.hosts import show
from ssbfast.room.alias_rules import alias_url
from ssbfast.room.codes import hash_of, new_code
from ssbfast.room.records import Outcome
from ssbfast.room.roles import Mode, Role
from ssbfast.server.room_server import RoomServer

if TYPE_CHECKING:
    from ssbfast.server.web.acme_certificates import AcmeCertificates
    from ssbfast.server.web.acme_order import Authority
    from ssbfast.server.web.certificate import SiteCertificate
    from ssbfast.server.web.http_listener import HttpListener
    from ssbfast.server.web.server import WebServer
    from ssbfast.store.room_store import RoomStore

DEFAULT_PORT: Final = 3000
"""The port of a site behind a proxy, as that of go-ssb-room."""

TLS_PORT: Final = 443
HTTP_PORT: Final = 80
TLS_FOLDER: Final = "tls"
"""The folder of account key and certificates in the room's directory."""

_CHECK_SECONDS: Final = 5.0
_CHECK_ANSWER: Final = 64 * 1024
_HERE: Final = "127.0.0.1"
_LOOPBACK: Final = ("localhost", "127.0.0.1", "::1")
_NAME: Final = re.compile(r"(?=.{1,253}$)([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]([a-z0-9-]{0,61}[a-z0-9])?")
_EMAIL: Final = re.compile(r"[!-+\--~]+@[!-+\--~]+")


@dataclass(frozen=True, slots=True)
class WebPlan:
    """A web site that is to run.

    Attributes:
        endpoint: Where it listens.
        url: Where browsers find it; empty for this machine only.
        proxies: Networks of proxies.
        certificate: The files of certificate and key; None without TLS of its own.
        metrics_token: With it `/metrics` may be read from elsewhere; None: from this machine only.
        authority: Where certificates come from; None unless the room gets them by itself.
        http: Where port 80 is listened at, for challenges and to lead to https; None for nowhere.
    """

    endpoint: Endpoint
    url: str
    proxies: tuple[str, ...]
    certificate: tuple[str, str] | None
    metrics_token: str | None = None
    authority: Authority | None = None
    http: Endpoint | None = None

    @property
    def has_tls(self) -> bool:
        """Return whether the site has a certificate of its own."""
        return self.certificate is not None or self.authority is not None


@dataclass(frozen=True, slots=True)
class FirstLinks:
    """Paths behind the site's URL that an operator is told at the start. None for a link that is not needed."""

    admin: str | None = None
    invite: str | None = None


def plan_web(
    web: str,
    *,
    url: str | None,
    host: Endpoint | None,
    proxies: tuple[str, ...],
    certificate: tuple[str, str] | None,
    metrics_token: Path | None = None,
    authority: Authority | None = None,
    http: Endpoint | None = None,
) -> WebPlan:
    """Read the options of a web site.

    Args:
        web: HOST:PORT, PORT, or empty for the default.
        url: Where browsers find it.
        host: What the room is told that peers dial; its site is there, too, unless `url` says otherwise.
        proxies: Networks of proxies.
        certificate: The files of certificate and key.
        metrics_token: The file of the token for `/metrics`.
        authority: Where certificates come from.
        http: Where port 80 is listened at.

    Raises:
        BadInputError: One of them makes no sense.
        MissingExtraError: The extra `web` is not installed, or `tls` for an authority.
    """
    for name in ("jinja2", "markdown_it", "segno", "starlette", "uvicorn", "websockets"):
        if importlib.util.find_spec(name) is None:
            raise MissingExtraError(f"--web needs an extra ({name}): pip install 'ssbfast[web]'")
    from ssbfast.server.networks import parse_networks
    from ssbfast.server.web.client_address import LOOPBACK, SiteName

    has_tls = certificate is not None or authority is not None
    if http is not None and not has_tls:
        raise BadInputError("--http is for a site with --tls auto, or with --tls-cert and --tls-key")
    default = Endpoint("", TLS_PORT) if has_tls else Endpoint(_HERE, DEFAULT_PORT)
    endpoint = read_service(web) if web else default
    if url is None and host is not None:
        url = f"https://{show(host.host, 443).rpartition(':')[0]}"
    if url is not None:
        url = SiteName(url if "://" in url else f"https://{url}").url
    if authority is not None:
        _check_authority(authority, url)
        http = http or Endpoint("", HTTP_PORT)
    if certificate is not None:
        _load(certificate)
    parse_networks(proxies)
    if not proxies and endpoint.host in (_HERE, "localhost", "::1"):
        proxies = tuple(str(network) for network in LOOPBACK)
    token = None if metrics_token is None else read_token(metrics_token)
    return WebPlan(endpoint, url or "", proxies, certificate, token, authority, http)


def _load(files: tuple[str, str]) -> SiteCertificate:
    from ssbfast.server.web.certificate import SiteCertificate

    try:
        return SiteCertificate(files)
    except BadInputError as error:
        raise BadInputError(f"--tls-cert and --tls-key cannot be used: {error}") from None


def _check_authority(authority: Authority, url: str | None) -> None:
    """Raise BadInputError or MissingExtraError for what an authority cannot give a certificate for, or what it is."""
    for module in ("acme", "josepy"):  # only looked for: a process of its own imports them
        if importlib.util.find_spec(module) is None:
            raise MissingExtraError(f"--tls auto needs an extra ({module}): pip install 'ssbfast[tls]'")
    parts = urlsplit(url or "")
    if parts.scheme != "https" or not _NAME.fullmatch(parts.hostname or ""):
        raise BadInputError("--tls auto needs the name that the certificate is for: --host room.example")
    directory = urlsplit(authority.directory)
    if directory.scheme != "https" and not (directory.scheme == "http" and directory.hostname in _LOOPBACK):
        raise BadInputError("--acme-directory: an URL that begins with https://")
    if authority.email and not _EMAIL.fullmatch(authority.email):
        raise BadInputError("--acme-email: one address, such as you@example.org")
    if authority.ca:
        try:
            ssl.create_default_context(cafile=authority.ca)
        except (OSError, ValueError) as error:
            reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or "it is none"
            raise BadInputError(f"--acme-ca cannot be used: {reason}") from None


def prepare(records: RoomStore, *, is_new: bool, admin: FeedId | None, with_web: bool) -> FirstLinks:
    """Do what a room's first start with a web site needs; return links to tell its operator.

    Args:
        records: The room's store.
        is_new: True when it was made just now.
        admin: Who becomes an admin.
        with_web: True for a room with a web site, which needs members: a new one is a Community.

    Raises:
        BadInputError: The admin's key is blocked.
    """
    if is_new and with_web:
        records.change_settings(by=None, mode=Mode.COMMUNITY)
    if admin is not None:
        if records.add_member(admin, Role.ADMIN, by=None) is Outcome.BLOCKED:
            raise BadInputError("--admin: that key is blocked in this room")
        records.set_role(admin, Role.ADMIN, by=None)
    if not with_web:
        return FirstLinks()
    has_admin = any(member.role is Role.ADMIN for member in records.members())
    admin_link = invite = None
    now = time.time()
    if admin is not None or not has_admin:
        code = new_code()
        purpose = "login" if admin is not None else "admin"
        records.add_link(hash_of(code) or b"", admin, purpose, now + limits.LOGIN_LINK_SECONDS, by=None)
        admin_link = f"/login/link?code={code}"
    if is_new:
        code = new_code()
        records.create_invite(hash_of(code) or b"", by=None, note="first", expires=now + 30 * 86_400.0)
        invite = f"/join?invite={code}"
    return FirstLinks(admin_link, invite)


class WebSite:
    """The web site of a room that is about to run.

    Args:
        plan: Its options.
        links: What the operator is told.
        records: The room's store.
        inherited: Sockets that were bound for it.
        data: The room's directory.

    Attributes:
        sockets: Those that it listens on, without those of port 80.

    Raises:
        BadInputError: It cannot listen.
    """

    def __init__(
        self, plan: WebPlan, links: FirstLinks, records: RoomStore, inherited: InheritedSockets, data: Path
    ) -> None:
        self._plan = plan
        self._links = links
        self._records = records
        self._http_sockets: list[socket.socket] = []
        self.sockets = bind([plan.endpoint], inherited)
        self._http_sockets = self._bind_http(inherited)
        self._server: WebServer | None = None
        self._plain: HttpListener | None = None
        self._folder = data / TLS_FOLDER
        self._acme: AcmeCertificates | None = None
        self._getting: asyncio.Task[None] | None = None
        port = self.sockets[0].getsockname()[1]
        scheme = "https" if plan.has_tls else "http"
        self.url = plan.url or f"{scheme}://localhost:{port}"
        self.room: RoomServer | None = None

    def _bind_http(self, inherited: InheritedSockets) -> list[socket.socket]:
        if self._plan.http is None:
            return []
        try:
            return bind([self._plan.http], inherited)
        except BadInputError as error:
            self.close()
            raise BadInputError(
                f"{error} (--http): visitors and certificate authorities come to port 80; let another program forward"
                " it to --http HOST:PORT, or let systemd bind it"
            ) from None

    @property
    def every_socket(self) -> list[socket.socket]:
        """Return the sockets that it listens on."""
        return [*self.sockets, *self._http_sockets]

    def close(self) -> None:
        """Stop listening, if it never began."""
        for sock in self.every_socket:
            sock.close()

    async def stop_listening(self) -> None:
        """Take no connections and get no certificates any more; what is there goes on."""
        if self._getting is not None:
            self._getting.cancel()
            await asyncio.gather(self._getting, return_exceptions=True)
        for listener in (self._server, self._plain):
            if listener is not None:
                await listener.stop_listening()

    def begin(self, room: RoomServer) -> None:
        """Begin to get and renew certificates: once no other process answers on our sockets."""
        if self._acme is not None:
            self._getting = asyncio.get_running_loop().create_task(self._acme.run(room))

    def alias_url(self, name: str) -> str:
        """Return the URL of an alias, in the style that the room's settings say."""
        return alias_url(self.url, name, "path" if self.room is None else self.room.registry.settings.alias_style)

    @contextlib.asynccontextmanager
    async def open(self, room: RoomServer, printer: Printer) -> AsyncIterator[None]:
        """Run the site beside a room that runs, and tell the operator of it."""
        from ssbfast.server.networks import parse_networks
        from ssbfast.server.web.client_address import Proxies
        from ssbfast.server.web.server import WebServer
        from ssbfast.server.web.site import Site

        self.room = room
        self._records.keep_web_address(self.url)
        site = Site(
            room,
            self.url,
            proxies=Proxies(parse_networks(self._plan.proxies)),
            metrics_token=self._plan.metrics_token,
        )
        room.web.addresses = [web_address(self.url, room.me.id)]
        async with WebServer(site, self.sockets, certificate=await self._certificate()) as self._server:
            await self._open_http(self._server)
            self._tell(printer)
            checking = asyncio.create_task(self._check(printer))
            try:
                yield
            finally:
                checking.cancel()
                await asyncio.gather(checking, return_exceptions=True)
                await self.stop_listening()
                if self._plain is not None:
                    await self._plain.close()

    async def _certificate(self) -> SiteCertificate | None:
        """Return what the site shows; for `--tls auto` prepare to get it."""
        if self._plan.certificate is not None:
            return _load(self._plan.certificate)
        if self._plan.authority is None:
            return None
        from ssbfast.server.web.acme_certificates import AcmeCertificates

        self._acme = AcmeCertificates(self._folder, urlsplit(self.url).hostname or "", self._plan.authority)
        await self._acme.prepare()
        return self._acme.certificate

    async def _open_http(self, web: WebServer) -> None:
        """Answer on port 80."""
        if self._acme is not None:
            web.site.room.web.certificate = self._acme.state
        if self._http_sockets:
            from ssbfast.server.web.plain_http import plain_listener

            answers = {} if self._acme is None else self._acme.answers
            self._plain = plain_listener(web, self._http_sockets, answers)
            await self._plain.start()

    # ------------------------------------------------------------ words

    def _tell(self, printer: Printer) -> None:
        admin = self.url + self._links.admin if self._links.admin else None
        invite = self.url + self._links.invite if self._links.invite else None
        if printer.as_json:
            printer.event({"event": "web_listening", "url": self.url, "admin_link": admin, "invite": invite})
            return
        lines = ["", f"Web site {self.url}"]
        if self.url.partition("://")[2] != (where := self._where()):
            lines.append(f"  listens  {where}")
        if admin is not None:
            lines.append(f"  admin    {admin}")
            lines.append("           (signs an admin in, once, within 15 minutes: give it to nobody)")
        if invite is not None:
            lines.append(f"  invite   {invite}")
            lines.append("           (lets one person in, within 30 days; the QR code is the same)")
        printer.text("\n".join(lines))
        if invite is not None and sys.stdout is not None and sys.stdout.isatty():
            printer.text(qr(invite))

    def _where(self) -> str:
        return show(*self.sockets[0].getsockname()[:2])

    async def _check(self, printer: Printer) -> None:
        """Tell what is missing for the internet, as far as this machine can see."""
        if self.room is None:
            return
        problems = mismatches(self.url, self.room)
        if urlsplit(self.url).hostname not in ("localhost", "127.0.0.1", "::1"):
            loop = asyncio.get_running_loop()
            problems += await loop.run_in_executor(None, self._look, self.room)
        for problem in problems:
            warn(problem)
        if printer.as_json:
            printer.event({"event": "web_checked", "problems": problems})

    def _look(self, room: RoomServer) -> list[str]:
        transport: Any = room.addresses[0].transport
        parts = urlsplit(self.url)
        host = parts.hostname or ""
        try:
            socket.getaddrinfo(host, None)
        except (OSError, UnicodeError):
            return [f"{host} has no address yet: add A and AAAA records to its DNS that lead to this machine"]
        problems = []
        if not _answers(transport.host, transport.port):
            problems.append(
                f"port {transport.port} of {transport.host} does not answer from here: open it in the firewall, and"
                " forward it in the router (some routers do not let machines reach themselves: then try from outside)"
            )
        name = parts.netloc
        leads_here = _leads_here(self.url, encode_key(room.me.id.key), is_ours=self._plan.has_tls)
        if not leads_here and self._plan.has_tls:
            problems.append(
                f"{self.url} does not lead to this site, as seen from here: let the name's A and AAAA records lead to"
                f" this machine, and open TCP port {parts.port or TLS_PORT} in the firewall"
            )
        elif not leads_here:
            problems.append(
                f"{self.url} does not lead to this site: put a proxy with a certificate in front of it, as with"
                f" Caddy: caddy reverse-proxy --from {name} --to {self._where()}"
            )
        return problems


def web_address(url: str, key: FeedId) -> str:
    """Return the multiserver address by which peers reach a room over WebSockets."""
    parts = urlsplit(url)
    is_secure = parts.scheme == "https"
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    port = parts.port or (443 if is_secure else 80)
    return f"{'wss' if is_secure else 'ws'}:{host}:{port}~shs:{encode_key(key.key)}"


def mismatches(url: str, room: RoomServer) -> list[str]:
    """Return what of a site's URL some apps do not cope with: they go to port 443 of the host that they dial."""
    parts = urlsplit(url)
    transport: Any = room.addresses[0].transport
    found = []
    if getattr(transport, "host", parts.hostname) != parts.hostname and parts.scheme == "https":
        found.append(
            f"peers dial {transport.host}, but the web site is {parts.hostname}: apps look for the site at the host"
            " that they dial, so members cannot sign in from them; let --host and --web-url name the same host"
        )
    if parts.scheme == "https" and parts.port not in (None, 443):
        found.append(
            f"the web site is at port {parts.port}: apps look for it at 443, so members cannot sign in from them"
        )
    return found


def _answers(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port), _CHECK_SECONDS).close()
    except OSError:
        return False
    return True


def _leads_here(url: str, key: str, *, is_ours: bool = False) -> bool:
    """Return whether a URL leads to the site of this room: its first page holds the room's key.

    is_ours: the site's certificate is its own matter, and perhaps not there yet.
    """
    parts = urlsplit(url)
    host = parts.hostname or ""
    connection = http.client.HTTPConnection(host, parts.port, timeout=_CHECK_SECONDS)
    if parts.scheme == "https":
        context = ssl.create_default_context()
        context.check_hostname = not is_ours
        context.verify_mode = ssl.CERT_NONE if is_ours else ssl.CERT_REQUIRED
        connection = http.client.HTTPSConnection(host, parts.port, timeout=_CHECK_SECONDS, context=context)
    try:
        connection.request("GET", "/")
        answer = connection.getresponse()
        return answer.status == http.client.OK and key in answer.read(_CHECK_ANSWER).decode("utf-8", "replace")
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
