"""The limits of a room that its operator can set: one table, from which options, commands and checks follow."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from ipaddress import ip_network
from types import MappingProxyType
from typing import Final

from ssbfast import limits
from ssbfast.budgets import Allowance, Caps, Penalties, Rate, Rings
from ssbfast.errors import BadInputError
from ssbfast.server.networks import Network


@dataclass(frozen=True, slots=True)
class Limit:
    """A limit that can be set.

    name: as in options, files, metrics and events. meaning: what it bounds, with its unit. least, most: what may be
    set; a default of 0 is no limit at all. A default that is a whole number takes whole numbers only.
    """

    name: str
    meaning: str
    default: float
    least: float
    most: float

    def read(self, text: str) -> float:
        """Return the value that a text says. Raise BadInputError for one that may not be set."""
        is_whole = isinstance(self.default, int)
        try:
            value: float = int(text) if is_whole else float(text)
        except ValueError:
            value = -1
        is_off = value == 0 == self.default
        if not is_off and not self.least <= value <= self.most:  # also what is no number
            kind = ("0 or " if self.default == 0 else "") + ("a whole number" if is_whole else "a number")
            raise BadInputError(
                f"{self.name}: {kind} from {self.least:.15g} to {self.most:.15g} is needed, not {text!r}"
            )
        return value


@dataclass(frozen=True, slots=True)
class _Kind:
    """A rate that is limited. noun, per: for people. seconds: of `per`. own: a session's, whatever others spend."""

    noun: str
    key: tuple[float, float] | None
    address: tuple[float, float]
    own: tuple[float, float] | None = None
    per: str = "a second"
    seconds: float = 1.0

    def rows(self, name: str) -> Iterable[Limit]:
        """Return the limits of this kind."""
        for suffix, whom, pair in (("", "one key", self.key), ("_per_address", "one address", self.address)):
            if pair is not None:
                for at, when, ending in ((0, self.per, suffix), (1, "at once", f"{suffix}_at_once")):
                    scale = 1.0 if at else self.seconds
                    least = scale * self.own[at] if self.own is not None else scale * pair[at] / _RATE_SPAN
                    default = round(pair[at] * scale, 6)
                    yield Limit(name + ending, f"{self.noun} {when}, of {whom}", default, least, default * _RATE_SPAN)


_RATE_SPAN: Final = 1_000.0
"""How many times the default of a rate may be set."""

_KINDS: Final[Mapping[str, _Kind]] = {
    "calls": _Kind(
        "calls",
        (limits.CALLS_PER_KEY, limits.CALLS_BURST),
        (limits.CALLS_PER_ADDRESS, limits.CALLS_ADDRESS_BURST),
        (limits.CALLS_OWN, limits.CALLS_OWN_BURST),
    ),
    "announcements": _Kind(
        "joins and departures that subscribers are told",
        (limits.ANNOUNCEMENTS_PER_KEY, limits.ANNOUNCEMENTS_BURST),
        (limits.ANNOUNCEMENTS_PER_ADDRESS, limits.ANNOUNCEMENTS_ADDRESS_BURST),
        (limits.ANNOUNCEMENTS_OWN, limits.ANNOUNCEMENTS_OWN_BURST),
    ),
    "lists": _Kind(
        "whole lists of attendants",
        (limits.LISTS_PER_KEY, limits.LISTS_BURST),
        (limits.LISTS_PER_ADDRESS, limits.LISTS_ADDRESS_BURST),
        (limits.LISTS_OWN, limits.LISTS_OWN_BURST),
    ),
    "opens": _Kind(
        "tunnels that are opened",
        (limits.OPENS_PER_KEY, limits.OPENS_BURST),
        (limits.OPENS_PER_ADDRESS, limits.OPENS_ADDRESS_BURST),
        (limits.OPENS_OWN, limits.OPENS_OWN_BURST),
    ),
    "visits": _Kind(
        "tunnels to one target",
        None,  # each is one of the key's opens
        (limits.VISITS_PER_ADDRESS, limits.VISITS_ADDRESS_BURST),
        (limits.OPENS_OWN, limits.OPENS_OWN_BURST),
    ),
    "nameplates": _Kind(
        "nameplates of pairing that are announced or looked for",
        (limits.NAMEPLATES_PER_KEY, limits.NAMEPLATES_BURST),
        (limits.NAMEPLATES_RATE_PER_ADDRESS, limits.NAMEPLATES_ADDRESS_BURST),
        per="an hour",
        seconds=3600.0,
    ),
    "registrations": _Kind(
        "aliases that are registered",
        (limits.REGISTRATIONS_PER_KEY, limits.REGISTRATIONS_BURST),
        (limits.REGISTRATIONS_PER_ADDRESS, limits.REGISTRATIONS_ADDRESS_BURST),
        per="an hour",
        seconds=3600.0,
    ),
    "writes": _Kind(
        "other calls that change what the room keeps",
        (limits.WRITES_PER_KEY, limits.WRITES_BURST),
        (limits.WRITES_PER_ADDRESS, limits.WRITES_ADDRESS_BURST),
    ),
}

