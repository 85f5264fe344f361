"""The directory: exactly one joined and left per real change, tunnels to the newest session."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from ssbfast.errors import LocalProtocolError, RefusedError
from ssbfast.ids import FeedId
from ssbfast.room.directory import Portal, refusal
from ssbfast.room.effects import Changes, Joined, Left
from tests.helpers.rooms import feed

ME = feed(1000)
A, B, C = feed(1), feed(2), feed(3)


def portal_with(*feeds: FeedId) -> Portal:
    """Return a portal with sessions 1, 2, … of these feeds, none announced."""
    portal = Portal(ME)
    for session, id in enumerate(feeds, 1):
        portal.open(session, id)
    return portal


def test_one_joined_and_one_left_per_feed() -> None:
    portal = portal_with(A, A)
    assert portal.announce(1) == (Joined(A),)
    assert portal.announce(1) == ()
    assert portal.announce(2) == ()
    assert portal.leave(1) == ()
    assert portal.leave(1) == ()
    assert portal.close(2) == (Left(A),)
    assert portal.close(2) == ()
    assert portal.close(1) == ()
    assert len(portal) == 0


def test_the_end_of_an_old_session_does_not_remove_a_newer_one() -> None:
    portal = portal_with(A, A, B)
    portal.announce(1)
    portal.announce(2)
    assert portal.route(3, ME, A) == 2
    assert portal.close(1) == ()
    assert portal.route(3, ME, A) == 2
    assert portal.attendants() == [A]


def test_without_the_newest_session_the_older_one_serves() -> None:
    portal = portal_with(A, A, B)
    portal.announce(2)
    portal.announce(1)
    assert portal.route(3, ME, A) == 2
    portal.leave(2)
    assert portal.route(3, ME, A) == 1


def test_attendants_are_in_order_of_joining() -> None:
    portal = portal_with(A, B, C)
    for session in (3, 1, 2):
        portal.announce(session)
    assert portal.attendants() == [C, A, B]


def test_callers_need_not_be_announced_and_old_clients_name_no_portal() -> None:
    portal = portal_with(A, B)
    portal.announce(1)
    assert portal.route(2, None, A) == 1
    assert portal.route(2, ME, A) == 1


def test_all_refusals_are_alike() -> None:
    portal = portal_with(A, A, B)
    portal.announce(1)
    cases = [
        (1, ME, A),  # itself
        (2, ME, A),  # another session of the same key
        (1, ME, B),  # there, but not announced
        (1, ME, C),  # absent
        (3, C, A),  # another portal
        (1, ME, ME),  # the room
    ]
    for session, named, target in cases:
        with pytest.raises(RefusedError) as caught:
            portal.route(session, named, target)
        assert str(caught.value) == f"could not connect to: {target}" == refusal(target)


def test_the_room_itself_is_never_listed() -> None:
    portal = portal_with(ME, B)
    assert portal.announce(1) == ()
    assert portal.attendants() == []
    with pytest.raises(RefusedError):
        portal.route(2, ME, ME)


def test_misuse() -> None:
    portal = portal_with(A)
    with pytest.raises(LocalProtocolError):
        portal.open(1, B)
    for call in (portal.announce, portal.leave, portal.feed):
        with pytest.raises(LocalProtocolError):
            call(9)
    assert 1 in portal
    assert 9 not in portal


def test_two_portals_share_nothing() -> None:
    one, two = portal_with(A), portal_with(B)
    one.announce(1)
    assert two.attendants() == []
    assert two.feed(1) == B


class Directory(RuleBasedStateMachine):
    """A comparison with the simplest model: sessions in the order of opening, and the set of those announced."""

    sessions = Bundle("sessions")

    def __init__(self) -> None:
        super().__init__()
        self.portal = Portal(ME)
        self.open: dict[int, FeedId] = {}
        self.announced: set[int] = set()
        self.listed: list[FeedId] = []
        self.count = 0

    def check(self, changes: Changes) -> None:
        """Check that the changes are exactly the difference between the lists before and after."""
        now = {self.open[session] for session in self.announced}
        expected: list[Joined | Left] = [Left(id) for id in self.listed if id not in now]
        expected += [Joined(id) for id in now if id not in self.listed]
        assert list(changes) == expected
        self.listed = [id for id in self.listed if id in now] + [id for id in now if id not in self.listed]

    @rule(target=sessions, n=st.integers(1, 3))
    def enter(self, n: int) -> int:
        self.count += 1
        self.portal.open(self.count, feed(n))
        self.open[self.count] = feed(n)
        return self.count

    @rule(session=sessions)
    def announce(self, session: int) -> None:
        self.announced.add(session)
        self.check(self.portal.announce(session))

    @rule(session=sessions)
    def leave(self, session: int) -> None:
        self.announced.discard(session)
        self.check(self.portal.leave(session))

    @rule(session=consumes(sessions))
    def close(self, session: int) -> None:
        self.announced.discard(session)
        self.check(self.portal.close(session))
        del self.open[session]

    @rule(session=sessions, n=st.integers(1, 4))
    def connect(self, session: int, n: int) -> None:
        target = feed(n)
        there = [s for s in self.announced if self.open[s] == target]
        if not there or self.open[session] == target:
            with pytest.raises(RefusedError):
                self.portal.route(session, None, target)
        else:
            assert self.portal.route(session, ME, target) == max(there)

    @invariant()
    def lists_agree(self) -> None:
        assert self.portal.attendants() == self.listed
        assert len(self.portal) == len(self.open)
        for n in (1, 2, 3):
            mine = sorted((s for s, id in self.open.items() if id == feed(n)), reverse=True)
            assert self.portal.sessions(feed(n)) == tuple(mine)


TestDirectory = Directory.TestCase
TestDirectory.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
