"""Options of direct paths, and the Protocols between a negotiation and what surrounds it.

`Direct` says how paths are made and `PathNews` what became of one. `NegotiationHost` has the sessions and is told.
"""

from __future__ import annotations

import asyncio
import enum
import importlib.util
from collections.abc import Callable, Collection, Coroutine, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

from ssbfast import limits
from ssbfast.direct.udp import Address
from ssbfast.wire.direct.carriers.effects import Path
from ssbfast.wire.direct.carriers.records import Record
from ssbfast.wire.direct.punch.birthday import Searches

if TYPE_CHECKING:
    from ssbfast.direct.budgets import Resources
    from ssbfast.direct.carrier_transport import CarrierTransport
    from ssbfast.direct.carriers import DirectCarrier, StandbyCarrier
    from ssbfast.direct.hole_punch import Attempt
    from ssbfast.net.peer import Peer
    from ssbfast.wire.direct.keys import Role
    from ssbfast.wire.direct.memory import MemoryShare
    from ssbfast.wire.direct.punch.candidates import Candidates
    from ssbfast.wire.muxrpc import Called


NOT_TOLD: Final = "our addresses are not told to the other end"


@dataclass(frozen=True, slots=True)
class Direct:
    """Options of direct paths.

    Attributes:
        stun: Reflectors beside those of our rooms, as pairs of IP literal and port.
        port_mapping: Ask our router, by PCP, NAT-PMP or UPnP, to let every sender in to the UDP sockets of such paths.
        birthday: Take part in searches, which send thousands of datagrams.
        keep: Seconds that a session with a peer that we follow lasts without a path: its machine may be asleep.
        required: Tell, too, when the other end knows nothing of direct paths.
        loopback: Use addresses of this machine, too (for tests and the demo).
        after: Seconds that pass behind the first session before anything of direct paths is loaded, which takes half a
            second; 0: it is loaded with the client.
    """

    stun: tuple[Address, ...] = ()
    port_mapping: bool = True
    birthday: bool = False
    keep: float = limits.SLEEP_KEEP_SECONDS
    required: bool = False
    loopback: bool = False
    after: float = 0.0


def may_be_ready() -> bool:
    """Return whether what direct paths need is installed, without loading it."""
    return all(importlib.util.find_spec(name) is not None for name in ("aioquic", "aioice", "ifaddr"))


class PreferredPath(enum.Enum):
    """The path that a session is to take.

    AUTO: directly as soon as possible. DIRECT: the same, and tried at once. TUNNEL: through a room.
    """

    AUTO = "auto"
    TUNNEL = "tunnel"
    DIRECT = "direct"


@dataclass(frozen=True, slots=True)
class PathNews:
    """A change of a session's path, or an attempt that failed. reason: for people, without addresses or ids.

    rtt: seconds, of a direct path. took: seconds of trying, whether it came to something or not; None when there
    was no attempt, and a direct path was lost.
    """

    path: Path
    reason: str
    rtt: float | None = None
    took: float | None = None


class Negotiator(Protocol):
    """One end of a session that negotiates direct paths: what its caller's and its answerer's halves need of it.

    memory: what its windows may take. began: when the attempts began that are under way, or came to something last.
    """

    how: Direct
    host: NegotiationHost
    export_key: bytes
    session_id: bytes
    carrier_transport: CarrierTransport
    memory: MemoryShare
    began: float

    @property
    def peer(self) -> Peer:
        """Session."""

    @property
    def role(self) -> Role:
        """Our role."""

    @property
    def datagram(self) -> int:
        """Length that datagrams of the next direct path may have, in bytes."""

    def shorten_datagrams(self) -> None:
        """Let the next direct paths have the shortest datagrams that there are."""

    def start(self, work: Coroutine[Any, Any, None], *, last: Callable[[], None] | None = None) -> asyncio.Task[None]:
        """Run work as long as the session lasts. last: called behind it, also when it never got to begin."""

    async def gather(self) -> tuple[Attempt, Candidates]:
        """Return a fresh attempt, and where it can be reached. Raises RefusedError when the other end may not know."""

    def refuse(self, called: Called, message: str) -> None:
        """Answer a call with an error, if the session is still open."""

    def path_failed(self, reason: str) -> None:
        """Note why an upgrade came to nothing."""

    def path_ready(self, carrier: DirectCarrier) -> None:
        """Note that both proofs have passed: the session has the path now, or it has been ended."""

    def stream_data(self, carrier: DirectCarrier, stream: int, data: bytes, end: bool) -> None:
        """Take bytes of a forwarded connection."""

    def stream_reset(self, carrier: DirectCarrier, stream: int) -> None:
        """Note that the other end has cut a forwarded connection."""

    def path_over(self, carrier: DirectCarrier) -> None:
        """Note that it is lost, or was ended."""


class NegotiationHost(Protocol):
    """The owner of sessions that negotiate, asked for what they need and told what becomes of their paths."""

    searches: Searches
    """Peers that we have searched for by birthday."""

    @property
    def resources(self) -> Resources:
        """Resources that its sessions share with all others of the process."""

    def reflectors(self) -> Sequence[Address]:
        """Return the reflectors of our rooms, at the addresses at which we reach the rooms."""

    def used_addresses(self) -> Collection[str]:
        """Return our own addresses, IP literals, that the sessions with our rooms come from."""

    def may_meet(self, peer: Peer) -> bool:
        """Return whether this peer may hear our addresses, as far as we have been told of changes."""

    async def may_hear(self, peer: Peer) -> bool:
        """Return the same as `may_meet`, asked anew: right before addresses are told."""

    async def dial_standby(self, negotiator: Negotiator, epoch: int) -> StandbyCarrier | None:
        """Dial a standby and return it, open; None when the peer itself, proven, says that it has no such session.

        Every other obstacle, a room's word above all, raises SSBError: it may be gone at the next dial.
        """

    def news(self, peer: Peer, news: PathNews) -> None:
        """Note that the path has changed, or could not be changed."""

    def away(self, peer: Peer, seconds: float | None) -> None:
        """Note that the other end is silent, and waited for; None: that it is back. seconds: for how long at most."""

    def path_up(self, peer: Peer, carrier: DirectCarrier) -> None:
        """Note that the session has moved to this path, as far as we know."""

    def path_over(self, peer: Peer, carrier: DirectCarrier) -> None:
        """Note that it is lost, or was ended."""

    def stream_data(self, peer: Peer, carrier: DirectCarrier, stream: int, data: bytes, end: bool) -> None:
        """Take bytes of a forwarded connection."""

    def stream_reset(self, peer: Peer, carrier: DirectCarrier, stream: int) -> None:
        """Note that the other end has cut a forwarded connection."""

    def stream_record(self, peer: Peer, carrier: DirectCarrier, record: Record) -> None:
        """Take a record of a forwarded connection."""

    def forget(self, negotiator: Negotiator) -> None:
        """Forget the session: nothing of it is left."""
