"""What a datagram of a UDP service begins with on a direct path: the flow that it belongs to.

A flow is a duplex of the session (`net/forward/datagrams.py`). Its opener writes the number N on it, the other end −N.
On QUIC each datagram of the flow begins with 2N from the opener and 2N + 1 from the other end, as a variable-length
integer in its shortest form (RFC 9000, section 16).
"""

from __future__ import annotations

from typing import Final

from ssbfast.errors import LocalProtocolError

_LENGTHS: Final = ((1, 6), (2, 14), (4, 30), (8, 62))
"""Bytes of such an integer, and bits of its value; the two bits in front tell which."""


def head_of(number: int) -> bytes:
    """Return the head of a flow's datagrams.

    number: what their sender writes on the duplex. Raises LocalProtocolError for one that no duplex has.
    """
    value = 2 * number if number > 0 else 1 - 2 * number
    for form, (length, bits) in enumerate(_LENGTHS):
        if number and value < 1 << bits:
            return (form << bits | value).to_bytes(length, "big")
    raise LocalProtocolError("no duplex has that number")


def split_head(data: bytes) -> tuple[bytes, bytes]:
    """Return the head of a datagram and the rest; with a head that is cut short there is no rest."""
    length = _LENGTHS[data[0] >> 6][0] if data else 0
    return data[:length], data[length:]
