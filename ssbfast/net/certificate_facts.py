"""What a certificate says of itself, read from PEM without a library: its dates, and whether it signs itself."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Final

_SEQUENCE: Final = 0x30
_VERSION: Final = 0xA0
_UTC_TIME: Final = 0x17
_LONG_TIME: Final = 0x18
_BEGIN: Final = "-----BEGIN CERTIFICATE-----"
_END: Final = "-----END CERTIFICATE-----"


@dataclass(frozen=True, slots=True)
class CertificateFacts:
    """Facts of one certificate.

    Attributes:
        begins: When it becomes valid, in seconds of Unix time.
        ends: When it ceases to be.
        is_self_signed: True when it names itself as its issuer.
    """

    begins: float
    ends: float
    is_self_signed: bool


def read_facts(pem: str) -> CertificateFacts:
    """Read the first certificate of a text, which may hold a key and a chain, too. Raises ValueError for none."""
    start = pem.find(_BEGIN)
    end = pem.find(_END, start)
    if start < 0 or end < 0:
        raise ValueError("no certificate")
    whole = _Reader(ssl.PEM_cert_to_DER_cert(pem[start : end + len(_END)])).enter(_SEQUENCE).enter(_SEQUENCE)
    if whole.tag == _VERSION:
        whole.next()
    whole.next()  # the serial number
    whole.next()  # the algorithm
    issuer = whole.next()
    dates = whole.enter(_SEQUENCE)
    begins, ends = dates.date(), dates.date()
    return CertificateFacts(begins, ends, is_self_signed=issuer == whole.next())


class _Reader:
    """Reads one value of DER after the other. Raises ValueError where there is none."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    @property
    def tag(self) -> int:
        if self._at >= len(self._data):
            raise ValueError("a certificate that ends early")
        return self._data[self._at]

    def next(self) -> bytes:
        """Return the content of the next value."""
        head = self._data[self._at + 1 : self._at + 2]
        count = head[0] & 0x7F if head and head[0] & 0x80 else 0
        start = self._at + 2 + count
        length = int.from_bytes(self._data[self._at + 2 : start], "big") if count else (head or b"\0")[0]
        content = self._data[start : start + length]
        if not head or len(content) != length:
            raise ValueError("a certificate that ends early")
        self._at = start + length
        return content

    def enter(self, tag: int) -> _Reader:
        """Return a reader of the next value's content, and go on behind it."""
        if self.tag != tag:
            raise ValueError("no certificate")
        return _Reader(self.next())

    def date(self) -> float:
        tag, text = self.tag, self.next().decode("ascii")
        if tag == _UTC_TIME:  # two digits of the year: 1950 to 2049
            text = ("19" if text >= "5" else "20") + text
        elif tag != _LONG_TIME:
            raise ValueError("no date")
        return datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=timezone.utc).timestamp()
