"""The README is short, and what it says to run runs."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

README = Path(__file__).parent.parent / "README.md"


def blocks(language: str) -> list[str]:
    found = re.findall(r"^```(\w*)\n(.*?)^```", README.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    return [text for name, text in found if name == language]


def test_the_program_prints_what_the_readme_says() -> None:
    (program,) = blocks("python")
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout in blocks("")


def test_it_is_about_one_screen() -> None:
    text = README.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 100
    assert "await" not in re.sub(r"```python\n.*?```", "", text, flags=re.DOTALL)


def test_nothing_is_installed_outside_of_an_environment() -> None:
    """Debian and others refuse it: "externally-managed-environment"."""
    lines = [line for block in blocks("sh") for line in block.splitlines()]
    installing = [n for n, line in enumerate(lines) if re.search(r"\bpip3? install\b", line)]
    assert installing
    for n in installing:
        made = re.fullmatch(r"python3 -m venv (\S+)", lines[n - 1])
        assert made is not None, lines[n]
        assert lines[n].startswith(f"{made[1]}/bin/pip install "), lines[n]
