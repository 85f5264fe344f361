"""The certificate that a site shows, from files; loaded anew when they change."""

from __future__ import annotations

import asyncio
import random
import ssl
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from ssbfast import limits
from ssbfast.errors import BadInputError
from ssbfast.net.certificate_facts import CertificateFacts, read_facts
from ssbfast.server.events import RoomEvents
from ssbfast.server.presence import CertificateState

_PROBLEM: Final = "the renewed certificate cannot be used, and the old one stays"


class SiteCertificate:
    """The certificate of one name.

    Args:
        files: The file of certificate and chain, and that of the key; or one with all of them.

    Attributes:
        context: What connections begin with. It stays the same when the certificate is another one.
        facts: What the certificate says of itself.
        renews: When a third of its life is left or, at random, a little before: in seconds of Unix time.
        problem: Why the last change of the files was not taken; empty if it was.

    Raises:
        BadInputError: The files are no certificate with its key.
    """

    facts: CertificateFacts

    def __init__(self, files: Sequence[str | Path]) -> None:
        self.context = server_context()
        self._cert, self._key = Path(files[0]), Path(files[-1])
        self.problem = ""
        try:
            self.load()
        except (OSError, ValueError) as error:
            reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or "it is none"
            raise BadInputError(str(reason)) from None

    def load(self) -> None:
        """Read the files. Raises OSError or ValueError; then the certificate that was there stays."""
        self._seen = self._stamp()
        server_context().load_cert_chain(self._cert, self._key)  # a try: one that fails in the middle is of no use
        facts = read_facts(self._cert.read_text(encoding="latin-1"))
        self.context.load_cert_chain(self._cert, self._key)
        self.facts = facts
        third = (facts.ends - facts.begins) / 3
        self.renews = facts.ends - third * (1 + random.random() * limits.CERTIFICATE_JITTER)

    def follow(self, events: RoomEvents) -> None:
        """Take the files if they have changed, and report it."""
        stamp = self._stamp()
        if stamp is None or stamp == self._seen:
            return
        try:
            self.load()
        except (OSError, ValueError):
            self.problem = _PROBLEM
            events.emit("certificate_problem", problem=_PROBLEM)
        else:
            self.problem = ""
            events.emit("certificate_loaded", days=self.days)

    async def run(self, events: RoomEvents) -> None:
        """Follow the files until cancelled."""
        while True:
            await asyncio.sleep(limits.CERTIFICATE_LOOK_SECONDS)
            self.follow(events)

    @property
    def days(self) -> int:
        """Return the whole days that it is still valid."""
        return int((self.facts.ends - time.time()) // 86_400)

    def state(self) -> CertificateState:
        """Return what the operator sees of it."""
        return CertificateState(self.facts.ends, self.problem)

    def _stamp(self) -> tuple[int, ...] | None:
        """Return something that differs once the files do; None while one is away."""
        try:
            return tuple(file.stat().st_mtime_ns for file in (self._cert, self._key))
        except OSError:
            return None


def server_context() -> ssl.SSLContext:
    """Return what a server begins connections with: TLS 1.2 or newer, without a certificate yet."""
    return ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
