"""A web site on this machine that answers as it is told: honestly, or in any other way."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import quote

from ssbfast.ids import FeedId
from ssbfast.keys import Keypair
from ssbfast.wire.alias import sign_alias

Page = Callable[["WebSite", asyncio.StreamWriter], Awaitable[None]]


class WebSite:
    """pages: what answers at a path without its query. asked: method, target and body of every request."""

    def __init__(self) -> None:
        self.pages: dict[str, Page] = {}
        self.asked: list[tuple[str, str, bytes]] = []
        self.heads: list[bytes] = []
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def targets(self) -> list[str]:
        return [target for _method, target, _body in self.asked]

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            method, target, _ = head.split(b" ", 2)
            length = next(
                (int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")), 0
            )
            self.heads.append(head)
            self.asked.append((method.decode(), target.decode(), await reader.readexactly(length)))
            page = self.pages.get(target.decode().partition("?")[0], says(404, b"no"))
            answering = asyncio.ensure_future(page(self, writer))
            leaving = asyncio.ensure_future(reader.read())
            await asyncio.wait((answering, leaving), return_when=asyncio.FIRST_COMPLETED)
            for task in (answering, leaving):
                task.cancel()
            await asyncio.gather(answering, leaving, return_exceptions=True)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def web_site(tls: ssl.SSLContext | None = None) -> AsyncIterator[WebSite]:
    site = WebSite()
    server = await asyncio.start_server(site.answer, "127.0.0.1", 0, ssl=tls)
    site.port = server.sockets[0].getsockname()[1]
    try:
        yield site
    finally:
        server.close()


def says(status: int, body: bytes = b"", **headers: str) -> Page:
    async def page(_site: WebSite, writer: asyncio.StreamWriter) -> None:
        lines = [f"HTTP/1.1 {status} x", f"Content-Length: {len(body)}", *(f"{k}: {v}" for k, v in headers.items())]
        writer.write("\r\n".join((*lines, "", "")).encode() + body)
        await writer.drain()

    return page


def tells(value: Any) -> Page:
    return says(200, json.dumps(value).encode(), **{"Content-Type": "application/json"})


def chunked(value: Any) -> Page:
    body = json.dumps(value).encode()

    async def page(_site: WebSite, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        for at in range(0, len(body), 7):
            writer.write(b"%x\r\n%b\r\n" % (len(body[at : at + 7]), body[at : at + 7]))
        writer.write(b"0\r\n\r\n")
        await writer.drain()

    return page


def moved(location: str, status: int = 302) -> Page:
    return says(status, Location=location)


def floods(head: bytes, piece: bytes, times: int) -> Page:
    async def page(_site: WebSite, writer: asyncio.StreamWriter) -> None:
        writer.write(head)
        for _ in range(times):
            writer.write(piece)
            await writer.drain()

    return page


def drips(head: bytes, piece: bytes, pause: float) -> Page:
    async def page(_site: WebSite, writer: asyncio.StreamWriter) -> None:
        writer.write(head)
        while not writer.is_closing():
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(pause)

    return page


async def silent(_site: WebSite, writer: asyncio.StreamWriter) -> None:
    while not writer.is_closing():
        await asyncio.sleep(0.05)


async def hangs_up(_site: WebSite, writer: asyncio.StreamWriter) -> None:
    writer.close()


def alias_json(owner: Keypair, room: FeedId, address: str, name: str = "alice", **other: Any) -> dict[str, Any]:
    return {
        "status": "successful",
        "multiserverAddress": address,
        "roomId": str(room),
        "userId": str(owner.id),
        "alias": name,
        "signature": sign_alias(owner, room, name),
        **other,
    }


def alias_uri(owner: Keypair, room: FeedId, address: str, name: str = "alice", **other: str) -> str:
    told = alias_json(owner, room, address, name, **other)
    members = ("alias", "userId", "signature", "roomId", "multiserverAddress")
    pairs = "&".join(f"{member}={quote(told[member], safe='')}" for member in members)
    return f"ssb:experimental?action=consume-alias&{pairs}"
