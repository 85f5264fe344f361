"""Who is compared with whom: our backends, and what a plain program over PyNaCl would do.

The plain ones are honest: no checks that ours has and they lack, no copies that could easily be saved.
"""

from __future__ import annotations

import platform
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, Final, Protocol

from ssbfast import native, pure
from ssbfast.cli.bench.box_stream import KEY, NONCE, PlainOpener, PlainSealer
from ssbfast.cli.bench.relay import HEAD, PlainRelay, PlainScanner, new_link, packet
from ssbfast.cli.bench.runner import cpu_model

__all__ = [
    "BOXES",
    "ENGINES",
    "HEAD",
    "KEY",
    "NONCE",
    "Boxes",
    "OnPath",
    "PlainOpener",
    "PlainRelay",
    "PlainScanner",
    "PlainSealer",
    "environment",
    "new_link",
    "packet",
    "sealed",
]


class SealsBoxes(Protocol):
    """Bytes in, boxes out."""

    def seal(self, plain: bytes, /) -> bytes: ...


class OpensBoxes(Protocol):
    """Boxes in, cut anywhere; the bodies of those that are complete out."""

    def open(self, data: bytes, /) -> list[bytes]: ...


@dataclass(frozen=True, slots=True)
class Boxes:
    """A contender for the box stream: what makes its two halves out of a key and a nonce."""

    sealer: Callable[[bytes, bytes], SealsBoxes]
    opener: Callable[[bytes, bytes], OpensBoxes]


class OnPath:
    """`native`, and whatever is made through it goes this way through the core; one contender runs at a time."""

    def __init__(self, path: str) -> None:
        self._path = path

    def __getattr__(self, name: str) -> Any:
        if native.BACKEND != "pure":
            from ssbfast.native import core

            core.use_kernel("" if self._path == "libsodium" else self._path)
        return getattr(native, name)

    def boxes(self) -> Boxes:
        """Its two halves of a box stream."""

        def sealer(key: bytes, nonce: bytes) -> SealsBoxes:
            made: SealsBoxes = self.Sealer(key, nonce)
            return made

        def opener(key: bytes, nonce: bytes) -> OpensBoxes:
            made: OpensBoxes = self.Opener(key, nonce)
            return made

        return Boxes(sealer, opener)


def _paths() -> dict[str, OnPath]:
    """The core as it runs here, and on each other path that this machine offers."""
    found = {"ssbfast": OnPath(native.BACKEND)}
    if native.BACKEND != "pure":
        found |= {name: OnPath(name) for name in native.available() if name not in (native.BACKEND, "pure")}
    return found


_PATHS: Final = _paths()

BOXES: Final[dict[str, Boxes]] = {
    **{name: path.boxes() for name, path in _PATHS.items()},
    "pure": Boxes(pure.Sealer, pure.Opener),
    "pynacl": Boxes(PlainSealer, PlainOpener),
}

ENGINES: Final[dict[str, Any]] = {**_PATHS, "pure": pure}
"""What has Hub, Link, Lane and Inlet."""


def sealed(plains: list[bytes]) -> bytes:
    """Each of `plains` in a box of its own, by the pure twin."""
    sealer = pure.Sealer(KEY, NONCE)
    return b"".join(sealer.seal(plain) for plain in plains)


def environment() -> dict[str, str]:
    """What a figure was measured with, for `extra_info`."""
    return {
        "backend": native.BACKEND,
        "simd": native.BACKEND,  # "libsodium" chooses by itself
        "cpu": cpu_model(),
        "python": platform.python_version(),
        "pynacl": version("PyNaCl"),
    }
