"""`ssbfast denials`: the list, numbers that stay, following back with a question, and mistakes."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ssbfast.room.tunnel_auth import Relation
from ssbfast.store.peer_store import Store
from ssbfast.wire.address import TunnelAddress, format_address
from tests.helpers.commands import assert_unusable, events, make_newer, succeed
from tests.helpers.processes import PATIENCE, run, without_time
from tests.helpers.rooms import feed
from tests.helpers.stores import RANDBELOW, batch, posix_only, refusal, snapshot

ROOM = feed(1000)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A peer that has refused 1 and 2, in this order."""
    with Store(tmp_path) as store:
        store.record(batch(refusal(1), refusal(2, known=True)), RANDBELOW)
    return tmp_path


def relation(data: Path, who: int) -> Relation:
    with Store(data) as store:
        return store.relation(feed(who))


def test_the_list(data: Path) -> None:
    lines = succeed("denials", "--data", str(data), "--json").splitlines()
    first, second = map(json.loads, lines[:2])
    assert first == {
        "event": "denied",
        "n": 1,
        "portal": str(ROOM),
        "origin": str(feed(1)),
        "address": format_address(TunnelAddress(ROOM, feed(1))),
        "proven": True,
        "reason": "stranger",
        "alias": None,
        "verified_at": None,
        "time": "1970-01-01T00:00:01.000Z",
    }
    assert (second["n"], second["origin"]) == (2, str(feed(2)))
    figures = without_time(lines[2])
    assert figures == {"event": "refused", "portal": str(ROOM), "n": 2, "kept": 2, "faults": 0}


def test_people_see_numbers_reasons_and_what_to_do(data: Path) -> None:
    first, _second, figures, advice = succeed("denials", "--data", str(data)).splitlines()
    assert first.split()[0] == "1"
    assert feed(1).short in first
    assert "you do not follow it" in first
    assert "2 refused" in figures
    assert "--follow N" in advice


def test_numbers_are_never_given_again(data: Path) -> None:
    with Store(data) as store:
        for who in range(3, 400):
            store.record(batch(refusal(who)), RANDBELOW)
        kept = [denial.number for denial in store.denials()]
    assert len(kept) == len(set(kept)) < 400
    *listed, figures = events("denials", "--data", str(data))
    assert [event["n"] for event in listed] == kept
    assert (figures["n"], figures["kept"]) == (399, len(kept))
    assert "only counted" in succeed("denials", "--data", str(data))


def test_nobody_was_refused(tmp_path: Path) -> None:
    assert succeed("denials", "--data", str(tmp_path / "peer")) == "No connection was refused.\n"
    assert events("denials", "--data", str(tmp_path / "peer")) == []
    assert not (tmp_path / "peer").exists()


# ---------------------------------------------------------------- following back


def test_follow_with_yes(data: Path) -> None:
    (event,) = events("denials", "--data", str(data), "--follow", "2", "--yes")
    known = {"event": "follow", "id": str(feed(2)), "nickname": None}
    assert event == {**known, "changed": True, "follows": True, "blocks": False}
    assert (relation(data, 1), relation(data, 2)) == (Relation(), Relation(follows=True))


def test_following_somebody_blocked_says_that_it_does_not_help(data: Path) -> None:
    with Store(data) as store:
        store.block(feed(1))
    assert "ssbfast unblock" in succeed("denials", "--data", str(data), "--follow", "1", "--yes")


def test_where_nobody_can_be_asked_nothing_happens(data: Path) -> None:
    assert_unusable(run("denials", "--data", str(data), "--follow", "1"), str(feed(1)), "--yes")
    assert relation(data, 1) == Relation()


@posix_only
@pytest.mark.parametrize(
    ("answer", "code", "follows"), [("y\n", 0, True), ("n\n", 1, False), ("\n", 1, False), ("\x04", 0, False)]
)
def test_at_a_terminal_it_shows_the_full_id_and_asks(data: Path, answer: str, code: int, follows: bool) -> None:
    import pty

    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "ssbfast", "denials", "--data", str(data), "--follow", "1"],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        close_fds=True,
    )
    os.close(theirs)
    try:
        shown = b""
        while b"[y/N]" not in shown:
            shown += os.read(ours, 4096)
        assert str(feed(1)).encode() in shown
        assert relation(data, 1) == Relation()
        os.write(ours, answer.encode())
        with contextlib.suppress(OSError):  # what Linux says when the other end has closed
            while os.read(ours, 4096):
                pass
        assert process.wait(PATIENCE) == code
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
        os.close(ours)
    assert relation(data, 1) == Relation(follows=follows)


# ---------------------------------------------------------------- mistakes


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (("--follow", "3", "--yes"), "no denial 3"),
        (("--follow", "0", "--yes"), "--follow"),
        (("--follow", "-1", "--yes"), "--follow"),
        (("--follow", "one", "--yes"), "--follow"),
        (("--follow", "99999999999999999999", "--yes"), "--follow"),
        (("--follow", "1", "--connect", "1"), "one at a time"),
        (("--yes",), "--follow"),
        (("--connect", "3"), "no denial 3"),
        (("--connect", "1"), "--room"),
        (("--connect", "1", "--bind", "127.0.0.1:0"), str(ROOM)),
        (("--connect", "1", "--bind", "127.0.0.1"), "--bind"),
        (("--bind", "127.0.0.1:0"), "--connect"),
        (("--anyway",), "--connect"),
        (("--policy", "everyone"), "--connect"),
        (("--policy", "nobody"), "--policy"),
        (("extra",), "extra"),
    ],
)
def test_mistakes_change_nothing(data: Path, arguments: tuple[str, ...], word: str) -> None:
    before = snapshot(data)
    assert_unusable(run("denials", "--data", str(data), *arguments), word)
    assert snapshot(data) == before


def test_another_room_is_not_the_portal(data: Path) -> None:
    other = f"net:127.0.0.1:9~shs:{str(feed(7))[1:-8]}"
    arguments = ("--connect", "1", "--bind", "127.0.0.1:0", "--room", other)
    assert_unusable(run("denials", "--data", str(data), *arguments), str(ROOM))


@pytest.mark.parametrize("arguments", [(), ("--follow", "1", "--yes"), ("--connect", "1")])
def test_a_store_of_a_newer_version_stays_as_it_is(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    before = make_newer(tmp_path)
    assert_unusable(run("denials", "--data", str(tmp_path), *arguments), "newer version")
    assert snapshot(tmp_path) == before


@pytest.mark.parametrize("arguments", [("--follow", "1", "--yes"), ("--connect", "1")])
def test_without_a_store_none_is_made(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    assert_unusable(run("denials", "--data", str(tmp_path / "peer"), *arguments), "no denials")
    assert not (tmp_path / "peer").exists()


def test_help() -> None:
    text = succeed("denials", "--help")
    assert all(option in text for option in ("--follow", "--yes", "--connect", "--data", "--network-key", "--json"))
