"""Warn when a program imports the source tree by accident.

Python looks for modules beside the program first. A program that is saved in a clone therefore imports the clone's
`ssbfast`, whatever is installed: often a tree without a built C core.
"""

from __future__ import annotations

import os
import sys
import warnings
from importlib.machinery import EXTENSION_SUFFIXES
from typing import Final

PACKAGE: Final = os.path.dirname(os.path.abspath(__file__))
TREE: Final = os.path.dirname(PACKAGE)
CORE_SOURCES: Final = os.path.join("csrc", "build_ffi.py")
"""A source tree has this file. An installed package has nothing of the kind beside it."""

_MOVE: Final = "To use what is installed, move the program out of the tree"
_BUILD: Final = "run `./dev setup` in the tree and the program with .venv/bin/python"


def _has_core(package: str) -> bool:
    return any(os.path.isfile(os.path.join(package, f"_native{suffix}")) for suffix in EXTENSION_SUFFIXES)


def _installed_package() -> str:
    """Return the folder of another `ssbfast` on `sys.path`, "" when there is none."""
    for entry in sys.path:
        package = os.path.join(os.path.abspath(entry), "ssbfast")
        if os.path.isfile(os.path.join(package, "__init__.py")) and not os.path.samefile(package, PACKAGE):
            return package
    return ""


def _message() -> str:
    """Return the problem and its remedy in words, "" when nothing is wrong."""
    if not os.path.isfile(os.path.join(TREE, CORE_SOURCES)):
        return ""
    installed = _installed_package()
    lacks_core = not _has_core(PACKAGE) and os.environ.get("SSBFAST_BACKEND", "") != "pure"
    if not installed and not lacks_core:
        return ""
    if not lacks_core:
        return f"ssbfast is imported from the source tree {TREE}, not from {installed}. {_MOVE}"
    where = f"{TREE} is a source tree without a built core"
    advice = f"{_MOVE}, or {_BUILD}" if installed else f"Install the package, or {_BUILD}"
    return f"ssbfast runs without its C core, slowly: {where}{f' and hides {installed}' * bool(installed)}. {advice}"


def _warn() -> bool:
    """Warn at the line that imports `ssbfast`. Return whether the warning is about the missing core."""
    text = _message()
    if text:
        warnings.warn(text, RuntimeWarning, stacklevel=4)  # this, the module, ssbfast/__init__, the program
    return "without its C core" in text


TOLD: Final = _warn()
"""Whether the missing core has been told here; `ssbfast.native` does not repeat it."""
