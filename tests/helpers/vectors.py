"""The vectors of the JavaScript reference stack (tests/vectors/README.md)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

FILE = Path(__file__).parent.parent / "vectors" / "ssb-js.json"


def load(part: str) -> list[dict[str, Any]]:
    """part: "shs", "box" or "mux"."""
    found: list[dict[str, Any]] = json.loads(FILE.read_text(encoding="utf-8"))[part]
    return found
