"""A room as a process, watched from outside: memory, files and CPU from /proc, what it prints from its pipes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
SAMPLE_SECONDS = 0.1
_TICKS = os.sysconf("SC_CLK_TCK")
_HEAD_KEPT = 4096
"""Bytes of stderr that are kept to be shown."""


@dataclass(frozen=True)
class Sample:
    at: float
    rss: int
    files: int
    cpu: float
    """Seconds so far."""


def busy() -> float:
    """CPU seconds that the whole machine has been busy for."""
    numbers = [int(number) for number in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    return (sum(numbers) - numbers[3] - numbers[4]) / _TICKS


def cpu_of(pid: int) -> float:
    words = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(words[11]) + int(words[12])) / _TICKS


def rss_of(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    return 0


def start(*command: str, files: int = 0, plain: bool = False, **pipes: Any) -> subprocess.Popen[bytes]:
    """A process that ends with this one.

    command: Python's arguments. files: its limit of descriptors, 0 for ours. plain: it finds no uvloop.
    """
    path = [str(Path(__file__).parent / "without_uvloop")] if plain else []
    leash = [sys.executable, "-m", "tests.hostile.leash", str(files), sys.executable, *command]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([*path, str(ROOT)])}
    return subprocess.Popen(leash, cwd=ROOT, env=environment, bufsize=0, **pipes)


@dataclass
class _Pipe:
    """What came out of one: when, how much. Nothing is read while `hold` is set."""

    arrived: list[tuple[float, int]] = field(default_factory=list)
    head: bytearray = field(default_factory=bytearray)
    hold: threading.Event = field(default_factory=threading.Event)

    def read(self, fd: int, on_data: Callable[[bytes], None] | None) -> None:
        while data := os.read(fd, 65_536):
            self.arrived.append((time.monotonic(), len(data)))
            self.head += data[: max(0, _HEAD_KEPT - len(self.head))]
            if on_data is not None:
                on_data(data)
            while self.hold.is_set():
                time.sleep(0.01)

    def bytes(self, since: float, until: float) -> int:
        return sum(n for at, n in self.arrived if since <= at < until)


class Room:
    """`ssbfast room` on 127.0.0.1. files, plain: see `start`."""

    def __init__(self, data: Path, *, files: int = 0, plain: bool = False) -> None:
        arguments = ("room", "--json", "--data", str(data), "--listen", "127.0.0.1:0", "--no-udp")
        self.process = start(
            "-m", "ssbfast", *arguments, files=files, plain=plain,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        self.samples: list[Sample] = []
        self.out, self.err = _Pipe(), _Pipe()
        self._first = bytearray()
        self._known = threading.Event()
        self._over = threading.Event()
        self._threads = [
            threading.Thread(target=self._read_out, daemon=True),
            threading.Thread(target=self._read_err, daemon=True),
            threading.Thread(target=self._sample, daemon=True),
        ]
        for thread in self._threads:
            thread.start()
        if not self._known.wait(30):
            self.close()
            raise TimeoutError(f"no room: {bytes(self.err.head).decode(errors='replace')}")
        self.listening: dict[str, Any] = json.loads(self._first.split(b"\n", 1)[0])

    @property
    def address(self) -> str:
        return str(self.listening["address"])

    @property
    def is_alive(self) -> bool:
        return self.process.poll() is None

    def bytes(self, since: float, until: float) -> int:
        """What it printed then, on stdout and stderr."""
        return self.out.bytes(since, until) + self.err.bytes(since, until)

    def stop(self, seconds: float) -> float | None:
        """SIGTERM. How many seconds it took to end; None: longer than that."""
        began = time.monotonic()
        self.process.terminate()
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None
        return time.monotonic() - began

    def close(self) -> None:
        for pipe in (self.out, self.err):
            pipe.hold.clear()
        self._over.set()
        if self.is_alive:
            self.process.kill()
        self.process.wait()
        for thread in self._threads:
            thread.join()
        for pipe in (self.process.stdout, self.process.stderr):
            if pipe is not None:
                pipe.close()

    def _read_out(self) -> None:
        assert self.process.stdout is not None
        self.out.read(self.process.stdout.fileno(), self._first_line)

    def _read_err(self) -> None:
        assert self.process.stderr is not None
        self.err.read(self.process.stderr.fileno(), None)

    def _first_line(self, data: bytes) -> None:
        if not self._known.is_set():
            self._first += data
            if b"\n" in self._first:
                self._known.set()

    def _sample(self) -> None:
        pid = self.process.pid
        while not self._over.wait(SAMPLE_SECONDS):
            try:
                files = len(os.listdir(f"/proc/{pid}/fd"))
                self.samples.append(Sample(time.monotonic(), rss_of(pid), files, cpu_of(pid)))
            except OSError:
                return
