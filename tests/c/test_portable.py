"""The C core for machines and compilers that are not here: clang reads it as if it built for them.

What it proves: nothing but C11 is needed where the kernels are left out (MSVC among them), and where they are.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.helpers.require import require

CSRC = Path(__file__).parents[2] / "csrc"
TARGETS = {
    "x86_64-pc-windows-msvc": False,
    "aarch64-pc-windows-msvc": False,
    "aarch64-linux-musl": True,
    "arm64-apple-macos11": True,
    "armv7-linux-gnueabihf": False,
    "x86_64-apple-macos11": True,
    "x86_64-linux-musl": True,
}
"""And whether the kernels are built there."""

STRING_H = """
#include <stddef.h>
void *memcpy(void *, const void *, size_t);
void *memmove(void *, const void *, size_t);
void *memset(void *, int, size_t);
int memcmp(const void *, const void *, size_t);
int strcmp(const char *, const char *);
"""
"""All that the core takes from the C library; without one, the targets' own headers are not needed."""

STDLIB_H = "int posix_memalign(void **, unsigned long, unsigned long);\nvoid free(void *);\n"
"""immintrin.h asks for it."""


@pytest.mark.parametrize(("target", "kernels"), TARGETS.items(), ids=str)
def test_the_core_is_c11(target: str, kernels: bool, tmp_path: Path) -> None:
    found = (
        shutil.which(name) for name in ("clang", "clang-19", "clang-18", "clang-17", "clang-16", "clang-15", "clang-14")
    )
    clang = next((path for path in found if path), None)
    require("clang", clang is not None)
    assert clang is not None
    (tmp_path / "string.h").write_text(STRING_H, encoding="utf-8")
    (tmp_path / "stdlib.h").write_text(STDLIB_H, encoding="utf-8")
    resources = subprocess.run(
        [clang, "-print-resource-dir"], capture_output=True, text=True, check=True
    ).stdout.strip()
    flags = [
        f"--target={target}",
        "-ffreestanding",
        "-nostdinc",
        "-isystem",
        f"{resources}/include",
        "-isystem",
        str(tmp_path),
    ]
    strict = ["-std=c11", "-Wall", "-Wextra", "-Wconversion", "-Werror", "-fsyntax-only"]
    strict += [] if kernels else ["-pedantic-errors"]  # the kernels want 128-bit numbers
    for source in sorted(CSRC.glob("*.c")):
        done = subprocess.run([clang, *flags, *strict, str(source)], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    macros = subprocess.run(
        [clang, *flags, "-dM", "-E", str(CSRC / "kernel.h")], capture_output=True, text=True, check=True
    ).stdout
    assert f"#define SSBI_KERNELS {int(kernels)}\n" in macros
