"""The house: imports go down only, and what each floor may touch. Read from the sources, not from what runs."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "ssbfast"

FLOORS = {
    "errors": 0,
    "limits": 0,
    "ids": 0,
    "budgets": 0,
    "keys": 0,
    "backoff": 0,
    "source_tree": 0,
    "engine_types": 0,
    "tables": 0,
    "native": 1,
    "pure": 1,
    "wire": 2,
    "room": 3,
    "net": 4,
    "pasted": 4,
    "direct": 5,
    "store": 5,
    "client": 6,
    "server": 6,
    "compat": 7,
    "cli": 8,
    "__init__": 8,  # names are re-exported lazily; what loads with it is tested below
    "__main__": 9,
}
QUIET = 3
"""Up to this floor no I/O and no clock."""

LOUD = {"asyncio", "socket", "ssl", "time", "threading", "sqlite3", "aioquic", "select", "selectors", "subprocess"}
STRANGERS = {
    *(("room", "net"), ("net", "room")),
    *(("client", "server"), ("server", "client")),
    ("store", "net"),
    ("store", "direct"),
}
"""Who does not know whom, although the floors would allow it."""
KNOW_AIOQUIC = ("direct.quic_path", "direct.quic_connection", "direct.quic_engine", "direct.quic_handover")
ONLY_NATIVE = {"ssbfast._native", "nacl._sodium"}


def sources() -> Iterator[tuple[str, ast.Module]]:
    """Dotted name below `ssbfast` and syntax tree of every module."""
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = list(path.relative_to(PACKAGE).with_suffix("").parts)
        if parts[-1] == "__init__" and len(parts) > 1:
            parts.pop()
        yield ".".join(parts), ast.parse(path.read_text(encoding="utf-8"), str(path))


MODULES = dict(sources())


def imports(name: str, tree: ast.Module, is_package: bool = False) -> Iterator[str]:
    """Every module that a module imports, wherever in it: full dotted names, relative ones resolved."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                here = ["ssbfast", *name.split(".")]
                here = here[: len(here) - node.level + is_package]
                base = ".".join([*here, base] if base else here)
            for alias in node.names:
                yield base
                yield f"{base}.{alias.name}"


def room_of(name: str) -> str:
    return name.partition(".")[0]


def rooms(name: str, tree: ast.Module) -> set[str]:
    """The top-level rooms of the house that a module imports."""
    found = set()
    for target in imports(name, tree, is_package=(PACKAGE / name.replace(".", "/")).is_dir()):
        parts = target.split(".")
        if parts[0] == "ssbfast" and len(parts) > 1:
            found.add(parts[1] if parts[1] in FLOORS or parts[1] == "_native" else "__init__")
    return found - {room_of(name)}


def violations(name: str, tree: ast.Module) -> list[str]:
    room = room_of(name)
    floor = FLOORS[room]
    out = []
    for target in sorted(rooms(name, tree) - {"_native"}):
        if FLOORS[target] > floor:
            out.append(f"{name} imports {target}, which is above it")
        if (room, target) in STRANGERS:
            out.append(f"{name} knows {target}")
    for target in sorted(set(imports(name, tree))):
        if floor <= QUIET and room_of(target) in LOUD:
            out.append(f"{name} imports {target}")
        if target.startswith("ssbfast.server.web") and not name.startswith(("server.web", "cli.")):
            out.append(f"{name} imports {target}")
        if room_of(target) == "aioquic" and name not in KNOW_AIOQUIC:
            out.append(f"{name} imports {target}")
    if room != "native":
        out += [f"{name} touches {what}" for what in sorted(privates(name, tree))]
    return out


def privates(name: str, tree: ast.Module) -> set[str]:
    """Uses of the C core and of PyNaCl's library: by import, by attribute, by name in a string."""
    found = {target for target in imports(name, tree) if target in ONLY_NATIVE}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr in ("_sodium", "_native"):
            found.add(node.attr)
        if isinstance(node, ast.Constant) and node.value in ONLY_NATIVE:
            found.add(str(node.value))
    return found


def test_every_room_has_a_floor() -> None:
    assert {room_of(name) for name in MODULES} <= set(FLOORS)


@pytest.mark.parametrize("name", MODULES)
def test_the_house(name: str) -> None:
    assert violations(name, MODULES[name]) == []


