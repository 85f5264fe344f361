"""What the ends of a session have to agree with their surroundings about, before they meet outside of the room.

`Direct` says how paths are made, `PathNews` what became of one, and `Host` is whoever has the session and is told.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from ssbfast.direct.udp import Address
from ssbfast.wire.direct.carriers.effects import Path
from ssbfast.wire.direct.carriers.records import Record
from ssbfast.wire.direct.punch.birthday import Searches

if TYPE_CHECKING:
    from ssbfast.direct.budgets import Resources
    from ssbfast.direct.carriers import DirectWay, StandbyWay
    from ssbfast.direct.negotiation import Rendezvous
    from ssbfast.net.peer import Peer


@dataclass(frozen=True, slots=True)
class Direct:
    """How direct paths are made.

    stun: reflectors beside those of our rooms, IP literals and ports. birthday: take part in searches, which send
    thousands of datagrams. required: tell, too, when the other end knows nothing of direct paths. loopback: addresses
    of this machine count (tests and the demo).
    """

    stun: tuple[Address, ...] = ()
    birthday: bool = False
    required: bool = False
    loopback: bool = False


@dataclass(frozen=True, slots=True)
class PathNews:
    """What became of a session's path. reason: for people, without addresses or ids.

    rtt: seconds, of a direct path. took: seconds of trying, whether it came to something or not; None when nobody
    tried, and a direct path was lost.
    """

    path: Path
    reason: str
    rtt: float | None = None
    took: float | None = None


class Host(Protocol):
    """Who has the session."""

    searches: Searches
    """Whom we have searched for by birthday."""

    @property
    def resources(self) -> Resources:
        """What its sessions share with all others of the process."""

    def reflectors(self) -> Sequence[Address]:
        """Those that our rooms have, at the addresses at which we reach them."""

    def used_addresses(self) -> Collection[str]:
        """Those of ours, IP literals, from which the sessions with our rooms come."""

    def may_meet(self, peer: Peer) -> bool:
        """Whether this peer may hear our addresses, as far as we have been told of changes."""

    async def may_hear(self, peer: Peer) -> bool:
        """The same, asked anew: right before each telling."""

    async def dial_standby(self, rendezvous: Rendezvous, epoch: int) -> StandbyWay | None:
        """A standby, open; None when the peer itself, proven, says that it knows of no such session.

        Whatever else is in the way, a room's word above all, raises SSBError: it may be gone at the next dial.
        """

    def news(self, rendezvous: Rendezvous, news: PathNews) -> None:
        """The path has changed, or could not be changed."""

    def path_up(self, rendezvous: Rendezvous, way: DirectWay) -> None:
        """The session has moved to this path, as far as we know."""

    def path_over(self, rendezvous: Rendezvous, way: DirectWay) -> None:
        """It is lost, or was ended."""

    def stream_data(self, rendezvous: Rendezvous, way: DirectWay, stream: int, data: bytes, end: bool) -> None:
        """Bytes of a forwarded connection."""

    def stream_reset(self, rendezvous: Rendezvous, way: DirectWay, stream: int) -> None:
        """A forwarded connection was cut by the other end."""

    def stream_record(self, rendezvous: Rendezvous, way: DirectWay, record: Record) -> None:
        """A record of a forwarded connection."""

    def forget(self, rendezvous: Rendezvous) -> None:
        """Nothing of the session is left."""
