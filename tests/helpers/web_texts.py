"""All texts of the web site that are translated, as they stand in its templates and modules."""

from __future__ import annotations

import ast
from pathlib import Path

import jinja2
from jinja2.ext import extract_from_ast

import ssbfast.server.web

PLACE = Path(ssbfast.server.web.__file__).parent
MARKS = ("_", "N_", "say", "text")
"""Names of functions whose first argument is such a text."""

TABLES = ("_TITLES", "_TEXTS")
"""Tables whose values are."""

Text = tuple[str, str]
"""A text, and its plural or nothing."""


def texts() -> dict[Text, str]:
    """Return all texts with the file that each was found in first."""
    found: dict[Text, str] = {}
    for path in sorted((PLACE / "templates").glob("*.html")):
        tree = jinja2.Environment().parse(path.read_text(encoding="utf-8"))
        for _, function, message in extract_from_ast(tree, ("_", "n_")):
            parts = message if isinstance(message, tuple) else (message,)
            if function == "n_":
                found.setdefault((str(parts[0]), str(parts[1])), path.name)
            elif parts[0] is not None:
                found.setdefault((str(parts[0]), ""), path.name)
    for path in sorted(PLACE.rglob("*.py")):
        for text in _in_module(ast.parse(path.read_text(encoding="utf-8"))):
            found.setdefault(text, path.name)
    return found


def _in_module(tree: ast.Module) -> list[Text]:
    constants: dict[str, str] = {}
    found: list[Text] = []
    for node in tree.body:
        target = node.target if isinstance(node, ast.AnnAssign) else None
        target = node.targets[0] if isinstance(node, ast.Assign) else target
        value = getattr(node, "value", None)
        if isinstance(target, ast.Name):
            if (text := _constant(value)) is not None:
                constants[target.id] = text
                if text[:1].isupper() and " " in text and text.endswith("."):  # a sentence for people
                    found.append((text, ""))
            if target.id in TABLES and isinstance(value, ast.Dict):
                found += [(text, "") for one in value.values if (text := _constant(one)) is not None]
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        values = [constants.get(one.id) if isinstance(one, ast.Name) else _constant(one) for one in node.args]
        name = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
        is_text = isinstance(node.func, ast.Call) and getattr(node.func.func, "attr", "") == "text"
        if name == "plural" and len(values) > 1 and values[0] and values[1]:
            found.append((values[0], values[1]))
        elif (name in MARKS or is_text) and values and values[0]:
            found.append((values[0], ""))
        elif name == "WebError" and len(values) > 1 and values[1]:
            found.append((values[1], ""))
    return found


def _constant(node: ast.AST | None) -> str | None:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None