DELAYED: Final = ("calls", "announcements", "lists", "opens", "visits")
"""Calls, and what of them costs others. A session that spends more is not read for a while."""

NAMEPLATES: Final = ("nameplates",)
"""Calls that tell of nameplates. They are refused, not delayed."""

REFUSED: Final = ("registrations", "writes")
"""Calls that change a room's records. They are refused, not delayed."""


def _table() -> Iterable[Limit]:
    unproven = "connections that have not finished the handshake"
    yield Limit("connections", unproven, limits.HANDSHAKES, 16, 65_536)
    yield Limit("connections_per_address", f"{unproven}, of one address", limits.HANDSHAKES_PER_ADDRESS, 1, 65_536)
    yield Limit("sessions", "sessions; fewer where fewer files may be open", limits.SESSIONS, 1, 1_000_000)
    yield Limit("sessions_per_address", "sessions of one address", limits.SESSIONS_PER_ADDRESS, 1, 1_000_000)
    yield Limit("sessions_per_key", "sessions of one key", limits.SESSIONS_PER_FEED, 1, 1_024)
    yield Limit("tunnels", "tunnels", limits.TUNNELS, 1, 1_000_000)
    yield Limit("tunnels_per_address", "tunnels that one address opened", limits.TUNNELS_PER_ADDRESS, 1, 1_000_000)
    ends = "tunnels that begin or end at one session"
    yield Limit("tunnels_per_session", ends, limits.TUNNELS_PER_SESSION, 1, limits.OPEN_CALLS)
    failed = "connections a second of one address that fail before their handshake is done"
    rate, burst = limits.FAILURES_PER_ADDRESS, limits.FAILURES_ADDRESS_BURST
    yield Limit("failures_per_address", f"{failed}; then it has a penalty", rate, rate / 100, rate * 10_000)
    yield Limit("failures_per_address_at_once", "the same at once", burst, 1, burst * 10_000)
    trials = "connections a second that one address may try in a penalty"
    yield Limit("trials_per_address", trials, limits.TRIALS_PER_ADDRESS, 1, 10_000)
    yield Limit("penalty_seconds", "seconds of the longest penalty", limits.PENALTY_SECONDS, 1, 86_400)
    for suffix, whom in (
        ("", "all sessions"),
        ("_per_key", "the sessions of one key"),
        ("_per_tunnel", "one end of a tunnel"),
    ):
        yield Limit(
            f"bytes{suffix}", f"bytes a second that {whom} may send; 0: any number", 0, limits.METER_LEAST, 10**12
        )
    for name, kind in _KINDS.items():
        yield from kind.rows(name)


LIMITS: Final[Mapping[str, Limit]] = MappingProxyType({limit.name: limit for limit in _table()})
"""Every limit that can be set, by name. An address is an IPv4 address or an IPv6 /64; a /56 has twice as many places
and a /48 four times."""


