"""What a room tells the process that gets a certificate for it (`ssbfast.server.web.acme_process`)."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Authority:
    """A certificate authority that speaks ACME.

    Attributes:
        directory: The URL of its directory.
        email: Where it writes to; empty for nowhere.
        ca: The file of the roots by which its server is checked; empty for the system's.
    """

    directory: str
    email: str = ""
    ca: str = ""


@dataclass(frozen=True, slots=True)
class Order:
    """A certificate that is to be got.

    Attributes:
        folder: Where account key and certificates are.
        name: The name that the certificate is for.
        seen: The SHA-256 of its file, as the room knows it: another one is a certificate that another process has got
            meanwhile. Empty without a file; None for a stand-in that signs itself, made only if there is no file.
        directory, email, ca: The authority's.
    """

    folder: str
    name: str
    seen: str | None
    directory: str = ""
    email: str = ""
    ca: str = ""

    @property
    def file(self) -> Path:
        """Return the file of key, certificate and chain."""
        return file_of(Path(self.folder), self.name)


def file_of(folder: Path, name: str) -> Path:
    """Return the file of key, certificate and chain of a name."""
    return folder / f"{name}.pem"


def digest(file: Path) -> str:
    """Return the SHA-256 of a file; empty without one."""
    try:
        return hashlib.sha256(file.read_bytes()).hexdigest()
    except FileNotFoundError:
        return ""
