"""The birthday search: how two peers meet when the NAT of one gives out another port for each destination.

The easy side sends to random ports of the hard side's IP address, each of which its own NAT will then let in. The hard
side opens 256 sockets towards the easy side's one address: 256 ports of its NAT, whose numbers are unknown. As
soon as one of them is among those that were guessed, or a guess is among them, probes pass, both ways.

Which comes first? Behind most NATs it does not matter. But one that takes packets for itself which no host inside has
asked for (Linux with an open INPUT chain) remembers them, and gives what we send to their source another port, and
with it all that the same socket sends to any new address: on the easy side one guess of a port that was opened before
spoils all later ones. So guesses have 4 seconds' start, and go on after the sockets are opened.

Both sides must have opted in, their mappings must differ (`plan`), and there is one search a peer in ten minutes
(`Searches`). IPv4 only: no NAT translates IPv6 ports that way.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from ssbfast import limits
from ssbfast.ids import FeedId
from ssbfast.wire.direct.punch.candidates import (
    PORTS,
    Address,
    Candidate,
    Candidates,
    Kind,
    NatMapping,
    Scope,
    scope_of,
)

RandBelow: TypeAlias = Callable[[int], int]


@dataclass(frozen=True, slots=True)
class Guess:
    """One probe of a search. socket: its index on our side."""

    socket: int
    address: Address


class Search(Protocol):
    """One side of a search."""

    def due(self) -> float | None:
        """Return the seconds after the start of the attempt at which the next probe may leave; None for no more."""

    def take(self) -> Guess:
        """Return that probe."""


class GuessPorts:
    """The easy side: random ports of one IP address, none twice, as fast as its sender lets it.

    socket: the index of the one socket that all leave from. host: the hard side's reflexive IP address.
    """

    def __init__(self, socket: int, host: str, randbelow: RandBelow) -> None:
        self._socket = socket
        self._host = host
        self._count = 0
        # Steps that share no factor with the number of ports visit each of them once.
        self._at = randbelow(len(PORTS))
        self._step = 1 + randbelow(len(PORTS) - 1)
        while math.gcd(self._step, len(PORTS)) != 1:
            self._step = 1 + randbelow(len(PORTS) - 1)

    def due(self) -> float | None:
        return limits.BIRTHDAY_DELAY if self._count < limits.BIRTHDAY_PROBES else None

    def take(self) -> Guess:
        self._count += 1
        self._at = (self._at + self._step) % len(PORTS)
        return Guess(self._socket, (self._host, PORTS[self._at]))


class OpenSockets:
    """The hard side: one probe from each of 256 fresh sockets to one address.

    first: the index of the first of them; they exist from when their probe is sent. address: of the easy side.
    """

    def __init__(self, first: int, address: Address) -> None:
        self._first = first
        self._address = address
        self._count = 0

    def due(self) -> float | None:
        return limits.BIRTHDAY_OPENING if self._count < limits.BIRTHDAY_SOCKETS else None

    def take(self) -> Guess:
        self._count += 1
        return Guess(self._first + self._count - 1, self._address)


def plan(
    ours: Candidates, theirs: Candidates, admitted: Sequence[Candidate], families: Sequence[int], randbelow: RandBelow
) -> Search | None:
    """Return our part in a search; None when there is to be none.

    admitted: which of their candidates we send to. families: 4 or 6 of each of our sockets, by index.
    """
    sides = {ours.mapping, theirs.mapping}
    if not (ours.birthday and theirs.birthday) or sides != {NatMapping.EASY, NatMapping.HARD} or 4 not in families:
        return None
    # A peer without NAT is named as a host, and is found without a search. No private host's ports are searched.
    seen = [item for item in admitted if item.kind is Kind.REFLEXIVE and not item.is_v6 and _is_outside(item.host)]
    if not seen:
        return None
    if ours.mapping is NatMapping.HARD:
        return OpenSockets(len(families), seen[0].address)
    return GuessPorts(families.index(4), seen[0].host, randbelow)


def why_not(ours: Candidates, theirs: Candidates, reflectors: int) -> str | None:
    """Return why `plan` had no search for an end that would take part in one.

    The text is for people; None when the reason is not known here.

    reflectors: how many had told us our IPv4 address.
    """
    if not ours.birthday:
        return None
    if not theirs.birthday:
        return "the other end does not search, or not again so soon"
    if ours.mapping is NatMapping.UNKNOWN:
        return "one reflector cannot tell a symmetric NAT" if reflectors else "no reflector has answered"
    if theirs.mapping is NatMapping.UNKNOWN:
        return "the other end cannot tell the kind of its NAT"
    if ours.mapping is theirs.mapping:
        return "both NATs are symmetric" if ours.mapping is NatMapping.HARD else "neither NAT is symmetric"
    return None


def _is_outside(host: str) -> bool:
    return scope_of(host) in (Scope.PUBLIC, Scope.LOOPBACK)  # loopback has been admitted by a switch


class Searches:
    """The peers searched for, and when: one search a peer in ten minutes, also when it fails."""

    def __init__(self) -> None:
        self._last: dict[FeedId, float] = {}  # in order of time

    def may(self, peer: FeedId, now: float) -> bool:
        """Return whether a search may be offered to this peer, or its offer of one be accepted."""
        self._forget(now)
        return peer not in self._last and len(self._last) < limits.BIRTHDAY_PEERS

    def begins(self, peer: FeedId, now: float) -> None:
        """Note that a search has begun."""
        self._last.pop(peer, None)
        self._last[peer] = now

    def _forget(self, now: float) -> None:
        for peer, last in list(self._last.items()):
            if now - last < limits.BIRTHDAY_PAUSE:
                break
            del self._last[peer]
