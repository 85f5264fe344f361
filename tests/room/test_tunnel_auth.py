"""Admission to a peer."""

from __future__ import annotations

import itertools

import pytest

from ssbfast.room.admission import Admission
from ssbfast.room.tunnel_auth import AllowList, Policy, Reason, Relation, Verdict, admit
from tests.helpers.rooms import feed

FOLLOWS, BLOCKS, BOTH, NEITHER = Relation(True), Relation(blocks=True), Relation(True, True), Relation()
STATES = (NEITHER, FOLLOWS, BLOCKS, BOTH)


def test_an_allow_list_lets_in_nobody_else() -> None:
    some: Admission = AllowList([feed(1), feed(2), feed(1)])
    none: Admission = AllowList([])
    assert [some.decide(feed(n)) for n in (1, 2, 3)] == [True, True, False]
    assert not none.decide(feed(1))
    assert repr(some) == "<AllowList of 2>"


@pytest.mark.parametrize(("caller", "target"), list(itertools.product(STATES, STATES)))
def test_of_the_16_combinations_one_makes_a_tunnel(caller: Relation, target: Relation) -> None:
    """caller: what the caller thinks of the target, asked before dialling; target: the other way round."""
    dials = admit(Policy.FOLLOWS, caller, False)
    lets_in = admit(Policy.FOLLOWS, target, False)
    assert (dials.admitted and lets_in.admitted) is (caller == target == FOLLOWS)
    assert lets_in.reason is {NEITHER: Reason.STRANGER, FOLLOWS: None}.get(target, Reason.BLOCKED)
    assert dials.reason is {NEITHER: Reason.STRANGER, FOLLOWS: None}.get(caller, Reason.BLOCKED)


ALL = (Policy.FOLLOWS, Policy.ALLOW, Policy.EVERYONE)
WHO_PASSES = {
    # relation, allowed by name: policies that let in
    (NEITHER, False): (Policy.EVERYONE,),
    (NEITHER, True): ALL,
    (FOLLOWS, False): (Policy.FOLLOWS, Policy.EVERYONE),
    (FOLLOWS, True): ALL,
}


@pytest.mark.parametrize("policy", Policy)
@pytest.mark.parametrize("allowed", [False, True])
@pytest.mark.parametrize("relation", [*STATES, None])
def test_policies(policy: Policy, relation: Relation | None, allowed: bool) -> None:
    verdict = admit(policy, relation, allowed)
    assert verdict.relation is relation
    if relation is None:
        assert verdict.reason is Reason.GRAPH_AWAY  # a block could not be seen: nobody passes, not even the allowed
    elif relation.blocks:
        assert verdict.reason is Reason.BLOCKED  # under every policy
    elif policy in WHO_PASSES[relation, allowed]:
        assert verdict == Verdict(None, relation) and verdict.admitted
    else:
        assert verdict.reason is Reason.STRANGER and not verdict.admitted


@pytest.mark.parametrize("policy", Policy)
@pytest.mark.parametrize("relation", [*STATES, None])
def test_a_mismatch_passes_nowhere(policy: Policy, relation: Relation | None) -> None:
    assert admit(policy, relation, True, origin_matches=False) == Verdict(Reason.MISMATCH, relation)


def test_names_that_users_type_and_read() -> None:
    assert [policy.value for policy in Policy] == ["follows", "allow", "everyone"]
    assert [reason.value for reason in Reason] == ["stranger", "blocked", "mismatch", "graph away"]


def test_who_is_known() -> None:
    assert [relation.known for relation in STATES] == [False, True, True, True]
