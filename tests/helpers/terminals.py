"""A command on a terminal of its own: what it draws, and keys for it."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import sys
import time
from typing import Any

from tests.helpers.processes import PATIENCE


class Terminal:
    """A process on a terminal of its own, and what it has drawn."""

    def __init__(self, *command: str) -> None:
        self._here, there = pty.openpty()
        self.modes = self._modes(there)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "ssbfast", *command],
            stdin=there,
            stdout=there,
            stderr=subprocess.PIPE,
            start_new_session=True,
            env={**os.environ, "TERM": "xterm", "LINES": "24", "COLUMNS": "100"},
        )
        self._there = there
        self.text = ""

    @staticmethod
    def _modes(file: int) -> list[Any]:
        import termios

        return termios.tcgetattr(file)

    def see(self, words: str) -> None:
        """Wait until it draws them, from now on."""
        self.text = ""
        until = time.monotonic() + PATIENCE
        while words not in self.text:
            assert time.monotonic() < until, self.text
            if select.select([self._here], [], [], 1.0)[0]:
                self.text += os.read(self._here, 65536).decode()

    def press(self, key: str) -> None:
        os.write(self._here, key.encode())

    def end(self) -> int:
        """Its exit code; the terminal has to be as it was before."""
        code = self.process.wait(PATIENCE)
        assert self._modes(self._there) == self.modes
        while select.select([self._here], [], [], 0)[0]:
            self.text += os.read(self._here, 65536).decode()
        assert self.text.endswith("\x1b[?25h\x1b[?1049l")
        assert self.process.stderr is not None and self.process.stderr.read() == b""
        return code

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()
        for file in (self._here, self._there):
            os.close(file)
