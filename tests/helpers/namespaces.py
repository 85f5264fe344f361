"""Network namespaces of a test's own: built where that is possible, removed whatever happens."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol, TypeVar

from tests.helpers.require import require


class Buildable(Protocol):
    def build(self) -> None: ...

    def remove(self) -> None: ...


Wanted = TypeVar("Wanted", bound=Buildable)


def ip(*words: str) -> None:
    subprocess.run(("ip", *words), check=True, capture_output=True, text=True)


@contextmanager
def built(wanted: Wanted) -> Iterator[Wanted]:
    """The test is skipped, or fails if it must not be, where namespaces cannot be had."""
    able = sys.platform == "linux" and os.geteuid() == 0 and shutil.which("ip") is not None
    require("netns", able, "needs Linux, root and the ip command")
    try:
        try:
            wanted.build()
        except subprocess.CalledProcessError as error:
            require("netns", False, str(error.stderr).strip())
        yield wanted
    finally:
        wanted.remove()
