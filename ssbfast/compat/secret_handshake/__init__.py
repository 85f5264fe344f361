"""The API of PySecretHandshake, both generations (2018 and 2023), on the engine of ssbfast."""

from __future__ import annotations

from ssbfast.compat.secret_handshake.network import SHSClient, SHSServer

__all__ = ["SHSClient", "SHSServer"]
