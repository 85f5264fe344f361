"""The contract that both backends keep: the codes, events and limits of `csrc/ssbfast.h`, and one thread at a time.

Two threads that seal with one nonce would give the plain text away, and PyNaCl and cffi let other threads run while
they work. So each sealer, opener and scanner has a lock, and so has each hub together with all that was opened on it,
on every backend. A call that comes while another thread is inside waits.
"""

from __future__ import annotations

import enum
import functools
from _thread import RLock  # `threading` without the threads: floors 0-3 start none
from collections.abc import Callable
from typing import Concatenate, Final, NamedTuple, ParamSpec, Protocol, TypeVar

from ssbfast import errors, limits

Buffer = bytes | bytearray | memoryview
"""Anything contiguous that holds bytes."""


class Status(enum.IntEnum):
    """The ordinary answers of the engine (codes >= 0 of `ssbfast.h`)."""

    OK = 0
    FULL = 1
    MORE = 2
    AGAIN = 3
    BLOCKED = 4
    ENDED = 5


EV_PACKET: Final = 1
"""A whole packet for Python: a call, an answer, an item, an end."""

EV_CHUNK: Final = 2
"""Some bytes of a stream whose inlet delivers."""

EV_GOODBYE: Final = 3
"""The packet stream's goodbye: nine zero bytes."""

Event = tuple[int, int, int, bytes]
"""kind (EV_*), flags, req, body"""

STREAM: Final = 0x08
END: Final = 0x04
TYPE_MASK: Final = 0x03


class CoreLimits(NamedTuple):
    """The limits of one link, in bytes; `ssbfast.limits` has the reasons.

    events: how many a call gives; 0: as many as have room.
    """

    box_body: int = limits.BOX_BODY
    call_body: int = limits.CALL_BODY
    answer_body: int = limits.ANSWER_BODY
    control_backlog: int = limits.CONTROL_BACKLOG
    link_backlog: int = limits.LINK_BACKLOG
    events: int = 0


E_HEADER: Final = -1
E_BODY: Final = -2
E_LENGTH: Final = -3
E_AFTER: Final = -4
E_TYPE: Final = -5
E_PACKET: Final = -6
E_CLOSED: Final = -7
E_MEMORY: Final = -8
"""The codes < 0 of `ssbfast.h`: the peer broke the protocol (E_CLOSED: the caller did; E_MEMORY: the pool
is used up)."""


def fault(code: int) -> errors.SSBError:
    """Return the error for a code < 0, made anew each time: an exception raised twice grows its traceback."""
    match code:
        case -1:
            return errors.BoxStreamError("a box header is not authentic")
        case -2:
            return errors.BoxStreamError("a box body is not authentic")
        case -3:
            return errors.BoxStreamError("a box body is empty or longer than agreed")
        case -4:
            return errors.BoxStreamError("bytes after the goodbye")
        case -5:
            return errors.PacketError("a packet of type 3")
        case -6:
            return errors.PacketError("a packet is longer than agreed")
        case -8:
            return errors.LimitError("the queue memory is used up")
        case _:
            return errors.LocalProtocolError("closed, or the goodbye was sent")


def check_keys(*pairs: tuple[bytes, bytes]) -> None:
    """Raise ValueError unless each pair is a key of 32 bytes and a nonce of 24."""
    for key, nonce in pairs:
        if len(key) != 32 or len(nonce) != 24:
            raise ValueError("a box stream needs a key of 32 bytes and a nonce of 24 bytes")


class _Shared(Protocol):
    """An object with a lock. turn: the lock of the object, or of its hub. Its holder may take it again."""

    turn: RLock


S = TypeVar("S", bound=_Shared)
P = ParamSpec("P")
R = TypeVar("R")


def in_turn(method: Callable[Concatenate[S, P], R]) -> Callable[Concatenate[S, P], R]:
    """Return the method, run while no other thread is in a method with the same lock."""

    @functools.wraps(method)
    def alone(self: S, /, *args: P.args, **options: P.kwargs) -> R:
        with self.turn:
            return method(self, *args, **options)

    return alone
