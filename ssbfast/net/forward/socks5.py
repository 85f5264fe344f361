"""The opening of a SOCKS5 connection (RFC 1928), read without I/O: CONNECT alone, without authentication.

    opening = Opening()
    answer = opening.receive(data)     # until opening.request is there
    answer = reply(Reply.SUCCEEDED)

What is no name below `.ssb` is refused here: nothing else is reached through us.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Final

from ssbfast.errors import RefusedError
from ssbfast.wire.pairing import is_name

_VERSION: Final = 5
_NO_AUTHENTICATION: Final = 0
_NONE_ACCEPTABLE: Final = b"\x05\xff"
_CONNECT: Final = 1
_IPV4, _DOMAIN, _IPV6 = 1, 3, 4
_LENGTHS: Final = {_IPV4: 4, _IPV6: 16}
_SSB: Final = ".ssb"


class Reply(enum.IntEnum):
    """The replies of RFC 1928 that we give."""

    SUCCEEDED = 0
    """The service is offered to us, and its connection is on its way."""

    FAILURE = 1
    """There are too many friends, or connections, at once."""

    NOT_ALLOWED = 2
    """It is no name below .ssb, or a peer that we do not dial."""

    UNREACHABLE = 4
    """No contact has that name, or it is not there."""

    REFUSED = 5
    """The friend offers no such service to us."""

    NO_COMMAND = 7
    NO_ADDRESS_TYPE = 8


class SocksRefused(RefusedError):
    """A connection is not made. reply: what the program is told."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(f"refused: {reply.name.lower().replace('_', ' ')}")
        self.reply = reply


@dataclass(frozen=True, slots=True)
class Request:
    """What a program wants to reach.

    Attributes:
        nickname: The contact.
        service: The service by its name; None: the one at `port`, else the first.
        port: The port that was asked for.
    """

    nickname: str
    service: str | None
    port: int

    @classmethod
    def read(cls, host: bytes, port: int) -> Request:
        """Read SERVICE.NICK.ssb or NICK.ssb. Raises SocksRefused."""
        name = host.decode("ascii", "replace").lower().removesuffix(".")
        if not name.endswith(_SSB):
            raise SocksRefused(Reply.NOT_ALLOWED)
        service, dot, nickname = name.removesuffix(_SSB).rpartition(".")
        if not is_name(nickname) or (dot and not is_name(service)):
            raise SocksRefused(Reply.UNREACHABLE)
        return cls(nickname, service or None, port)


def reply(code: Reply) -> bytes:
    """Return the reply to a request. It names no address: the service's is not known here."""
    return bytes((_VERSION, code, 0, _IPV4)) + bytes(6)


class Opening:
    """What a program says first. It holds at most a greeting and a request, and what came with them.

    Attributes:
        request: What it wants; None until that has come.
        rest: What came behind the request.
        is_over: True once it has been refused, and nothing more is read.
    """

    def __init__(self) -> None:
        self.request: Request | None = None
        self.rest = b""
        self.is_over = False
        self._data = b""
        self._is_greeted = False

    def receive(self, data: bytes) -> bytes:
        """Take bytes; return what is to be answered."""
        if self.request is not None or self.is_over:
            self.rest += data if not self.is_over else b""
            return b""
        self._data += data
        answer = b"" if self._is_greeted else self._greeting()
        if self._is_greeted and not self.is_over:
            try:
                self._read_request()
            except SocksRefused as refused:
                self.is_over = True
                answer += reply(refused.reply)
        return answer

    def _greeting(self) -> bytes:
        data = self._data
        if data[:1] not in (b"", b"\x05"):
            self.is_over = True  # SOCKS4, HTTP: no answer of ours means anything there
            return b""
        if len(data) < 2 or len(data) < 2 + data[1]:
            return b""
        methods, self._data = data[2 : 2 + data[1]], data[2 + data[1] :]
        if _NO_AUTHENTICATION not in methods:
            self.is_over = True
            return _NONE_ACCEPTABLE
        self._is_greeted = True
        return bytes((_VERSION, _NO_AUTHENTICATION))

    def _read_request(self) -> None:
        """Read the request once it is whole; what is wrong with it shows only then. Raises SocksRefused."""
        data = self._data
        if data[:1] not in (b"", b"\x05"):
            raise SocksRefused(Reply.FAILURE)
        if len(data) < 5:
            return
        command, kind = data[1], data[3]
        if kind == _DOMAIN:
            start, length = 5, data[4]
        elif kind in _LENGTHS:
            start, length = 4, _LENGTHS[kind]
        else:
            raise SocksRefused(Reply.NO_ADDRESS_TYPE)
        end = start + length
        if len(data) < end + 2:
            return
        if command != _CONNECT:
            raise SocksRefused(Reply.NO_COMMAND)
        if kind != _DOMAIN:
            raise SocksRefused(Reply.NOT_ALLOWED)
        self.request = Request.read(data[start:end], int.from_bytes(data[end : end + 2], "big"))
        self.rest, self._data = data[end + 2 :], b""
