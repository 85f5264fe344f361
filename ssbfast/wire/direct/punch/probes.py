"""Probes: the datagrams that open NATs and find out which addresses work.

::

    0x20 check | 0x21 answer      1 byte
    token                         12 random bytes; an answer repeats those of its check
    mac                           16 bytes: HMAC-SHA256(sender's probe key, all before it), cut

The key is the sender's (`wire/direct/keys.py`): what comes back from a mirror is authentic to no end. A probe of
another attempt has another key. Replays are authentic; they carry nothing, and what they may cause is bounded
(`wire/direct/punch`).
"""

from __future__ import annotations

import enum
import hmac
from dataclasses import dataclass, field
from typing import Final

from ssbfast.wire.direct.keys import DirectKeys

TOKEN: Final = 12
MAC: Final = 16
PROBE: Final = 1 + TOKEN + MAC
"""Bytes of every probe."""


class ProbeKind(enum.IntEnum):
    """The first byte of a probe."""

    CHECK = 0x20
    ANSWER = 0x21


@dataclass(frozen=True, slots=True)
class Probe:
    """An authentic probe. token: 12 bytes."""

    kind: ProbeKind
    token: bytes = field(repr=False)


class Probes:
    """The writer and reader of probes for one end of one attempt."""

    __slots__ = ("_ours", "_theirs")

    def __init__(self, keys: DirectKeys) -> None:
        self._ours = keys.probe_key(keys.role)
        self._theirs = keys.probe_key(keys.role.other)

    def check(self, token: bytes) -> bytes:
        """Return a check of 29 bytes. token: 12 random bytes."""
        return self._seal(ProbeKind.CHECK, token)

    def answer(self, token: bytes) -> bytes:
        """Return an answer of 29 bytes. token: that of the check that is answered."""
        return self._seal(ProbeKind.ANSWER, token)

    def open(self, data: bytes) -> Probe | None:
        """Return the other end's probe, or None for anything else. Constant time in the mac."""
        if len(data) != PROBE or data[0] not in (ProbeKind.CHECK, ProbeKind.ANSWER):
            return None
        if not hmac.compare_digest(data[-MAC:], _mac(self._theirs, data[:-MAC])):
            return None
        return Probe(ProbeKind(data[0]), data[1 : 1 + TOKEN])

    def _seal(self, kind: ProbeKind, token: bytes) -> bytes:
        head = bytes([kind]) + token
        return head + _mac(self._ours, head)


def _mac(key: bytes, data: bytes) -> bytes:
    return hmac.digest(key, data, "sha256")[:MAC]
