"""Keys and proofs of direct paths, all bound to one session and one attempt.

export_key  of the inner session: only its two ends have it (`wire/handshake.py`)
k           HMAC-SHA256(export_key, "direct" ‖ epoch), epoch as u32, big-endian
probes      HMAC(k, "probe caller"), HMAC(k, "probe target"): one key a sender, so that reflected probes fail
proofs      HMAC(k, "caller" ‖ SHA-256(certificate)), HMAC(k, "target" ‖ the same): the first 32 bytes on QUIC
session id  HMAC(export_key, "session id"): which session a standby tunnel is for

"Caller" is the client of the inner handshake; "target" its server. The room sees none of it.
"""

from __future__ import annotations

import enum
import hashlib
import hmac
import struct
from dataclasses import dataclass, field

EPOCHS = 2**32
"""Epochs are u32 and rise with every attempt and every standby of a session; after the last one it stays as it is."""


class Role(enum.Enum):
    """The end of the inner session. Only the caller offers, dials and numbers epochs."""

    CALLER = "caller"
    TARGET = "target"

    @property
    def other(self) -> Role:
        return Role.TARGET if self is Role.CALLER else Role.CALLER


@dataclass(frozen=True, slots=True)
class DirectKeys:
    """The keys of one attempt's probes and proofs. `DirectKeys.derive` makes them."""

    role: Role
    epoch: int
    _k: bytes = field(repr=False)

    @classmethod
    def derive(cls, export_key: bytes, role: Role, epoch: int) -> DirectKeys:
        """Derive the keys. export_key: 32 bytes of the inner session. epoch: 1 … 2^32 - 1; ValueError for others."""
        if len(export_key) != 32 or not 0 < epoch < EPOCHS:
            raise ValueError("a 32-byte export key and an epoch of 1 … 2^32 - 1 are needed")
        return cls(role, epoch, _hmac(export_key, b"direct" + struct.pack(">I", epoch)))

    def probe_key(self, sender: Role) -> bytes:
        """Return the key (32 bytes) of probes that `sender` sends."""
        return _hmac(self._k, b"probe " + sender.value.encode())

    def proof(self, certificate: bytes) -> bytes:
        """Return the 32 bytes that we send first on QUIC. certificate: the target's, DER."""
        return self._proof(self.role, certificate)

    def proves(self, proof: bytes, certificate: bytes) -> bool:
        """Return whether these are the 32 bytes that the other end has to send first. Constant time."""
        return hmac.compare_digest(proof, self._proof(self.role.other, certificate))

    def _proof(self, who: Role, certificate: bytes) -> bytes:
        return _hmac(self._k, who.value.encode() + hashlib.sha256(certificate).digest())


def session_id(export_key: bytes) -> bytes:
    """Return 32 bytes that name a session to its other end, and mean nothing to any other peer."""
    return _hmac(export_key, b"session id")


def _hmac(key: bytes, data: bytes) -> bytes:
    return hmac.new(key, data, hashlib.sha256).digest()
