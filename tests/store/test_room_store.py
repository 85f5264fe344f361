"""What a room's store keeps, who may claim what, and what goes with a key that is blocked or removed."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from ssbfast import limits
from ssbfast.errors import BadInputError, StoreError
from ssbfast.ids import FeedId
from ssbfast.room.records import AUDIT_ACTIONS, Claim, NewInvite, Notice, Outcome, RoomRecords, Settings
from ssbfast.room.roles import Mode, Role
from ssbfast.store.room_store import FILE, RoomStore
from tests.helpers.room_stores import SIGNATURE, Clock, dump, hash_number, newest
from tests.helpers.rooms import feed
from tests.helpers.stores import posix_only

ADMIN, MOD, MEMBER, OTHER, STRANGER = (feed(n) for n in range(1, 6))
DONE, INVALID, UNCHANGED = Claim(Outcome.DONE), Claim(Outcome.INVALID), Claim(Outcome.UNCHANGED)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(tmp_path: Path, clock: Clock) -> Iterator[RoomStore]:
    """A store with an admin, a moderator and a member."""
    with RoomStore(tmp_path, now=clock) as store:
        store.add_member(ADMIN, Role.ADMIN, by=None)
        store.add_member(MOD, Role.MODERATOR, by=ADMIN)
        store.add_member(MEMBER, by=MOD)
        yield store


def register(store: RoomStore, name: str, who: FeedId, *, most: int = 8, now: float = 1_000_000.0) -> Outcome:
    return store.register_alias(name, who, SIGNATURE, most=most, now=now)


def test_it_is_a_store_of_records(store: RoomStore) -> None:
    records: RoomRecords = store  # for the type checker
    assert len(records.members()) == 3
    for name in vars(RoomRecords):
        if not name.startswith("_"):
            assert callable(getattr(store, name))


@posix_only
def test_nobody_else_can_read_it(store: RoomStore) -> None:
    assert stat.S_IMODE(store.path.stat().st_mode) == 0o600


# ---------------------------------------------------------------- members


def test_members_in_the_order_of_joining(store: RoomStore, clock: Clock) -> None:
    clock.now += 1
    store.add_member(STRANGER, by=None)
    assert [(one.feed, one.role, one.by) for one in store.members()] == [
        (ADMIN, Role.ADMIN, None),
        (MOD, Role.MODERATOR, ADMIN),
        (MEMBER, Role.MEMBER, MOD),
        (STRANGER, Role.MEMBER, None),
    ]
    member = store.member(STRANGER)
    assert member is not None and member.since == clock.now and not member.has_password


def test_a_member_that_is_added_again_keeps_its_role(store: RoomStore) -> None:
    assert store.add_member(MOD, Role.ADMIN, by=None) is Outcome.UNCHANGED
    member = store.member(MOD)
    assert member is not None and member.role is Role.MODERATOR


def test_a_blocked_key_is_not_added(store: RoomStore) -> None:
    store.block(STRANGER, "", by=ADMIN)
    assert store.add_member(STRANGER, by=None) is Outcome.BLOCKED
    assert store.member(STRANGER) is None


@pytest.mark.parametrize("role", [Role.BLOCKED, Role.EXTERNAL, Role.OPERATOR])
def test_roles_that_are_not_stored(store: RoomStore, role: Role) -> None:
    with pytest.raises(BadInputError):
        store.add_member(STRANGER, role, by=None)
    with pytest.raises(BadInputError):
        store.set_role(MEMBER, role, by=None)


def test_a_role_is_compared_before_it_is_set(store: RoomStore) -> None:
    assert store.set_role(MEMBER, Role.ADMIN, by=ADMIN, expected=Role.MODERATOR) is Outcome.MISSING
    assert store.set_role(STRANGER, Role.ADMIN, by=ADMIN) is Outcome.MISSING
    assert store.set_role(MEMBER, Role.MEMBER, by=ADMIN) is Outcome.UNCHANGED
    assert store.set_role(MEMBER, Role.MODERATOR, by=ADMIN, expected=Role.MEMBER) is Outcome.DONE
    assert newest(store).detail == "member → moderator"


def test_the_last_admin_stays(store: RoomStore) -> None:
    actions: list[Callable[[bool], Outcome]] = [
        lambda force: store.set_role(ADMIN, Role.MEMBER, by=ADMIN, force=force),
        lambda force: store.remove_member(ADMIN, by=ADMIN, force=force),
        lambda force: store.block(ADMIN, "", by=ADMIN, force=force),
    ]
    for act in actions:
        assert act(False) is Outcome.LAST_ADMIN
    assert [one.role for one in store.members()].count(Role.ADMIN) == 1
    for n, act in enumerate(actions):
        store.unblock(ADMIN, by=None)
        store.add_member(ADMIN, Role.ADMIN, by=None)
        store.set_role(ADMIN, Role.ADMIN, by=None)
        assert act(True) is Outcome.DONE, n


def test_one_of_two_admins_may_go(store: RoomStore) -> None:
    store.add_member(OTHER, Role.ADMIN, by=ADMIN)
    assert store.set_role(ADMIN, Role.MEMBER, by=OTHER) is Outcome.DONE
    assert store.remove_member(OTHER, by=OTHER) is Outcome.LAST_ADMIN


def test_two_admins_who_remove_each_other_at_once_leave_one(tmp_path: Path, store: RoomStore) -> None:
    store.add_member(OTHER, Role.ADMIN, by=ADMIN)
    start, outcomes = threading.Barrier(2), []

    def remove(who: FeedId, by: FeedId) -> None:
        with RoomStore(tmp_path) as mine:
            start.wait()
            outcomes.append(mine.remove_member(who, by=by))

    threads = [threading.Thread(target=remove, args=pair) for pair in ((ADMIN, OTHER), (OTHER, ADMIN))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == sorted([Outcome.DONE, Outcome.FORBIDDEN])


# ---------------------------------------------------------------- blocked and removed


def furnish(store: RoomStore, who: FeedId) -> None:
    """Give a key one of everything."""
    now = 1_000_000.0
    assert register(store, "alice", who) is Outcome.DONE
    assert register(store, "resting", who) is Outcome.DONE
    assert store.revoke_alias("resting", by=who, owner=who) is Outcome.DONE
    assert store.create_invite(hash_number(1), by=who).number > 0
    assert store.create_invite(hash_number(2), by=who, uses=2).number > 0
    assert store.claim_invite(hash_number(2), feed(77), now) == DONE
    store.add_web_session(hash_number(3), who, "Firefox", now)
    store.add_link(hash_number(4), who, "login", now + 100, by=None)
    store.add_link(hash_number(5), None, "admin", now + 100, by=None)
    store.set_password(who, b"stored", by=who)


@pytest.mark.parametrize("how", ["block", "remove"])
def test_nothing_of_it_stays(tmp_path: Path, store: RoomStore, how: str) -> None:
    furnish(store, MEMBER)
    outcome = store.block(MEMBER, "spam", by=MOD) if how == "block" else store.remove_member(MEMBER, by=MOD)
    assert outcome is Outcome.DONE
    rows = dump(tmp_path)
    for table, found in rows.items():
        if table not in ("audit", "denied", "members"):
            assert not [row for row in found if MEMBER.key in row], table
    assert len(rows["denied"]) == (how == "block")
    assert store.password(MEMBER) is None and store.web_session(hash_number(3)) is None
    assert store.take_link(hash_number(4), 0.0) is None
    assert store.claim_invite(hash_number(1), STRANGER, 0.0) == INVALID
    assert store.member(feed(77)) is not None  # who came by an invite of it stays
    assert (newest(store).action, newest(store).subject, newest(store).by) == (how, MEMBER, MOD)
    # its names are free at once, also the one that was resting
    for name in ("alice", "resting"):
        assert register(store, name, OTHER) is Outcome.DONE


def test_blocking_twice_and_unblocking(store: RoomStore) -> None:
    assert store.block(STRANGER, "spam", by=MOD) is Outcome.DONE
    assert store.block(STRANGER, "more spam", by=ADMIN) is Outcome.UNCHANGED
    (denied,) = store.denied()
    assert (denied.feed, denied.comment, denied.by) == (STRANGER, "spam", MOD)
    assert store.unblock(STRANGER, by=MOD) is Outcome.DONE
    assert store.unblock(STRANGER, by=MOD) is Outcome.MISSING
    assert store.denied() == []


def test_nothing_comes_back_by_unblocking(store: RoomStore) -> None:
    furnish(store, MEMBER)
    store.block(MEMBER, "", by=MOD)
    store.unblock(MEMBER, by=MOD)
    assert store.member(MEMBER) is None and store.aliases() == [] and store.invites() == []


def test_a_member_that_is_none_cannot_be_removed(store: RoomStore) -> None:
    assert store.remove_member(STRANGER, by=None) is Outcome.MISSING
    store.block(MEMBER, "", by=None)
    assert store.remove_member(MEMBER, by=None) is Outcome.MISSING


# ---------------------------------------------------------------- settings


def test_settings(store: RoomStore) -> None:
    assert store.news(None).settings == Settings()
    assert store.change_settings(by=ADMIN, mode=Mode.COMMUNITY, name="Room", mode_by=Role.MODERATOR) is Outcome.DONE
    expected = replace(Settings(), mode=Mode.COMMUNITY, name="Room", mode_by=Role.MODERATOR)
    assert store.news(None).settings == expected
    assert newest(store).detail == "mode: open → community, name, mode_by: admin → moderator"
    assert store.change_settings(by=ADMIN, name="Room") is Outcome.UNCHANGED
    assert store.change_settings(by=ADMIN, expected=Settings(), name="Other") is Outcome.INVALID
    assert store.change_settings(by=ADMIN, expected=expected, name="") is Outcome.DONE


def test_members_with_the_mode_in_one_step(store: RoomStore) -> None:
    store.block(OTHER, "", by=ADMIN)
    done = store.change_settings(by=ADMIN, mode=Mode.COMMUNITY, members=[STRANGER, MOD, OTHER, STRANGER])
    assert done is Outcome.DONE
    assert {one.feed: one.role for one in store.members()} == {
        ADMIN: Role.ADMIN,
        MOD: Role.MODERATOR,
        MEMBER: Role.MEMBER,
        STRANGER: Role.MEMBER,
    }
    assert store.news(None).settings.mode is Mode.COMMUNITY


@pytest.mark.parametrize(
    "bad",
    [
        {"mode": "open"},
        {"mode_by": Role.MEMBER},
        {"alias_style": "folder"},
        {"invite_days": 0},
        {"invite_days": limits.INVITE_DAYS + 1},
        {"name": "x" * (limits.SETTING_LETTERS + 1)},
        {"name": "two\nlines"},
        {"language": "English, please"},
        {"language": ""},
    ],
)
def test_settings_that_cannot_be(tmp_path: Path, store: RoomStore, bad: dict[str, object]) -> None:
    before = dump(tmp_path)
    with pytest.raises(BadInputError) as caught:
        store.change_settings(by=ADMIN, description="new", members=[STRANGER], **bad)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)
    assert dump(tmp_path) == before


def test_the_web_address_is_no_setting(store: RoomStore) -> None:
    assert store.web_address() is None
    number = store.news(None).number
    store.keep_web_address("https://room.example")
    assert store.web_address() == "https://room.example"
    assert store.news(None).number == number and store.news(None).settings == Settings()
    store.keep_web_address(None)
    assert store.web_address() is None


# ---------------------------------------------------------------- invites


def test_an_invite_lets_as_many_in_as_it_says(store: RoomStore) -> None:
    number = store.create_invite(hash_number(9), by=ADMIN, note="group", uses=2).number
    assert store.claim_invite(hash_number(9), feed(10), 5.0) == DONE
    assert store.claim_invite(hash_number(9), feed(10), 5.0) == UNCHANGED
    assert store.claim_invite(hash_number(9), feed(11), 5.0) == DONE
    assert store.claim_invite(hash_number(9), feed(12), 5.0) == INVALID
    assert store.claim_invite(hash_number(8), feed(12), 5.0) == INVALID
    member = store.member(feed(10))
    assert member is not None and (member.invite, member.by, member.role) == (number, ADMIN, Role.MEMBER)
    (invite,) = store.invites()
    assert (invite.number, invite.note, invite.used, invite.uses) == (number, "group", 2, 2)
    assert invite == store.find_invite(hash_number(9)) and not invite.is_open(5.0)


def test_a_member_uses_nothing_up(store: RoomStore) -> None:
    store.create_invite(hash_number(9), by=None)
    assert store.claim_invite(hash_number(9), MEMBER, 5.0) == UNCHANGED
    assert store.claim_invite(hash_number(9), STRANGER, 5.0) == DONE


def test_a_removed_member_may_claim_the_same_invite_again(store: RoomStore) -> None:
    store.create_invite(hash_number(9), by=None, uses=5)
    assert store.claim_invite(hash_number(9), STRANGER, 5.0) == DONE
    store.remove_member(STRANGER, by=None)
    assert store.claim_invite(hash_number(9), STRANGER, 5.0) == DONE


def test_expired_revoked_and_blocked(store: RoomStore) -> None:
    store.create_invite(hash_number(1), by=None, expires=100.0)
    assert store.claim_invite(hash_number(1), STRANGER, 100.0) == INVALID
    assert store.claim_invite(hash_number(1), STRANGER, 99.9) == DONE
    number = store.create_invite(hash_number(2), by=None).number
    assert store.revoke_invite(number, by=MOD) is Outcome.DONE
    assert store.revoke_invite(number, by=MOD) is Outcome.MISSING
    assert store.revoke_invite(2**70, by=MOD) is Outcome.MISSING
    assert store.claim_invite(hash_number(2), OTHER, 5.0) == INVALID
    store.create_invite(hash_number(3), by=None)
    store.block(OTHER, "", by=None)
    assert store.claim_invite(hash_number(3), OTHER, 5.0) == INVALID
    assert store.claim_invite(hash_number(3), feed(50), 5.0) == DONE


@pytest.mark.parametrize(
    ("maker", "mode", "is_valid"),
    [
        (None, Mode.OPEN, True),
        (None, Mode.COMMUNITY, True),
        (None, Mode.RESTRICTED, True),
        (STRANGER, Mode.OPEN, True),
        (STRANGER, Mode.COMMUNITY, False),
        (STRANGER, Mode.RESTRICTED, False),
        (MEMBER, Mode.OPEN, True),
        (MEMBER, Mode.COMMUNITY, True),
        (MEMBER, Mode.RESTRICTED, False),
        (MOD, Mode.RESTRICTED, True),
        (ADMIN, Mode.RESTRICTED, True),
    ],
)
def test_an_invite_is_as_good_as_its_makers_right(
    store: RoomStore, maker: FeedId | None, mode: Mode, is_valid: bool
) -> None:
    store.create_invite(hash_number(1), by=maker)
    store.change_settings(by=None, mode=mode)
    assert store.claim_invite(hash_number(1), OTHER, 5.0) == (DONE if is_valid else INVALID)
    assert (store.member(OTHER) is not None) == is_valid


def test_an_invite_of_a_demoted_moderator(store: RoomStore) -> None:
    store.change_settings(by=None, mode=Mode.RESTRICTED)
    store.create_invite(hash_number(1), by=MOD)
    store.set_role(MOD, Role.MEMBER, by=ADMIN)
    assert store.claim_invite(hash_number(1), OTHER, 5.0) == INVALID
    store.set_role(MOD, Role.MODERATOR, by=ADMIN)
    assert store.claim_invite(hash_number(1), OTHER, 5.0) == DONE


def test_a_key_that_was_just_blocked_makes_no_invite_and_no_link(store: RoomStore) -> None:
    store.block(MEMBER, "", by=MOD)
    assert store.create_invite(hash_number(1), by=MEMBER) == NewInvite(Outcome.FORBIDDEN)
    assert store.add_link(hash_number(2), MEMBER, "login", 1e12, by=None) is Outcome.MISSING
    assert store.add_link(hash_number(3), None, "admin", 1e12, by=MEMBER) is Outcome.FORBIDDEN
    store.add_web_session(hash_number(4), MEMBER, "Firefox", 5.0)
    store.unblock(MEMBER, by=MOD)
    assert store.claim_invite(hash_number(1), OTHER, 5.0) == INVALID
    assert store.take_link(hash_number(2), 5.0) is None and store.take_link(hash_number(3), 5.0) is None
    assert store.web_session(hash_number(4)) is None


def test_invites_of_one_maker(store: RoomStore) -> None:
    mine = store.create_invite(hash_number(1), by=MEMBER).number
    operators = store.create_invite(hash_number(2), by=None).number
    assert [one.number for one in store.invites()] == [operators, mine]
    assert [one.number for one in store.invites(MEMBER, all=False)] == [mine]
    assert [one.number for one in store.invites(None, all=False)] == [operators]


def test_fifty_threads_and_one_use(tmp_path: Path, store: RoomStore) -> None:
    store.create_invite(hash_number(1), by=None)
    start, claims = threading.Barrier(50), []
    others = [RoomStore(tmp_path) for _ in range(2)]

    def claim(n: int) -> None:
        start.wait()
        claims.append(others[n % 2].claim_invite(hash_number(1), feed(100 + n), 5.0))

    threads = [threading.Thread(target=claim, args=(n,)) for n in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for other in others:
        other.close()
    assert claims.count(DONE) == 1 and claims.count(INVALID) == 49
    assert len(store.members()) == 4


def test_five_processes_and_one_use(tmp_path: Path, store: RoomStore) -> None:
    store.create_invite(hash_number(1), by=None)
    code = (
        "import sys\n"
        "from ssbfast.store.room_store import RoomStore\n"
        "from tests.helpers.rooms import feed\n"
        "store = RoomStore(sys.argv[1])\n"
        "print('ready', flush=True)\n"
        "sys.stdin.readline()\n"
        "for n in range(10):\n"
        "    who = feed(100 + 10 * int(sys.argv[2]) + n)\n"
        "    print(store.claim_invite((1).to_bytes(32, 'big'), who, 5.0).outcome.value)\n"
    )
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path), str(n)],
            cwd=Path(__file__).parent.parent.parent,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for n in range(5)
    ]
    for process in processes:
        if process.stdout is not None:
            assert process.stdout.readline() == "ready\n"
    for process in processes:
        if process.stdin is not None:
            process.stdin.write("\n")
            process.stdin.flush()
    outcomes = " ".join(process.communicate(timeout=60)[0] for process in processes).split()
    assert sorted(outcomes) == ["done"] + ["invalid"] * 49


# ---------------------------------------------------------------- aliases


def test_aliases(store: RoomStore) -> None:
    assert register(store, "bob", MEMBER) is Outcome.DONE
    assert register(store, "alice", MEMBER) is Outcome.DONE
    assert [(one.name, one.feed, one.freed) for one in store.aliases()] == [
        ("alice", MEMBER, None),
        ("bob", MEMBER, None),
    ]
    assert register(store, "alice", OTHER) is Outcome.TAKEN
    assert store.revoke_alias("alice", by=OTHER, owner=OTHER) is Outcome.MISSING
    assert store.revoke_alias("nobody", by=None) is Outcome.MISSING
    assert store.revoke_alias("alice", by=MOD) is Outcome.DONE
    assert store.revoke_alias("alice", by=MOD) is Outcome.MISSING
    assert (newest(store).subject, newest(store).by, newest(store).detail) == (MEMBER, MOD, "alice")


def test_an_own_alias_is_signed_anew(store: RoomStore) -> None:
    register(store, "alice", MEMBER, most=1)
    again = store.register_alias("alice", MEMBER, bytes(64), most=1, now=2_000_000.0)
    assert again is Outcome.DONE
    (alias,) = store.aliases()
    assert (alias.signature, alias.since) == (bytes(64), 1_000_000.0)
    assert register(store, "bob", MEMBER, most=1) is Outcome.TOO_MANY


def test_an_alias_that_is_registered_as_it_is_writes_nothing(store: RoomStore) -> None:
    """Else whoever has one fills the audit log."""
    register(store, "alice", MEMBER)
    lines = len(store.audit())
    assert register(store, "alice", MEMBER) is Outcome.UNCHANGED
    assert len(store.audit()) == lines


def test_a_freed_name_rests_for_others(store: RoomStore, clock: Clock) -> None:
    register(store, "alice", MEMBER)
    store.revoke_alias("alice", by=MEMBER, owner=MEMBER)
    end = clock.now + limits.ALIAS_REST
    assert register(store, "alice", MOD, now=end - 1) is Outcome.TAKEN
    assert register(store, "alice", MEMBER, most=1) is Outcome.DONE  # its owner takes it back
    store.revoke_alias("alice", by=MEMBER, owner=MEMBER)
    assert register(store, "alice", MOD, now=end) is Outcome.DONE


def test_in_open_mode_an_alias_makes_a_member(store: RoomStore) -> None:
    def register_as_stranger(name: str) -> Outcome:
        return store.register_alias(name, STRANGER, SIGNATURE, most=8, now=5.0)

    assert register_as_stranger("y") is Outcome.DONE
    assert store.member(STRANGER) is not None
    store.remove_member(STRANGER, by=None)
    store.change_settings(by=None, mode=Mode.COMMUNITY)  # in the moment between the question and the answer
    assert register_as_stranger("z") is Outcome.MISSING
    assert register(store, "z", MEMBER) is Outcome.DONE
    store.change_settings(by=None, mode=Mode.RESTRICTED)
    assert register(store, "w", ADMIN) is Outcome.MISSING
    store.block(STRANGER, "", by=None)
    assert register_as_stranger("v") is Outcome.BLOCKED
    assert [one.name for one in store.aliases()] == ["z"]


# ---------------------------------------------------------------- the web site


def test_web_sessions(store: RoomStore) -> None:
    for n in range(3):
        store.add_web_session(hash_number(n), MEMBER, f"Firefox {n}", float(n))
    store.add_web_session(hash_number(7), MOD, "Chromium", 9.0)
    store.add_web_session(hash_number(8), STRANGER, "Safari", 9.0)
    assert [one.browser for one in store.web_sessions(MEMBER)] == ["Firefox 2", "Firefox 1", "Firefox 0"]
    assert store.web_session(hash_number(8)) is None  # no member
    store.touch_web_session(hash_number(0), 50.0)
    store.touch_web_session(hash_number(0), 40.0)
    session = store.web_session(hash_number(0))
    assert session is not None and (session.created, session.seen) == (0.0, 50.0)
    assert store.end_web_sessions(MOD, hash_number(0)) == 0
    assert store.end_web_sessions(MEMBER, hash_number(0)) == 1
    assert store.end_web_sessions(MEMBER) == 2
    assert store.end_web_sessions(MEMBER) == 0
    assert store.web_session(hash_number(7)) is not None


def test_links_work_once_and_in_time(store: RoomStore) -> None:
    store.add_link(hash_number(1), MEMBER, "login", 100.0, by=ADMIN)
    store.add_link(hash_number(2), None, "admin", 100.0, by=None)
    store.add_link(hash_number(3), MEMBER, "login", 100.0, by=None)
    assert store.take_link(hash_number(1), 99.0) == (MEMBER, "login")
    assert store.take_link(hash_number(1), 99.0) is None
    assert store.take_link(hash_number(2), 99.0) == (None, "admin")
    assert store.take_link(hash_number(3), 100.0) is None
    assert store.take_link(hash_number(3), 99.0) is None


@pytest.mark.parametrize("me", [STRANGER, MEMBER, MOD, ADMIN])
def test_the_first_admins_link_is_used_up_by_making_one(store: RoomStore, me: FeedId) -> None:
    for n in (1, 2):
        store.add_link(hash_number(n), None, "admin", 100.0, by=None)
    store.add_link(hash_number(3), MEMBER, "login", 100.0, by=None)
    assert store.take_admin_link(hash_number(3), me, 99.0) is Outcome.INVALID  # is somebody's
    assert store.take_admin_link(hash_number(9), me, 99.0) is Outcome.INVALID
    assert store.take_admin_link(hash_number(1), me, 100.0) is Outcome.INVALID
    assert store.take_admin_link(hash_number(1), me, 99.0) is Outcome.DONE
    assert (member := store.member(me)) is not None and member.role is Role.ADMIN
    for n in (1, 2):  # a room that was started twice has two
        assert store.take_admin_link(hash_number(n), STRANGER, 99.0) is Outcome.INVALID
    assert store.find_link(hash_number(3), 99.0) == (MEMBER, "login")
    assert store.news(0).standings[me].role is Role.ADMIN


def test_a_blocked_key_uses_up_no_link(store: RoomStore) -> None:
    store.add_link(hash_number(1), None, "admin", 100.0, by=None)
    store.block(STRANGER, "", by=None)
    assert store.take_admin_link(hash_number(1), STRANGER, 99.0) is Outcome.BLOCKED
    assert store.find_link(hash_number(1), 99.0) == (None, "admin")


def test_a_key_is_signed_in_in_so_many_browsers(store: RoomStore) -> None:
    most = limits.WEB_SESSIONS_PER_KEY
    store.add_web_session(hash_number(999), ADMIN, "Firefox", 0.0)
    for n in range(most + 5):
        store.add_web_session(hash_number(n), MEMBER, "Firefox", float(n))
    assert {one.hash for one in store.web_sessions(MEMBER)} == {hash_number(n) for n in range(5, most + 5)}
    store.add_web_session(hash_number(500), MEMBER, "Firefox", 0.0)  # a clock that went back: the new one stays
    assert store.web_session(hash_number(500)) is not None
    assert len(store.web_sessions(MEMBER)) == most and store.web_sessions(ADMIN)


def test_a_key_keeps_few_names_from_others(store: RoomStore, clock: Clock) -> None:
    """Else one key freezes all short names there are, by registering and revoking."""
    for n in range(20):
        assert register(store, f"name{n:02}", MEMBER, now=clock.now) is Outcome.DONE
        assert store.revoke_alias(f"name{n:02}", by=MEMBER) is Outcome.DONE
        clock.now += 1
    taken = [n for n in range(20) if register(store, f"name{n:02}", MOD, now=clock.now, most=99) is Outcome.TAKEN]
    assert taken == list(range(20 - limits.ALIASES_PER_KEY, 20))


def test_the_same_registration_writes_nothing(store: RoomStore) -> None:
    assert register(store, "alice", MEMBER) is Outcome.DONE
    lines = len(store.audit())
    assert register(store, "alice", MEMBER) is Outcome.UNCHANGED
    assert len(store.audit()) == lines


def test_passwords(store: RoomStore) -> None:
    assert store.set_password(STRANGER, b"x", by=None) is Outcome.MISSING
    assert store.set_password(MEMBER, b"\x00stored", by=MEMBER) is Outcome.DONE
    assert store.password(MEMBER) == b"\x00stored"
    member = store.member(MEMBER)
    assert member is not None and member.has_password
    assert store.set_password(MEMBER, None, by=ADMIN) is Outcome.DONE
    assert store.password(MEMBER) is None and store.password(STRANGER) is None


def test_notices(store: RoomStore) -> None:
    notice = Notice("news", "en", "News", "*hello*", 5.0)
    store.write_notice(notice, by=MOD)
    store.write_notice(replace(notice, language="de"), by=MOD)
    store.write_notice(replace(notice, body="again"), by=MOD)
    assert [(one.language, one.body) for one in store.notices()] == [("de", "*hello*"), ("en", "again")]
    store.write_notice(replace(notice, body=""), by=MOD)
    assert [one.language for one in store.notices()] == ["de"]


# ---------------------------------------------------------------- the audit log


def test_each_action_has_a_name_that_is_known(store: RoomStore) -> None:
    furnish(store, MEMBER)
    store.take_link(hash_number(4), 0.0)
    store.revoke_invite(1, by=None)
    store.set_role(MEMBER, Role.ADMIN, by=None)
    store.change_settings(by=None, name="x")
    store.write_notice(Notice("news", "en", "", "x", 0.0), by=None)
    store.block(MEMBER, "", by=None)
    store.unblock(MEMBER, by=None)
    store.remove_member(MOD, by=None)
    lines = store.audit()
    assert {line.action for line in lines} == set(AUDIT_ACTIONS) - {"import"}
    assert [line.number for line in lines] == list(range(len(lines), 0, -1))
    assert [line.number for line in store.audit(before=5, count=2)] == [4, 3]


def test_sweeping(tmp_path: Path, store: RoomStore, clock: Clock) -> None:
    furnish(store, MEMBER)
    store.create_invite(hash_number(40), by=None, expires=clock.now + 1)
    clock.now += 10
    store.sweep(clock.now)
    before = dump(tmp_path)
    assert len(before["links"]) == 2
    clock.now += limits.WEB_SESSION_IDLE + 100
    store.sweep(clock.now)
    assert dump(tmp_path)["links"] == [] and store.web_sessions(MEMBER) == []
    assert dump(tmp_path)["audit"] == before["audit"]
    clock.now += limits.ALIAS_REST
    store.sweep(clock.now)
    assert [row[0] for row in dump(tmp_path)["aliases"]] == ["alice"]
    clock.now += limits.AUDIT_DAYS * 86_400.0
    store.add_member(STRANGER, by=None)
    store.sweep(clock.now)
    assert [line.action for line in store.audit()] == ["add"]
    assert len(store.invites()) == 2 and len(store.members()) == 5  # neither open invites nor members
    assert newest(store).number > len(before["audit"])


# ---------------------------------------------------------------- two stores, and the file under them


def test_two_stores_see_each_other(tmp_path: Path, store: RoomStore) -> None:
    with RoomStore(tmp_path) as other:
        stamp, own = store.stamp(), store.news(None).number
        assert store.stamp() == stamp
        other.block(STRANGER, "", by=None)
        assert store.stamp() != stamp
        assert list(store.news(own).standings) == [STRANGER]


def test_looking_at_the_stamp_does_not_wait_for_a_write(tmp_path: Path, store: RoomStore) -> None:
    stamp = store.stamp()
    with RoomStore(tmp_path) as other, other._writing():
        other._audit("add", None)
        assert store.stamp() == stamp
        with store._lock:  # nor for one of ours, in its thread
            done: list[object] = []
            thread = threading.Thread(target=lambda: done.append(store.stamp()))
            thread.start()
            thread.join(60)
            assert done == [stamp]
    assert store.stamp() != stamp


def test_a_write_that_waits_too_long_is_one_line(tmp_path: Path, store: RoomStore) -> None:
    with RoomStore(tmp_path, busy=0.05) as other, store._writing():
        with pytest.raises(StoreError) as caught:
            other.block(STRANGER, "", by=None)
        assert "\n" not in str(caught.value)
        assert other.members() != []  # reading does not wait
    assert store.denied() == []


@posix_only
def test_a_store_that_is_removed_and_one_that_takes_its_place(tmp_path: Path, store: RoomStore) -> None:
    number = store.news(None).number
    (tmp_path / "other").mkdir()
    with RoomStore(tmp_path / "other") as other:
        for n in range(20):
            other.add_member(feed(200 + n), by=None)
    os.unlink(tmp_path / FILE)
    for use in (store.stamp, store.members, lambda: store.block(OTHER, "", by=None), lambda: store.news(number)):
        with pytest.raises(StoreError, match="removed"):
            use()
    for ending in ("-wal", "-shm"):
        Path(f"{tmp_path / FILE}{ending}").unlink(missing_ok=True)
    os.rename(tmp_path / "other" / FILE, tmp_path / FILE)
    store.stamp()
    news = store.news(number)  # the number is one of the other file, too: all is new nevertheless
    assert news.is_whole and set(news.standings) == {feed(200 + n) for n in range(20)}
    assert not store.news(news.number).is_whole


def test_a_closed_store(store: RoomStore) -> None:
    store.stamp()
    store.close()
    store.close()
    for use in (store.stamp, store.members):
        with pytest.raises(StoreError, match="closed"):
            use()


def test_open_invites_and_pages_of_invites(store: RoomStore, clock: Clock) -> None:
    numbers = [
        store.create_invite(hash_number(n), by=by, expires=expires).number
        for n, (by, expires) in enumerate([(MOD, 50.0), (MOD, 100.0), (MEMBER, None), (None, None), (MOD, None)])
    ]
    store.claim_invite(hash_number(4), STRANGER, 1.0)
    assert store.open_invites(60.0) == {MOD: 1, MEMBER: 1, None: 1}
    over, first, mine, operators, used = numbers
    pages = [store.invites_page(now=60.0, first=at, count=2) for at in range(0, 8, 2)]
    found = [[one.number for one in page] for page, _ in pages]
    assert found == [[operators, mine], [first, used], [over], []]
    assert {total for _, total in pages} == {5}
    some, total = store.invites_page(MOD, all=False, now=60.0, first=0, count=9)
    assert ([one.number for one in some], total) == ([first, used, over], 3)