@pytest.mark.parametrize(
    ("name", "source", "complaint"),
    [
        ("ids", "from ssbfast.wire import address", "ids imports wire, which is above it"),
        ("ids", "from ssbfast import wire", "ids imports wire, which is above it"),
        ("client.targets", "from ssbfast.server import session", "client.targets knows server"),
        ("server.session", "import ssbfast.client.room_client", "server.session knows client"),
        ("store.peer_store", "from ssbfast.net import link", "store.peer_store knows net"),
        ("ids", "from ssbfast import FeedId", "ids imports __init__, which is above it"),
        ("wire.muxrpc", "from ..room import directory", "wire.muxrpc imports room, which is above it"),
        ("wire.muxrpc", "def f():\n    import ssbfast.net.link", "wire.muxrpc imports net, which is above it"),
        ("net.link", "import ssbfast.room.directory", "net.link knows room"),
        ("room.directory", "from ssbfast.net.link import Link", "room.directory knows net"),
        ("room.directory", "import time", "room.directory imports time"),
        ("pure.hub", "from asyncio import Queue", "pure.hub imports asyncio"),
        ("net.link", "import aioquic.quic", "net.link imports aioquic.quic"),
        ("server.session", "from ssbfast.server.web import site", "server.session imports ssbfast.server.web"),
        ("pure.hub", "from nacl import _sodium", "pure.hub touches nacl._sodium"),
        ("wire.muxrpc", "import nacl\nnacl._sodium.lib", "wire.muxrpc touches _sodium"),
        ("net.link", "from ssbfast import _native", "net.link touches ssbfast._native"),
        ("net.link", "from .. import _native", "net.link touches ssbfast._native"),
        ("net.link", "__import__('ssbfast._native')", "net.link touches ssbfast._native"),
    ],
)
def test_these_tests_bite(name: str, source: str, complaint: str) -> None:
    assert complaint in violations(name, ast.parse(source))


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("wire.muxrpc", "from ssbfast import limits\nfrom ssbfast.native import Link\nfrom . import packet_stream"),
        ("direct.quic_path", "import aioquic.quic.connection\nimport asyncio"),
        ("native", "from nacl import _sodium\nfrom ssbfast import _native, pure"),
        ("cli.main", "import asyncio, ssbfast.room.directory, ssbfast.net.link"),
    ],
)
def test_and_let_the_rest_pass(name: str, source: str) -> None:
    assert violations(name, ast.parse(source)) == []


# ---------------------------------------------------------------- circles


def known(name: str, tree: ast.Module, modules: Mapping[str, ast.Module]) -> set[str]:
    """The modules of the package that a module imports, wherever in it, for types alone as well."""
    found = set()
    for target in imports(name, tree, is_package=(PACKAGE / name.replace(".", "/")).is_dir()):
        inside = target.removeprefix("ssbfast.")
        if inside != target and inside in modules:
            found.add(inside)
    return found - {name}


def arrows(modules: Mapping[str, ast.Module]) -> dict[str, set[str]]:
    """Return what each module imports."""
    return {name: known(name, tree, modules) for name, tree in modules.items()}


def c_arrows(sources: Mapping[str, str]) -> dict[str, set[str]]:
    """Return the C files of whose functions each C file makes use."""
    texts = {name: re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL) for name, text in sources.items()}
    homes = {found[1]: name for name, text in texts.items() for found in _C_FUNCTION.finditer(text)}
    words = {name: set(re.findall(r"\bssbi?_\w+", text)) & set(homes) for name, text in texts.items()}
    return {name: {homes[word] for word in used} - {name} for name, used in words.items()}


_C_FUNCTION = re.compile(r"^(?!static|typedef|#|_Static)\w[\w *]*?\b(ssbi?_\w+)\([^;{]*\)\s*\{", re.MULTILINE)


def circles(below: Mapping[str, set[str]]) -> list[list[str]]:
    """Return groups of files that know each other, directly or through others (Tarjan's algorithm)."""
    number: dict[str, int] = {}
    lowest: dict[str, int] = {}
    path: list[str] = []
    found: list[list[str]] = []

    def visit(name: str) -> None:
        number[name] = lowest[name] = len(number)
        path.append(name)
        for other in sorted(below[name]):
            if other not in number:
                visit(other)
                lowest[name] = min(lowest[name], lowest[other])
            elif other in path:
                lowest[name] = min(lowest[name], number[other])
        if lowest[name] == number[name]:
            at = path.index(name)
            group, path[at:] = sorted(path[at:]), []
            if len(group) > 1:
                found.append(group)

    for name in sorted(below):
        if name not in number:
            visit(name)
    return found


def test_no_modules_import_each_other() -> None:
    assert circles(arrows(MODULES)) == []


def test_circles_are_found() -> None:
    sources = {
        "a": "from ssbfast import b",
        "b": "def f():\n    from ssbfast.c import thing",
        "c": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import ssbfast.a",
        "d": "import ssbfast.a",
    }
    assert circles(arrows({name: ast.parse(source) for name, source in sources.items()})) == [["a", "b", "c"]]


C_SOURCES = {path.name: path.read_text(encoding="utf-8") for path in (ROOT / "csrc").glob("*.c")}


def test_no_c_files_call_each_other() -> None:
    found = c_arrows(C_SOURCES)
    assert found["link.c"] >= {"hub.c", "lane.c", "inlet.c", "link_receive.c"}
    assert circles(found) == []


def test_circles_of_c_files_are_found() -> None:
    call = "\nvoid ssbi_circle(ssb_lane *lane) { ssbi_lane_open(lane); /* as a queue never does */ }\n"
    assert circles(c_arrows({**C_SOURCES, "queue.c": C_SOURCES["queue.c"] + call})) == [["lane.c", "queue.c"]]


def test_the_oracle_is_not_loaded_beside_the_core() -> None:
    loads = "any(name.startswith('ssbfast.pure') for name in sys.modules)"
    code = f"import sys, ssbfast.native as n; print(n.BACKEND, {loads})"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    backend, loaded = done.stdout.split()
    assert (loaded == "True") == (backend == "pure")


def test_importing_the_package_is_cheap() -> None:
    """Nothing heavy loads before it is used, in a process that has imported nothing else."""
    heavy = ("asyncio", "aioquic", "click", "rich", "sqlite3", "ssl", "nacl._sodium", "ssbfast._native")
    code = f"import sys, ssbfast; print([name for name in {heavy!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
