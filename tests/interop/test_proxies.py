"""`ssbfast room --web` behind live proxies, with the lines that the page for operators gives them."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import pytest

from ssbfast.ids import FeedId, encode_key
from ssbfast.keys import Keypair
from ssbfast.net import websocket
from ssbfast.room.tunnel_auth import AllowList
from tests.helpers import tls
from tests.helpers.clients import RecordingClient
from tests.helpers.processes import PATIENCE, Running, run
from tests.helpers.require import require
from tests.helpers.room_processes import free_port
from tests.helpers.served_site import Browser, next_event

pytestmark = [pytest.mark.interop, pytest.mark.timeout(120)]

NAME = "room.example"
PAGE = Path(__file__).parents[2] / "docs/howto/run-a-room-for-people.md"
_COMMAND = "ssbfast room --web --host room.example --data ~/room\n"
_SITE = "127.0.0.1:3000"


def lines_of_page(beginning: str, site: str) -> str:
    """The block of the page that begins so, for a site that listens elsewhere."""
    (block,) = re.findall(rf"```\w*\n({re.escape(beginning)}.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert block.count(_SITE) == 1
    return str(block).replace(_SITE, site)


class Room:
    """A room of the page, whose admin is ours."""

    def __init__(self, folder: Path) -> None:
        assert _COMMAND in PAGE.read_text(encoding="utf-8")
        self.data = folder / "room"
        self.admin = Keypair.generate()
        self.site = f"127.0.0.1:{free_port()}"
        more = ("--listen", "127.0.0.1:0", "--no-udp", "--web", self.site, "--admin", str(self.admin.id))
        self.process = Running("room", "--host", NAME, "--data", str(self.data), "--json", *more)
        self.id = FeedId.parse(self.process.event("listening")["id"])
        assert self.process.event("web_listening")["url"] == f"https://{NAME}"

    def login_path(self) -> str:
        """A link that signs the admin in."""
        found = run("room", "login-link", str(self.admin.id), "--data", str(self.data), "--json")
        parts = urlsplit(json.loads(found.stdout)["url"])
        assert (parts.scheme, parts.netloc) == ("https", NAME)
        return f"{parts.path}?{parts.query}"


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Room]:
    made = Room(tmp_path_factory.mktemp("room"))
    with made.process:
        yield made


# ---------------------------------------------------------------- proxies


class Proxy:
    """A proxy that runs. name: its program's; port: where it is https; trust: what believes its certificate."""

    def __init__(self, name: str, port: int, trust: Callable[[], ssl.SSLContext]) -> None:
        self.name = name
        self.port = port
        self.trust = trust


