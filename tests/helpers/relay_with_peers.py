"""A room in miniature: links on one hub, and at the far end of each an honest peer to talk with."""

from __future__ import annotations

from collections.abc import Iterable
from types import ModuleType
from typing import Any

from ssbfast.pure import CoreLimits, Opener, Scanner, Sealer, Status
from tests.helpers.traffic import raw

BIG = CoreLimits(call_body=1 << 30, answer_body=1 << 30)

Found = tuple[int, int, bytes]


class RelayPeer:
    """The peer of one link. What it received: `packets` (flags, req, body) and `boxes` (lengths of bodies)."""

    def __init__(self, core: ModuleType, hub: Any, number: int, **options: Any) -> None:
        there, here = bytes([number]) * 32, bytes([100 + number]) * 32
        nonce = b"\xff" * 23 + bytes([number])
        self.sealer = Sealer(there, nonce)
        self.opener = Opener(here, nonce)
        self.scanner = Scanner(BIG)
        self.packets: list[Found] = []
        self.boxes: list[int] = []
        self.events: list[tuple[int, int, int, bytes]] = []
        self.status = Status.OK
        self.link = core.Link(
            hub, number, send_key=here, send_nonce=nonce, receive_key=there, receive_nonce=nonce, **options
        )

    def box(self, *packets: bytes) -> bytes:
        """Packets as they go over the wire, in as few boxes as can be."""
        return self.sealer.seal(b"".join(packets))

    def send(self, wire: bytes) -> Status:
        """Bytes reach the link from its socket; events are collected, AGAIN is answered. The last status."""
        return self._follow(self.link.receive(bytearray(wire)))

    def proceed(self) -> Status:
        return self._follow(self.link.proceed())

    def _follow(self, answer: tuple[Status, list[Any]]) -> Status:
        self.status, events = answer
        self.events += events
        while self.status == Status.AGAIN:
            self.status, events = self.link.proceed()
            self.events += events
        return self.status

    def flush(self, room: int = 128 * 1024) -> Status:
        """The link sends once; the peer reads it."""
        data, status = self.link.flush(room)
        assert len(data) <= room
        for body in self.opener.open(data):
            self.boxes.append(len(body))
            self.packets += self.scanner.feed(body)
        self.opener.open(b"")
        self.scanner.feed(b"")
        return Status(status)

    def drain(self, room: int = 128 * 1024) -> Status:
        """The link sends all it has."""
        status = Status.FULL
        while status == Status.FULL:
            status = self.flush(room)
        return status

    def data(self, req: int) -> bytes:
        """All bytes received for one stream."""
        return b"".join(body for flags, number, body in self.packets if number == req and flags == 8)

    def whole(self, req: int) -> list[Found]:
        """All other packets received for one number."""
        return [p for p in self.packets if p[1] == req and p[0] != 8]


class RelayWithPeers:
    """A hub with some ends."""

    def __init__(self, core: ModuleType, ends: int = 2, pool: int = 16 << 20, **options: Any) -> None:
        self.core = core
        self.hub = core.Hub(pool)
        self.ends = [RelayPeer(core, self.hub, i + 1, **options) for i in range(ends)]

    def splice(self, a: int, req_a: int, b: int, req_b: int, share: int = 256 * 1024) -> tuple[Any, Any]:
        """A tunnel: what end `a` sends as req_a reaches end `b` as req_b, and back with both signs turned.

        Returns the lanes towards b and towards a.
        """
        one, two = self.ends[a].link, self.ends[b].link
        to_b = self.core.Lane(two, req_b, share)
        to_a = self.core.Lane(one, -req_a, share)
        self.core.Inlet(one, req_a, to_b)
        self.core.Inlet(two, -req_b, to_a)
        return to_b, to_a

    def settle(self, room: int = 128 * 1024) -> None:
        """Everything that is on its way arrives."""
        moving = True
        for _ in range(10_000):
            if not moving:
                return
            moving = False
            for end in self.ends:
                before = len(end.boxes)
                if end.link.failure is None or end.link.queued:
                    end.drain(room)
                if end.status == Status.BLOCKED:
                    end.proceed()
                    moving = True
                moving = moving or len(end.boxes) != before
        raise AssertionError("a link stays blocked for ever")

    def close(self) -> None:
        """Close all links; nothing may be lent then."""
        for end in self.ends:
            end.link.close()
        assert self.hub.lent == 0


def data(req: int, *pieces: bytes) -> Iterable[bytes]:
    """Packets of tunnel data."""
    return [raw(8, req, piece) for piece in pieces]
