"""Effects that a session's carriers ask for (`carriers.Carriers.effects`): one frozen class each, in order.

"The shell" is the owner of the sockets. S is the inner session; carriers are named by the numbers that `Carriers`
gave them (0 is the first tunnel).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from ssbfast.errors import SSBError
from ssbfast.wire.direct.carriers.records import Record

Path: TypeAlias = Literal["tunnel", "direct"]


@dataclass(frozen=True, slots=True)
class Records:
    """Order to write these records: on QUIC stream 0, or into the standby's duplex `direct.carrier`."""

    carrier: int
    data: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Data:
    """Order to write bytes of the session raw: on our unidirectional QUIC stream, or the tunnel (see BeginRaw)."""

    carrier: int
    data: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class BeginRaw:
    """Order to write the standby's box-stream goodbye.

    Data for this carrier follow raw, behind it; no more records do.
    """

    carrier: int


@dataclass(frozen=True, slots=True)
class Deliver:
    """Order to hand these bytes to the session. Report them by `consumed` when it has taken them."""

    data: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class EndCarrier:
    """Order to end a carrier; earlier effects have to leave first (QUIC: transmit, then close).

    clean: QUIC closes with code 0, a tunnel is closed in order. Otherwise QUIC closes with another code and a tunnel is
    cut. Nothing that the carrier still brings matters, nor does its `lost`.
    """

    carrier: int
    clean: bool


@dataclass(frozen=True, slots=True)
class Ping:
    """Order to send a QUIC PING; authentic traffic that comes back is reported by `heard`."""

    carrier: int


@dataclass(frozen=True, slots=True)
class StreamRecord:
    """An ACK or END of a forwarded connection that came on this QUIC carrier: see `streams.py`."""

    carrier: int
    record: Record


@dataclass(frozen=True, slots=True)
class WantStandby:
    """Order to the caller to dial a tunnel and open `direct.carrier` on it.

    Answer with `standby_up` or `standby_failed`.
    """


@dataclass(frozen=True, slots=True)
class WantQuic:
    """Order to the caller to make a direct path, by as many attempts as that takes.

    Answer with `quic_up` or `upgrade_failed`.
    """


@dataclass(frozen=True, slots=True)
class AskUpgrade:
    """Order to the target to call `direct.want` in the session."""


@dataclass(frozen=True, slots=True)
class ShortenDatagrams:
    """Order to let direct paths have shorter datagrams from now on, both ways: those of full length do not pass."""


@dataclass(frozen=True, slots=True)
class PathChanged:
    """Notice that both directions use this path now. reason: for people, without addresses or ids."""

    path: Path
    reason: str


@dataclass(frozen=True, slots=True)
class Resume:
    """Notice that `room` was used up and is not any more: seal on."""


@dataclass(frozen=True, slots=True)
class Failed:
    """Notice that the session is over because of `error`; its carriers have been ended. Nothing comes behind this."""

    error: SSBError


@dataclass(frozen=True, slots=True)
class Over:
    """Notice that the session is over in order: both goodbyes have arrived, or the peer left after its own.

    Keep the machine, findable by its session id, until Forget: the other end may need it once more.
    """


@dataclass(frozen=True, slots=True)
class Forget:
    """Notice, behind Over, that nothing is answered any more. Nothing comes behind this."""


Effect: TypeAlias = (
    Records
    | Data
    | BeginRaw
    | Deliver
    | EndCarrier
    | Ping
    | StreamRecord
    | WantStandby
    | WantQuic
    | AskUpgrade
    | ShortenDatagrams
    | PathChanged
    | Resume
    | Failed
    | Over
    | Forget
)
