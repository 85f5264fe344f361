"""The programs of the peers: built into a cache outside of the tree, once for each state of their sources.

    python -m benchmarks.quic.programs [NAMES]      builds them, all without names, and says how long that took

Plain Python: no part of ssbfast is needed. quic-go takes five seconds with Go 1.26 or newer, quinn one and a half
minutes of a core with cargo 1.85 or newer; both fetch what `go.sum` and `Cargo.lock` name.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Final

HERE: Final = Path(__file__).resolve().parent
ROOT: Final = HERE.parent.parent
FOLDERS: Final = {"quic-go": HERE / "go", "quinn": HERE / "rust"}
TOOLS: Final = {"quic-go": "go", "quinn": "cargo"}
MODULES: Final = {"aioquic": "benchmarks.quic.aioquic_peer", "ssbfast": "benchmarks.quic.engine_peer"}
BUILD_SECONDS: Final = 540.0
HOW: Final = "python -m benchmarks.quic.programs builds it"


class MissingError(Exception):
    """A peer cannot be run here."""


def command(name: str) -> list[str]:
    """Return how a peer is started. Raises MissingError for one that is not there."""
    if name in MODULES:
        if find_spec(MODULES[name]) is None:
            raise MissingError("our engine has no program yet")
        return [sys.executable, "-m", MODULES[name]]
    if not (program := _program(name)).is_file():
        raise MissingError(f"{name} is not built here: {HOW}")
    return [str(program)]


def build(name: str) -> None:
    """Build a peer unless that has been done. Raises MissingError."""
    program = _program(name)
    if program.is_file():
        return
    tool = shutil.which(TOOLS[name])
    if tool is None:
        raise MissingError(f"{name} needs {TOOLS[name]}")
    with _alone(program.parent):
        target = program.parent / "target"
        commands = {
            "quic-go": [tool, "build", "-o", str(target / "release" / name), "."],
            "quinn": [tool, "build", "--release", "--locked", "--quiet", "--target-dir", str(target)],
        }
        try:
            done = subprocess.run(
                commands[name], cwd=FOLDERS[name], capture_output=True, text=True, timeout=BUILD_SECONDS, check=False
            )
        except subprocess.TimeoutExpired:
            raise MissingError(f"{name}: building takes too long") from None
        if done.returncode != 0:
            raise MissingError(f"{name} cannot be built: {done.stderr.strip()[-500:]}")
        (target / "release" / name).replace(program)


def _program(name: str) -> Path:
    """Return where a peer of these sources lies."""
    hashed = hashlib.sha256()
    for file in sorted([*FOLDERS[name].glob("*.*"), *FOLDERS[name].glob("src/*")]):
        hashed.update(file.read_bytes())
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "ssbfast-quic-peers" / f"{name}-{hashed.hexdigest()[:16]}"


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Keep other builds out."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def main(names: list[str]) -> int:
    failed = 0
    for name in names or FOLDERS:
        began = time.perf_counter()
        try:
            build(name)
        except MissingError as error:
            failed += 1
            print(error, file=sys.stderr)
        else:
            print(f"{name}: {time.perf_counter() - began:.0f} s")
    return min(failed, 1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
