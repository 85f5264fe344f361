"""One thread at a time: what a sealer, an opener, a scanner, or a hub with all that was opened on it share.

Two threads that seal with one nonce would give the plain text away, and PyNaCl and cffi let other threads run while
they work: so each such object has a lock, on every backend. A call that comes while another thread is inside waits.
"""

from __future__ import annotations

import functools
from _thread import RLock  # `threading` without the threads: floors 0-3 start none
from collections.abc import Callable
from typing import Concatenate, ParamSpec, Protocol, TypeVar

__all__ = ["RLock", "in_turn"]


class _Shared(Protocol):
    """turn: the lock of the object, or of its hub. Its holder may take it again."""

    turn: RLock


S = TypeVar("S", bound=_Shared)
P = ParamSpec("P")
R = TypeVar("R")


def in_turn(method: Callable[Concatenate[S, P], R]) -> Callable[Concatenate[S, P], R]:
    """The method, run while no other thread is in a method with the same lock."""

    @functools.wraps(method)
    def alone(self: S, /, *args: P.args, **options: P.kwargs) -> R:
        with self.turn:
            return method(self, *args, **options)

    return alone
