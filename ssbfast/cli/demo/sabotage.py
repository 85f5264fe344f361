"""Faults that `ssbfast demo` makes on purpose: a room that alters one bit of what it relays, and a network gone silent.

The room is for `--sabotage bit`. It needs the pure backend (SSBFAST_BACKEND=pure), where a relayed byte passes
through Python; the boxes around the altered byte are then sealed as ever, so that only the tunnel's end can tell.
"""

from __future__ import annotations

from unittest import mock

from ssbfast import native, pure
from ssbfast.direct.udp import UdpSocket
from ssbfast.errors import LocalProtocolError


class MeddlingLane(pure.Lane):
    """A send queue that flips the lowest bit of the byte that is `flip_at` bytes into all that the room relays."""

    flip_at = 0
    relayed = 0

    def splice(self, data: pure.Buffer) -> None:
        at = self.flip_at - MeddlingLane.relayed
        MeddlingLane.relayed += len(data)
        if 0 <= at < len(data):
            altered = bytearray(data)
            altered[at] ^= 1
            data = altered
        super().splice(data)


def meddle(flip_at: int) -> None:
    """Let relayed bytes pass a MeddlingLane from now on. flip_at: bytes relayed before the one that is altered."""
    if native.BACKEND != "pure":
        raise LocalProtocolError("only the pure backend can be meddled with")
    MeddlingLane.flip_at = flip_at
    mock.patch.object(native, "Lane", MeddlingLane).start()


def drop_datagrams() -> None:
    """Drop every datagram of this process from now on, and report no error: as behind a firewall that has begun
    to drop UDP. Sockets stay open, so not even an ICMP error betrays it."""
    mock.patch.object(UdpSocket, "send", lambda _udp, _data, _to: True).start()
    mock.patch.object(UdpSocket, "send_train", lambda _udp, _data, _segment, _to: True).start()
    mock.patch.object(UdpSocket, "_dispatch_train", lambda _udp, _data, _segment, _source: False).start()
    mock.patch.object(UdpSocket, "_dispatch", lambda _udp, _data, _source: False).start()
