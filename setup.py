"""Builds the C core, unless SSBFAST_NATIVE=0 asks for the pure package. Everything else is in pyproject.toml."""

import os
import sys
from typing import Any

from setuptools import setup
from setuptools.command.build_ext import build_ext

ADVICE = "ssbfast: the C core did not compile; install a C compiler, or set SSBFAST_NATIVE=0 for the pure package"


class BuildCore(build_ext):
    """Says in one line what to do when there is no (working) compiler."""

    def build_extension(self, ext: Any) -> None:
        try:
            super().build_extension(ext)
        except Exception as error:
            print(error, file=sys.stderr)
            raise SystemExit(ADVICE) from None


def options() -> dict[str, Any]:
    wanted = os.environ.get("SSBFAST_NATIVE", "1")
    if wanted == "0":
        return {}
    if wanted != "1":
        raise SystemExit(f"ssbfast: SSBFAST_NATIVE is {wanted!r}; it can be 1 (build the C core) or 0 (pure package)")
    return {
        "cffi_modules": ["csrc/build_ffi.py:ffibuilder"],
        "cmdclass": {"build_ext": BuildCore},
        "options": {"bdist_wheel": {"py_limited_api": "cp310"}},
    }


setup(**options())
