"""`ssbfast follow`, `unfollow`, `block`, `unblock`, `contacts`: what is said is what the store says."""

from __future__ import annotations

from pathlib import Path

import pytest

from ssbfast.ids import FeedId
from ssbfast.room.tunnel_auth import Relation
from ssbfast.store.peer_store import Store
from tests.helpers.commands import BAD_IDS, assert_unusable, events, make_newer, succeed
from tests.helpers.processes import run
from tests.helpers.rooms import feed
from tests.helpers.stores import snapshot

A, B = str(feed(1)), str(feed(2))


def relation(data: Path) -> Relation:
    with Store(data) as store:
        return store.relation(feed(1))


@pytest.mark.parametrize("follows", [False, True])
@pytest.mark.parametrize("blocks", [False, True])
@pytest.mark.parametrize("action", ["follow", "unfollow", "block", "unblock"])
def test_every_step_from_every_relation(tmp_path: Path, follows: bool, blocks: bool, action: str) -> None:
    with Store(tmp_path) as store:
        if follows:
            store.follow(feed(1))
        if blocks:
            store.block(feed(1))
    before = relation(tmp_path)
    after = {
        "follow": Relation(True, blocks),
        "unfollow": Relation(False, blocks),
        "block": Relation(follows, True),
        "unblock": Relation(follows, False),
    }[action]
    (event,) = events(action, A, "--data", str(tmp_path))
    assert event == {
        "event": action,
        "id": A,
        "nickname": None,
        "changed": before != after,
        "follows": after.follows,
        "blocks": after.blocks,
    }
    assert relation(tmp_path) == after


def test_contacts_lists_them(tmp_path: Path) -> None:
    data = ("--data", str(tmp_path))
    succeed("follow", A, *data)
    succeed("block", B, *data)
    first, second = events("contacts", *data)
    assert {key: first[key] for key in ("event", "id", "follows", "blocks")} == {
        "event": "contact",
        "id": A,
        "follows": True,
        "blocks": False,
    }
    assert (second["id"], second["follows"], second["blocks"]) == (B, False, True)
    people = succeed("contacts", *data).splitlines()
    assert people[0].startswith(f"{A}  followed")
    assert people[1].startswith(f"{B}  blocked")


def test_nobody_yet(tmp_path: Path) -> None:
    assert "ssbfast follow" in succeed("contacts", "--data", str(tmp_path / "peer"))
    assert events("contacts", "--data", str(tmp_path / "peer")) == []
    assert not (tmp_path / "peer").exists()


def test_a_follow_of_somebody_blocked_says_that_it_does_not_help(tmp_path: Path) -> None:
    succeed("block", A, "--data", str(tmp_path))
    assert f"ssbfast unblock {A}" in succeed("follow", A, "--data", str(tmp_path))


@pytest.mark.parametrize("who", BAD_IDS)
def test_what_is_no_id_changes_nothing(tmp_path: Path, who: str) -> None:
    assert_unusable(run("follow", who, "--data", str(tmp_path / "peer")), "@ID")
    assert not (tmp_path / "peer").exists()


@pytest.mark.parametrize("command", [("follow", A), ("block", A), ("contacts",)])
def test_a_store_of_a_newer_version_stays_as_it_is(tmp_path: Path, command: tuple[str, ...]) -> None:
    before = make_newer(tmp_path)
    assert_unusable(run(*command, "--data", str(tmp_path)), "newer version")
    assert snapshot(tmp_path) == before


def test_a_store_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "store.sqlite").write_bytes(b"no database at all, but long enough to be looked at" * 50)
    before = snapshot(tmp_path)
    assert_unusable(run("follow", A, "--data", str(tmp_path)), "store.sqlite")
    assert snapshot(tmp_path) == before


@pytest.mark.parametrize("command", [("follow", A), ("contacts",), ("denials",), ("keys", "new")])
@pytest.mark.parametrize("name", ["a" * 300, "file/peer"])
def test_a_directory_that_cannot_be(tmp_path: Path, command: tuple[str, ...], name: str) -> None:
    (tmp_path / "file").write_text("")
    done = run(*command, "--data", str(tmp_path / name))
    if done.returncode:
        assert_unusable(done, str(tmp_path / name))
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize(
    "arguments",
    [("follow",), ("follow", A, B), ("contacts", "extra"), ("block", A, "--network-key", "AAAA"), ("unblock", "--x")],
)
def test_wrong_usage(arguments: tuple[str, ...]) -> None:
    assert_unusable(run(*arguments))


@pytest.mark.parametrize("command", ["follow", "unfollow", "block", "unblock", "contacts"])
def test_help(command: str) -> None:
    text = succeed(command, "--help")
    assert all(option in text for option in ("--data", "--network-key", "--json"))


@pytest.mark.parametrize("action", ["follow", "block"])
def test_your_own_id(tmp_path: Path, action: str) -> None:
    data = ("--data", str(tmp_path))
    me = succeed("keys", "new", *data).splitlines()[0]
    assert_unusable(run(action, me, *data), "that is your own id")
    assert_unusable(run(action, me[1:-8], *data), "that is your own id")
    assert events("contacts", *data) == []
    succeed(action, A, *data)


@pytest.mark.parametrize("action", ["unfollow", "unblock"])
def test_your_own_id_can_be_taken_back(tmp_path: Path, action: str) -> None:
    """Earlier versions let people follow themselves."""
    me = succeed("keys", "new", "--data", str(tmp_path)).splitlines()[0]
    with Store(tmp_path) as store:
        store.follow(FeedId.parse(me))
        store.block(FeedId.parse(me))
    assert events(action, me, "--data", str(tmp_path))[0]["changed"] is True


def test_contacts_need_no_identity_that_can_be_read(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("{")
    succeed("follow", A, "--data", str(tmp_path))