def read_limits(texts: Iterable[str]) -> dict[str, float]:
    """Read limits that are written as NAME=VALUE; the last of a name counts. Raise BadInputError for what is none."""
    found: dict[str, float] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        name = name.strip()
        if not equals:
            raise BadInputError(f"NAME=VALUE is needed, not {text!r}")
        if name not in LIMITS:
            near = difflib.get_close_matches(name, LIMITS, 1)
            hint = f"is it {near[0]!r}?" if near else "the limits: ssbfast room limits"
            raise BadInputError(f"there is no limit {name!r}; {hint}")
        found[name] = LIMITS[name].read(value.strip())
    return found


@dataclass(frozen=True, slots=True)
class RoomCaps:
    """What the limits of a room are set to.

    values: by name; what is not there has its default. allowed: addresses that never have a penalty.
    """

    values: Mapping[str, float] = field(default_factory=dict)
    allowed: tuple[Network, ...] = ()

    def __getitem__(self, name: str) -> float:
        return self.values.get(name, LIMITS[name].default)

    def count(self, name: str) -> int:
        """Return a limit on a number of things."""
        return int(self[name])

    def places(self, name: str) -> Caps:
        """Return the caps on connections, sessions or tunnels."""
        return Caps(self.count(name), self.count(f"{name}_per_address"))

    def allowances(self, kinds: Iterable[str]) -> dict[str, Allowance]:
        """Return what may be spent of each kind."""
        return {kind: self._allowance(kind) for kind in kinds}

    def _allowance(self, name: str) -> Allowance:
        kind = _KINDS[name]
        key = None if kind.key is None else self._rate(name, kind.seconds)
        address = self._rate(f"{name}_per_address", kind.seconds)
        return Allowance(key, address, key or address if kind.own is None else Rate(*kind.own))

    def _rate(self, name: str, seconds: float) -> Rate:
        return Rate(self[name] / seconds, self[f"{name}_at_once"])

    def penalties(self) -> Penalties:
        """Return the penalties of a room that begins."""
        failures = Rate(self["failures_per_address"], self["failures_per_address_at_once"])
        trials = Rate(self["trials_per_address"], self["trials_per_address"])
        return Penalties(failures, trials, self["penalty_seconds"])

    def is_allowed(self, networks: Rings) -> bool:
        """Return whether an address, as the networks it lies in, never has a penalty."""
        if not self.allowed:
            return False
        try:
            own = ip_network(networks[-1])
        except ValueError:
            return False
        return any(one.version == own.version and one.overlaps(own) for one in self.allowed)

    def within(self, files: int | None, *, beside: int = 0) -> RoomCaps:
        """Return what the limits are in a process that may open so many files (None: any number).

        beside: files that are left to the web site; see `files_beside`.
        """
        if files is None:
            return self
        usable = _usable(files)
        connections = min(self.count("connections"), max(usable // 4, 1))
        sessions = min(self.count("sessions"), usable - connections - beside)
        return replace(self, values={**self.values, "connections": connections, "sessions": sessions})


def files_beside(files: int | None, wanted: int) -> int:
    """Return how many of the files that a process may open are for connections that are no sessions: a quarter."""
    return wanted if files is None else min(wanted, _usable(files) // 4)


def _usable(files: int) -> int:
    return max(files - limits.RESERVED_FILES, 2)


def limit_rows(caps: RoomCaps, reached: Mapping[str, int] | None) -> list[dict[str, object]]:
    """Return every limit as plain data: limit, value, default, meaning, reached.

    reached: how often each was reached; None where no room runs. Limits that cannot be set are there once they were
    reached, with a value of None.
    """
    rows: list[dict[str, object]] = [
        {"limit": name, "value": _plain(caps[name]), "default": _plain(limit.default), "meaning": limit.meaning}
        for name, limit in LIMITS.items()
    ]
    fixed = sorted(set(reached or ()) - set(LIMITS))
    rows += [{"limit": name, "value": None, "default": None, "meaning": "cannot be set"} for name in fixed]
    return [{**row, "reached": None if reached is None else reached.get(str(row["limit"]), 0)} for row in rows]


def _plain(value: float) -> float:
    return int(value) if value == int(value) else value
