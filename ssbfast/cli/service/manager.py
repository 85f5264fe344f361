"""Managers of services, as far as `ssbfast service` needs one: its file, and the commands that it is given."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol, TypeAlias

from ssbfast.errors import BadInputError, SSBError

CommandLine: TypeAlias = tuple[str, ...]

MARK: Final = "Written by `ssbfast service install`; `ssbfast service uninstall` removes this file."
"""Stands in each file that is ours."""

NAME: Final = "ssbfast-share"
"""Name of the service of the default data directory."""

_SLUG: Final = 40
"""Characters of a directory's name in a service's."""

_SECONDS: Final = 120.0
"""Longer than a manager waits for a service to be ready."""


@dataclass(frozen=True, slots=True)
class State:
    """The state of the service. text: in the manager's words. pid: of the process; None when it does not run."""

    is_active: bool
    text: str
    pid: int | None


class Manager(Protocol):
    """A manager of services.

    Attributes:
        file: Where the service's file is.
        reload: Lets the service read its options again.
    """

    file: Path
    reload: CommandLine

    def check(self) -> None:
        """Raise BadInputError when it does not run here."""

    def text(self, command: Sequence[str]) -> str:
        """Return the file of a service that runs a command. Raises BadInputError for words that it cannot hold."""

    def before_change(self) -> list[CommandLine]:
        """Return what is run before the file of a service that runs is replaced; failures do not matter."""

    def after_write(self, *, is_replaced: bool) -> list[CommandLine]:
        """Return what lets the service run, now and from each login on."""

    def before_removal(self) -> list[CommandLine]:
        """Return what ends the service, and lets it not begin again."""

    def after_removal(self) -> list[CommandLine]:
        """Return what is run when the file is gone."""

    def advice(self) -> str | None:
        """Return what the user should know about when it runs."""

    def state(self) -> State:
        """Return how the service does. Raises SSBError."""

    def logs(self, lines: int, *, follow: bool) -> CommandLine:
        """Return what shows the log."""


def name_of(data: Path, default: Path) -> str:
    """Return the name of the service of a data directory. default: the one whose service needs no name of its own."""
    path = os.path.abspath(data)
    if path == os.path.abspath(default):
        return NAME
    slug = re.sub(r"[^A-Za-z0-9_]+", "-", os.path.basename(path))[:_SLUG].strip("-")
    return f"{NAME}-{slug or 'peer'}-{hashlib.sha256(os.fsencode(path)).hexdigest()[:6]}"


def run(command: CommandLine) -> str:
    """Run a command; return what it prints. Raises SSBError with the last line of its complaint."""
    shown = " ".join(command)
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        raise SSBError(f"{shown}: no answer within {_SECONDS:g} seconds") from None
    except OSError as error:
        raise SSBError(f"{shown}: {(error.strerror or type(error).__name__).lower()}") from None
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.strip()] or [f"exit code {done.returncode}"]
        raise SSBError(f"{shown}: {lines[0].strip()}")
    return done.stdout


def must_be_one_line(words: Sequence[str]) -> None:
    """Raise BadInputError for words that a file of lines cannot hold."""
    for word in words:
        if not word.isprintable():
            raise BadInputError(f"the name of a file cannot be written into a service: {ascii(word)[:100]}")


# ---------------------------------------------------------------- the file


def content(path: Path) -> str | None:
    """Return what is in a file; None when there is none. Raises BadInputError."""
    if not os.path.lexists(path):
        return None
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise BadInputError(f"{path}: {(error.strerror or type(error).__name__).lower()}") from None


def write(path: Path, text: str) -> None:
    """Write a file, all of it or nothing. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        new.write_text(text, encoding="utf-8")
        new.replace(path)
    except BaseException:
        new.unlink(missing_ok=True)
        raise
