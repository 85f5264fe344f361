"""A client of STUN binding requests (RFC 8489): it asks reflectors at which address they see our socket.

The codec is aioice's. Requests are padded, so that no answer is longer than its request: a reflector asked in
another host's name multiplies nothing. Only XOR-MAPPED-ADDRESS counts, and only from the address that was asked, with
the number of our request.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import struct
from types import ModuleType
from typing import TYPE_CHECKING

from ssbfast import limits
from ssbfast.direct.udp import Address, UdpSocket
from ssbfast.errors import MissingExtraError
from ssbfast.wire.direct.punch.candidates import canonical_host

if TYPE_CHECKING:
    from aioice.stun import Message

_SOFTWARE = "ssbfast".ljust(28)
"""Makes a request of 52 bytes: an answer with an IPv6 address has 44, with a fingerprint 52."""


class StunClient:
    """A client for all requests of one socket; it is the socket's receiver of STUN messages."""

    def __init__(self, udp: UdpSocket) -> None:
        self._udp = udp
        self._asked: dict[tuple[bytes, Address], asyncio.Future[Address]] = {}

    async def reflexive(self, server: Address, seconds: float) -> Address | None:
        """Return where `server`, an IP literal and a port, sees this socket; None when it does not say in time."""
        codec = _codec()
        request: Message = codec.Message(codec.Method.BINDING, codec.Class.REQUEST, attributes={"SOFTWARE": _SOFTWARE})
        host = canonical_host(server[0])
        if host is None or (":" in host) != (self._udp.family == socket.AF_INET6):
            return None
        server = host, server[1]
        answer: asyncio.Future[Address] = asyncio.get_running_loop().create_future()
        self._asked[request.transaction_id, server] = answer
        try:
            return await self._ask(bytes(request), server, answer, seconds)
        finally:
            del self._asked[request.transaction_id, server]

    async def _ask(
        self, request: bytes, server: Address, answer: asyncio.Future[Address], seconds: float
    ) -> Address | None:
        past = 0.0
        for until in (*limits.STUN_RESENDS, seconds):
            if not self._udp.send(request, server) and past == 0.0:
                return None  # no way to get there at all
            await asyncio.wait([answer], timeout=max(min(until, seconds) - past, 0.0))
            past = until
            if answer.done() or past >= seconds:
                break
        return answer.result() if answer.done() else None

    def __call__(self, data: bytes, source: Address) -> None:
        """Take a STUN message."""
        if not self._asked:
            return
        try:
            message: Message = _codec().parse_message(data)
        except (ValueError, struct.error, IndexError):
            return
        answer = self._asked.get((message.transaction_id, source))
        mapped = _mapped(message)
        if answer is not None and mapped is not None and not answer.done():
            answer.set_result(mapped)


async def reflexive(udp: UdpSocket, server: Address, seconds: float) -> Address | None:
    """Return where a reflector sees this socket; several may be asked at a time.

    server: IP literal and port. Returns None when there is no answer within `seconds`, and at once when there is no
    way to the reflector. Raises MissingExtraError without aioice.
    """
    if not isinstance(udp.stun, StunClient):
        udp.stun = StunClient(udp)
    return await udp.stun.reflexive(server, seconds)


def _mapped(message: Message) -> Address | None:
    codec = _codec()
    if message.message_class != codec.Class.RESPONSE or message.message_method != codec.Method.BINDING:
        return None
    found = message.attributes.get("XOR-MAPPED-ADDRESS")
    if found is None:
        return None
    return str(ipaddress.ip_address(found[0])), int(found[1])


def _codec() -> ModuleType:
    try:
        from aioice import stun
    except ImportError as error:
        raise MissingExtraError("this needs the extra: pip install 'ssbfast[direct]'") from error
    return stun
