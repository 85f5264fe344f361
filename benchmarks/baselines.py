"""Who is compared with whom: our backends, and what a plain program over PyNaCl would do.

The plain ones are honest: no checks that ours has and they lack, no copies that could easily be saved.
"""

from __future__ import annotations

import platform
import struct
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final, Protocol

from nacl.bindings import crypto_secretbox, crypto_secretbox_open

from ssbfast import native, pure

KEY: Final = bytes(range(32))
NONCE: Final = bytes(range(100, 124))
HEAD: Final = struct.Struct(">BIi")
"""Head of a packet: flags, length of the body, req."""

_BOX_HEADER: Final = 34
_MAC: Final = 16


class SealsBoxes(Protocol):
    """Bytes in, boxes out."""

    def seal(self, plain: bytes, /) -> bytes: ...


class OpensBoxes(Protocol):
    """Boxes in, cut anywhere; the bodies of those that are complete out."""

    def open(self, data: bytes, /) -> list[bytes]: ...


class PlainSealer:
    """A box stream's sending half as one writes it over PyNaCl. plain: at most 4096 bytes a call."""

    def __init__(self, key: bytes, nonce: bytes) -> None:
        self._key = key
        self._nonce = int.from_bytes(nonce, "big")

    def seal(self, plain: bytes) -> bytes:
        nonce, self._nonce = self._nonce, (self._nonce + 2) % (1 << 192)
        body = crypto_secretbox(plain, ((nonce + 1) % (1 << 192)).to_bytes(24, "big"), self._key)
        header = crypto_secretbox(len(plain).to_bytes(2, "big") + body[:_MAC], nonce.to_bytes(24, "big"), self._key)
        return bytes(header + body[_MAC:])


class PlainOpener:
    """The receiving half."""

    def __init__(self, key: bytes, nonce: bytes) -> None:
        self._key = key
        self._nonce = int.from_bytes(nonce, "big")
        self._tail = b""

    def open(self, data: bytes) -> list[bytes]:
        data = self._tail + data
        bodies = []
        at = 0
        while len(data) - at >= _BOX_HEADER:
            nonce, key = self._nonce, self._key
            header = crypto_secretbox_open(data[at : at + _BOX_HEADER], nonce.to_bytes(24, "big"), key)
            end = at + _BOX_HEADER + int.from_bytes(header[:2], "big")
            if end > len(data):
                break
            body = header[2:] + data[at + _BOX_HEADER : end]
            bodies.append(crypto_secretbox_open(body, ((nonce + 1) % (1 << 192)).to_bytes(24, "big"), key))
            self._nonce = (nonce + 2) % (1 << 192)
            at = end
        self._tail = data[at:]
        return bodies


class PlainScanner:
    """A packet stream's receiving half: (flags, req, body) of each whole packet."""

    def __init__(self) -> None:
        self._tail = b""

    def feed(self, plain: bytes) -> list[tuple[int, int, bytes]]:
        data = self._tail + plain
        packets = []
        at = 0
        while len(data) - at >= HEAD.size:
            flags, size, req = HEAD.unpack_from(data, at)
            end = at + HEAD.size + size
            if end > len(data):
                break
            packets.append((flags, req, data[at + HEAD.size : end]))
            at = end
        self._tail = data[at:]
        return packets


class PlainRelay:
    """One direction of a tunnel: open, scan, re-number, seal each packet in a box of its own."""

    def __init__(self, req: int) -> None:
        self._opener = PlainOpener(KEY, NONCE)
        self._scanner = PlainScanner()
        self._sealer = PlainSealer(KEY, NONCE)
        self._req = req

    def relay(self, data: bytes) -> bytes:
        packets = self._scanner.feed(b"".join(self._opener.open(data)))
        seal, req = self._sealer.seal, self._req
        return b"".join([seal(HEAD.pack(flags, len(body), req) + body) for flags, _, body in packets])


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


def new_link(engine: Any, hub: Any, number: int = 1) -> Any:
    """A link of `engine` on `hub` whose both directions use KEY and NONCE."""
    return engine.Link(hub, number, send_key=KEY, send_nonce=NONCE, receive_key=KEY, receive_nonce=NONCE)


def packet(flags: int, req: int, body: bytes) -> bytes:
    """One packet as it is on the wire."""
    return HEAD.pack(flags, len(body), req) + body


def sealed(plains: list[bytes]) -> bytes:
    """Each of `plains` in a box of its own, by the pure twin."""
    sealer = pure.Sealer(KEY, NONCE)
    return b"".join(sealer.seal(plain) for plain in plains)


def environment() -> dict[str, str]:
    """What a figure was measured with, for `extra_info`."""
    return {
        "backend": native.BACKEND,
        "simd": native.BACKEND,  # "libsodium" chooses by itself
        "cpu": _cpu_model(),
        "python": platform.python_version(),
        "pynacl": version("PyNaCl"),
    }


def _cpu_model() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
