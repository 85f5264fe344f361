"""The second half of `ssbfast demo`: a session leaves the room, loses its direct path, and comes back. The judgement.

    connect ──> direct path up ──> bytes ──> C's datagrams dropped ──> nothing is heard ──> the room again ──> bytes
                 A, C: path         hashes    C: cut                                        A, C: path         hashes
                 the room: the first tunnel ended, small               the room: the standby carried the rest

No report is believed alone. A and C each tell what path their end of the session took; the room, which is told nothing
of all this, how many bytes each tunnel carried; the hashes are made before anything is sealed, and after.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from ssbfast import limits
from ssbfast.errors import SSBError

Report = dict[str, Any]

PREFIX: Final = "direct_"
"""Of the reports that both halves have."""

DIRECT_BYTES: Final = 32_000_000
"""Sent there and back in this half: two or three seconds, because aioquic, in Python, moves 10 to 30 MB/s."""

CUT_AT: Final = 3 / 4
"""How much of it C has received when the direct path is cut."""

PLAIN_BYTES: Final = 64 * 1024
"""The most that a session without payload takes in a tunnel: handshake, addresses, a certificate, up to three times."""

IN_FLIGHT: Final = limits.CARRIER_WINDOW + limits.CARRIER_SLACK + 4 * limits.TUNNEL_SHARE
"""What C had sent back at the cut and may have to send again: the window, and what its stream and link hold."""

BOXED: Final = 1.02
"""Sealing makes 34 bytes more of 4,096, and packets have heads."""


class DemoError(SSBError):
    """A failure of the demo; the text says what did not hold."""


@dataclass(frozen=True, slots=True)
class Change:
    """The change of a session's path. seconds: since it opened, at this end."""

    path: str
    seconds: float
    reason: str


@dataclass(frozen=True, slots=True)
class DirectResult:
    """The proofs and measurements of the direct path and the way back.

    before_cut: bytes that C had received at the cut. direct_seconds: which they took; as many less what was under way
        came back at the same time. cut_at: when that was, in C's session.
    changes: of each end, "A" and "C". pause: the longest that either end waited for bytes, in seconds.
    room_before, room_after: what the room carried of the session until it was direct, and since: all of it after the
        cut, but for the handshake of the tunnel that stands by.
    """

    size: int
    sha256: str
    before_cut: int
    direct_seconds: float
    cut_at: float
    changes: dict[str, tuple[Change, ...]]
    pause: float
    room_before: int
    room_after: int

    @property
    def mb_per_second(self) -> float:
        """Return the speed of each way, until the cut."""
        return self.before_cut / self.direct_seconds / 1e6


def judge(size: int, target: Sequence[Report], caller: Sequence[Report], tunnels: Sequence[Report]) -> DirectResult:
    """Compare all reports. Raises DemoError when they do not fit together.

    size: bytes to send there and back. target, caller: all reports of A and C. tunnels: the room's of this session's
    tunnels, as they ended: the one that it began in first.
    """
    returned, received, cut = (
        _last(target, PREFIX + "returned"),
        _last(caller, PREFIX + "received"),
        _last(caller, "cut"),
    )
    hashes = {returned["sent_sha256"], received["sha256"], returned["returned_sha256"]}
    if len(hashes) != 1 or not returned["bytes"] == received["bytes"] == size:
        raise DemoError("the bytes that arrived by two paths are not the bytes that were sent")
    changes = {"A": _changes(target), "C": _changes(caller)}
    for who, its in changes.items():
        if [change.path for change in its] != ["direct", "tunnel"]:
            raise DemoError(f"peer {who}'s session did not go directly and then through the room again")
    if not changes["C"][0].seconds <= cut["seconds"] <= changes["C"][1].seconds:
        raise DemoError("the session left its direct path before that was cut")
    before, after = tunnels[0]["bytes"], sum(tunnel["bytes"] for tunnel in tunnels[1:])
    _judge_room(size - cut["bytes"], before, after)
    return DirectResult(
        size=size,
        sha256=received["sha256"],
        before_cut=cut["bytes"],
        direct_seconds=cut["took"],
        cut_at=cut["seconds"],
        changes=changes,
        pause=max(returned["longest_pause"], received["longest_pause"]),
        room_before=before,
        room_after=after,
    )


def _judge_room(rest: int, before: int, after: int) -> None:
    """Check that the room carried what was sent after the cut, and nothing else. rest: what C had yet to receive."""
    if before > PLAIN_BYTES:
        raise DemoError("the room carried bytes that the peers say went directly")
    if after < rest:  # C sends these back after the cut in any case; on their way to C some may have been in its hands
        raise DemoError("the room carried fewer bytes than arrived after the cut")
    if after > 2 * rest * BOXED + IN_FLIGHT + PLAIN_BYTES:
        raise DemoError("the room carried more bytes than were left to send after the cut")


def _changes(reports: Sequence[Report]) -> tuple[Change, ...]:
    """Return the changes of path. Attempts at a direct path that came to nothing are told too, and change nothing."""
    changes: list[Change] = []
    for report in reports:
        if report["event"] == "path" and report["path"] != (changes[-1].path if changes else "tunnel"):
            changes.append(Change(report["path"], report["seconds"], report["reason"]))
    return tuple(changes)


def _last(reports: Sequence[Report], event: str) -> Report:
    for report in reversed(reports):
        if report["event"] == event:
            return report
    raise DemoError(f"no part reported {event!r}")
