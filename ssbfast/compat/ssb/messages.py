"""The messages of `ssb.packet_stream`."""

from __future__ import annotations

import json
from enum import Enum
from typing import Any, Final

from ssbfast.compat.ssb.json_body import dumps

PSMessageData = bytes | bool | dict[str, Any] | str
"""What a body can be, for annotations."""

_STREAM: Final = 0x08
_END: Final = 0x04
_TYPE: Final = 0x03


class PSMessageType(Enum):
    """The type of a body."""

    BUFFER = 0
    TEXT = 1
    JSON = 2


class PSMessage:
    """One message.

    type: what the body is. body: bytes, str, or a JSON value. stream: part of a stream. end_err: the last of its
    stream, or an error. req: the number on the wire; below 0 for answers.
    """

    _raw: bytes | None = None
    bad = False
    """Its bytes were not what its type says; `body` is None then."""

    def __init__(self, type_: PSMessageType, body: Any, stream: bool, end_err: bool, req: int | None = None) -> None:
        # A default elsewhere may be of the enum that install() has put another in the place of.
        self.type = type_ if type(type_) is PSMessageType else PSMessageType(type_.value)
        self.body = body
        self.stream = stream
        self.end_err = end_err
        self.req = req

    @classmethod
    def from_header_body(cls, flags: int, req: int, body: bytes) -> PSMessage:
        """Return a message that was received. ValueError: type 3, or a body that is not what its type says."""
        type_ = PSMessageType(flags & _TYPE)
        value: Any = body
        if type_ is PSMessageType.TEXT:
            value = body.decode("utf-8")
        elif type_ is PSMessageType.JSON:
            try:
                value = json.loads(body)
            except RecursionError:
                raise ValueError("the JSON is too deep") from None
        message = cls(type_, value, bool(flags & _STREAM), bool(flags & _END), req=req)
        message._raw = body
        return message

    @property
    def data(self) -> bytes:
        """Return the body's bytes: as they came, or as they will be sent."""
        raw = self._raw
        if raw is None:
            if self.type is PSMessageType.TEXT:
                raw = self.body.encode("utf-8")
            elif self.type is PSMessageType.JSON:
                raw = dumps(self.body).encode("utf-8")
            else:
                raw = bytes(self.body)
        return raw

    def __repr__(self) -> str:
        body = "" if self.bad else f" {len(self.data)} bytes"
        flags = (" stream" if self.stream else "") + (" end" if self.end_err else "")
        return f"<PSMessage {self.type.name}{body}{flags} req={self.req}>"

    def __str__(self) -> str:
        """Return the message with its body, as the originals' `repr`: programs print their messages."""
        body = "EOF" if self.body is True else str(self.body)
        if self.type is PSMessageType.BUFFER and isinstance(self.body, (bytes, bytearray, memoryview)):
            body = f"{len(self.body)} bytes"
        req = "" if self.req is None else f" [{self.req}]"
        return f"<PSMessage ({self.type.name}): {body}{req} {'~' * self.stream}{'!' * self.end_err}>"
