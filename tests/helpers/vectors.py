"""Vectors: of the JavaScript reference stack, and of pairing (tests/vectors/README.md)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent.parent / "vectors"


def load(part: str, file: str = "ssb-js") -> list[dict[str, Any]]:
    """part: "shs", "box" or "mux"; "tickets", "refused" "signatures" or "words" of the file "pairing"."""
    found: list[dict[str, Any]] = json.loads((FOLDER / f"{file}.json").read_text(encoding="utf-8"))[part]
    return found
