"""A plain `assert` in a helper. Under `python -O` it bites only if pytest rewrites helpers (tests/conftest.py)."""

from __future__ import annotations


def insist(value: bool) -> None:
    assert value, "the canary sings"
