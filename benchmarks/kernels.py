"""The box stream in C, without Python around it, by path: `kernels.c` as a library, to PyNaCl's libsodium.

    python -m benchmarks.kernels [--rounds N]

A line is {"bytes": …, "sizes": "9+1000", "at_once": false, "taken": {path: {"seal": [[cpu, wall], …], "open": …}}}, in
seconds of a pass.
Every box is compared with libsodium's, and opened again; a wrong one ends the program with exit code 1.
"""

from __future__ import annotations

import argparse
import ctypes
import functools
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from benchmarks.processes import ROOT

PATHS: Final = ("libsodium", "avx512", "avx2", "sse2", "neon", "portable", "system")
"""As in kernels.c. "libsodium" is PyNaCl's, "system" the one that the compiler finds."""

SIZES: Final[dict[str, tuple[int, ...]]] = {
    **{str(n): (n,) for n in (1, 9, 32, 64, 128, 256, 512, 1024, 1025, 1536, 2048, 4096)},
    "9+1000": (9, 1000),
}
"""Of bodies, in turn; 1,024 and 1,025 are on both sides of what some paths leave to libsodium."""

WAYS: Final = ("seal", "open")
ROUNDS_MAX: Final = 61


class _Crypto(ctypes.Structure):
    _fields_ = (
        ("box", ctypes.c_void_p),
        ("box_open", ctypes.c_void_p),
        ("wipe", ctypes.c_void_p),
        ("kernel", ctypes.c_void_p),
    )


def why_not() -> str | None:
    """Why it cannot run here, or None."""
    if shutil.which("cc") is None:
        return "no C compiler"
    return None if compiled() is not None else "no headers of libsodium, or the compiler has failed"


@functools.cache
def compiled() -> Path | None:
    """The library, compiled at its first use."""
    library = Path(tempfile.mkdtemp(prefix="ssbfast-kernels-")) / "kernels.so"
    sources = [str(ROOT / "benchmarks" / "kernels.c"), *map(str, sorted((ROOT / "csrc").glob("[!_]*.c")))]
    command = ["cc", "-O3", "-std=gnu11", "-shared", "-fPIC", f"-I{ROOT / 'csrc'}", *sources, "-lsodium", "-o"]
    done = subprocess.run([*command, str(library)], capture_output=True, check=False)
    return library if done.returncode == 0 else None


def measure(sizes: tuple[int, ...], at_once: int, rounds: int) -> dict[str, Any]:
    """(CPU, wall) seconds of each round by path and way. at_once: boxes a call, 0 for all."""
    from ssbfast.native import core

    addresses = [int(core.ffi.cast("uintptr_t", getattr(core.crypto, name))) for name in ("box", "box_open", "wipe")]
    table, count = _Crypto(*addresses, None), ctypes.c_size_t()
    half = len(PATHS) * len(WAYS) * rounds
    out = (ctypes.c_double * (2 * half))()
    run = ctypes.CDLL(str(compiled())).kernels_measure
    size_t = ctypes.c_size_t
    run(ctypes.byref(table), size_t(sizes[0]), size_t(sizes[-1]), size_t(at_once), rounds, out, ctypes.byref(count))
    spent = list(zip(out[:half], out[half:], strict=True))
    taken = {}
    for number, path in enumerate(PATHS):
        at = number * len(WAYS) * rounds
        if spent[at][0]:
            taken[path] = {way: spent[at + i * rounds : at + (i + 1) * rounds] for i, way in enumerate(WAYS)}
    return {"bytes": count.value, "taken": taken}


def every(rounds: int) -> Iterator[dict[str, Any]]:
    """All sizes, many boxes a call and one."""
    for at_once in (0, 1):
        for case, sizes in SIZES.items():
            yield {"sizes": case, "at_once": bool(not at_once), **measure(sizes, at_once, rounds)}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.kernels")
    parser.add_argument("--rounds", type=int, default=21, help=f"at most {ROUNDS_MAX}")
    options = parser.parse_args()
    if (reason := why_not()) is not None:
        print(reason, file=sys.stderr)
        return 2
    for result in every(min(options.rounds, ROUNDS_MAX)):
        print(json.dumps(result), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
