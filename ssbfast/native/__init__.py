"""The engine: the C core, or, where that is missing, its twin in plain Python (`ssbfast.pure`).

Other modules import from here. `BACKEND` is what runs: "avx512", "avx2", "sse2" (x86-64), "neon" (arm64) or "portable"
(the core with a kernel of its own for the box stream), "libsodium" (the core without) or "pure"; `available()` tells
which of them this machine offers, and the environment variable SSBFAST_BACKEND forces one. For tests SSBFAST_WITHOUT
names kernels, with commas, that count as missing: as on a machine without AVX-512, say. This package alone touches
`ssbfast._native` and PyNaCl's private `_sodium` (for the addresses of libsodium's functions), and turns the codes of
`csrc/ssbfast.h` into exceptions. A hub with all that was opened on it, a sealer, an opener, a scanner each serve one
thread at a time; other threads wait.
"""

from __future__ import annotations

import importlib
import os
import warnings
from typing import TYPE_CHECKING, Final

from ssbfast import source_tree
from ssbfast.engine_types import (
    END,
    EV_CHUNK,
    EV_GOODBYE,
    EV_PACKET,
    STREAM,
    TYPE_MASK,
    Buffer,
    CoreLimits,
    Event,
    Status,
)
from ssbfast.errors import BadInputError
from ssbfast.native import library_check

__all__ = [
    "BACKEND",
    "END",
    "EV_CHUNK",
    "EV_GOODBYE",
    "EV_PACKET",
    "JSON",
    "STREAM",
    "TYPE_MASK",
    "Buffer",
    "CoreLimits",
    "Event",
    "Hub",
    "Inlet",
    "Lane",
    "Link",
    "Opener",
    "Scanner",
    "Sealer",
    "Status",
    "available",
]

JSON: Final = 0x02
"""Type of a packet whose body is JSON."""

_KERNELS: Final = ("avx512", "avx2", "sse2", "neon", "portable")
"""Best first."""

_BACKENDS: Final = (*_KERNELS, "libsodium", "pure")


def _choose(wanted: str) -> str:
    """Return the name of the backend to run. wanted: the value of SSBFAST_BACKEND, "" for the best there is."""
    if wanted not in ("", *_BACKENDS):
        names = f"{', '.join(_BACKENDS[:-1])} or {_BACKENDS[-1]}"
        raise BadInputError(f"SSBFAST_BACKEND is {wanted!r}; it can be {names}")
    _check_without(os.environ.get("SSBFAST_WITHOUT", ""))
    if wanted == "pure":
        return "pure"
    try:
        library_check.check("ssbfast._native")
        importlib.import_module("ssbfast.native.box_stream")
    except ImportError as error:
        if wanted:
            raise
        if not source_tree.TOLD:
            warnings.warn(f"ssbfast runs without its C core, slowly: {error}", RuntimeWarning, stacklevel=3)
        return "pure"
    return _choose_kernel(wanted)


def _check_without(names: str) -> None:
    """Refuse a value that names no kernel: a typing error would test the wrong thing."""
    for name in filter(None, names.split(",")):
        if name not in _KERNELS:
            raise BadInputError(f"SSBFAST_WITHOUT has {name!r}; it can have {', '.join(_KERNELS)}")


def _choose_kernel(wanted: str) -> str:
    """Return the wanted kernel, or the best one that this machine has and that passes its self-test."""
    from ssbfast.native import box_stream, core

    names = (wanted,) if wanted in _KERNELS else () if wanted else _KERNELS
    for name in names:
        if not core.use_kernel(name):
            continue
        if box_stream.self_test():
            return name
        core.use_kernel("")
        if wanted:
            raise ImportError(f"the self-test of {name} failed")
        message = f"ssbfast uses libsodium, more slowly: the self-test of {name} failed"
        warnings.warn(message, RuntimeWarning, stacklevel=4)
        return "libsodium"
    if wanted in _KERNELS:
        raise BadInputError(f"SSBFAST_BACKEND is {wanted!r}, which this machine does not offer")
    return "libsodium"


def available() -> tuple[str, ...]:
    """Return the values that SSBFAST_BACKEND can have on this machine, best first."""
    try:
        from ssbfast.native import core
    except ImportError:
        return ("pure",)
    return (*(name for name in _KERNELS if core.has_kernel(name)), "libsodium", "pure")


BACKEND: Final = _choose(os.environ.get("SSBFAST_BACKEND", ""))

if TYPE_CHECKING or BACKEND != "pure":
    from ssbfast.native.box_stream import Opener, Sealer
    from ssbfast.native.links import Hub, Inlet, Lane, Link
    from ssbfast.native.packet_stream import Scanner
else:
    from ssbfast.pure import Hub, Inlet, Lane, Link, Opener, Scanner, Sealer
