"""Claims on ports of this machine, so that what reaches a friend's service never stands where our own is offered from.

While a service is down its port is free. An `ssbfast open` that took it would be found by the `ssbfast share` that
offers the port: friends would get what another friend offers, and a peer that reaches itself would go round for ever.
So each process of a user claims ports by locks on files, one a port, which the system takes back with the process:
those that offer a port share its lock; one that listens there has it alone, and writes into the file where it leads to.

Where there are no such locks nothing is claimed, and nothing refused.
"""

from __future__ import annotations

import contextlib
import ipaddress
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from ssbfast.ids import FeedId
from ssbfast.net.endpoints import Endpoint, Place, UdpEndpoint, show_place

_ID: Final = 100
"""Bytes that are read of a file."""


class PortOfferedError(OSError):
    """A port cannot be listened at: a process of this user offers it to friends."""


class PortClaims:
    """The claims of this process; closing gives them back.

    Args:
        folder: Where the files are, the same for all processes of a user.
        me: The id of the peer that offers; None for one that only listens.
    """

    def __init__(self, folder: Path, me: FeedId | None = None) -> None:
        self._folder = folder
        self._me = me
        self._files: dict[str, int] = {}

    def offer(self, places: Iterable[Place]) -> None:
        """Offer these places from now on, and no others."""
        keys = {key for place in places if (key := _key(place)) is not None}
        for key in self._files.keys() - keys:
            os.close(self._files.pop(key))
        for key in keys - self._files.keys():
            self._claim(key)

    def objection(self, place: Place) -> str | None:
        """Return why an offered place must not be dialled; None as a rule: only what leads to ourselves is refused."""
        key = _key(place)
        if key is None or key in self._files or self._claim(key):
            return None
        return f"{show_place(place)} leads back to this peer: an ssbfast of yours listens there"

    def take(self, place: Place, peer: FeedId) -> None:
        """Claim a place for what leads to a peer's services. Raises PortOfferedError when it is offered to friends."""
        key = _key(place)
        if key is None:
            return
        file = _opened(self._folder / key)
        if file is None:
            return
        if not _lock(file, alone=True):
            is_offered = not _content(file)
            os.close(file)
            if is_offered:
                raise PortOfferedError(f"{show_place(place)} is offered to friends")
            return  # it listens at another address of this port
        _write(file, str(peer).encode())
        self._files[key] = file

    def close(self) -> None:
        """Give all claims back."""
        for file in self._files.values():
            os.close(file)
        self._files.clear()

    def _claim(self, key: str) -> bool:
        """Claim an offered port, if it can be had; return False when what listens there leads to us."""
        file = _opened(self._folder / key)
        if file is None:
            return True
        if _lock(file, alone=False):
            _write(file, b"")
            self._files[key] = file
            return True
        leads_to = _content(file)
        os.close(file)
        return leads_to != str(self._me).encode()


def _key(place: Place) -> str | None:
    """Return the name of a place's file; None for one that is no port of this machine's loopback addresses."""
    if not isinstance(place, Endpoint) or not place.port:
        return None
    if place.host not in ("", "localhost"):
        try:
            address = ipaddress.ip_address(place.host)
        except ValueError:
            return None
        if not address.is_loopback and not address.is_unspecified:
            return None
    return f"{'udp' if isinstance(place, UdpEndpoint) else 'tcp'}-{place.port}"


def _opened(path: Path) -> int | None:
    with contextlib.suppress(OSError):
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        return os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOFOLLOW", 0), 0o600)
    return None


def _write(file: int, content: bytes) -> None:
    with contextlib.suppress(OSError):
        os.ftruncate(file, 0)
        os.write(file, content)


def _content(file: int) -> bytes:
    with contextlib.suppress(OSError):
        return os.read(file, _ID)
    return b""


if sys.platform == "win32":

    def _lock(file: int, *, alone: bool) -> bool:
        return True
else:
    import fcntl

    def _lock(file: int, *, alone: bool) -> bool:
        """Return whether the file is locked by us now, or cannot be locked at all."""
        try:
            fcntl.flock(file, (fcntl.LOCK_EX if alone else fcntl.LOCK_SH) | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError:
            return True
        return True
