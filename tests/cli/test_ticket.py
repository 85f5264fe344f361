"""`ssbfast ticket`: tickets that a running peer takes, their list and their end."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from ssbfast import limits
from ssbfast.cli import qr
from ssbfast.keys import Keypair, load_secret
from ssbfast.store.peer_store import FILE, Store
from ssbfast.wire.pairing import Ticket
from tests.helpers.commands import assert_unusable, events, failed, run_here, succeed
from tests.helpers.rooms import feed

KEY = str(Keypair.from_seed(b"r" * 32).id)[1:-8]
ROOM = f"net:room.example:8008~shs:{KEY}"


@pytest.fixture(autouse=True)
def no_peer_toml(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let none of this user's be read; return where one would be."""
    config = tmp_path.with_name(f"{tmp_path.name}-config")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(config))
    return config / "ssbfast" / "peer.toml"


def make(data: Path, *arguments: str) -> Ticket:
    (event,) = events("ticket", "--data", str(data), *arguments)
    ticket = Ticket.parse(event["ticket"])
    assert event["address"] == str(ticket.room)
    return ticket


def test_a_ticket_is_for_people(tmp_path: Path) -> None:
    text, hint = succeed("ticket", "--room", ROOM, "--data", str(tmp_path)).splitlines()
    assert hint == "Nothing waits for it in that room yet: run `ssbfast share` or `ssbfast listen` there."
    words, _, ticket = text.strip().rpartition(" ")
    assert words == "Let someone in (once, within the hour):   ssbfast pair"
    assert Ticket.parse(ticket).target == load_secret(tmp_path / "secret").id


@pytest.mark.parametrize(
    ("answers", "hints"),
    [
        ([("listen", KEY)], False),
        ([("connect", KEY), ("share", KEY)], False),
        ([("connect", KEY)], True),
        ([("listen", str(feed(9))[1:-8])], True),
        ([None], False),
    ],
)
def test_whether_a_process_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answers: list[tuple[str, str] | None], hints: bool
) -> None:
    told: list[Any] = [
        (None, "it does not answer")
        if answer is None
        else ({"command": answer[0], "rooms": [{"id": f"@{answer[1]}.ed25519"}]}, None)
        for answer in answers
    ]
    monkeypatch.setattr("ssbfast.cli.running.ask_all", lambda *_: told)
    text = succeed("ticket", "--room", ROOM, "--data", str(tmp_path))
    assert ("Nothing waits" in text) is hints


def test_the_store_knows_it_and_not_its_secret(tmp_path: Path) -> None:
    ticket = make(tmp_path, "--room", ROOM, "--hours", "24")
    assert abs(ticket.ends - time.time() - 86_400) < 120
    with Store(tmp_path) as store:
        (record,) = store.tickets()
        assert store.holds(ticket.key().id)
    assert (record.key, record.room, record.expires) == (ticket.key().id, ROOM, ticket.ends)
    assert not any(ticket.secret in file.read_bytes() for file in tmp_path.iterdir())


def test_the_next_one_is_for_the_same_room(tmp_path: Path) -> None:
    assert_unusable(run_here("ticket", "--data", str(tmp_path / "x")), "--room ADDRESS")
    assert not (tmp_path / "x").exists()
    first = make(tmp_path, "--room", ROOM)
    second = make(tmp_path)
    assert second.room == first.room
    assert second.secret != first.secret


