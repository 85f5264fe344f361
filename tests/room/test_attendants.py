"""Attendance: snapshots and changes without a gap, lists once a second, slow readers get one fresh state."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from ssbfast import limits
from ssbfast.ids import FeedId
from ssbfast.room.attendants import Attendance
from ssbfast.room.effects import Change, Joined, Left, StreamItem
from tests.helpers.rooms import feed

A, B, C = feed(1), feed(2), feed(3)


def seen(items: list[StreamItem], session: int = 1, req: int = -1) -> list[Any]:
    return [json.loads(item.body) for item in items if (item.session, item.req) == (session, req)]


def state(*ids: FeedId) -> dict[str, Any]:
    return {"type": "state", "ids": [str(id) for id in ids]}


def reader(attendance: Attendance, session: int = 1, req: int = -1, now: float = 0.0) -> list[Any]:
    return seen(attendance.subscribe(session, req, lists=False, now=now), session, req)


def lister(attendance: Attendance, session: int = 1, req: int = -1, now: float = 0.0) -> list[Any]:
    return seen(attendance.subscribe(session, req, lists=True, now=now), session, req)


def test_a_snapshot_and_then_changes() -> None:
    attendance = Attendance([A])
    assert reader(attendance) == [state(A)]
    assert seen(attendance.publish([Joined(B)], 0)) == [{"type": "joined", "id": str(B)}]
    assert seen(attendance.publish([Left(A)], 0)) == [{"type": "left", "id": str(A)}]
    assert reader(attendance, 2, -5) == [state(B)]


def test_bytes_on_the_wire() -> None:
    attendance = Attendance()
    (item,) = attendance.subscribe(1, -1, lists=False, now=0)
    assert (item.body, item.snapshot) == (b'{"type":"state","ids":[]}', True)
    (item,) = attendance.publish([Joined(A)], 0)
    assert (item.body, item.snapshot) == (b'{"type":"joined","id":"%b"}' % str(A).encode(), False)
    (item,) = attendance.subscribe(1, -2, lists=True, now=0)
    assert (item.body, item.snapshot) == (b'["%b"]' % str(A).encode(), True)


def test_all_subscribers_share_one_body() -> None:
    attendance = Attendance()
    for session in range(5):
        reader(attendance, session)
    items = attendance.publish([Joined(A)], 0)
    assert [item.session for item in items] == [0, 1, 2, 3, 4]
    assert len({id(item.body) for item in items}) == 1


def test_lists_come_at_most_once_a_second() -> None:
    attendance = Attendance()
    assert lister(attendance, now=10.0) == [[]]
    assert attendance.publish([Joined(A)], 10.2) == []
    assert attendance.publish([Joined(B)], 10.4) == []
    assert attendance.next_tick == 11.0
    assert attendance.tick(10.9) == []
    assert seen(attendance.tick(11.0)) == [[str(A), str(B)]]
    assert not attendance.next_tick
    assert seen(attendance.publish([Left(A)], 12.5)) == [[str(B)]]
    assert attendance.tick(100.0) == []


def test_a_list_that_is_due_goes_to_those_who_still_listen() -> None:
    attendance = Attendance()
    lister(attendance)
    attendance.publish([Joined(A)], 0.5)
    attendance.unsubscribe(1, -1)
    assert attendance.tick(1.0) == []


def test_a_slow_reader_gets_one_fresh_state() -> None:
    attendance = Attendance()
    reader(attendance)
    reader(attendance, 2)
    attendance.backlog_passed(1, lost=False)
    for change in (Joined(A), Joined(B), Left(A)):
        items = attendance.publish([change], 0)
        assert [item.session for item in items] == [2]
    assert seen(attendance.drained(1, 0)) == [state(B)]
    assert attendance.drained(1, 0) == []
    assert len(seen(attendance.publish([Joined(C)], 0))) == 1


def test_a_slow_reader_that_missed_nothing_gets_nothing() -> None:
    attendance = Attendance()
    reader(attendance)
    attendance.backlog_passed(1, lost=False)
    assert attendance.drained(1, 0) == []


def test_what_was_lost_is_made_up_for() -> None:
    attendance = Attendance([A])
    reader(attendance)
    attendance.backlog_passed(1, lost=True)
    assert seen(attendance.drained(1, 0)) == [state(A)]


def test_a_slow_session_that_subscribes_waits_for_its_state() -> None:
    attendance = Attendance([A])
    reader(attendance, 1, -1)
    attendance.backlog_passed(1, lost=False)
    assert reader(attendance, 1, -2) == []
    assert lister(attendance, 1, -3) == []
    attendance.publish([Joined(B)], 0)
    items = attendance.drained(1, 0)
    assert seen(items, 1, -2) == [state(A, B)]
    assert seen(items, 1, -3) == [[str(A), str(B)]]


def test_a_slow_lister_has_one_list_pending() -> None:
    attendance = Attendance()
    lister(attendance)
    attendance.publish([Joined(A)], 0.1)
    attendance.backlog_passed(1, lost=False)
    attendance.publish([Joined(B)], 0.2)
    assert attendance.tick(1.0) == []
    assert attendance.tick(5.0) == []
    assert not attendance.next_tick
    assert seen(attendance.drained(1, 6.0)) == [[str(A), str(B)]]


def test_a_lister_that_drains_early_still_waits_its_second() -> None:
    attendance = Attendance()
    lister(attendance)
    attendance.backlog_passed(1, lost=False)
    attendance.publish([Joined(A)], 0.1)
    assert attendance.drained(1, 0.2) == []
    assert attendance.next_tick == limits.ENDPOINTS_SECONDS
    assert seen(attendance.tick(1.0)) == [[str(A)]]


def test_the_end_of_a_session_ends_its_subscriptions() -> None:
    attendance = Attendance()
    reader(attendance, 1, -1)
    lister(attendance, 1, -2)
    attendance.backlog_passed(1, lost=True)
    attendance.session_closed(1)
    attendance.session_closed(1)
    assert attendance.count(1) == 0
    assert attendance.publish([Joined(A)], 5.0) == []
    assert attendance.drained(1, 5.0) == []
    assert reader(attendance, 1, -1) == [state(A)]


def test_ten_thousand_attendants_are_one_snapshot_below_the_clients_limit() -> None:
    attendance = Attendance(feed(n) for n in range(10_000))
    (item,) = attendance.subscribe(1, -1, lists=False, now=0)
    assert len(json.loads(item.body)["ids"]) == 10_000
    assert len(item.body) < limits.ANSWER_BODY


class Views(RuleBasedStateMachine):
    """Subscribers: one that is not slow knows exactly who is there, and is told nothing twice."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.attendance = Attendance()
        self.present: dict[str, FeedId] = {}
        self.views: dict[tuple[int, int], list[str] | None] = {}
        self.kinds: dict[tuple[int, int], bool] = {}
        self.times: dict[tuple[int, int], float] = {}
        self.paused: set[int] = set()
        self.count = 0

    session = st.integers(1, 3)

    def apply(self, items: list[StreamItem]) -> None:
        for item in items:
            key = item.session, item.req
            assert item.session not in self.paused
            value = json.loads(item.body)
            if self.kinds[key]:
                assert self.now - self.times.get(key, -9.0) >= limits.ENDPOINTS_SECONDS
                self.times[key] = self.now
                self.views[key] = value
                continue
            view = self.views[key]
            if value["type"] == "state":
                self.views[key] = value["ids"]
            elif value["type"] == "joined":
                assert view is not None
                assert value["id"] not in view
                view.append(value["id"])
            else:
                assert view is not None
                view.remove(value["id"])

    @rule(session=session, lists=st.booleans())
    def subscribe(self, session: int, lists: bool) -> None:
        self.count += 1
        key = session, -self.count
        self.views[key], self.kinds[key] = None, lists
        self.apply(self.attendance.subscribe(*key, lists=lists, now=self.now))

    @rule(data=st.data())
    def unsubscribe(self, data: st.DataObject) -> None:
        if self.views:
            key = data.draw(st.sampled_from(sorted(self.views)))
            del self.views[key]
            self.attendance.unsubscribe(*key)

    @rule(session=session)
    def close(self, session: int) -> None:
        self.views = {key: view for key, view in self.views.items() if key[0] != session}
        self.paused.discard(session)
        self.attendance.session_closed(session)

    @rule(n=st.integers(1, 6))
    def change(self, n: int) -> None:
        id = feed(n)
        change: Change = Left(id) if str(id) in self.present else Joined(id)
        if isinstance(change, Left):
            del self.present[str(id)]
        else:
            self.present[str(id)] = id
        self.apply(self.attendance.publish([change], self.now))

    @rule(session=session, lost=st.booleans())
    def slow(self, session: int, lost: bool) -> None:
        self.paused.add(session)
        self.attendance.backlog_passed(session, lost=lost)

    @rule(session=session)
    def drain(self, session: int) -> None:
        self.paused.discard(session)
        self.apply(self.attendance.drained(session, self.now))

    @rule(seconds=st.sampled_from([0.125, 0.5, 1.0, 3.0]))
    def wait(self, seconds: float) -> None:
        until = self.now + seconds
        while (tick := self.attendance.next_tick) is not None and tick <= until:
            self.now = max(self.now, tick)
            self.apply(self.attendance.tick(self.now))
        self.now = until

    @invariant()
    def who_listens_knows(self) -> None:
        for key, view in self.views.items():
            if key[0] in self.paused or (self.kinds[key] and self.attendance.next_tick is not None):
                continue
            assert view == list(self.present)
        for session in (1, 2, 3):
            assert self.attendance.count(session) == sum(1 for key in self.views if key[0] == session)


