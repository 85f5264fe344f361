"""The npm packages behind the JavaScript peers: installed once per machine, from the lock file."""

from __future__ import annotations

import contextlib
import hashlib
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Final

JS_DIR: Final = Path(__file__).parent / "js"


def have_node() -> bool:
    """Tell whether Node and npm can be started."""
    return shutil.which("node") is not None and shutil.which("npm") is not None


def ensure_modules() -> str | None:
    """Install the locked npm packages unless they are there; return why that failed, or None.

    One process at a time does it; a stamp with the hash of the lock file tells the others that it is done.
    """
    lock_hash = hashlib.sha256((JS_DIR / "package-lock.json").read_bytes()).hexdigest()
    stamp = JS_DIR / "node_modules" / ".ssbfast-lock"
    with _file_lock(JS_DIR / ".install.lock"):
        if stamp.exists() and stamp.read_text() == lock_hash:
            return None
        npm = shutil.which("npm") or "npm"
        done = subprocess.run(
            [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"],
            cwd=JS_DIR, capture_output=True, text=True, timeout=600, check=False,
        )  # fmt: skip
        if done.returncode != 0:
            return done.stderr[-2000:]
        stamp.write_text(lock_hash)
        return None


@contextlib.contextmanager
def _file_lock(path: Path) -> Iterator[None]:
    """Hold an exclusive lock on `path`; without fcntl (Windows) two test runs at once are on their own."""
    try:
        import fcntl
    except ImportError:
        yield
        return
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