def test_it_is_for_the_room_of_peer_toml(tmp_path: Path, no_peer_toml: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = make(tmp_path, "--room", ROOM)
    no_peer_toml.parent.mkdir(parents=True)
    no_peer_toml.write_text(f'room = ["{ROOM.replace("8008", "1")}", "{ROOM}"]\n[services]\nweb = 80\n')
    assert str(make(tmp_path).room) == ROOM.replace("8008", "1"), "as `share` does, not that of the newest one"
    assert make(tmp_path, "--room", ROOM).room == first.room
    monkeypatch.setenv("SSBFAST_PEER_ROOM", ROOM.replace("8008", "2"))
    assert str(make(tmp_path).room) == ROOM.replace("8008", "2")
    no_peer_toml.write_text("room = 7\n")
    assert_unusable(run_here("ticket", "--data", str(tmp_path)), "peer.toml:1:8: room:")


def test_of_several_addresses_the_first_that_fits(tmp_path: Path) -> None:
    other = f"wss://room.example~shs:{KEY}"
    assert str(make(tmp_path, "--room", f"wss://room.example/path~shs:{KEY};{other}").room) == other
    alone = run_here("ticket", "--room", f"wss://room.example/path~shs:{KEY}", "--data", str(tmp_path))
    assert_unusable(alone, "a ticket needs a room's address")


@pytest.mark.parametrize("hours", ["0", "0.01", "169", "-1", "nan", "x"])
def test_hours_out_of_bounds(tmp_path: Path, hours: str) -> None:
    assert_unusable(run_here("ticket", "--room", ROOM, f"--hours={hours}", "--data", str(tmp_path)))
    assert events("ticket", "--list", "--data", str(tmp_path)) == []


def test_as_a_qr_code(tmp_path: Path) -> None:
    text = succeed("ticket", "--room", ROOM, "--qr", "--data", str(tmp_path))
    code = text.splitlines()[1:-1]
    assert len(code) > 20
    assert set("".join(code)) <= set(" \u2580\u2584\u2588")
    assert max(map(len, code)) <= 80
    assert "\x1b" not in text


def test_a_qr_code_without_segno(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(qr.importlib.util, "find_spec", lambda _name: None)
    done = run_here("ticket", "--room", ROOM, "--qr", "--data", str(tmp_path))
    assert_unusable(done, "pip install 'ssbfast[web]'")
    assert not (tmp_path / FILE).exists()


def test_the_list(tmp_path: Path) -> None:
    now = time.time()
    with Store(tmp_path, now=lambda: now - 7200) as store:
        store.add_ticket(feed(7), now - 3600, ROOM)
        store.add_ticket(feed(8), now + 3600, ROOM)
        store.pair(feed(8), feed(1), "laptop")
    make(tmp_path, "--room", ROOM)
    lines = succeed("ticket", "--list", "--data", str(tmp_path)).splitlines()
    assert " open until " in lines[0]
    assert f" by laptop ({feed(1).short})" in lines[1] + lines[2]
    assert " expired " in lines[1] + lines[2]
    listed = events("ticket", "--list", "--data", str(tmp_path))
    assert [event["taker"] for event in listed if event["key"] == str(feed(8))] == [str(feed(1))]
    assert all(event["address"] == ROOM and event["expires"].endswith("Z") for event in listed)


def test_cancel(tmp_path: Path) -> None:
    assert "No ticket" in succeed("ticket", "--cancel", "--data", str(tmp_path / "none"))
    assert not (tmp_path / "none").exists()
    ticket = make(tmp_path, "--room", ROOM)
    make(tmp_path)
    assert succeed("ticket", "--cancel", "--data", str(tmp_path)) == "2 tickets cancelled.\n"
    with Store(tmp_path) as store:
        assert not store.holds(ticket.key().id)
    assert events("ticket", "--cancel", "--data", str(tmp_path)) == [
        {"event": "tickets_cancelled", "n": 0, "words": False}
    ]


def test_nothing_to_list(tmp_path: Path) -> None:
    assert "ssbfast ticket --room" in succeed("ticket", "--list", "--data", str(tmp_path / "none"))
    assert events("ticket", "--list", "--data", str(tmp_path / "none")) == []


def test_too_many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "TICKETS", 1)
    make(tmp_path, "--room", ROOM)
    failed(run_here("ticket", "--json", "--data", str(tmp_path)), 1, "limit", "ssbfast ticket --cancel")


@pytest.mark.parametrize(
    "arguments",
    [("--list", "--cancel"), ("--list", "--qr"), ("--cancel", "--room", ROOM), ("--list", "x"), ("--room", "x")],
)
def test_wrong_usage(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    assert_unusable(run_here("ticket", *arguments, "--data", str(tmp_path)))
