"""A transfer between two peers, which are processes of their own on this machine."""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from benchmarks.quic.lossy import LossyWay
from benchmarks.quic.peer import RECEIVING, digest
from benchmarks.quic.programs import ROOT, command
from ssbfast.direct import certificates
from ssbfast.direct.certificates import Credentials

OTHER: Final = {"send": "receive", "receive": "send", "ask": "echo", "echo": "ask"}
"""Job of the other end, for each job."""
PATIENCE: Final = 120.0
Way = Callable[[int], LossyWay]


class TransferError(Exception):
    """A peer has ended otherwise than it should: its last words."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """Last words of one end: see `peer.py`. is_right: it got the payload, or none if it was to get none."""

    peer: str
    job: str
    is_right: bool
    said: dict[str, Any]

    @property
    def cpu(self) -> float:
        return float(self.said["cpu"])

    @property
    def seconds(self) -> float:
        return float(self.said["seconds"])


class _Running:
    """A peer's process."""

    def __init__(self, peer: str, role: str, job: str, options: list[str], stack: ExitStack) -> None:
        self.peer, self.job = peer, job
        self._errors = stack.enter_context(tempfile.TemporaryFile("w+"))  # noqa: SIM115
        line = [*command(peer), role, job, *options]
        self._process = stack.enter_context(
            subprocess.Popen(line, cwd=ROOT, stdout=subprocess.PIPE, stderr=self._errors, text=True)
        )
        stack.callback(self._process.kill)
        self.port = int(self._said(self._process.stdout.readline() if self._process.stdout else "").get("port", 0))

    def outcome(self, n: int) -> Outcome:
        """Wait for its end."""
        try:
            text = self._process.communicate(timeout=PATIENCE)[0]
        except subprocess.TimeoutExpired:
            raise TransferError(f"{self.peer}, {self.job}: does not end") from None
        said = self._said(text)
        got = self.job in RECEIVING
        is_right = said["sha256"] == digest(n) if got else self._process.returncode == 0
        return Outcome(self.peer, self.job, is_right and said["bytes"] == (0 if self.job == "send" else n), said)

    def _said(self, line: str) -> dict[str, Any]:
        if not line:
            self._process.wait(PATIENCE)
            self._errors.seek(0)
            raise TransferError(f"{self.peer}, {self.job}: {self._errors.read().strip()[-800:]}")
        said: dict[str, Any] = json.loads(line)
        return said


def transfer(
    server: str, client: str, job: str, n: int, *, way: Way | None = None, **options: object
) -> tuple[Outcome, Outcome]:
    """Transfer n bytes; `job` is the server's, `options` are of both. Return how it went for server and client.

    way: what lies between the two, made for the server's port; None: nothing.

    Raises MissingError, TransferError.
    """
    credentials = Credentials.make()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ssbfast-quic-")))
        (folder / "certificate").write_bytes(certificates.pem(credentials.certificate))
        key = credentials.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        (folder / "key").write_bytes(key)
        common = ["-certificate", str(folder / "certificate"), "-bytes", str(n)]
        for name, value in options.items():
            common += [f"-{name}", str(value)]
        serving = _Running(server, "serve", job, [*common, "-key", str(folder / "key")], stack)
        port = serving.port if way is None else stack.enter_context(way(serving.port)).port
        dialling = _Running(client, "dial", OTHER[job], [*common, "-address", f"127.0.0.1:{port}"], stack)
        first = dialling.outcome(n)
        return serving.outcome(n), first
