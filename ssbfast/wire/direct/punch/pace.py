"""The common pace of probes for all attempts of a process, and the order of their turns. Time is passed in.

Each attempt has a `Turn`, which says when its next probe is due. `ProbePace.run` lets as many leave as the pace allows,
one at a time: first the peer that had its turn longest ago, then of its attempts the one that had it longest ago. So a
peer with many attempts gets no more than one with a single attempt, and to leave and come back gains nothing: a new one
begins at the end of the line.

Guesses of birthday searches have a smaller pace of their own inside of the common one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from ssbfast import limits

_NEVER: Final = float("inf")


class Due(NamedTuple):
    """The time at which an attempt's next probes want to leave, seconds; infinity: none does.

    probe: a check or an answer. guess: one of a birthday search.
    """

    probe: float = _NEVER
    guess: float = _NEVER


NOTHING: Final = Due()


class Pace:
    """A limit of `burst` at once and `rate` a second after that: in any second at most burst + rate."""

    __slots__ = ("_interval", "_slack", "_spent")

    def __init__(self, rate: float, burst: int) -> None:
        self._interval = 1 / rate
        self._slack = (burst - 1) / rate
        self._spent = float("-inf")  # up to when what has left has been paid for

    def ready(self) -> float:
        """Return when the next one may leave."""
        return self._spent - self._slack

    def take(self, now: float) -> bool:
        """Let one leave, or return False."""
        if now < self.ready():
            return False
        self._spent = max(self._spent, now) + self._interval
        return True


@dataclass(slots=True, eq=False)
class Turn:
    """One attempt's place in the line.

    key: of its peer. send: sends one probe, the most urgent one, and sets `due` anew. due: set by its attempt.
    """

    key: bytes = field(repr=False)
    send: Callable[[float], None] = field(repr=False)
    due: Due = NOTHING
    served: int = 0


class ProbePace:
    """The common pace of all attempts of a process.

    rate: probes in any second, `burst` of them at once. guesses: how many of them may be guesses.
    """

    def __init__(
        self,
        rate: int = limits.PROBES_PER_SECOND,
        burst: int = limits.PROBE_BURST,
        guesses: int = limits.GUESSES_PER_SECOND,
    ) -> None:
        self._all = Pace(rate - burst, burst)
        self._guesses = Pace(guesses - burst // 4, burst // 4)
        self._turns: list[Turn] = []
        self._keys: dict[bytes, int] = {}  # when each peer was served last; peers with attempts only
        self._served = 0

    def enter(self, key: bytes, send: Callable[[float], None]) -> Turn:
        """Add an attempt with that peer."""
        turn = Turn(key, send, served=self._served)
        self._turns.append(turn)
        self._keys.setdefault(key, self._served)
        return turn

    def leave(self, turn: Turn) -> None:
        """Remove an attempt; harmless when it has left."""
        turn.due = NOTHING
        if turn in self._turns:
            self._turns.remove(turn)
            if not any(other.key == turn.key for other in self._turns):
                del self._keys[turn.key]

    def run(self, now: float) -> None:
        """Send the probes that are due, as far as the pace allows."""
        while now >= self._all.ready():
            turn = self._next(now)
            if turn is None:
                return
            self._all.take(now)
            if turn.due.probe > now:
                self._guesses.take(now)
            self._served += 1
            turn.served = self._keys[turn.key] = self._served
            turn.send(now)

    def timer(self) -> float | None:
        """Return when `run` has something to do next."""
        first = min((self._at(turn) for turn in self._turns), default=_NEVER)
        return None if first == _NEVER else max(first, self._all.ready())

    def _next(self, now: float) -> Turn | None:
        due = (turn for turn in self._turns if self._at(turn) <= now)
        return min(due, key=lambda turn: (self._keys[turn.key], turn.served), default=None)

    def _at(self, turn: Turn) -> float:
        """Return when it may send, for all that the others do."""
        return min(turn.due.probe, max(turn.due.guess, self._guesses.ready()))
