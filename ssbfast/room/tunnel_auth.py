"""The decision which callers may pass a peer's tunnel ends, asked once the inner handshake has proved the caller's key.

Tunnelled authentication: a peer lets in the keys that it follows and does not block, and the caller applies the same
rule before it dials; so a tunnel needs a follow in both directions. The room takes no part.

Spec: SIP 7, "Tunneled authentication".
"""

from __future__ import annotations

import enum
from collections.abc import Iterable
from dataclasses import dataclass

from ssbfast.ids import FeedId


class AllowList:
    """A fixed set of keys to let in: an Admission (ssbfast.room.admission) for programs without a follow graph."""

    def __init__(self, ids: Iterable[FeedId]) -> None:
        self._ids = frozenset(ids)

    def decide(self, id: FeedId) -> bool:
        """Return whether `id` is on the list."""
        return id in self._ids

    def __repr__(self) -> str:
        return f"<AllowList of {len(self._ids)}>"


@dataclass(frozen=True, slots=True)
class Relation:
    """Our opinion of a peer: two independent statements, of which `blocks` is the stronger."""

    follows: bool = False
    blocks: bool = False

    @property
    def known(self) -> bool:
        """True when the key is in our follow graph."""
        return self.follows or self.blocks


class Policy(enum.Enum):
    """The rules for passing a tunnel end. Keys allowed one by one pass in each; blocked ones in none."""

    FOLLOWS = "follows"
    """Keys that we follow: Rooms 2's rule, and the default."""

    ALLOW = "allow"
    """Only keys that were allowed one by one."""

    EVERYONE = "everyone"
    """Any caller that can name us. Programs say so when they start."""


class Reason(enum.Enum):
    """The reason for a refusal. For our own eyes: on the wire all refusals look alike."""

    STRANGER = "stranger"
    BLOCKED = "blocked"
    MISMATCH = "mismatch"
    """The room named another origin than the key that was proven: the room's fault."""
    GRAPH_AWAY = "graph away"
    """Whether we block the key could not be found out."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """A decision. reason: why not; None when admitted. relation: its ground; None when that is not known."""

    reason: Reason | None
    relation: Relation | None

    @property
    def admitted(self) -> bool:
        return self.reason is None


def admit(policy: Policy, relation: Relation | None, allowed: bool, *, origin_matches: bool = True) -> Verdict:
    """Decide over a key that message 3 has proved, or over one that we are about to dial.

    relation: what the follow graph says; None when it cannot be asked, and then all are refused, since a block
        could not be seen.
    allowed: the key was allowed by name.
    origin_matches: the room named no origin, or the key that was proven.
    """
    return Verdict(_objection(policy, relation, allowed, origin_matches), relation)


def _objection(policy: Policy, relation: Relation | None, allowed: bool, origin_matches: bool) -> Reason | None:
    if not origin_matches:
        return Reason.MISMATCH
    if relation is None:
        return Reason.GRAPH_AWAY
    if relation.blocks:
        return Reason.BLOCKED
    welcome = allowed or policy is Policy.EVERYONE or (policy is Policy.FOLLOWS and relation.follows)
    return None if welcome else Reason.STRANGER
