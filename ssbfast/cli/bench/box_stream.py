"""Contests of the box stream: every path of our core, libsodium in the same C core, plain PyNaCl, and pure Python.

"libsodium" is our core without kernels of its own: it calls libsodium through the addresses that PyNaCl gives, in C.
"pynacl" is what a plain program over PyNaCl does: one secretbox a call, without any checks of ours.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Final

from nacl.bindings import crypto_secretbox, crypto_secretbox_open

from ssbfast import native, pure
from ssbfast.cli.bench.contest import Contender, Contest

KEY: Final = bytes(range(32))
NONCE: Final = bytes(range(100, 124))
TOTAL: Final = 65_536
"""Plain bytes of a pass: what a socket brings at once."""

CASES: Final[dict[str, tuple[int, ...]]] = {
    "9": (9,),
    "64": (64,),
    "256": (256,),
    "1024": (1024,),
    "4096": (4096,),
    "9+1000": (9, 1000),
}
"""Sizes of bodies, in turn. JavaScript peers send a box of 9 bytes before every body."""

_BOX_HEADER: Final = 34
_MAC: Final = 16
_WRAP: Final = 1 << 192


class PlainSealer:
    """A box stream's sending half as one writes it over PyNaCl. plain: at most 4096 bytes a call."""

    def __init__(self, key: bytes, nonce: bytes) -> None:
        self._key = key
        self._nonce = int.from_bytes(nonce, "big")

    def seal(self, plain: bytes) -> bytes:
        nonce, self._nonce = self._nonce, (self._nonce + 2) % _WRAP
        body = crypto_secretbox(plain, ((nonce + 1) % _WRAP).to_bytes(24, "big"), self._key)
        header = crypto_secretbox(len(plain).to_bytes(2, "big") + body[:_MAC], nonce.to_bytes(24, "big"), self._key)
        return bytes(header + body[_MAC:])

    def seal_many(self, plains: list[bytes]) -> bytes:
        return b"".join([self.seal(plain) for plain in plains])


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
            bodies.append(crypto_secretbox_open(body, ((nonce + 1) % _WRAP).to_bytes(24, "big"), key))
            self._nonce = (nonce + 2) % _WRAP
            at = end
        self._tail = data[at:]
        return bodies


def paths() -> list[str]:
    """Return the ways through our C core that this machine offers, best first; none without the core."""
    return [name for name in native.available() if name != "pure"]


@contextlib.contextmanager
def on_path(path: str) -> Iterator[None]:
    """Let everything in this context use the core on this path."""
    from ssbfast.native import core

    core.use_kernel("" if path == "libsodium" else path)
    try:
        yield
    finally:
        core.use_kernel("" if native.BACKEND in ("libsodium", "pure") else native.BACKEND)


def along(path: str, work: Callable[[], Any]) -> Callable[[], Any]:
    """Return a function that does `work` on a path."""

    def done() -> Any:
        with on_path(path):
            return work()

    return done


def bodies(sizes: tuple[int, ...], total: int = TOTAL) -> list[bytes]:
    """Return bodies of these sizes in turn, up to `total` bytes."""
    count = max(1, total // sum(sizes))
    return [hashlib.shake_128(b"%d" % i).digest(size) for i in range(count) for size in sizes]


def contests(total: int = TOTAL) -> Iterator[Contest]:
    """Yield contests that seal and open, many boxes a call and one a call, by size."""
    for at_once in (True, False):
        for case, sizes in CASES.items():
            yield from _both_ways(case, bodies(sizes, total), at_once=at_once)


def _both_ways(case: str, plains: list[bytes], *, at_once: bool) -> Iterator[Contest]:
    sealer = pure.Sealer(KEY, NONCE)
    boxes = [sealer.seal(plain) for plain in plains]
    whole, how = b"".join(boxes), "many boxes a call" if at_once else "one box a call"
    sealing: dict[str, Contender] = {}
    opening: dict[str, Contender] = {}
    for name, make_sealer, make_opener, wrap in _kinds():
        seal = wrap(partial(_seal_many if at_once else _seal_each, make_sealer, plains))
        opened = wrap(partial(_open_many, make_opener, whole) if at_once else partial(_open_each, make_opener, boxes))
        sealing[name] = Contender(partial(_equal, seal, whole), seal)
        opening[name] = Contender(partial(_equal, opened, plains), opened)
    amount, base = sum(map(len, plains)) / 1e6, "libsodium"
    yield Contest(f"seal, {how}", case, "MB", amount, base, sealing)
    yield Contest(f"open, {how}", case, "MB", amount, base, opening)


def _equal(work: Callable[[], Any], expected: bytes | list[bytes]) -> bool:
    found = work()
    if isinstance(expected, bytes) and not isinstance(found, bytes):
        return b"".join(found) == expected
    return bool(found == expected)


Wrap = Callable[[Callable[[], Any]], Callable[[], Any]]


def _kinds() -> Iterator[tuple[str, Any, Any, Wrap]]:
    """Yield name, sealer, opener, and the function that its work has to be wrapped in."""
    core_paths = paths()
    if core_paths:
        from ssbfast.native import box_stream

        for path in core_paths:
            yield path, box_stream.Sealer, box_stream.Opener, partial(along, path)
    yield "pynacl", PlainSealer, PlainOpener, lambda work: work
    yield "pure", pure.Sealer, pure.Opener, lambda work: work


def _seal_many(make: Any, plains: list[bytes]) -> Any:
    return make(KEY, NONCE).seal_many(plains)


def _seal_each(make: Any, plains: list[bytes]) -> list[bytes]:
    seal = make(KEY, NONCE).seal
    return [seal(plain) for plain in plains]


def _open_many(make: Any, whole: bytes) -> Any:
    return make(KEY, NONCE).open(whole)


def _open_each(make: Any, boxes: list[bytes]) -> list[bytes]:
    open_one = make(KEY, NONCE).open
    return [open_one(box)[0] for box in boxes]
