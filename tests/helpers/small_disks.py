"""A file system of a few hundred KiB, for stores and logs that find no room. Needs root on Linux."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

SIZE = 512 * 1024


class SmallDisk:
    """path: where it is mounted."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def fill(self) -> None:
        """Take the room that is left."""
        with contextlib.suppress(OSError), open(self.path / "filling", "ab", buffering=0) as file:
            while True:
                file.write(bytes(4096))

    def free(self) -> None:
        """Give it back."""
        (self.path / "filling").unlink()

    def protect(self) -> None:
        """Nothing can be written from now on."""
        _mount("mount", "-o", "remount,ro", str(self.path))


@contextlib.contextmanager
def small_disk(path: Path) -> Iterator[SmallDisk]:
    """Mounted at `path`, which is made; skips the test where that is not allowed."""
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("mounting a file system needs root on Linux")
    path.mkdir()
    try:
        _mount("mount", "-t", "tmpfs", "-o", f"size={SIZE}", "ssbfast-test", str(path))
    except subprocess.CalledProcessError:
        pytest.skip("a file system cannot be mounted here")
    try:
        yield SmallDisk(path)
    finally:
        _mount("umount", "-l", str(path))


def _mount(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, timeout=60)
