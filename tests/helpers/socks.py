"""A program that speaks SOCKS5, made by hand."""

from __future__ import annotations

import asyncio

from ssbfast.net.endpoints import Endpoint
from ssbfast.net.forward.socks5 import Reply
from tests.helpers.forwards import TcpEnd

GREETING = b"\x05\x01\x00"


def request(host: str | bytes, port: int = 80, command: int = 1) -> bytes:
    """The request for a name."""
    name = host.encode() if isinstance(host, str) else host
    return bytes((5, command, 0, 3, len(name))) + name + port.to_bytes(2, "big")


async def dial(place: Endpoint) -> TcpEnd:
    return TcpEnd(*await asyncio.open_connection(place.host, place.port))


async def ask(place: Endpoint, host: str, port: int = 80, behind: bytes = b"") -> tuple[Reply, TcpEnd]:
    """Ask for a name; the reply, and the connection. behind: what is sent at once behind the request."""
    wire = await dial(place)
    await wire.send(GREETING)
    assert await wire.read(2) == b"\x05\x00"
    await wire.send(request(host, port) + behind)
    answer = await wire.read(10)
    assert answer[:1] == b"\x05" and answer[2:] == b"\x00\x01" + bytes(6)
    return Reply(answer[1]), wire


async def refusal(place: Endpoint, host: str, port: int = 80) -> Reply:
    """The reply to what is refused; the connection is closed behind it."""
    code, wire = await ask(place, host, port)
    assert await wire.rest() == b""
    await wire.close()
    return code
