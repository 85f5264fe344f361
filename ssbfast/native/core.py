"""The C core's functions, and what they need: libsodium's addresses, C memory, errors for codes.

ImportError when the extension is missing, or PyNaCl is not as we know it: `ssbfast.native` then takes the pure twin.
"""

from __future__ import annotations

import mmap
import os
from typing import Any, Final

import nacl._sodium  # private, but for the public name of an address: docs in docs/architecture.md
import nacl.bindings  # initialises libsodium

from ssbfast import errors
from ssbfast._native import ffi, lib
from ssbfast.engine_types import Status, fault

__all__ = ("aead", "anonymous", "crypto", "error_of", "ffi", "has_kernel", "lib", "raw", "use_kernel")

raw = ffi.new_allocator(should_clear_after_alloc=False)
"""raw("uint8_t[]", n): C memory that is not zeroed first."""


def _table(kind: Any, names: dict[str, str]) -> Any:
    """Return a struct of functions from the libsodium that PyNaCl brings along."""
    table = ffi.new(kind)  # zeroed: no kernel
    for field, name in names.items():
        try:
            function = nacl._sodium.ffi.addressof(nacl._sodium.lib, name)
        except AttributeError:
            raise ImportError(f"this PyNaCl has no {name}") from None
        address = int(nacl._sodium.ffi.cast("uintptr_t", function))
        setattr(table, field, ffi.cast(ffi.typeof(getattr(table, field)), address))
    return table


_AEAD: Final = "crypto_aead_chacha20poly1305_ietf_"

crypto = _table(
    "ssb_crypto *", {"box": "crypto_secretbox_easy", "box_open": "crypto_secretbox_open_easy", "wipe": "sodium_memzero"}
)
aead = _table("ssb_aead *", {"seal": f"{_AEAD}encrypt", "open": f"{_AEAD}decrypt", "wipe": "sodium_memzero"})

_kernel = ffi.new("ssb_kernel *")


_WITHOUT: Final = frozenset(os.environ.get("SSBFAST_WITHOUT", "").split(","))
"""Kernels that are not used though they may be there: so that tests run as on another machine."""


def has_kernel(name: str) -> bool:
    """Return whether machine and build have the kernel of that name, and SSBFAST_WITHOUT does not name it."""
    return _init_kernel(ffi.new("ssb_kernel *"), name)


def _init_kernel(kernel: Any, name: str) -> bool:
    return name not in _WITHOUT and bool(lib.ssb_kernel_init(kernel, name.encode()) == Status.OK)


def use_kernel(name: str) -> bool:
    """Make all box streams and packets of QUIC of this process use one of our kernels, or, for "", libsodium alone.

    Call it before any box stream is made.

    False where this machine or this build has no such kernel: then libsodium works.
    """
    crypto.kernel = aead.kernel = ffi.NULL
    if not name:
        return True
    if not _init_kernel(_kernel, name):
        return False
    crypto.kernel = aead.kernel = _kernel
    return True


def error_of(code: int) -> errors.SSBError:
    """Return the error for a code < 0."""
    return fault(code)


def anonymous(size: int) -> mmap.mmap:
    """Return zeroed memory that costs nothing until it is touched.

    The mapping is private: shared pages could not be given back.
    """
    if not hasattr(mmap, "MAP_ANONYMOUS"):
        return mmap.mmap(-1, size)
    return mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | getattr(mmap, "MAP_NORESERVE", 0))
