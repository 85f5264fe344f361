"""Effects that a room asks its shell to carry out, in order. Sessions are the shell's numbers, `req` is muxrpc's."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias

from ssbfast.ids import FeedId
from ssbfast.wire.muxrpc import JSON


@dataclass(frozen=True, slots=True)
class Joined:
    """A feed id that can be reached now, and could not before."""

    id: FeedId


@dataclass(frozen=True, slots=True)
class Left:
    """A feed id that cannot be reached any more."""

    id: FeedId


Change: TypeAlias = Joined | Left
Changes: TypeAlias = tuple[Change, ...]


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to an async call: MuxRPC.answer."""

    session: int
    req: int
    value: JSON = field(repr=False)


@dataclass(frozen=True, slots=True)
class Fail:
    """An error that answers a call or ends a stream: MuxRPC.fail."""

    session: int
    req: int
    message: str


@dataclass(frozen=True, slots=True)
class StreamItem:
    """One JSON item to send.

    body: encoded JSON; one object for all subscribers of the same change.
    snapshot: the whole list (500 kB for 10,000 ids): bulk data, not to be sent ahead of others like a control packet.
    """

    session: int
    req: int
    body: bytes = field(repr=False)
    snapshot: bool = False


@dataclass(frozen=True, slots=True)
class StreamEnd:
    """The normal end of our direction of a stream: MuxRPC.end, which knows whether it has ended already."""

    session: int
    req: int


@dataclass(frozen=True, slots=True)
class Splice:
    """A duplex call to open on session `target` and to join with stream `req` of `session`.

    When it cannot be opened any more, the refusal is `refusal(to)` of ssbfast.room.directory.
    """

    session: int
    req: int
    target: int
    name: tuple[str, ...]
    args: list[JSON] = field(repr=False)
    origin: FeedId
    to: FeedId


@dataclass(frozen=True, slots=True)
class Exclude:
    """A session to cut: its key may not have one any more. Its tunnels end with `refusal(feed)`."""

    session: int
    feed: FeedId


@dataclass(frozen=True, slots=True)
class EndVisits:
    """The tunnels that lead to a session are to be ended, with `refusal(feed)`; those that it opened stay."""

    session: int
    feed: FeedId


@dataclass(frozen=True, slots=True)
class RegisterAlias:
    """An alias to register, once its signature is verified; the answer is its URL. See `alias_rules`."""

    session: int
    req: int
    feed: FeedId
    name: str
    signature: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class RevokeAlias:
    """An own alias to free; the answer is true."""

    session: int
    req: int
    feed: FeedId
    name: str


@dataclass(frozen=True, slots=True)
class EndWebSessions:
    """All browsers of a key to sign out; the answer is true."""

    session: int
    req: int
    feed: FeedId


@dataclass(frozen=True, slots=True)
class AnnounceNameplate:
    """A nameplate for a session, in place of its last one; None: none. The answer is true, or an error."""

    session: int
    req: int
    nameplate: str | None


@dataclass(frozen=True, slots=True)
class FindNameplate:
    """A nameplate to look for; the answer is the id of the peer whose session has it, or an error."""

    session: int
    req: int
    nameplate: str


Write: TypeAlias = RegisterAlias | RevokeAlias | EndWebSessions
"""What the shell does with the room's records, and answers later."""

Nameplate: TypeAlias = AnnounceNameplate | FindNameplate
"""What the shell does with the nameplates of pairing, within its budgets."""

Effect: TypeAlias = (
    Answer | Fail | StreamItem | StreamEnd | Splice | Joined | Left | Exclude | EndVisits | Write | Nameplate
)
"""Joined and Left are news for logs and metrics; subscribers get theirs as StreamItem."""
