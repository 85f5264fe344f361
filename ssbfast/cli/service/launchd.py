"""The service as an agent of launchd, on macOS."""

from __future__ import annotations

import os
import plistlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from ssbfast.cli.service.manager import MARK, CommandLine, State, must_be_one_line, run

_PREFIX: Final = "io.github.ssbfast."


class Launchd:
    """launchd, in the user's session. name: that of the service."""

    def __init__(self, name: str) -> None:
        home = Path.home()
        self._domain = f"gui/{os.getuid() if hasattr(os, 'getuid') else 0}"
        self._label = f"{_PREFIX}{name.removeprefix('ssbfast-')}"
        self._target = f"{self._domain}/{self._label}"
        self._log = home / "Library" / "Logs" / f"{name}.log"
        self.file = home / "Library" / "LaunchAgents" / f"{self._label}.plist"
        self.reload: CommandLine = ("launchctl", "kill", "HUP", self._target)

    def check(self) -> None:
        """Do nothing: it always runs."""

    def text(self, command: Sequence[str]) -> str:
        must_be_one_line(command)
        agent = {
            "Label": self._label,
            "ProgramArguments": list(command),
            "RunAtLoad": True,
            "KeepAlive": {"SuccessfulExit": False},
            "StandardOutPath": str(self._log),
            "StandardErrorPath": str(self._log),
            "Umask": 0o077,
        }
        return plistlib.dumps(agent).decode().replace("<plist ", f"<!-- {MARK} -->\n<plist ", 1)

    def before_change(self) -> list[CommandLine]:
        return self.before_removal()

    def after_write(self, *, is_replaced: bool) -> list[CommandLine]:
        return [("launchctl", "bootstrap", self._domain, str(self.file))]

    def before_removal(self) -> list[CommandLine]:
        return [("launchctl", "bootout", self._target)]

    def after_removal(self) -> list[CommandLine]:
        return []

    def advice(self) -> str | None:
        return "It ends when you log out."

    def state(self) -> State:
        shown = run(("launchctl", "print", self._target))
        state, pid = (re.search(rf"^\t{name} = (.+)$", shown, re.M) for name in ("state", "pid"))
        text = "unknown" if state is None else state[1]
        return State(text == "running", text, int(pid[1]) if pid is not None and pid[1].isdigit() else None)

    def logs(self, lines: int, *, follow: bool) -> CommandLine:
        return ("tail", "-n", str(lines), *(("-F",) if follow else ()), str(self._log))
