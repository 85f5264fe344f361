"""Nicknames: taken wherever a command takes an id, given and changed, and shown beside short ids."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import click
import pytest
from click.shell_completion import ShellComplete

from ssbfast.cli import attendants
from ssbfast.cli.group import group
from ssbfast.cli.nicknames import Nicknames, find_contact, find_peer, own_name
from ssbfast.cli.output import Printer
from ssbfast.cli.peer_output import PeerWords
from ssbfast.client.control_socket import ControlSocket
from ssbfast.errors import BadInputError
from ssbfast.ids import FeedId
from ssbfast.net.control_socket import is_supported
from ssbfast.room.tunnel_auth import Relation
from ssbfast.store.peer_store import FILE, Store
from tests.helpers.commands import assert_unusable, events, run_here, succeed
from tests.helpers.rooms import feed
from tests.helpers.stores import RANDBELOW, batch, refusal

A, B = str(feed(1)), str(feed(2))
KEY = str(feed(3))[1:-8]
ROOM = f"net:127.0.0.1:9~shs:{KEY}"
HOSTILE = ("\x1b[2Jhome", "ho\u202eme", "h" * 10_000, "-home", "home-", "Home", "ho me", "home\n", "höme")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """`laptop` is followed, `phone` is known by its name alone."""
    with Store(tmp_path) as store:
        store.follow(feed(1), "laptop")
        store.rename(feed(2), "phone")
    return tmp_path


def names(data: Path) -> dict[str, str | None]:
    with Store(data) as store:
        return {str(one.id): one.nickname for one in store.contacts()}


# ---------------------------------------------------------------- reading


def test_nicknames_and_ids_name_peers(data: Path) -> None:
    assert find_peer("laptop", data) == find_peer(" laptop\n", data) == find_peer(A, data) == feed(1)
    assert find_peer(str(feed(7)), data) == feed(7)
    assert find_contact(A, data) is None
    assert find_contact("tunnel:x", data) is None


@pytest.mark.parametrize(
    ("word", "hint"), [("labtop", "did you mean laptop?"), ("zebra", "see: ssbfast contacts --data")]
)
def test_an_unknown_one(data: Path, word: str, hint: str) -> None:
    with pytest.raises(BadInputError, match=f"no contact is called {word}; {hint}".replace("?", r"\?")):
        find_peer(word, data)


def test_without_a_store(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="no contact is called laptop; see: ssbfast contacts"):
        find_peer("laptop", tmp_path)
    assert not (tmp_path / FILE).exists()


def test_own_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("socket.gethostname", lambda: "My-PC.local")
    assert (own_name(None), own_name("home")) == ("my-pc", "home")


# ---------------------------------------------------------------- in commands


@pytest.mark.parametrize("action", ["follow", "unfollow", "block", "unblock"])
def test_where_contacts_are_changed(data: Path, action: str) -> None:
    (event,) = events(action, "laptop", "--data", str(data))
    assert (event["id"], event["nickname"]) == (A, "laptop")
    text = succeed(action, "laptop", "--data", str(data))
    assert text.startswith(f"laptop ({feed(1).short})  ")
    assert succeed(action, "laptop", "--full", "--data", str(data)).startswith(f"laptop ({A})  ")


@pytest.mark.parametrize(
    "command",
    [
        ("follow", "labtop"),
        ("contacts", "rename", "labtop", "x"),
        ("contacts", "forget", "labtop"),
        ("alias", "list", ROOM, "labtop"),
        ("connect", "labtop", "--room", ROOM, "--bind", "127.0.0.1:0"),
        ("listen", "--room", ROOM, "--forward", "127.0.0.1:9", "--allow", "labtop"),
        ("listen", "--room", ROOM, "--forward", "127.0.0.1:9", "--private-for", "labtop"),
        ("denials", "--connect", "1", "--bind", "127.0.0.1:0", "--allow", "labtop"),
    ],
    ids=" ".join,
)
def test_every_command_looks_them_up(data: Path, command: tuple[str, ...]) -> None:
    assert_unusable(run_here(*command, "--data", str(data)), "no contact is called labtop; did you mean laptop?")


def test_data_may_come_before_and_behind(data: Path) -> None:
    event = {"event": "follow", "id": B, "nickname": "phone", "changed": True, "follows": True, "blocks": False}
    assert events("follow", "--data", str(data), "phone") == [event]
    assert events("follow", "phone", "--data", str(data)) == [{**event, "changed": False}]


def test_connect_knows_the_room_of_a_friend(data: Path) -> None:
    with Store(data) as store:
        store.befriend(feed(4), "home", f"net:127.0.0.1:9~shs:{KEY}")
    options = ("--bind", "127.0.0.1:0", "--path", "tunnel", "--birthday", "--data", str(data))
    assert_unusable(run_here("connect", "laptop", *options), "Missing option '--room'")
    assert_unusable(run_here("connect", "home", *options), "--birthday")  # which comes after that


# ---------------------------------------------------------------- giving them


def test_follow_as(tmp_path: Path) -> None:
    (event,) = events("follow", A, "--as", "laptop", "--data", str(tmp_path))
    assert (event["nickname"], event["changed"], event["follows"]) == ("laptop", True, True)
    assert events("follow", A, "--as", "laptop", "--data", str(tmp_path))[0]["changed"] is False
    assert events("follow", "laptop", "--as", "old", "--data", str(tmp_path))[0]["changed"] is True
    assert names(tmp_path) == {A: "old"}


def test_a_taken_one_changes_nothing(data: Path) -> None:
    assert_unusable(run_here("follow", str(feed(5)), "--as", "laptop", "--data", str(data)), "laptop already")
    assert_unusable(run_here("contacts", "rename", "phone", "laptop", "--data", str(data)), "laptop already")
    assert names(data) == {A: "laptop", B: "phone"}
    with Store(data) as store:
        assert store.relation(feed(5)) == Relation()


@pytest.mark.parametrize("name", HOSTILE, ids=lambda name: ascii(name)[:20])
def test_what_is_no_name(data: Path, name: str) -> None:
    for command in (("follow", A, f"--as={name}"), ("contacts", "rename", "laptop", "--", name)):
        done = run_here(*command[:2], "--data", str(data), *command[2:])
        assert_unusable(done, "a name has 1 to 32 of a-z, 0-9 and -")
        assert len(done.stderr) < 300
    assert names(data) == {A: "laptop", B: "phone"}


def test_rename(data: Path) -> None:
    (event,) = events("contacts", "rename", "laptop", "old-laptop", "--data", str(data))
    assert event == {"event": "rename", "id": A, "nickname": "old-laptop", "changed": True}
    assert succeed("contacts", "rename", A, "old-laptop", "--data", str(data)) == (
        f"old-laptop ({feed(1).short}) (as before)\n"
    )
    with Store(data) as store:
        assert store.relation(feed(1)).follows
    succeed("contacts", "rename", str(feed(6)), "new", "--data", str(data))
    assert names(data)[str(feed(6))] == "new"


def test_your_own_id_gets_none(tmp_path: Path) -> None:
    me = succeed("keys", "new", "--data", str(tmp_path)).splitlines()[0]
    assert_unusable(run_here("contacts", "rename", me, "me", "--data", str(tmp_path)), "your own id")


@pytest.mark.parametrize("blocks", [False, True])
def test_forget(data: Path, blocks: bool) -> None:
    with Store(data) as store:
        store.befriend(feed(1), None, ROOM)
        if blocks:
            store.block(feed(1))
    (event,) = events("contacts", "forget", "laptop", "--data", str(data))
    assert event == {"event": "forget", "id": A, "changed": True, "follows": False, "blocks": blocks}
    with Store(data) as store:
        found = [one for one in store.contacts() if one.id == feed(1)]
    assert [(one.nickname, one.room) for one in found] == [(None, None)] * blocks
    text = succeed("contacts", "forget", A, "--data", str(data))
    assert text.strip() == f"{A}  not known{', and still blocked' if blocks else ''}"


# ---------------------------------------------------------------- showing them


def test_contacts(data: Path) -> None:
    with Store(data) as store:
        store.befriend(feed(4), None, ROOM)
    shown = succeed("contacts", "--data", str(data)).splitlines()
    assert {line.partition("  ")[0] for line in shown} == {
        f"laptop ({feed(1).short})",
        f"phone ({feed(2).short})",
        str(feed(4)),
    }
    assert f"laptop ({A})" in succeed("contacts", "--full", "--data", str(data))
    found = {event["id"]: (event["nickname"], event["room"]) for event in events("contacts", "--data", str(data))}
    assert found == {A: ("laptop", None), B: ("phone", None), str(feed(4)): (None, ROOM)}


def test_options_before_the_command_of_a_group(data: Path) -> None:
    (event,) = events("contacts", "--data", str(data), "rename", "laptop", "other")
    assert event["nickname"] == "other"
    assert succeed("contacts", "--full", "rename", "--data", str(data), "other", "third") == f"third ({A})\n"
    forgotten = succeed("contacts", "--json", "--data", str(data), "forget", "third")
    assert forgotten.startswith('{"event": "forget"')


def test_denials(data: Path) -> None:
    with Store(data) as store:
        store.record(batch(refusal(2, known=True), refusal(8)), RANDBELOW)
    known, stranger = succeed("denials", "--data", str(data)).splitlines()[:2]
    assert f"  phone {feed(2).short}  through {feed(1000).short}  " in known
    assert f"  {feed(8).short}  through " in stranger
    assert f"  phone {B}  through {feed(1000)}  " in succeed("denials", "1", "--full", "--data", str(data))


def test_denials_follow_as(data: Path) -> None:
    with Store(data) as store:
        store.record(batch(refusal(8)), RANDBELOW)
    follow = ("denials", "--follow", "1", "--yes", "--data", str(data))
    assert_unusable(run_here(*follow, "--as", "laptop"), "called laptop already")
    (event,) = events(*follow, "--as", "server")
    assert (event["nickname"], event["changed"], event["follows"]) == ("server", True, True)
    assert succeed(*follow) == f"server ({feed(8).short})  followed (as before)\n"
    assert_unusable(run_here("denials", "--as", "x", "--data", str(data)), "--as go with --follow N")


async def test_attendants(data: Path, capfd: pytest.CaptureFixture[str]) -> None:
    room: Any = SimpleNamespace(
        id=feed(9), name=None, attendants={feed(1), feed(7)}, is_listed=False, is_external=False
    )
    for as_json in (False, True):
        printer = Printer(sys.stdout, as_json=as_json)
        with Nicknames(data) as show:
            await attendants._list(room, printer, show)
        printer.close()
    lines = capfd.readouterr().out.splitlines()
    assert lines[1:3] == [f"  laptop ({feed(1).short})", f"  {feed(7)}"]
    assert [json.loads(line)["id"] for line in lines[3:]] == [A, str(feed(7))]


def test_events_follow_a_change(data: Path) -> None:
    with Nicknames(data) as show, Store(data) as store:
        words = PeerWords(show=show)
        accepted = {"event": "accepted", "peer": A, "path": "tunnel", "portal": str(feed(9))}
        assert words(accepted) == f"let in  laptop ({feed(1).short}) (tunnel)"
        store.rename(feed(1), "other")
        assert words(accepted) == f"let in  other ({feed(1).short}) (tunnel)"
        assert words({"event": "closed", "peer": str(feed(7)), "reason": "r"}) == f"closed  {feed(7)} (r)"
        waiting = words({"event": "waiting", "peer": B, "reason": "refused", "id": A})
        assert f"phone ({feed(2).short})" in waiting
        assert f"You are {A}" in " ".join(waiting.split())  # our own id, to be pasted
        denied = {"event": "denied", "origin": B, "proven": True, "reason": "stranger", "n": 1}
        assert words(denied).startswith(f"denied  phone ({feed(2).short}) (")
        assert words({"event": "left", "id": B}) == f"left    phone ({feed(2).short})"
        store.rename(feed(1), None)
        assert words(accepted) == f"let in  {A} (tunnel)"


def test_events_without_a_store_and_with_one_that_comes(tmp_path: Path) -> None:
    with Nicknames(tmp_path) as show:
        assert (show(A), show("other")) == (A, "other")
        with Store(tmp_path) as store:
            store.follow(feed(1), "laptop")
        assert show(A) == f"laptop ({feed(1).short})"
        assert show(A + "x") == A + "x"


def test_events_with_a_store_that_cannot_be_read(data: Path) -> None:
    with Nicknames(data) as show:
        assert show(A) == f"laptop ({feed(1).short})"
        (data / FILE).write_bytes(b"no store" * 1000)
        assert show(A) == f"laptop ({feed(1).short})"
    with Nicknames(data) as show:
        assert show(A) == A


def test_completion(data: Path) -> None:
    def completed(*arguments: str) -> list[str]:
        shell = ShellComplete(group, {}, "ssbfast", "_SSBFAST_COMPLETE")
        return [item.value for item in shell.get_completions(list(arguments[:-1]), arguments[-1])]

    assert completed("follow", "--data", str(data), "la") == ["laptop"]
    assert completed("connect", "--data", str(data), "la") == ["laptop"]
    assert completed("contacts", "rename", "--data", str(data), "") == ["laptop", "phone"]
    assert completed("follow", "--data", str(data / "none"), "") == []
    (data / FILE).write_bytes(b"no store")
    assert completed("follow", "--data", str(data), "") == []


@pytest.mark.skipif(not is_supported(), reason="no Unix sockets here")
async def test_completion_of_services_that_a_running_process_can_ask_for(data: Path) -> None:
    class Session:
        async def call(self, _name: str, **_options: Any) -> Any:
            return [{"name": name, "kind": "tcp"} for name in ("web", "ssh", "No name")]

    def completed(command: str, *targets: str) -> list[str]:
        shell = ShellComplete(group, {}, "ssbfast", "_SSBFAST_COMPLETE")
        arguments = [command, "--data", str(data), *targets]
        return [item.value for item in shell.get_completions(arguments[:-1], arguments[-1])]

    asked: list[FeedId] = []
    client: Any = SimpleNamespace(session_with=lambda who: asked.append(who) or (Session() if who == feed(1) else None))
    async with ControlSocket.beside(data, "connect"), ControlSocket.beside(data, "open") as control:
        control.serve(client)
        for arguments, found in (
            (("open", "laptop/"), ["laptop/ssh", "laptop/web"]),
            (("open", "phone/web", "laptop/s"), ["laptop/ssh"]),
            (("connect", "laptop/w"), ["laptop/web"]),
            (("connect", "la"), ["laptop"]),
            (("connect", "phone/"), []),
            (("connect", "nobody/"), []),
        ):
            assert await asyncio.to_thread(completed, *arguments) == found
        assert set(asked) == {feed(1), feed(2)}
    assert await asyncio.to_thread(completed, "open", "laptop/") == []


def test_every_command_with_peers_has_a_nickname_in_its_help() -> None:
    context = click.Context(group)
    for name in ("follow", "unfollow", "block", "unblock"):
        command = group.get_command(context, name)
        assert command is not None
        assert "NICK" in command.get_usage(click.Context(command, info_name=name))
