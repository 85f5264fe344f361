"""A contest: contenders that do the same work, each of which has to give the right answer first."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ssbfast.errors import SSBError

Work = Callable[[], object]
"""One pass of the work. Whatever it makes anew each time is timed with it."""


class WrongAnswerError(SSBError):
    """A contender's wrong answer: nothing about it is worth timing."""


@dataclass(frozen=True, slots=True)
class Contender:
    """A way to do the work. is_right: do it once and return whether the answer is right. work: one timed pass.

    fresh: makes the work of each pass, untimed, where a pass uses something up; then `work` is not looked at.
    """

    is_right: Callable[[], bool]
    work: Work
    fresh: Callable[[], Work] | None = None


@dataclass(frozen=True, slots=True)
class Contest:
    """Work that contenders compete in. group, case: its name, e.g. "seal" and "64"; amount: one pass's, in `unit`.

    baseline: the contender that ratios are to; it may be missing, then there are none.
    """

    group: str
    case: str
    unit: str
    amount: float
    baseline: str
    contenders: Mapping[str, Contender]
