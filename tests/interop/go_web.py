"""The web site of a go-ssb-room: a browser in it, and what a proxy with a certificate does in front of it."""

from __future__ import annotations

import asyncio
import contextlib
import html
import http.client
import json
import os
import re
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import pytest

from ssbfast.client import web_request
from ssbfast.wire.http_auth import new_nonce
from tests.helpers import tls
from tests.helpers.clients import RecordingClient
from tests.helpers.rawpeer import PATIENCE
from tests.interop.go_room import DOMAIN, GoRoom

_CSRF = re.compile(r'name="gorilla.csrf.Token" value="([^"]+)"')
_BELOW = re.compile(rb"(?i)\bhost: ([a-z0-9-]+)\." + DOMAIN.encode())
_FORM = "application/x-www-form-urlencoded"
_AGENT = "Mozilla/5.0 (X11; Linux x86_64)"


class GoBrowser:
    """A browser with its cookies, as the proxy passes on what it says."""

    def __init__(self, room: GoRoom) -> None:
        self._room = room
        self._cookies: dict[str, str] = {}

    async def get(self, path: str) -> tuple[int, str]:
        return await asyncio.to_thread(self._ask, "GET", path, None)

    async def submit(self, page: str, path: str, **fields: str) -> tuple[int, str]:
        """Open a page, and send a form of it."""
        status, text = await self.get(page)
        found = _CSRF.search(text)
        assert status == 200 and found, (status, text)
        fields["gorilla.csrf.Token"] = html.unescape(found[1])
        return await asyncio.to_thread(self._ask, "POST", path, urlencode(fields))

    async def sign_in(self, client: RecordingClient) -> None:
        """Sign in as a client, which is in the room, and is asked by it."""
        cc = new_nonce()
        status, text = await self.get(f"/withssb/login?cid={quote(str(client.me.id))}&cc={quote(cc)}")
        assert status == 307, text
        status, text = await self.get("/admin/dashboard")
        assert status == 200, text

    async def invite(self) -> str:
        """Make an invite; return its link."""
        status, text = await self.submit("/admin/invites", "/admin/invites/create")
        found = re.search(r'id="invite-facade-link"\s+href="([^"]+)"', text)
        assert status == 200 and found, text
        return html.unescape(found[1])

    async def post_json(self, path: str, value: Any) -> Any:
        _status, text = await asyncio.to_thread(self._ask, "POST", path, json.dumps(value), "application/json")
        return json.loads(text)

    def _ask(self, method: str, path: str, body: str | None, kind: str = _FORM) -> tuple[int, str]:
        headers = {
            "Host": DOMAIN,
            "X-Forwarded-Proto": "https",
            "User-Agent": _AGENT,
            "Referer": f"https://{DOMAIN}/",
            "Cookie": "; ".join(f"{name}={value}" for name, value in self._cookies.items()),
        }
        if body is not None:
            headers["Content-Type"] = kind
        with contextlib.closing(
            http.client.HTTPConnection("127.0.0.1", self._room.web, timeout=PATIENCE)
        ) as connection:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            for cookie in answer.headers.get_all("Set-Cookie") or []:
                name, _, value = cookie.partition(";")[0].partition("=")
                self._cookies[name] = value
            return answer.status, answer.read().decode()


def uris(page: str) -> list[str]:
    """The `ssb:` links of a page."""
    return [html.unescape(found) for found in re.findall(r'href="(ssb:[^"]*)"', page)]


@asynccontextmanager
async def https(room: GoRoom) -> AsyncIterator[int]:
    """Do what the proxy of its documentation does, with a certificate, and with the aliases below its name.

    Yields:
        The port where it is https.
    """

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65_536):
                writer.write(data)
                await writer.drain()
        writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError:
            writer.close()
            return
        inner, out = await asyncio.open_connection("127.0.0.1", room.web)
        first, _, rest = head.partition(b"\r\n")
        if alias := _BELOW.search(rest):
            first = first.replace(b" /", b" /alias/" + alias[1], 1)
        out.write(b"%b\r\nX-Forwarded-Proto: https\r\n%b" % (first, rest))
        await asyncio.gather(pump(reader, out), pump(inner, writer))

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls.serving(DOMAIN))
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


_NAMES = """
import socket

real = socket.getaddrinfo

def getaddrinfo(host, port, *more, **options):
    if isinstance(host, str) and (host == {domain!r} or host.endswith("." + {domain!r})):
        host, port = "127.0.0.1", {https} if port == 443 else port
    return real(host, port, *more, **options)

socket.getaddrinfo = getaddrinfo
"""
"""What a name server and a port below 1024 would do."""


def name_here(monkeypatch: pytest.MonkeyPatch, https: int) -> None:
    """Let this process find the room's web site, and believe its certificate."""
    monkeypatch.setattr(socket, "getaddrinfo", socket.getaddrinfo)  # undone at the end
    exec(_NAMES.format(domain=DOMAIN, https=https), {})
    monkeypatch.setattr(web_request, "tls_context", lambda: tls.trusting(DOMAIN))


def name_there(folder: Path, https: int) -> dict[str, str]:
    """Return an environment in which a command does so."""
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(_NAMES.format(domain=DOMAIN, https=https))
    certificate = folder / "certificate.pem"
    text = tls.certificate(DOMAIN).decode()
    certificate.write_text(text[text.index("-----BEGIN CERTIFICATE") :])
    return {**os.environ, "PYTHONPATH": str(folder), "SSL_CERT_FILE": str(certificate)}
