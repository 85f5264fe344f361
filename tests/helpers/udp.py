"""A UDP service, and programs that use one."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

from ssbfast.direct.udp import Address, Buffer, UdpSocket
from ssbfast.net.endpoints import Endpoint

PATIENCE = 20.0


def send_one_by_one(udp: UdpSocket, data: Buffer, segment: int, to: Address) -> bool:
    """Do what `UdpSocket.send_train` does by `send`, datagram by datagram: where a test stands in for the network."""
    for at in range(0, len(data), segment):
        udp.send(bytes(data[at : at + segment]), to)
    return True


class UdpEnd(asyncio.DatagramProtocol):
    """A socket. echoes: send back all that comes. got: what came, with the sender's address."""

    def __init__(self, *, echoes: bool = False) -> None:
        self.got: asyncio.Queue[tuple[bytes, Any]] = asyncio.Queue()
        self.echoes = echoes
        self.transport: asyncio.DatagramTransport

    @property
    def port(self) -> int:
        return int(self.transport.get_extra_info("sockname")[1])

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.DatagramTransport, transport)
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)

    def datagram_received(self, data: bytes, addr: Any) -> None:
        """Take all that has come: a program of its own would not lag behind."""
        sock = self.transport.get_extra_info("socket")._sock
        self._take(data, addr)
        with contextlib.suppress(OSError):
            while True:
                self._take(*sock.recvfrom(65_536))

    def _take(self, data: bytes, addr: Any) -> None:
        self.got.put_nowait((data, addr))
        if self.echoes:
            self.send(data, addr)

    def send(self, data: bytes, to: Any = None) -> None:
        """Also an empty one, which asyncio does not send."""
        sock = self.transport.get_extra_info("socket")._sock
        if to is None:
            sock.send(data)
        else:
            sock.sendto(data, to)

    async def read(self) -> bytes:
        return (await asyncio.wait_for(self.got.get(), PATIENCE))[0]


@asynccontextmanager
async def udp_service(*, echoes: bool = True) -> AsyncIterator[UdpEnd]:
    end = UdpEnd(echoes=echoes)
    await asyncio.get_running_loop().create_datagram_endpoint(lambda: end, local_addr=("127.0.0.1", 0))
    try:
        yield end
    finally:
        end.transport.close()


@asynccontextmanager
async def udp_program(place: Endpoint) -> AsyncIterator[UdpEnd]:
    """A program that sends to a place."""
    end = UdpEnd()
    await asyncio.get_running_loop().create_datagram_endpoint(lambda: end, remote_addr=(place.host, place.port))
    try:
        yield end
    finally:
        end.transport.close()
