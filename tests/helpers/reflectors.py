"""STUN reflectors for tests, honest and otherwise, made of aioice's codec and a real socket."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from aioice import stun

from ssbfast.direct.udp import Address, UdpSocket

Answering = Callable[[stun.Message, Address], list[bytes]]
"""Request and its source → datagrams to send back."""


def success(request: stun.Message, mapped: Address, **more: object) -> bytes:
    """What an honest reflector answers."""
    attributes = {"XOR-MAPPED-ADDRESS": mapped, **more}
    return bytes(stun.Message(stun.Method.BINDING, stun.Class.RESPONSE, request.transaction_id, attributes))


def honest(request: stun.Message, source: Address) -> list[bytes]:
    return [success(request, source)]


def silent(request: stun.Message, source: Address) -> list[bytes]:
    return []


def claiming(*mapped: Address) -> Answering:
    """Says the same of everybody, once for each address."""
    return lambda request, source: [success(request, address) for address in mapped]


class Reflector:
    """asked: every request with its source and raw bytes, in order."""

    def __init__(self, udp: UdpSocket, answering: Answering) -> None:
        self.udp = udp
        self.asked: list[tuple[stun.Message, Address, bytes]] = []
        self.answering = answering
        self.was_asked = asyncio.Event()
        udp.stun = self._receive

    @property
    def address(self) -> Address:
        return self.udp.local

    def _receive(self, data: bytes, source: Address) -> None:
        request = stun.parse_message(data)
        self.asked.append((request, source, data))
        self.was_asked.set()
        for answer in self.answering(request, source):
            self.udp.send(answer, source)


@asynccontextmanager
async def reflector(answering: Answering = honest, host: str = "127.0.0.1") -> AsyncIterator[Reflector]:
    """One that lives on this machine."""
    udp = UdpSocket.open(socket.AF_INET6 if ":" in host else socket.AF_INET, host)
    try:
        yield Reflector(udp, answering)
    finally:
        udp.close()
