"""All flows of UDP services of one session, as far as they go by its direct path as QUIC datagrams (RFC 9221).

A flow is a duplex of the session first (`net/forward/datagrams.py`); a datagram goes as one of QUIC while the session
is on a direct path whose other end knows them, and fits into one of its packets, else in the duplex. What comes for a
flow that is not there is dropped and counted. Nothing is repeated: what a path loses is lost, as UDP has it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from ssbfast import limits
from ssbfast.direct.carriers import DirectCarrier
from ssbfast.wire.direct.flows import head_of, split_head

if TYPE_CHECKING:
    from ssbfast.net.peer import Peer


class ForwardedDatagrams:
    """The flows of one session.

    Attributes:
        received: Bytes that came for flows.
        ignored: Datagrams that came for none, or too many at once.
    """

    def __init__(self, peer: Peer) -> None:
        self.received = 0
        self.ignored = 0
        self._peer = peer
        self._carrier: DirectCarrier | None = None
        self._flows: dict[bytes, Callable[[bytes], None]] = {}

    # ------------------------------------------------------------ `DirectDatagrams`

    def open(self, number: int, receive: Callable[[bytes], None]) -> bytes:
        self._flows[head_of(-number)] = receive
        return head_of(number)

    def close(self, number: int) -> None:
        self._flows.pop(head_of(-number), None)

    def takes(self, length: int) -> bool:
        carrier = self._carrier
        if carrier is None or carrier.path is None or self._peer.path != "direct":
            return False
        return length <= carrier.path.datagram_room

    def send(self, head: bytes, datagram: bytes) -> bool:
        carrier = self._carrier
        if carrier is None or carrier.path is None:
            return False
        carrier.on_forward_activity()
        return carrier.path.send_datagram(head + datagram)

    # ------------------------------------------------------------ from the path

    def path_up(self, carrier: DirectCarrier) -> None:
        """Use a path from now on."""
        self._carrier = carrier
        carrier.take_datagrams = self._take

    def path_over(self) -> None:
        """Do without one."""
        if self._carrier is not None:
            self._carrier.take_datagrams = None
        self._carrier = None

    # ------------------------------------------------------------ inside

    def _take(self, datagrams: list[bytes]) -> None:
        if self._carrier is not None:
            self._carrier.on_forward_activity()
        self.ignored += max(0, len(datagrams) - limits.FLOW_BATCH)
        for data in datagrams[: limits.FLOW_BATCH]:
            head, datagram = split_head(data)
            receive = self._flows.get(head)
            if receive is None:
                self.ignored += 1
            else:
                self.received += len(datagram)
                receive(datagram)
