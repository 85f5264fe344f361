"""The flows of a session on a direct path: which of them a datagram reaches, and when it goes by the session."""

from __future__ import annotations

from typing import Any

from ssbfast import limits
from ssbfast.direct.forwarded_datagrams import ForwardedDatagrams
from ssbfast.wire.direct.flows import head_of


class Way:
    """The edge: the session, its carrier and its path."""

    def __init__(self) -> None:
        self.path: Any = "direct"
        self.sent: list[bytes] = []
        self.room = 100
        self.has_place = True
        self.moves = 0
        self.take_datagrams: Any = None

    @property
    def datagram_room(self) -> int:
        return self.room

    def send_datagram(self, data: bytes) -> bool:
        self.sent.append(data)
        return self.has_place

    def on_forward_activity(self) -> None:
        self.moves += 1


def flows() -> tuple[ForwardedDatagrams, Way, Way]:
    """Flows of a session, its end as a peer, and a carrier that it has taken."""
    peer, carrier = Way(), Way()
    carrier.path = carrier
    session: Any = peer
    way: Any = carrier
    found = ForwardedDatagrams(session)
    found.path_up(way)
    return found, peer, carrier


def test_each_flow_gets_its_own_and_none_what_is_for_no_flow() -> None:
    found, _peer, carrier = flows()
    got: list[tuple[str, bytes]] = []
    assert found.open(5, lambda data: got.append(("ours", data))) == head_of(5)
    assert found.open(-5, lambda data: got.append(("theirs", data))) == head_of(-5)
    carrier.take_datagrams([head_of(-5) + b"one", head_of(5) + b"two", head_of(-5)])
    assert got == [("ours", b"one"), ("theirs", b"two"), ("ours", b"")]
    assert (found.received, found.ignored, carrier.moves) == (6, 0, 1)
    not_minimal = b"\x40" + head_of(5)
    carrier.take_datagrams([b"", b"\x40", b"\xff", head_of(6) + b"x", head_of(-6) + b"x", not_minimal + b"x"])
    assert len(got) == 3 and (found.received, found.ignored) == (6, 6)
    found.close(5)
    found.close(5)
    carrier.take_datagrams([head_of(-5) + b"late", head_of(5) + b"there"])
    assert got[3:] == [("theirs", b"there")] and found.ignored == 7


def test_too_many_at_once_are_dropped_and_counted() -> None:
    found, _peer, carrier = flows()
    got: list[bytes] = []
    found.open(1, got.append)
    carrier.take_datagrams([head_of(-1)] * (limits.FLOW_BATCH + 5))
    assert len(got) == limits.FLOW_BATCH and found.ignored == 5


def test_a_datagram_goes_by_the_path_that_both_ends_use_if_it_fits() -> None:
    found, peer, carrier = flows()
    assert found.takes(100) and not found.takes(101)
    assert found.send(b"h", b"datagram") and carrier.sent == [b"hdatagram"] and carrier.moves == 1
    carrier.has_place = False
    assert not found.send(b"h", b"datagram")
    peer.path = "tunnel"
    assert not found.takes(1), "the session is on its way back"
    peer.path = "direct"
    carrier.room = 0
    assert not found.takes(1), "the other end knows none"


def test_nothing_goes_and_comes_by_a_path_that_is_over() -> None:
    found, _peer, carrier = flows()
    got: list[bytes] = []
    found.open(1, got.append)
    found.path_over()
    assert carrier.take_datagrams is None
    assert not found.takes(1) and not found.send(b"h", b"datagram") and not carrier.sent
    found.path_over()
    next_one: Any = Way()
    next_one.path = next_one
    found.path_up(next_one)
    next_one.take_datagrams([head_of(-1) + b"again"])
    assert got == [b"again"], "the flow goes on"
