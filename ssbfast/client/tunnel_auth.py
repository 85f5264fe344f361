"""Tunnelled authentication at both ends of a tunnel: a follow graph, a policy, and a log of refusals.

    trust = Trust(StoreGraph(data), denials=DenialLog(data))
    async with RoomClient(me, trust=trust) as client: ...
    await trust.close()

The target asks once message 3 has proved the caller's key; the caller asks before it dials. Afterwards a tunnel lives
as long as the relation lets it: when it turns to blocked, or to not followed, the tunnel is cut within a second,
whichever process changed the graph.

Spec: SIP 7, "Tunneled authentication".
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from ssbfast.client.denial_log import DenialLog
from ssbfast.client.follow_graph import FollowGraph, HintingGraph, Unwatch, judge
from ssbfast.errors import NotDialledError, RefusedError
from ssbfast.ids import FeedId
from ssbfast.net.peer import Peer
from ssbfast.room.tunnel_auth import Policy, Reason, Relation, Verdict, admit

_WHY = {
    Reason.STRANGER: "you do not follow them",
    Reason.BLOCKED: "you block them",
    Reason.GRAPH_AWAY: "the follow graph cannot be asked",
    Reason.MISMATCH: "the room named another",
}


class Trust:
    """The rules for a peer's tunnel ends: which keys may come in, and which ones we dial.

    Args:
        graph: The peers that we follow and block.
        policy: What a follow means for admission.
        allowed: Keys that pass without a follow, but not when blocked.
        denials: The log of refused connections; None: they are not recorded.

    Attributes:
        graph: The follow graph.
        policy: The policy.
        denials: The log of refused connections, or None.
    """

    def __init__(
        self,
        graph: FollowGraph,
        *,
        policy: Policy = Policy.FOLLOWS,
        allowed: Iterable[FeedId] = (),
        denials: DenialLog | None = None,
    ) -> None:
        self.graph = graph
        self.policy = policy
        self.denials = denials
        self._allowed = frozenset(allowed)
        self._watched: dict[Peer, Unwatch] = {}

    def __repr__(self) -> str:
        return f"<Trust {self.policy.value}, {len(self._allowed)} allowed>"

    async def judge(self, who: FeedId, *, origin_matches: bool = True) -> Verdict:
        """Decide over a key that is proven, or is about to be dialled. Raises nothing; takes `GRAPH_SECONDS` at most.

        Args:
            who: The key.
            origin_matches: True when the room named no origin, or this one.

        Returns:
            The verdict, with the reason when it refuses.
        """
        return await judge(self.graph, who, self.policy, allowed=who in self._allowed, origin_matches=origin_matches)

    def expects(self, who: FeedId) -> bool:
        """Return whether `who` would be let in by name, as far as is known here and now. Nothing is asked or admitted.

        It says no for keys that are blocked: they must not be told from strangers.
        """
        hint = self.graph.hint(who) if isinstance(self.graph, HintingGraph) else None
        relation = hint or Relation()
        return not relation.blocks and (who in self._allowed or (relation.follows and self.policy is not Policy.ALLOW))

    def knows(self, who: FeedId, verdict: Verdict) -> bool:
        """Return whether a peer was let in because we want it by name, and not because every peer may come."""
        return who in self._allowed or (verdict.relation is not None and verdict.relation.follows)

    def refused(self, portal: FeedId, who: FeedId, verdict: Verdict) -> bool:
        """Record a refusal of ours.

        Args:
            portal: The id of the room that the caller came through.
            who: The key that message 3 has proved.
            verdict: The decision, with the reason of the refusal.

        Returns:
            True when there is a log.
        """
        if self.denials is None:
            return False
        self.denials.refused(portal, who, verdict)
        return True

    def watch(self, peer: Peer, verdict: Verdict, unknown: Callable[[Peer], None]) -> None:
        """Cut the session with `peer` as soon as the graph says something else.

        Args:
            peer: The peer of the session.
            verdict: The decision that let it pass.
            unknown: Called when it may stay, because every peer may, but is not wanted by name any more.
        """

        def changed(relation: Relation | None) -> None:
            allowed = peer.id in self._allowed
            if not admit(self.policy, relation, allowed).admitted and peer.is_open:
                peer.link.fail(RefusedError("trust was withdrawn" if relation else _WHY[Reason.GRAPH_AWAY]))
            elif relation is not None and not allowed and not relation.follows:
                unknown(peer)

        self._watched[peer] = self.graph.watch(peer.id, verdict.relation, changed)

    def forget(self, peer: Peer) -> None:
        """Stop watching a session that is over. Harmless when it was not watched."""
        unwatch = self._watched.pop(peer, None)
        if unwatch is not None:
            unwatch()

    async def close(self) -> None:
        """Close the graph and the log."""
        try:
            await self.graph.close()
        finally:
            if self.denials is not None:
                await self.denials.close()


def not_dialled(reason: Reason) -> NotDialledError:
    """Return what to tell the user about a peer that `judge` does not let us dial."""
    return NotDialledError(f"not dialled: {_WHY[reason]}", reason.value)
