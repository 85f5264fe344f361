"""What comes on stdin, in a thread: a process whose parent is gone must not stay."""

from __future__ import annotations

import asyncio
import os
import sys
import threading

LAST_SECONDS = 8.0
"""How long a program may go on after its stdin has ended."""


class Lifeline:
    """Lines of stdin for an asyncio program; `ended` when there are no more, and then the process ends, at the latest
    after `LAST_SECONDS`. Make it within the loop."""

    def __init__(self) -> None:
        self.lines: asyncio.Queue[str] = asyncio.Queue()
        self.ended = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        threading.Thread(target=self._read, daemon=True).start()

    async def line(self) -> str:
        return await self.lines.get()

    def _read(self) -> None:
        for line in sys.stdin:
            self._loop.call_soon_threadsafe(self.lines.put_nowait, line.rstrip("\n"))
        killer = threading.Timer(LAST_SECONDS, lambda: os._exit(3))
        killer.daemon = True
        killer.start()
        try:
            self._loop.call_soon_threadsafe(self.ended.set)
        except RuntimeError:  # the loop is closed: the program is ending
            return
