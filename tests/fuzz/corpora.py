"""The inputs that are kept: `tests/fuzz/corpus/<target>/`, one file an input, small ones only.

Names say what a file is, or are libFuzzer's own (SHA-1 of the content).
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

CORPUS: Final = Path(__file__).parent / "corpus"
LONGEST: Final = 4096
"""Bytes of an input that is kept."""


def folder(target: str) -> Path:
    """Return where the inputs of a target are kept."""
    return CORPUS / target


def kept(target: str) -> list[bytes]:
    """Return the inputs of a target, in the order of their names."""
    return [path.read_bytes() for path in sorted(folder(target).glob("*"))]
