"""What the targets share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar

from ssbfast.wire.muxrpc_body import JSON, decode_json

T = TypeVar("T")


class Target(Protocol):
    """One parser's target. Its name is that of its corpus."""

    __name__: str

    def __call__(self, data: bytes, /) -> None: ...


def text_of(data: bytes) -> str:
    """Return any text: what is no UTF-8 becomes lone surrogates, as in the arguments of a command."""
    return data.decode("utf-8", "surrogateescape")


def json_of(data: bytes) -> JSON:
    """Return what a peer's JSON says, text if it is none."""
    try:
        return decode_json(data)
    except ValueError:
        return text_of(data)


def accepted(parse: Callable[[], T], *errors: type[Exception]) -> T | None:
    """Return what was read, None if it was refused with one of `errors`: exactly these, no subclass."""
    try:
        return parse()
    except errors as error:
        assert type(error) in errors, f"{type(error).__name__} is not what is documented"
        return None


def halves(data: bytes) -> tuple[bytes, bytes]:
    """Cut at the place that the first byte names."""
    if not data:
        return b"", b""
    rest = data[1:]
    at = data[0] * (len(rest) + 1) // 256
    return rest[:at], rest[at:]
