"""What a key may do to the records is decided when it is done, by the role that it has then."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ssbfast.ids import FeedId
from ssbfast.room.records import Notice, Outcome
from ssbfast.room.roles import Mode, Role
from ssbfast.store.room_store import RoomStore
from tests.helpers.room_stores import SIGNATURE, dump, hash_number
from tests.helpers.rooms import feed

ACTORS = {role: feed(int(role) + 2) for role in (Role.BLOCKED, Role.EXTERNAL, Role.MEMBER, Role.MODERATOR, Role.ADMIN)}
BOSS, MOD, OTHER, BLOCKED, NEW = (feed(n) for n in range(20, 25))
NOTICE = Notice("news", "en", "", "x", 5.0)

Act = Callable[[RoomStore, FeedId], Any]
MEMBERS, MODERATORS, ADMINS = Role.MEMBER, Role.MODERATOR, Role.ADMIN
ACTIONS: dict[str, tuple[Role, Act]] = {
    # The lowest role that may do it in a community, written down by hand from the matrix.
    "add a member": (MODERATORS, lambda store, by: store.add_member(NEW, by=by)),
    "add a moderator": (MODERATORS, lambda store, by: store.add_member(NEW, Role.MODERATOR, by=by)),
    "add an admin": (ADMINS, lambda store, by: store.add_member(NEW, Role.ADMIN, by=by)),
    "make a moderator": (MODERATORS, lambda store, by: store.set_role(OTHER, Role.MODERATOR, by=by)),
    "make an admin": (ADMINS, lambda store, by: store.set_role(OTHER, Role.ADMIN, by=by)),
    "dismiss a moderator": (ADMINS, lambda store, by: store.set_role(MOD, Role.MEMBER, by=by)),
    "dismiss an admin": (ADMINS, lambda store, by: store.set_role(BOSS, Role.MEMBER, by=by)),
    "remove a member": (MODERATORS, lambda store, by: store.remove_member(OTHER, by=by)),
    "remove a moderator": (MODERATORS, lambda store, by: store.remove_member(MOD, by=by)),
    "remove an admin": (ADMINS, lambda store, by: store.remove_member(BOSS, by=by)),
    "block a member": (MODERATORS, lambda store, by: store.block(OTHER, "", by=by)),
    "block a stranger": (MODERATORS, lambda store, by: store.block(NEW, "", by=by)),
    "block an admin": (ADMINS, lambda store, by: store.block(BOSS, "", by=by, force=True)),
    "unblock": (MODERATORS, lambda store, by: store.unblock(BLOCKED, by=by)),
    "change the mode": (ADMINS, lambda store, by: store.change_settings(by=by, mode=Mode.OPEN)),
    "change the name": (ADMINS, lambda store, by: store.change_settings(by=by, name="new")),
    "change both": (ADMINS, lambda store, by: store.change_settings(by=by, mode=Mode.OPEN, name="new")),
    "add members": (ADMINS, lambda store, by: store.change_settings(by=by, members=[NEW])),
    "invite": (MEMBERS, lambda store, by: store.create_invite(hash_number(9), by=by).outcome),
    "revoke an invite": (MODERATORS, lambda store, by: store.revoke_invite(1, by=by)),
    "revoke an alias": (MODERATORS, lambda store, by: store.revoke_alias("other", by=by)),
    "revoke an admin's alias": (ADMINS, lambda store, by: store.revoke_alias("boss", by=by)),
    "make a login link": (ADMINS, lambda store, by: store.add_link(hash_number(9), OTHER, "login", 1e12, by=by)),
    "make an admin's link": (ADMINS, lambda store, by: store.add_link(hash_number(9), None, "admin", 1e12, by=by)),
    "set a password": (ADMINS, lambda store, by: store.set_password(OTHER, b"x", by=by)),
    "write a notice": (MODERATORS, lambda store, by: store.write_notice(NOTICE, by=by)),
}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[RoomStore]:
    """A community with a key of each role, and others that they may act on."""
    with RoomStore(tmp_path) as store:
        store._connection.execute("PRAGMA synchronous = OFF")
        store.change_settings(by=None, mode=Mode.COMMUNITY)
        for who, role in ((BOSS, Role.ADMIN), (MOD, Role.MODERATOR), (OTHER, Role.MEMBER)):
            store.add_member(who, role, by=None)
        for role in (Role.MEMBER, Role.MODERATOR, Role.ADMIN):
            store.add_member(ACTORS[role], role, by=None)
        for who in (BLOCKED, ACTORS[Role.BLOCKED]):
            store.block(who, "", by=None)
        store.create_invite(hash_number(1), by=OTHER)
        for name, who in (("other", OTHER), ("boss", BOSS)):
            store.register_alias(name, who, SIGNATURE, most=8, now=5.0)
        yield store


@pytest.mark.parametrize("action", ACTIONS)
def test_each_role_may_do_what_the_matrix_says(store: RoomStore, tmp_path: Path, action: str) -> None:
    least, act = ACTIONS[action]
    before = dump(tmp_path)
    for role, who in ACTORS.items():
        if role < least:
            assert act(store, who) is Outcome.FORBIDDEN, role
            assert dump(tmp_path) == before
    assert act(store, ACTORS[least]) is Outcome.DONE
    assert dump(tmp_path) != before


@pytest.mark.parametrize("action", ACTIONS)
def test_the_operator_may_do_everything(store: RoomStore, action: str) -> None:
    assert ACTIONS[action][1](store, None) is Outcome.DONE  # type: ignore[arg-type]


def test_moderators_change_the_mode_where_the_settings_say_so(store: RoomStore) -> None:
    store.change_settings(by=None, mode_by=Role.MODERATOR)
    assert ACTIONS["change both"][1](store, ACTORS[Role.MODERATOR]) is Outcome.FORBIDDEN
    assert ACTIONS["change the mode"][1](store, ACTORS[Role.MODERATOR]) is Outcome.DONE


def test_members_do_with_their_own_what_they_like(store: RoomStore) -> None:
    assert store.revoke_invite(1, by=OTHER) is Outcome.DONE
    assert store.revoke_alias("other", by=OTHER) is Outcome.DONE
    assert store.set_password(OTHER, b"x", by=OTHER) is Outcome.DONE
    assert store.remove_member(OTHER, by=OTHER) is Outcome.DONE


@pytest.mark.parametrize("how", ["demote", "remove", "block"])
def test_links_of_one_that_has_lost_its_role_are_void(store: RoomStore, tmp_path: Path, how: str) -> None:
    admin = ACTORS[Role.ADMIN]
    store.add_link(hash_number(1), OTHER, "login", 1e12, by=admin)
    store.add_link(hash_number(2), None, "admin", 1e12, by=admin)
    store.add_link(hash_number(3), admin, "login", 1e12, by=BOSS)
    store.add_link(hash_number(4), OTHER, "login", 1e12, by=BOSS)
    if how == "demote":
        store.set_role(admin, Role.MODERATOR, by=BOSS)
        store.set_role(admin, Role.ADMIN, by=BOSS)  # what is void stays void
    elif how == "remove":
        store.remove_member(admin, by=BOSS)
    else:
        store.block(admin, "", by=BOSS)
    assert [store.find_link(hash_number(n), 5.0) for n in (1, 2, 3)] == [None] * 3
    assert [store.take_link(hash_number(n), 5.0) for n in (1, 2, 3)] == [None] * 3
    assert store.take_link(hash_number(4), 5.0) == (OTHER, "login")


def test_links_of_one_that_gets_a_higher_role_stay(store: RoomStore) -> None:
    store.add_link(hash_number(1), OTHER, "login", 1e12, by=BOSS)
    store.set_role(OTHER, Role.MODERATOR, by=BOSS)
    assert store.take_link(hash_number(1), 5.0) == (OTHER, "login")


def test_a_link_for_no_member_is_not_kept(store: RoomStore) -> None:
    assert store.add_link(hash_number(1), NEW, "login", 1e12, by=None) is Outcome.MISSING
    assert store.find_link(hash_number(1), 5.0) is None
