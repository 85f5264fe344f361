"""What comes by itself into an open room is limited in all; members that somebody has let in do not feel it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ssbfast import limits
from ssbfast.ids import FeedId
from ssbfast.room.records import Claim, Outcome
from ssbfast.room.roles import Mode, Role
from ssbfast.store.room_store import RoomStore
from tests.helpers.room_stores import SIGNATURE, Clock, dump, hash_number, newest
from tests.helpers.rooms import feed

ADMIN, MOD, HONEST, ROOM = (feed(n) for n in range(1, 5))
STRANGERS = [feed(n) for n in range(100, 200)]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Iterator[RoomStore]:
    """An open room with an admin, a moderator and a member, and small limits."""
    monkeypatch.setattr(limits, "SELF_JOINED_MEMBERS", 20)
    monkeypatch.setattr(limits, "SELF_JOINED_INVITES", 30)
    monkeypatch.setattr(limits, "SELF_JOINED_INVITES_SHARE", 2)
    monkeypatch.setattr(limits, "SELF_JOINED_ALIASES", 50)
    with RoomStore(tmp_path, now=clock) as store:
        store._connection.execute("PRAGMA synchronous = OFF")
        store.add_member(ADMIN, Role.ADMIN, by=None)
        store.add_member(MOD, Role.MODERATOR, by=ADMIN)
        store.add_member(HONEST, by=MOD)
        yield store


class Invites:
    """Makes invites, and lets them be claimed."""

    def __init__(self, store: RoomStore) -> None:
        self._store = store
        self.count = 0

    def make(self, by: FeedId | None, uses: int = 1) -> Outcome:
        self.count += 1
        return self._store.create_invite(hash_number(self.count), by=by, uses=uses).outcome

    def claim(self, who: FeedId, number: int = 0) -> Claim:
        return self._store.claim_invite(hash_number(number or self.count), who, 5.0)


def register(store: RoomStore, who: FeedId, name: str) -> Outcome:
    return store.register_alias(name, who, SIGNATURE, most=8, now=1_000_000.0)


def flood(store: RoomStore) -> Invites:
    """Do all that a hundred keys can: aliases, invites, claims of each other's invites, until nothing more is taken."""
    invites = Invites(store)
    invites.make(ROOM, uses=100)
    for who in STRANGERS[:50]:
        invites.claim(who, 1)
    for turn in range(10):
        for n, who in enumerate(STRANGERS):
            register(store, who, f"a{n}-{turn}")
            if invites.make(who if store.member(who) else ROOM, uses=100) is Outcome.DONE:
                invites.claim(STRANGERS[(n + 1) % 100])
    return invites


def test_a_hundred_keys_beside_an_honest_member(store: RoomStore, tmp_path: Path) -> None:
    invites = flood(store)
    rows = dump(tmp_path)
    theirs = {who.key for who in STRANGERS}
    assert sum(row[0] in theirs for row in rows["members"]) == 20
    assert len(rows["aliases"]) <= 50 + 20
    assert len(rows["invites"]) <= 30 + 20 * 2
    assert register(store, feed(300), "late") is Outcome.FULL
    assert invites.make(ROOM) is Outcome.FULL
    for n, who in enumerate((None, ADMIN, MOD, HONEST)):
        for more in range(40):
            assert invites.make(who, uses=2) is Outcome.DONE
            assert invites.claim(feed(1000 + 100 * n + more)) == Claim(Outcome.DONE)
    assert all(register(store, HONEST, f"honest{n}") is Outcome.DONE for n in range(8))
    assert store.add_member(feed(300), by=MOD) is Outcome.DONE


def test_a_member_that_came_by_itself_has_its_share(store: RoomStore) -> None:
    first = STRANGERS[0]
    assert register(store, first, "first") is Outcome.DONE
    invites = flood(store)
    outcomes = [invites.make(first) for _ in range(3)]
    assert outcomes == [Outcome.FULL] * 3  # it has taken part in the flood
    late = STRANGERS[99]
    store.remove_member(STRANGERS[1], by=MOD)
    assert register(store, late, "late") is Outcome.DONE
    assert [invites.make(late) for _ in range(3)] == [Outcome.DONE, Outcome.DONE, Outcome.FULL]
    assert invites.claim(feed(300), invites.count - 1) == Claim(Outcome.FULL)  # there is no place for more members
    assert store.member(feed(300)) is None and store.find_invite(hash_number(invites.count - 1)).used == 0