def nginx(folder: Path, site: str) -> Proxy:
    """What stands around the lines of the page: a server with a certificate."""
    port = free_port()
    (folder / "certificate.pem").write_bytes(tls.certificate(NAME))
    temporary = "".join(
        f"{kind}_temp_path {folder / kind};\n" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (folder / "nginx.conf").write_text(
        f"daemon off;\nmaster_process off;\npid {folder / 'pid'};\nerror_log {folder / 'log'};\nevents {{}}\n"
        f"http {{\naccess_log off;\n{temporary}server {{\nlisten 127.0.0.1:{port} ssl;\nserver_name {NAME};\n"
        f"ssl_certificate {folder / 'certificate.pem'};\nssl_certificate_key {folder / 'certificate.pem'};\n"
        f"{lines_of_page('location / {', site)}}}\n}}\n"
    )
    return Proxy("nginx", port, lambda: tls.trusting(NAME))


def caddy(folder: Path, site: str) -> Proxy:
    """The whole configuration is on the page; above it stands what a machine without a name in the internet needs."""
    port = free_port()
    (folder / "Caddyfile").write_text(
        "{\nadmin off\nlocal_certs\nskip_install_trust\nauto_https disable_redirects\ndefault_bind 127.0.0.1\n"
        f"https_port {port}\nstorage file_system {folder}\n}}\n{lines_of_page(NAME + ' {', site)}"
    )
    root = folder / "pki/authorities/local/root.crt"
    return Proxy("caddy", port, lambda: ssl.create_default_context(cafile=str(root)))


COMMANDS = {
    "nginx": (nginx, ("nginx", "-e", "stderr", "-c", "nginx.conf")),
    "caddy": (caddy, ("caddy", "run", "--config", "Caddyfile", "--adapter", "caddyfile")),
}


@contextmanager
def running(name: str, folder: Path, site: str) -> Iterator[Proxy]:
    make, (program, *arguments) = COMMANDS[name]
    found = shutil.which(program) or shutil.which(program, path="/usr/sbin")
    require(name, found is not None, f"apt install {name}")
    assert found is not None
    proxy = make(folder, site)
    arguments = [str(folder / word) if (folder / word).exists() else word for word in arguments]
    home = {**os.environ, "HOME": str(folder)}
    log = folder / "stderr"
    with log.open("wb") as stderr, subprocess.Popen([found, *arguments], env=home, stderr=stderr) as process:
        try:
            until = time.monotonic() + PATIENCE
            while not _answers(proxy):
                assert process.poll() is None and time.monotonic() < until, log.read_text()
                time.sleep(0.02)
            yield proxy
        finally:
            process.terminate()
            process.wait(PATIENCE)


def _answers(proxy: Proxy) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", proxy.port), PATIENCE) as sock:
            proxy.trust().wrap_socket(sock, server_hostname=NAME).close()
    except OSError:
        return False
    return True


@pytest.fixture(scope="module", params=list(COMMANDS))
def proxy(request: pytest.FixtureRequest, room: Room, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    with ExitStack() as stack:
        yield stack.enter_context(running(request.param, tmp_path_factory.mktemp(request.param), room.site))


class Visitor(Browser):
    """A browser in front of the proxy. source: the address of this machine that it comes from."""

    def __init__(self, proxy: Proxy, source: str = "127.0.0.1", **headers: str) -> None:
        super().__init__(SimpleNamespace(port=proxy.port), host=NAME, **headers)  # type: ignore[arg-type]
        self._proxy = proxy
        self._source = source

    async def open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        options: dict[str, Any] = {"ssl": self._proxy.trust(), "server_hostname": NAME}
        return await asyncio.open_connection("127.0.0.1", self._proxy.port, local_addr=(self._source, 0), **options)


# ---------------------------------------------------------------- what has to work


async def test_signing_in_and_the_live_page(proxy: Proxy, room: Room) -> None:
    visitor = Visitor(proxy)
    front = await visitor.get("/")
    assert front.status == 200 and encode_key(room.id.key) in front.text
    assert front.header("strict-transport-security") and "default-src 'none'" in str(
        front.header("content-security-policy")
    )
    path = room.login_path()
    code = path.partition("code=")[2]
    answer = await visitor.submit(path, "/login/link", {"code": code}, Origin="https://elsewhere.example")
    assert answer.status == 403
    answer = await visitor.submit(path, "/login/link", {"code": code}, Origin=f"https://{NAME}")
    assert answer.status == 303
    assert all("Secure" in cookie for cookie in answer.cookies.values()) and answer.cookies
    assert (await visitor.get("/dashboard")).status == 200
    reader, writer, status = await visitor.events("/dashboard/events")
    try:
        assert (status, await next_event(reader)) == (200, "part")
        run("room", "members", "add", str(Keypair.generate().id), "--data", str(room.data))
        assert await next_event(reader) == "part"
    finally:
        writer.transport.abort()


async def test_an_app_claims_an_invite_in_chunks(proxy: Proxy, room: Room) -> None:
    """As the JavaScript client of invites does."""
    found = run("room", "invite", "create", "--data", str(room.data), "--json")
    code = json.loads(found.stdout)["invite"]
    body = json.dumps({"id": str(Keypair.generate().id), "invite": code}).encode()
    reader, writer = await Visitor(proxy).open()
    head = f"POST /claim HTTP/1.1\r\nHost: {NAME}\r\nContent-Type: application/json\r\nConnection: close\r\n"
    writer.write(head.encode() + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(body), body))
    answer = await asyncio.wait_for(reader.read(), PATIENCE)
    writer.close()
    assert b'"status":"successful"' in answer and f"net:{NAME}:".encode() in answer


async def test_each_visitor_is_counted_by_its_own_address(proxy: Proxy) -> None:
    """The proxy tells it; what a visitor writes is not believed."""
    number = list(COMMANDS).index(proxy.name)
    greedy, other = f"127.0.{number}.2", f"127.0.{number}.3"
    for last in range(20):
        forged = {"X_Forwarded_For": f"192.0.2.{last}", "Forwarded": f"for=192.0.2.{last}"}
        assert (await Visitor(proxy, greedy).get("/nothing-is-here", **forged)).status == 404
    assert (await Visitor(proxy, greedy, X_Forwarded_For="192.0.2.99").get("/nothing-is-here")).status == 429
    assert (await Visitor(proxy, other).get("/nothing-is-here")).status == 404


async def test_peers_meet_over_websockets(proxy: Proxy, room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    real = socket.getaddrinfo

    def getaddrinfo(host: Any, *more: Any, **options: Any) -> Any:
        return real("127.0.0.1" if host == NAME else host, *more, **options)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    monkeypatch.setattr(websocket, "tls_context", proxy.trust)
    address = f"wss:{NAME}:{proxy.port}~shs:{encode_key(room.id.key)}"
    visitor = Keypair.generate()
    async with (
        RecordingClient(room.admin, admission=AllowList([visitor.id])) as target,
        RecordingClient(visitor) as caller,
    ):
        await target.join(address)
        peer = await caller.connect(room.admin.id, room=await caller.join(address, announce=False))
        assert await peer.call("add", 20, 22) == 42
        stream, long = peer.duplex("echo"), "x" * 60_000
        await stream.send(long)
        assert await stream.__anext__() == long
        await peer.close()
