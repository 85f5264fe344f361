"""The README's program runs as it stands, and is as short as promised."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

README = Path(__file__).parent.parent / "README.md"


def test_twelve_lines_tunnel() -> None:
    found = re.search(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    assert found is not None
    program = found[1]
    assert len([line for line in program.splitlines() if line.strip()]) <= 12
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert ast.literal_eval(done.stdout) == {"gossip": {"ping": "duplex"}, "manifest": "sync"}


def test_nothing_is_installed_outside_of_an_environment() -> None:
    """Debian and others refuse it: "externally-managed-environment"."""
    blocks = re.findall(r"```sh\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines()]
    installing = [n for n, line in enumerate(lines) if re.search(r"\bpip3? install\b", line)]
    assert installing
    for n in installing:
        made = re.fullmatch(r"python3 -m venv (\S+)", lines[n - 1])
        assert made is not None, lines[n]
        assert lines[n].startswith(f"{made[1]}/bin/pip install "), lines[n]