TestViews = Views.TestCase
TestViews.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)


# ---------------------------------------------------------------- crowds


def all_ticks(attendance: Attendance, now: float = 0.0) -> list[list[StreamItem]]:
    """Return the items of each tick until there is nothing left to report."""
    ticks = []
    until = now + limits.ENDPOINTS_SECONDS / 2
    while attendance.next_tick is not None and attendance.next_tick <= until:
        now = max(now, attendance.next_tick)
        ticks.append(attendance.tick(now))
    return ticks


def test_a_wave_is_told_in_steps_and_everybody_gets_all_of_it_in_order() -> None:
    attendance = Attendance()
    readers, joins = 10 * limits.ATTENDANCE_STEP + 7, 40
    for session in range(readers):
        reader(attendance, session)
    calls = [attendance.publish([Joined(feed(i))], 0) for i in range(joins)]
    assert len(calls[0]) == limits.ATTENDANCE_STEP
    assert not any(calls[1:])  # nobody is told more before the others have had their turn
    calls += all_ticks(attendance)
    assert max(map(len, calls)) < limits.ATTENDANCE_STEP + joins
    items = [item for call in calls for item in call]
    expected = [{"type": "joined", "id": str(feed(i))} for i in range(joins)]
    for session in (0, limits.ATTENDANCE_STEP, readers - 1):
        assert seen(items, session) == expected
    assert len(items) == readers * joins
    assert len({id(item.body) for item in items}) == joins
    assert attendance._news.since(0) is None  # forgotten: all know it


