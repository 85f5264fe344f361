"""Fuzz targets for what Python reads of others: bytes of an input in, AssertionError when the invariant does not hold.

Every target has the invariant of its kind, told in its docstring: the input is accepted, or refused with the error that
the parser documents; where there is a way back, what was accepted survives it. Hypothesis calls targets in the suite
(`tests/fuzz/test_parsers.py`), atheris in campaigns (`./dev fuzz`); what is worth keeping lies in `tests/fuzz/corpus`.
"""

from __future__ import annotations

from tests.fuzz.parsers import compat, direct, handshakes, packets, rpc, texts
from tests.fuzz.parsers.target import Target

TARGETS: dict[str, Target] = {
    function.__name__: function
    for module in (texts, rpc, packets, handshakes, direct, compat)
    for function in module.TARGETS
}