def test_a_full_room_keeps_the_share_of_aliases(store: RoomStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "SELF_JOINED_ALIASES", 3)
    assert [register(store, STRANGERS[0], name) for name in "abcd"] == [Outcome.DONE] * 3 + [Outcome.FULL]
    assert register(store, STRANGERS[0], "a") is Outcome.UNCHANGED
    assert [register(store, STRANGERS[1], name) for name in "ef"] == [Outcome.DONE, Outcome.FULL]
    assert [register(store, HONEST, name) for name in "gh"] == [Outcome.DONE] * 2
    store.revoke_alias("e", by=STRANGERS[1], owner=STRANGERS[1])  # the name is kept, and counted
    assert [register(store, STRANGERS[1], name) for name in "ef"] == [Outcome.DONE, Outcome.FULL]


def test_those_whom_a_stranger_lets_in_are_strangers(store: RoomStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "SELF_JOINED_MEMBERS", 3)
    invites = Invites(store)
    assert register(store, STRANGERS[0], "a") is Outcome.DONE
    for n in range(3):
        invites.make(STRANGERS[n])
        assert invites.claim(STRANGERS[n + 1]) == Claim(Outcome.DONE if n < 2 else Outcome.FULL)
    store.change_settings(by=None, mode=Mode.COMMUNITY)  # they stay what they are
    assert invites.make(STRANGERS[0]) is Outcome.DONE
    assert invites.claim(STRANGERS[3]) == Claim(Outcome.FULL)
    assert invites.make(HONEST) is Outcome.DONE
    assert invites.claim(STRANGERS[3]) == Claim(Outcome.DONE)


def test_a_moderator_is_no_stranger_and_gives_its_place_back(store: RoomStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "SELF_JOINED_MEMBERS", 1)
    assert register(store, STRANGERS[0], "a") is Outcome.DONE
    assert register(store, STRANGERS[1], "b") is Outcome.FULL
    store.set_role(STRANGERS[0], Role.MODERATOR, by=ADMIN)
    store.set_role(STRANGERS[0], Role.MEMBER, by=ADMIN)
    assert register(store, STRANGERS[1], "b") is Outcome.DONE
    store.add_link(hash_number(1), None, "admin", 1e12, by=None)
    store.take_admin_link(hash_number(1), STRANGERS[1], 5.0)
    assert register(store, STRANGERS[2], "c") is Outcome.DONE


def test_the_present_members_whom_an_admin_keeps_are_no_strangers(
    store: RoomStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "SELF_JOINED_MEMBERS", 1)
    store.change_settings(by=ADMIN, members=STRANGERS[:5])
    assert register(store, STRANGERS[5], "a") is Outcome.DONE


def test_invites_that_are_over_are_forgotten_and_those_of_others_stay(
    store: RoomStore, clock: Clock, tmp_path: Path
) -> None:
    invites = Invites(store)
    for who in (HONEST, MOD, None):
        invites.make(who)
        store.revoke_invite(invites.count, by=None)
    for _ in range(100):
        assert invites.make(ROOM) is Outcome.DONE
        store.revoke_invite(invites.count, by=None)
    invites.make(ROOM)
    assert sorted(row[0] for row in dump(tmp_path)["invites"]) == [1, 2, 3, *range(74, 105)]


def test_surplus_lines_of_the_audit_log_are_forgotten(
    store: RoomStore, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "AUDIT_LINES", 10)
    for n in range(20):
        store.add_member(STRANGERS[n], by=None)
    last = newest(store).number
    store.sweep(clock.now)
    assert [line.number for line in store.audit()] == list(range(last, last - 10, -1))
    assert store.news(last - 11).is_whole and not store.news(last - 10).is_whole
