"""A contest: contenders that do the same work, each of which has to give the right answer first."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ssbfast.errors import SSBError

Work = Callable[[], object]
"""One pass of the work. Whatever it makes anew each time is timed with it."""


class WrongAnswerError(SSBError):
    """A contender's answer is not the right one: nothing about it is worth timing."""


@dataclass(frozen=True, slots=True)
class Contender:
    """is_right: do the work once and tell whether the answer is right. work: one timed pass.

    fresh: makes the work of each pass, untimed, where a pass uses something up; then `work` is not looked at.
    """

    is_right: Callable[[], bool]
    work: Work
    fresh: Callable[[], Work] | None = None


@dataclass(frozen=True, slots=True)
class Contest:
    """One thing to do. group, case: its name, e.g. "seal" and "64"; amount: what one pass brings, in `unit`.

    baseline: the contender that ratios are to; it may be missing, then there are none.
    """

    group: str
    case: str
    unit: str
    amount: float
    baseline: str
    contenders: Mapping[str, Contender]