def test_who_comes_or_goes_in_the_middle_of_a_round_misses_nothing_and_hears_nothing_twice() -> None:
    attendance = Attendance()
    readers = 2 * limits.ATTENDANCE_STEP
    for session in range(readers):
        reader(attendance, session)
    first = attendance.publish([Joined(A)], 0)
    assert reader(attendance, 9999) == [state(A)]
    attendance.session_closed(readers - 1)
    attendance.publish([Joined(B)], 0)
    rest = [item for call in all_ticks(attendance) for item in call]
    assert seen(rest, 9999) == [{"type": "joined", "id": str(B)}]
    assert seen(rest, readers - 1) == []
    both = [{"type": "joined", "id": str(A)}, {"type": "joined", "id": str(B)}]
    assert all(seen(first + rest, session) == both for session in range(readers - 1))


def test_who_would_have_to_be_told_too_much_gets_a_fresh_state() -> None:
    attendance = Attendance()
    readers = 2 * limits.ATTENDANCE_STEP
    for session in range(readers):
        reader(attendance, session)
    for i in range(3000):
        attendance.publish([Joined(feed(i))], 0)
    assert attendance._news._bytes <= limits.SUBSCRIBER_BACKLOG
    items = [item for call in all_ticks(attendance) for item in call]
    assert seen(items, readers - 1) == [state(*map(feed, range(3000)))]
    assert items[-1].snapshot


def test_a_reader_that_was_paused_when_its_turn_came_gets_a_state_and_one_that_was_not_goes_on() -> None:
    attendance = Attendance()
    readers = 2 * limits.ATTENDANCE_STEP
    for session in range(readers):
        reader(attendance, session)
    attendance.publish([Joined(A)], 0)
    early, late = readers - 2, readers - 1
    attendance.backlog_passed(early, lost=False)
    attendance.backlog_passed(late, lost=False)
    assert attendance.drained(late, 0) == []  # before its turn: nothing is missed
    items = [item for call in all_ticks(attendance) for item in call]
    assert seen(items, late) == [{"type": "joined", "id": str(A)}]
    assert seen(items, early) == []
    assert seen(attendance.drained(early, 0), early) == [state(A)]


def test_lists_for_many_come_in_steps_too() -> None:
    attendance = Attendance()
    listers = 3 * limits.ATTENDANCE_STEP
    for session in range(listers):
        lister(attendance, session)
    attendance.publish([Joined(A)], 0.5)
    ticks = all_ticks(attendance, 1.0)
    assert [len(tick) for tick in ticks] == [limits.ATTENDANCE_STEP] * 3


def test_lists_after_a_change_go_to_some_at_once_and_to_all_in_steps() -> None:
    attendance = Attendance()
    listers = 5 * limits.ATTENDANCE_STEP
    for session in range(listers):
        lister(attendance, session)
    first = attendance.publish([Joined(A)], 5.0)
    assert len(first) == limits.ATTENDANCE_STEP
    rest = all_ticks(attendance, 5.0)
    assert max(map(len, rest)) <= limits.ATTENDANCE_STEP
    told = [item.session for call in (first, *rest) for item in call]
    assert sorted(told) == list(range(listers))
