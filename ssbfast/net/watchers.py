"""Who waits for a link to drain."""

from __future__ import annotations

from collections.abc import Callable


class Watchers:
    """Conditions that are looked at after each flush of a link; each calls back once."""

    __slots__ = ("_waiting",)

    def __init__(self) -> None:
        self._waiting: list[tuple[Callable[[], bool], Callable[[], None]]] = []

    def add(self, ready: Callable[[], bool], callback: Callable[[], None]) -> None:
        self._waiting.append((ready, callback))

    def look(self) -> bool:
        """Call back those whose condition holds. Whether somebody still waits."""
        waiting, self._waiting = self._waiting, []
        due: list[Callable[[], None]] = []
        for ready, callback in waiting:
            if ready():
                due.append(callback)
            else:
                self._waiting.append((ready, callback))
        for callback in due:
            callback()
        return bool(self._waiting)

    def release(self) -> None:
        """The link is gone: call everybody back."""
        waiting, self._waiting = self._waiting, []
        for _ready, callback in waiting:
            callback()
