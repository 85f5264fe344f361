"""Name the extension `ssbfast._native` and read its cdef out of ssbfast.h.

The header is the contract. Its regions between the `cdef` marks go to cffi as they stand, but for three things that
cffi does not read: attributes are dropped, constants become `...` (the compiler says their value), and a struct
marked `/* opaque */` is given by its name alone (the compiler says its size).

Environment: SSBFAST_SANITIZE=1 builds with the address and undefined-behaviour sanitizers.
"""

import os
import re
import sys
import sysconfig
from pathlib import Path

from cffi import FFI

CSRC = Path(__file__).resolve().parent
REGION = re.compile(r"/\* cdef begin \*/\n(.*?)/\* cdef end \*/", re.S)
OPAQUE = re.compile(r"^\} (\w+); /\* opaque \*/$", re.M)
CONSTANT = re.compile(r"^(#define \w+) [^\n]*$", re.M)


def read_cdef(header: str) -> str:
    """Return the declarations of ssbfast.h that Python is given."""
    opaque = "".join(f"typedef struct {{ ...; }} {name};\n" for name in OPAQUE.findall(header))
    regions = "\n".join(REGION.findall(header))
    return opaque + CONSTANT.sub(r"\1 ...", regions).replace(" SSB_MUST_USE", "")


def compile_flags() -> tuple[list[str], list[str]]:
    """Return flags for the compiler and for the linker. Warnings are errors in the tests, never for users."""
    if sys.platform == "win32" and not sysconfig.get_platform().startswith("mingw"):
        return ["/O2", "/std:c11", "/W3"], []  # MSVC: libsodium does the work there, see kernel.h
    # -g0: Python's own flags may ask for debug data, which would be most of a wheel and name the builder's folders.
    flags = ["-std=c11", "-O3", "-g0", "-fvisibility=hidden", "-Wall", "-Wextra", "-Wconversion", "-Wshadow"]
    flags += ["-Wno-unused-parameter", "-Wno-missing-field-initializers"]  # cffi's own code
    if os.environ.get("SSBFAST_SANITIZE") == "1":
        sanitize = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
        return [*flags, "-g", "-fno-omit-frame-pointer", *sanitize], sanitize
    # Nothing is thrown through C: what unwinders read would be a tenth of the library.
    return [*flags, "-fno-asynchronous-unwind-tables", "-fno-unwind-tables"], []


ffibuilder = FFI()
ffibuilder.cdef(read_cdef((CSRC / "ssbfast.h").read_text(encoding="utf-8")))
_compile, _link = compile_flags()
_limited = not sysconfig.get_config_var("Py_GIL_DISABLED")  # a free-threaded Python has no limited API
ffibuilder.set_source(
    "ssbfast._native",
    '#include "ssbfast.h"',
    sources=[f"csrc/{path.name}" for path in sorted(CSRC.glob("*.c"))],  # relative: setuptools refuses others
    depends=[f"csrc/{path.name}" for path in sorted(CSRC.glob("*.h"))],
    include_dirs=["csrc"],
    extra_compile_args=_compile,
    extra_link_args=_link,
    py_limited_api=_limited,
    define_macros=[("Py_LIMITED_API", "0x030A0000")] if _limited else [],
)
