"""`ssbfast …` as a process of its own, with patience that is only used up when a test fails."""

from __future__ import annotations

import json
import queue
import re
import signal
import subprocess
import sys
import threading
from typing import Any

import psutil

PATIENCE = 60.0


def run(*arguments: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run to the end."""
    return subprocess.run(
        [sys.executable, "-m", "ssbfast", *arguments],
        env=env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=PATIENCE,
        check=False,
    )


class Running:
    """A process whose stdout is read line by line."""

    def __init__(self, *arguments: str, env: dict[str, str] | None = None, prefix: tuple[str, ...] = ()) -> None:
        self.process = subprocess.Popen(
            [*prefix, sys.executable, "-m", "ssbfast", *arguments],
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
        )
        self._lines: queue.Queue[str | None] = queue.Queue()
        self._errors: list[str] = []
        self._threads = [threading.Thread(target=work, daemon=True) for work in (self._read_out, self._read_errors)]
        for thread in self._threads:
            thread.start()

    def __enter__(self) -> Running:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        for thread in self._threads:
            thread.join()
        for pipe in (self.process.stdout, self.process.stderr):
            if pipe is not None:
                pipe.close()

    def _read_out(self) -> None:
        for line in self.process.stdout or ():
            self._lines.put(line.rstrip("\n"))
        self._lines.put(None)

    def _read_errors(self) -> None:
        for line in self.process.stderr or ():
            self._errors.append(line)

    @property
    def stderr(self) -> str:
        """All of it; only after the end."""
        self._threads[1].join(PATIENCE)
        return "".join(self._errors)

    @property
    def has_complained(self) -> bool:
        """Whether there is something on stderr by now."""
        return bool(self._errors)

    def line(self) -> str | None:
        """The next line, or None at the end."""
        return self._lines.get(timeout=PATIENCE)

    def event(self, name: str) -> dict[str, Any]:
        """The next event of that name, without its time."""
        while (line := self.line()) is not None:
            event = without_time(line)
            if event["event"] == name:
                return event
        raise EOFError(f"ended before {name!r}: {self.stderr}")

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def wait(self) -> int:
        return self.process.wait(PATIENCE)

    def children(self, count: int) -> list[psutil.Process]:
        """Its processes, once there are so many."""
        parent = psutil.Process(self.process.pid)
        while len(found := parent.children(recursive=True)) < count:
            self.process.poll()
            if self.process.returncode is not None:
                raise EOFError(f"ended early: {self.stderr}")
        return found


def assert_gone(processes: list[psutil.Process]) -> None:
    """All have ended, or do so now."""
    _, alive = psutil.wait_procs(processes, timeout=PATIENCE)
    assert not alive


def without_time(line: str | bytes) -> dict[str, Any]:
    """An event as it was printed; it has to have the time, which is left out here."""
    event: dict[str, Any] = json.loads(line)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", event.pop("time")), line
    return event
