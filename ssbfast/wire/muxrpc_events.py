"""The events of a muxrpc session, one frozen class each, and the kinds of call."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import TypeAlias

from ssbfast.errors import RemoteError, SessionEndedError
from ssbfast.wire.muxrpc_body import JSON

Out: TypeAlias = tuple[int, int, bytes]
"""A packet to send: flags, req, body."""


class CallKind(enum.Enum):
    """The kind of a call. Sync calls are async ones on the wire; only manifests tell them apart."""

    ASYNC = "async"
    SOURCE = "source"
    SINK = "sink"
    DUPLEX = "duplex"


@dataclass(frozen=True, slots=True)
class Called:
    """A call of the peer. Async: answer() or fail() it once. Otherwise a stream has begun."""

    req: int
    kind: CallKind
    name: tuple[str, ...]
    args: list[JSON] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Answered:
    """The answer to an async call of ours."""

    req: int
    value: bytes | JSON = field(repr=False)


@dataclass(frozen=True, slots=True)
class Failed:
    """The failure of an async call of ours: the peer's error, or the end of the session."""

    req: int
    error: RemoteError | SessionEndedError


@dataclass(frozen=True, slots=True)
class Item:
    """One item of a stream: bytes, or text or JSON by its Python type."""

    req: int
    value: bytes | JSON = field(repr=False)


@dataclass(frozen=True, slots=True)
class Ended:
    """The end of the peer's direction of a stream; error None means that it is complete.

    For an async call of the peer's (only when the session died): no caller waits for the answer.
    """

    req: int
    error: RemoteError | SessionEndedError | None = None


@dataclass(frozen=True, slots=True)
class Reply:
    """The protocol's own answer, for the shell to send."""

    packet: Out = field(repr=False)


MuxEvent: TypeAlias = Called | Answered | Failed | Item | Ended | Reply
