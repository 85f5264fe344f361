"""What a lab needs around it: namespaces that nobody has to remember to remove, and the compiled forwarder."""

from __future__ import annotations

import functools
import hashlib
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Final

PREFIX: Final = "ssbfast-nat"
"""Of each namespace: PREFIX-PID-NUMBER-NAME."""

NAMESPACES: Final = Path("/run/netns")
SECONDS: Final = 30.0
"""For what takes milliseconds."""

_REMOVE: Final = """
for name in "$@"; do
    processes=$(ip netns pids "$name" 2>/dev/null) && [ -z "$processes" ] || kill -9 $processes 2>/dev/null
    ip netns delete "$name" 2>/dev/null
done
"""


def janitor(names: Sequence[str]) -> subprocess.Popen[bytes]:
    """A shell that removes these namespaces, and who lives in them, when its stdin ends: when we die at the latest.

    It has a session of its own, so that Ctrl-C does not reach it.
    """
    script = f"read -r _\n{_REMOVE}"
    return subprocess.Popen(("sh", "-c", script, "janitor", *names), stdin=subprocess.PIPE, start_new_session=True)


def sweep() -> None:
    """Remove what runs have left behind whose janitors were killed, too."""
    stale = []
    for path in NAMESPACES.glob(f"{PREFIX}-*"):
        pid = path.name[len(PREFIX) + 1 :].partition("-")[0]
        if pid.isdigit() and not Path("/proc", pid).exists():
            stale.append(path.name)
    if stale:
        subprocess.run(("sh", "-c", _REMOVE, "sweep", *stale), check=False, capture_output=True, timeout=SECONDS)


def shell(script: str, *prefix: str) -> None:
    """Run it, up to the first command that fails. Raises CalledProcessError."""
    subprocess.run((*prefix, "sh", "-e"), input=script, check=True, capture_output=True, text=True, timeout=SECONDS)


@functools.cache
def compiled() -> Path:
    """The forwarder, compiled once for each version of its source."""
    source = Path(__file__).with_name("internet.c")
    digest = hashlib.sha256(source.read_bytes()).hexdigest()[:16]
    program = source.parent / "__pycache__" / f"internet-{digest}"  # nobody else can put something else there
    if not program.exists():
        program.parent.mkdir(exist_ok=True)
        half = program.with_suffix(f".{os.getpid()}")
        command = (*os.environ.get("CC", "cc").split(), "-O2", str(source), "-o", str(half))
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=60)
        half.rename(program)
    return program
