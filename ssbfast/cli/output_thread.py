"""A thread that writes bytes to a terminal, a pipe or a file, so that a slow or missing reader stops nothing else.

What waits is bounded. Beyond that, lines are dropped until all that waits has left, and then a line says how many.
"""

from __future__ import annotations

import errno
import os
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Final, NamedTuple

from ssbfast import limits

_NO_READER: Final = frozenset(
    {errno.EPIPE, errno.ECONNRESET, errno.ESHUTDOWN} | ({errno.EINVAL} if os.name == "nt" else set())
)
"""EINVAL is what Windows says of a pipe without a reader."""

_RETRY_SECONDS: Final = 0.05
"""A file descriptor that does not block, because another process wants it so, is tried again after so long."""

_POLL_SECONDS: Final = 0.02


class _Piece(NamedTuple):
    """A piece of output. lines: how many are missing when it is not written."""

    data: bytes
    lines: int


class Writer:
    """A writer to a file descriptor that never blocks its caller. Its thread starts with the first line.

    fd: None: all goes nowhere. missing: the line that tells of n lines that were dropped.
    on_broken: called, from the thread, once, when the reader has gone (`| head`).
    on_failed: called, from the thread, once, with the first other error (a full disk); what could not be written counts
        as dropped, and later lines are tried again.
    """

    def __init__(
        self,
        fd: int | None,
        *,
        name: str,
        missing: Callable[[int], bytes],
        on_broken: Callable[[], None] = lambda: None,
        on_failed: Callable[[OSError], None] = lambda _error: None,
        backlog: int = limits.LOG_BACKLOG,
    ) -> None:
        self._fd = fd
        self._missing = missing
        self._on_broken = on_broken
        self._on_failed = on_failed
        self._backlog = backlog
        self._waiting: deque[_Piece] = deque()
        self._size = 0
        self._dropped = 0
        self._closed = False
        self._failing = False  # the last line could not be written: the next attempt comes with the next line
        self._has_failed = False
        self._torn = False  # a line was written in part
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._busy = False

    def put(self, data: bytes) -> None:
        """Write one or several whole lines, or a part of one. Where there is no room, its lines are counted."""
        with self._changed:
            if self._fd is None or self._closed:
                return
            if not self._thread.ident:
                self._thread.start()
            if self._dropped and not self._waiting and not self._failing:
                self._tell_dropped()
            full = self._waiting and self._size + len(data) > self._backlog
            if full or (self._dropped and not self._failing):
                self._dropped += data.count(b"\n")
                return
            self._waiting.append(_Piece(data, data.count(b"\n")))
            self._size += len(data)
            self._changed.notify()

    async def put_all(self, lines: list[bytes]) -> None:
        """Write all of them, however long that takes: for lists that would be wrong with lines missing."""
        import asyncio  # not for commands that end at once

        for line in lines:
            while not self._has_room(len(line)):
                await asyncio.sleep(_POLL_SECONDS)
            self.put(line)
        while not self.is_idle:
            await asyncio.sleep(_POLL_SECONDS)

    @property
    def is_idle(self) -> bool:
        """Return whether nothing waits to be written."""
        with self._changed:
            return self._fd is None or not (self._busy or self._waiting)

    def close(self, seconds: float) -> None:
        """Take nothing more, and give what waits so many seconds to leave."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        if self._thread.ident:
            self._thread.join(seconds)

    # ------------------------------------------------------------ inside

    def _has_room(self, size: int) -> bool:
        with self._changed:
            return self._fd is None or not self._waiting or self._size + size <= self._backlog

    def _tell_dropped(self) -> None:
        """Tell how many lines were dropped, ahead of what waits, which is younger."""
        self._waiting.appendleft(_Piece(self._missing(self._dropped), self._dropped))
        self._size += len(self._waiting[0].data)
        self._dropped = 0

    def _work(self) -> None:
        while (piece := self._next()) is not None:
            try:
                self._write(piece.data)
            except OSError as error:
                if error.errno in _NO_READER:
                    self._fd = None
                    self._on_broken()
                else:
                    self._fail(piece, error)

    def _next(self) -> _Piece | None:
        with self._changed:
            self._busy = False
            while not self._waiting:
                if self._dropped and not self._failing:
                    self._tell_dropped()
                elif self._closed:
                    return None
                else:
                    self._changed.wait()
            if self._failing and self._dropped:
                self._tell_dropped()
            piece = self._waiting.popleft()
            self._size -= len(piece.data)
            self._busy = True
            return piece

    def _fail(self, piece: _Piece, error: OSError) -> None:
        with self._changed:
            self._failing = True
            self._dropped += piece.lines + sum(waiting.lines for waiting in self._waiting)
            self._waiting.clear()
            self._size = 0
        if not self._has_failed:
            self._has_failed = True
            self._on_failed(error)

    def _write(self, data: bytes) -> None:
        if self._torn:
            data = b"\n" + data
        while data and self._fd is not None:
            try:
                written = os.write(self._fd, data)
            except BlockingIOError:
                time.sleep(_RETRY_SECONDS)
                continue
            self._torn = written < len(data)
            data = data[written:]
        self._failing = False
