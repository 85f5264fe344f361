"""Events on stdout, one a line, for people or as JSON.

A thread writes: a terminal on hold, or a slow reader of a pipe, must not stop the room. What does not fit into
the queue is counted and told later.
"""

from __future__ import annotations

import json
import os
import queue
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Final, TextIO

LINES_WAITING: Final = 4096
"""Lines that wait for a slow reader, about 500 KiB."""

CLOSE_SECONDS: Final = 1.0
"""How long the end of the program waits for a slow reader."""

Event = Mapping[str, Any]


class Printer:
    """Prints lines without ever blocking its caller.

    stdout: sys.stdout, which is None in a process that was started without one.
    as_json: one JSON object a line, and `text` is left out; otherwise lines for people.
    on_broken: called, from the thread, once, when nobody reads any more (`| head`).
    words: an event as people read it; `describe` knows a room's.
    """

    def __init__(
        self,
        stdout: TextIO | None,
        *,
        as_json: bool,
        on_broken: Callable[[], None] = lambda: None,
        words: Callable[[Event], str] | None = None,
    ) -> None:
        self._as_json = as_json
        self._words = words or describe
        self._on_broken = on_broken
        self._lines: queue.Queue[str | None] = queue.Queue(LINES_WAITING)
        self._lost = 0
        # Without a stdout its number may have become a socket's: then nothing is written at all.
        self._fd = None if stdout is None else stdout.fileno()
        self._encoding = "utf-8" if as_json or stdout is None else stdout.encoding
        self._thread = threading.Thread(target=self._write_lines, name="printer", daemon=True)
        self._thread.start()

    def event(self, event: Event) -> None:
        """Print one event."""
        if self._lost and self._put(self._format({"event": "lost", "n": self._lost})):
            self._lost = 0
        if not self._put(self._format(event)):
            self._lost += 1

    def text(self, text: str) -> None:
        """Print lines for people; nothing when JSON is wanted."""
        if not self._as_json:
            self._put(text)

    @property
    def is_idle(self) -> bool:
        """Whether the queue is empty."""
        return self._lines.empty()

    def close(self) -> None:
        """Let what waits go out, for at most `CLOSE_SECONDS`."""
        try:
            self._lines.put(None, timeout=CLOSE_SECONDS)
        except queue.Full:
            return
        self._thread.join(CLOSE_SECONDS)

    # ------------------------------------------------------------ inside

    def _put(self, line: str) -> bool:
        try:
            self._lines.put_nowait(line)
        except queue.Full:
            return False
        return True

    def _format(self, event: Event) -> str:
        if self._as_json:
            return json.dumps(event, ensure_ascii=False)
        return f"{time.strftime('%H:%M:%S')}  {self._words(event)}"

    def _write_lines(self) -> None:
        while (line := self._lines.get()) is not None:
            try:
                self._write(f"{line}\n".encode(self._encoding, "replace"))
            except OSError:
                self._fd = None
                self._on_broken()

    def _write(self, data: bytes) -> None:
        # Not through sys.stdout: its lock would be held at exit while a slow reader keeps us waiting.
        while data and self._fd is not None:
            data = data[os.write(self._fd, data) :]


def describe(event: Event) -> str:
    """One event in words."""
    match event:
        case {"event": "joined" | "left" as name, "id": who}:
            return f"{name:8}{who}"
        case {"event": "tunnel_opened", "origin": origin, "target": target}:
            return f"tunnel  {origin} → {target}"
        case {"event": "tunnel_closed", "origin": origin, "target": target, "bytes": n, "seconds": seconds}:
            return f"closed  {origin} → {target}  {amount(n)} in {seconds:.1f} s ({event.get('reason')})"
        case {"event": "lost", "n": n}:
            return f"({n} lines are missing here: the reader was too slow)"
    members = "  ".join(f"{key} {value}" for key, value in event.items() if key != "event")
    return f"{event.get('event', '?'):8}{members}"


def amount(n: int) -> str:
    """A number of bytes for people; 1 kB is 1,000 bytes."""
    size = float(n)
    for unit in ("bytes", "kB", "MB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "bytes" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.2f} GB"
