"""Groups of processes that may have so much memory, and are killed beyond it. Needs root on Linux."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

_V1, _V2 = Path("/sys/fs/cgroup/memory"), Path("/sys/fs/cgroup")


class MemoryGroup:
    """prefix: of a command that is to run in it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.prefix = ("sh", "-c", f'echo $$ > {path}/cgroup.procs && exec "$@"', "sh")

    @property
    def held(self) -> int:
        """The bytes of the processes, without copies of files."""
        words = (self._path / "memory.stat").read_text().split()
        name = "rss" if self._path.is_relative_to(_V1) else "anon"
        return int(words[words.index(name) + 1])

    def allow(self, size: int) -> None:
        """The processes may have so many bytes in all."""
        name = "memory.limit_in_bytes" if self._path.is_relative_to(_V1) else "memory.max"
        (self._path / name).write_text(str(size))


@contextlib.contextmanager
def memory_group() -> Iterator[MemoryGroup]:
    """Make a group; skip the test where that is not allowed."""
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("a limit on memory needs root on Linux")
    path = (_V1 if _V1.is_dir() else _V2) / f"ssbfast-test-{os.getpid()}"
    try:
        path.mkdir()
    except OSError:
        pytest.skip("no group of processes can be made here")
    try:
        made = MemoryGroup(path)
        try:
            made.allow(1 << 30)
        except OSError:
            pytest.skip("memory cannot be limited here")
        yield made
    finally:
        path.rmdir()
