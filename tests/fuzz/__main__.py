"""Fuzzes the C core: `./dev fuzz [SECONDS] [TARGET ...]`.

SECONDS (60) are shared out between the targets (all of them: seal, open, scanner, link) and the paths that this
machine has. Needs clang with its runtime, and libsodium with its header. A run that fails leaves its input behind and
tells its place.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from ssbfast import native

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
CORE = sorted((ROOT / "csrc").glob("*.c"))
TARGETS = ("seal", "open", "scanner", "link")
CLANGS = ("clang", *(f"clang-{version}" for version in range(22, 13, -1)))
SANITIZE = "-fsanitize=fuzzer,address,undefined"
# Compares of sizes and counters tell the fuzzer nothing, and cost half of the time.
FLAGS = ["-std=c11", "-g", "-O2", "-fno-sanitize-recover=all", "-fno-sanitize-coverage=trace-cmp"]
INCLUDE = [f"-I{folder}" for folder in (ROOT / "csrc", ROOT / "tests" / "c", HERE)]
OPTIONS = ["-max_len=300", "-len_control=0", "-detect_leaks=0", "-reload=0"]


def paths(target: str) -> tuple[str, ...]:
    """On which a target runs."""
    found = tuple(name for name in native.available() if name != "pure")
    return {"scanner": ("libsodium",), "link": (found[0], "libsodium")}.get(target, found[:-1])


def find_clang() -> str | None:
    return next((path for name in CLANGS if (path := shutil.which(name))), None)


def build(folder: Path, targets: list[str]) -> None:
    """Compile the core once, then each target."""
    clang = find_clang()
    if clang is None:
        raise SystemExit("fuzz: needs clang (Debian, Ubuntu: apt install clang libclang-rt-14-dev libsodium-dev)")
    no_main = SANITIZE.replace("fuzzer", "fuzzer-no-link")
    subprocess.run([clang, *FLAGS, no_main, *INCLUDE, "-c", *map(str, CORE)], cwd=folder, check=True)
    objects = [f"{source.stem}.o" for source in CORE]
    for target in targets:
        source = str(HERE / f"fuzz_{target}.c")
        command = [clang, *FLAGS, SANITIZE, *INCLUDE, source, *objects, "-lsodium", "-o", target]
        subprocess.run(command, cwd=folder, check=True)


def fuzz(folder: Path, target: str, path: str, until: str) -> bool:
    """Whether nothing was found. until: libFuzzer's option that ends it."""
    done = subprocess.run(
        [str(folder / target), *OPTIONS, until, f"-artifact_prefix={folder}/{target}-{path}-"],
        env={**os.environ, "SSBFAST_BACKEND": path, "ASAN_OPTIONS": "quarantine_size_mb=4:detect_leaks=0"},
        capture_output=True,
        text=True,
        check=False,
    )
    runs = re.search(r"Done (\d+) runs", done.stderr)
    if done.returncode or not runs:
        print(done.stderr[-4000:])
        return False
    print(f"fuzz: {target:8}{path:10}{int(runs[1]):>12,} runs", flush=True)
    return True


def main(arguments: list[str]) -> int:
    """The program's exit code."""
    seconds = int(arguments.pop(0)) if arguments and arguments[0].isdigit() else 60
    targets = arguments or list(TARGETS)
    if not set(targets) <= set(TARGETS):
        raise SystemExit(__doc__)
    jobs = [(target, path) for target in targets for path in paths(target)]
    folder = Path(tempfile.mkdtemp(prefix="ssbfast-fuzz-"))
    build(folder, targets)
    for target, path in jobs:
        if not fuzz(folder, target, path, f"-max_total_time={max(1, seconds // len(jobs))}"):
            print(f"fuzz: {target} on {path} has found something; its input is in {folder}")
            return 1
    shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
