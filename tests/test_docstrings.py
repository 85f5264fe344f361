"""Docstrings of functions begin with what the function does, in the imperative; properties say what they are."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "ssbfast"
_NO_VERBS = frozenset(
    {"a", "all", "an", "each", "every", "false", "how", "its", "no", "our", "same", "that", "the", "there", "this"}
    | {"true", "what", "when", "where", "whether", "which", "who", "whoever", "why"}
)
_VERBS_IN_S = frozenset({"compress", "discuss", "dismiss", "express", "guess", "miss", "pass", "press", "process"})


def is_imperative(docstring: str) -> bool:
    """Return whether a docstring may begin with a verb in the imperative: its first word is no usual other one."""
    first = docstring.split(maxsplit=1)[0].strip(".,:;`").lower()
    return first not in _NO_VERBS and (not first.endswith("s") or first in _VERBS_IN_S)


def functions() -> Iterator[tuple[str, str]]:
    """Yield each function of the package that has a docstring and is no property: its place, its docstring."""
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            docstring = ast.get_docstring(node)
            is_property = any(ast.unparse(one).rpartition(".")[2].endswith("property") for one in node.decorator_list)
            if docstring and not is_property:
                yield f"{path.relative_to(PACKAGE.parent)}:{node.lineno} {node.name}", docstring


@pytest.mark.parametrize(
    ("docstring", "good"),
    [
        ("Return the path.", True),
        ("Pass it on.", True),
        ("Returns the path.", False),
        ("The path of a file.", False),
        ("Whether it is open.", False),
    ],
)
def test_what_is_taken_for_an_imperative(docstring: str, good: bool) -> None:
    assert is_imperative(docstring) is good


def test_functions_say_what_they_do() -> None:
    found = list(functions())
    assert len(found) > 1000
    assert not [place for place, docstring in found if not is_imperative(docstring)]
