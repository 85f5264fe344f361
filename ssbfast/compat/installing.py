"""`ssbfast.install()`: programs written for `secret_handshake` and `ssb` run on ssbfast without a changed line.

A package that has not been imported yet is replaced: its name, and the names of its modules, lead to ours. A package
that has been imported stays, because the program may hold on to names from it: its classes are given our methods, and
our modules use its classes (so that `except` and `isinstance` go on working in the program). What has such a name and
is something else, a package of the program's own, is left alone.
"""

from __future__ import annotations

import importlib
import importlib.util
import logging
import os
import sys
from collections.abc import Callable, Iterable
from enum import Enum
from importlib.machinery import PathFinder, all_suffixes
from types import FunctionType, ModuleType
from typing import Any, Final

_OURS: Final = "ssbfast.compat."
_PACKAGES: Final = {
    "secret_handshake": ("secret_handshake", ("boxstream", "crypto", "network", "util")),
    "ssb": ("ssb", ("feed", "feed.models", "muxrpc", "packet_stream", "util")),
    "ssb_client": ("ssb", ("feed", "feed.models", "muxrpc", "packet_stream", "util")),
}
_MARKS: Final = {
    "secret_handshake": ("boxstream", "network"),
    "ssb": ("muxrpc", "packet_stream"),
    "ssb_client": ("muxrpc", "packet_stream"),
}
"""Modules by which the packages that we stand in for are told from others of their name."""

_KEEP: Final = frozenset(vars(type("_", (), {"__slots__": ()}))) | {
    *("__dict__", "__weakref__", "__qualname__", "__annotations__", "__annotate__", "__annotate_func__"),
    *("__annotations_cache__", "__static_attributes__", "__firstlineno__"),
}
"""What makes a class the one that it is, and is not given to another."""

_log = logging.getLogger("ssbfast.compat")

_undo: list[Callable[[], None]] = []


def install() -> None:
    """Replace `secret_handshake`, `ssb` and `ssb_client` by ours, until `uninstall()`. Harmless when done already.

    Call it before the program's other imports if possible. Objects that exist already go on, at the state they are in;
    an open source or duplex of `ssb` does not. A package or module of such a name that is the program's own stays what
    it is.
    """
    if _undo:
        return
    try:
        for name, (ours, modules) in _PACKAGES.items():
            imported = sys.modules.get(name)
            if _is_somebody_elses(name, imported):
                _log.info("%s is a package of the program's own, and left alone", name)
            elif imported is None:
                for part in ("", *modules):
                    _replace(_join(name, part), importlib.import_module(_OURS + _join(ours, part)))
            elif not imported.__name__.startswith(_OURS):
                _adopt(name, ours, modules)
    except BaseException:
        uninstall()
        raise


def uninstall() -> None:
    """Undo `install()`: names and classes are what they were. Harmless without it."""
    while _undo:
        _undo.pop()()


def _is_somebody_elses(name: str, imported: ModuleType | None) -> bool:
    """Return whether what the program has, or would import, under this name is not what we stand in for."""
    if imported is not None:
        if imported.__name__.startswith(_OURS):
            return False
        return not _has_marks(name, getattr(imported, "__path__", ()))
    spec = importlib.util.find_spec(name)
    if spec is None:
        return False
    places = spec.submodule_search_locations
    if spec.origin is None and places is not None and not any(map(_has_code, places)):
        return False  # a directory of that name that happens to be on the path
    return not _has_marks(name, places or ())


def _has_marks(name: str, places: Iterable[str]) -> bool:
    return all(PathFinder.find_spec(f"{name}.{mark}", list(places)) is not None for mark in _MARKS[name])


def _has_code(place: str) -> bool:
    """Return whether there is something to import in a directory."""
    try:
        entries = list(os.scandir(place))
    except OSError:
        return False
    suffixes = tuple(all_suffixes())
    return any(
        entry.name.endswith(suffixes) or os.path.isfile(os.path.join(entry.path, "__init__.py")) for entry in entries
    )


def _join(package: str, module: str) -> str:
    return f"{package}.{module}" if module else package


def _replace(name: str, module: ModuleType) -> None:
    """Let `import name` find this module."""
    before = sys.modules.get(name)

    def restore() -> None:
        if before is None:
            sys.modules.pop(name, None)
        else:
            sys.modules[name] = before

    _undo.append(restore)
    sys.modules[name] = module


def _adopt(name: str, ours: str, modules: tuple[str, ...]) -> None:
    """Give our methods to the classes of a package that has been imported."""
    for part in modules:
        mine = importlib.import_module(_OURS + _join(ours, part))
        try:
            theirs = importlib.import_module(_join(name, part))
        except ImportError:  # it lacks this module, or something that this module needs
            _replace(_join(name, part), mine)
            parent, _, last = _join(name, part).rpartition(".")
            _set(sys.modules[parent], last, mine)
        else:
            _adopt_module(theirs, mine)


def _adopt_module(theirs: ModuleType, mine: ModuleType) -> None:
    for name, value in list(vars(mine).items()):
        original = vars(theirs).get(name)
        if not str(getattr(value, "__module__", "")).startswith(_OURS):
            continue
        if isinstance(value, FunctionType):
            _set(theirs, name, value)
        elif not isinstance(value, type) or not isinstance(original, type):
            continue
        else:
            if not issubclass(value, (Enum, tuple, dict, BaseException)):
                _give_methods(original, value)
            _use_instead(value, original)


def _give_methods(original: type, ours: type) -> None:
    for name in [*vars(ours), *vars(original)]:
        if name not in _KEEP:
            # What ours inherits and the original has of its own, ours replaces too.
            homes = [base for base in ours.__mro__[:-1] if name in vars(base)]
            if homes and vars(original).get(name, homes) is not vars(homes[0])[name]:
                _set(original, name, vars(homes[0])[name])


def _use_instead(ours: type, original: type) -> None:
    """Let every module of ours use the original class where it uses ours."""
    for name, module in list(sys.modules.items()):
        if name.startswith(_OURS):
            for key, value in list(vars(module).items()):
                if value is ours:
                    _set(module, key, original)


def _set(owner: Any, name: str, value: Any) -> None:
    """Set an attribute, and remember how to undo it."""
    missing = object()
    before = vars(owner).get(name, missing)

    def restore() -> None:
        if before is missing:
            delattr(owner, name)
        else:
            setattr(owner, name, before)

    _undo.append(restore)
    setattr(owner, name, value)
