"""Talk to the service manager: systemd's notifications (sd_notify(3)), no more."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Mapping
from typing import Final, TextIO

_WATCHDOG_PARTS: Final = 3
"""Signs of life in one interval of the watchdog."""


def is_journal(stream: TextIO | None, environ: Mapping[str, str] = os.environ) -> bool:
    """Return whether a stream of this process is the journal's socket, as systemd says it: systemd.exec(5)."""
    try:
        status = None if stream is None else os.fstat(stream.fileno())
    except OSError:  # also what is no file
        return False
    if status is None:
        return False
    return environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"


class ServiceManager:
    """The manager of this process; without one, nothing is sent. A process that takes over from us has the same."""

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        address = environ.get("NOTIFY_SOCKET", "")
        self._address = f"\0{address[1:]}" if address.startswith("@") else address
        seconds = environ.get("WATCHDOG_USEC", "")
        is_ours = environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        self._interval = int(seconds) / 1e6 / _WATCHDOG_PARTS if is_ours and seconds.isdigit() else 0.0
        self._timer: asyncio.TimerHandle | None = None

    def tell(self, *lines: str) -> None:
        """Send states, such as READY=1. A manager that does not listen is none."""
        if not self._address:
            return
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.setblocking(False)
            sock.connect(self._address)
            sock.sendall("\n".join(lines).encode())

    def start(self, pid: int, status: str) -> None:
        """Tell that the service is ready as this process, and from now on that its event loop turns."""
        self.tell("READY=1", f"MAINPID={pid}", f"STATUS={status}")
        if self._interval:
            self._turn()

    def stop(self, status: str) -> None:
        """Tell that the service ends; signs of life go on until the loop does."""
        self.tell("STOPPING=1", f"STATUS={status}")

    def _turn(self) -> None:
        self.tell("WATCHDOG=1")
        self._timer = asyncio.get_running_loop().call_later(self._interval, self._turn)

    def close(self) -> None:
        """End the signs of life."""
        if self._timer is not None:
            self._timer.cancel()
