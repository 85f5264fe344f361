"""The commands that look after a room: what they say, what they write, and how a running room follows."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest

from ssbfast import Keypair, RoomClient
from ssbfast.cli.group import group
from ssbfast.cli.room.command import COMMANDS
from ssbfast.cli.room.run import open_records
from ssbfast.errors import BadInputError
from ssbfast.keys import load_secret
from ssbfast.room.codes import hash_of
from ssbfast.room.records import Outcome
from ssbfast.room.roles import Mode, Role
from ssbfast.server import control
from ssbfast.store import room_store
from ssbfast.store.room_store import FILE, RoomStore
from tests.helpers.commands import BAD_IDS, assert_unusable, events, failed, run_here, succeed
from tests.helpers.go_rooms import GoRoomFiles
from tests.helpers.processes import Running, without_time
from tests.helpers.room_stores import SIGNATURE, raw
from tests.helpers.rooms import feed
from tests.helpers.stores import snapshot

ME, OTHER = feed(1), feed(2)
A, B = str(ME), str(OTHER)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A room that has run once."""
    load_secret(tmp_path / "room" / "secret", create=True)
    return tmp_path / "room"


def room(data: Path, *arguments: str) -> str:
    return succeed("room", *arguments, "--data", str(data))


def told(data: Path, *arguments: str) -> list[dict[str, Any]]:
    return events("room", *arguments, "--data", str(data))


def refused(data: Path, *arguments: str, words: tuple[str, ...] = ()) -> None:
    assert_unusable(run_here("room", *arguments, "--data", str(data)), *words)


# ---------------------------------------------------------------- all of them

SUBCOMMANDS = [
    *([name] for name in COMMANDS),
    *(["members", name] for name in ("list", "add", "remove", "role")),
    *(["invite", name] for name in ("create", "list", "revoke")),
    *(["alias", name] for name in ("list", "revoke")),
    *(["deny", name] for name in ("list", "add", "remove")),
    *(["config", name] for name in ("check", "show")),
]


def found_command(names: list[str]) -> click.Command:
    command: click.Command | None = group
    for name in ["room", *names]:
        if not isinstance(command, click.Group):
            raise LookupError(name)
        command = command.get_command(click.Context(command), name)
    if command is None:
        raise LookupError(names)
    return command


@pytest.mark.parametrize("names", SUBCOMMANDS, ids=" ".join)
def test_every_command_has_help_with_examples(names: list[str]) -> None:
    command = found_command(names)
    assert command.help is not None and "\b" in command.help and "Example" in command.help
    assert f"ssbfast room {' '.join(names)}" in command.help
    if names[0] != "config":
        assert {"data", "as_json"} <= {option.name for option in command.params}
    if len(names) == 1:
        assert command.help.startswith(COMMANDS[names[0]][1].rstrip("."))


def test_every_group_lists_all_its_commands() -> None:
    for name in COMMANDS:
        command = found_command([name])
        if isinstance(command, click.Group):
            assert [[name, sub] for sub in command.commands] == [names for names in SUBCOMMANDS if names[:1] == [name]][
                1:
            ]


def test_no_command_loads_what_runs_a_room_or_its_web_site(data: Path) -> None:
    code = (
        "import sys; from ssbfast.cli.group import run\n"
        f"run(['room', 'members', '--data', {str(data)!r}])\n"
        "found = [n for n in sys.modules if n.startswith(('starlette', 'uvicorn', 'jinja2', 'websockets', 'segno',"
        " 'ssbfast.server.web', 'ssbfast.server.room_server'))]\n"
        "print(found)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("names", [["members"], ["invite"], ["alias"], ["deny"], ["audit"], ["mode"], ["settings"]])
def test_looking_makes_no_store(data: Path, names: list[str]) -> None:
    room(data, *names)
    assert all(event["event"] in ("mode", "settings") for event in told(data, *names))
    assert [path.name for path in data.iterdir()] == ["secret"]


CHANGES = [
    *(["members", *rest] for rest in (["add", A], ["remove", A], ["role", A, "admin"])),
    *(["deny", *rest] for rest in (["add", A], ["remove", A])),
    *(["invite", *rest] for rest in (["create"], ["revoke", "1"])),
    *(["alias", "revoke", "alice"], ["mode", "community"], ["settings", "--name", "x"], ["login-link", A], ["members"]),
]


@pytest.mark.parametrize("names", CHANGES, ids=" ".join)
def test_a_mistyped_directory_becomes_no_room(tmp_path: Path, names: list[str]) -> None:
    refused(tmp_path / "rom", *names, words=("there is no room in", str(tmp_path / "rom")))
    assert not (tmp_path / "rom").exists()


@pytest.mark.parametrize("names", CHANGES, ids=" ".join)
def test_a_newer_store_is_named_and_left(data: Path, names: list[str]) -> None:
    RoomStore(data).close()
    raw(data, "PRAGMA user_version = 99")
    before = snapshot(data)
    refused(data, *names, words=("newer version", FILE))
    assert snapshot(data) == before


@pytest.mark.parametrize(
    ("names", "who"),
    [
        *((["deny", "add"], who) for who in BAD_IDS),
        *(
            (names, "nobody")
            for names in (["members", "add"], ["members", "remove"], ["deny", "remove"], ["login-link"])
        ),
    ],
)
def test_bad_ids(data: Path, names: list[str], who: str) -> None:
    refused(data, *names, "--", who)


def test_options_of_a_room_that_is_to_run_do_not_go_with_commands(data: Path) -> None:
    done = run_here("room", "--data", str(data), "--listen", "127.0.0.1:0", "members")
    assert_unusable(done, "--listen", "members")


def test_data_and_json_may_stand_anywhere(data: Path) -> None:
    room(data, "members", "add", A)
    words = ("--data", str(data), "--json")
    found = [
        without_time(succeed("room", *order).strip())
        for order in (
            (*words, "members"),
            ("members", *words),
            ("members", *words, "list"),
            ("members", "list", *words),
        )
    ]
    assert len({json.dumps(event) for event in found}) == 1 and found[0]["id"] == A


# ---------------------------------------------------------------- each of them


def test_members(data: Path) -> None:
    assert "members add @ID --role admin" in room(data, "members")
    (event,) = told(data, "members", "add", A, "--role", "admin")
    assert event == {"event": "member_added", "id": A, "role": "admin", "changed": True}
    assert "as before" in room(data, "members", "add", A)
    assert f"members role {A} moderator" in room(data, "members", "add", A, "--role", "moderator")
    room(data, "members", "add", B[1:-8])  # without its @ and .ed25519
    (event,) = told(data, "members", "role", B, "moderator")
    assert event == {"event": "role", "id": B, "role": "moderator", "changed": True}
    first, second = told(data, "members", "list")
    since = first.pop("since")
    assert isinstance(since, float)
    assert first == {"event": "member", "id": A, "role": "admin", "by": None, "invite": None, "aliases": []}
    assert (second["id"], second["role"]) == (B, "moderator")
    lines = room(data, "members").splitlines()
    assert lines[0].startswith(f"{A}  admin") and lines[0].endswith("by operator") and len(lines) == 2
    (event,) = told(data, "members", "remove", B)
    assert event == {"event": "member_removed", "id": B}
    refused(data, "members", "remove", B, words=(B, "ssbfast room members"))
    refused(data, "members", "role", B, "admin", words=(B, "is no member"))
    refused(data, "members", "role", B, "king", words=("king",))


def test_aliases_stand_for_ids(data: Path) -> None:
    with RoomStore(data) as store:
        store.register_alias("alice", ME, SIGNATURE, most=8, now=1.0)
    (event,) = told(data, "members", "role", "alice", "admin")
    assert event["id"] == A
    (member,) = told(data, "members")
    assert member["aliases"] == ["alice"] and "alias alice" in room(data, "members")
    refused(data, "members", "add", "bob", words=("'bob'", "ssbfast room alias"))
    (event,) = told(data, "deny", "add", "alice", "--force")
    assert event["id"] == A
    assert told(data, "alias") == []


def test_the_room_is_no_peer(data: Path) -> None:
    me = str(load_secret(data / "secret").id)
    for names in (["members", "add"], ["deny", "add"]):
        refused(data, *names, me, words=("the room's own id",))


@pytest.mark.parametrize("names", [["members", "remove", A], ["members", "role", A, "member"], ["deny", "add", A]])
def test_the_last_admin_needs_force(data: Path, names: list[str]) -> None:
    room(data, "members", "add", A, "--role", "admin")
    done = run_here("room", *names, "--json", "--data", str(data))
    failed(done, 1, "failed", A, "last admin", "--force")
    assert [event["role"] for event in told(data, "members")] == ["admin"]
    room(data, *names, "--force")
    assert "admin" not in [event["role"] for event in told(data, "members")]


def test_deny(data: Path) -> None:
    assert "blocks nobody" in room(data, "deny")
    (event,) = told(data, "deny", "add", A, "--comment", "spam")
    assert event == {"event": "denied_added", "id": A, "changed": True}
    assert "as before" in room(data, "deny", "add", A)
    refused(data, "members", "add", A, words=(f"deny remove {A}",))
    (event,) = told(data, "deny")
    del event["since"]
    assert event == {"event": "denied", "id": A, "comment": "spam", "by": None}
    assert room(data, "deny", "list").rstrip().endswith("by operator  spam")
    (event,) = told(data, "deny", "remove", A)
    assert event == {"event": "denied_removed", "id": A}
    refused(data, "deny", "remove", A, words=(A, "ssbfast room deny"))
    refused(data, "deny", "add", A, "--comment", "x" * 1000, words=("--comment", "1000"))


def test_invites(data: Path) -> None:
    assert "invite create" in room(data, "invite")
    (event,) = told(data, "invite", "create", "--uses", "2", "--days", "7", "--note", "group", "--url", "room.example")
    assert event["url"] == f"https://room.example/join?invite={event['invite']}"
    text = room(data, "invite", "create")
    assert "https://HOST/join" in text
    with RoomStore(data) as store:
        store.keep_web_address("https://other.example")
        hash = hash_of(event["invite"])
        assert hash is not None
        assert store.claim_invite(hash, ME, 5.0).outcome is Outcome.DONE
    assert "https://other.example/join?invite=" in room(data, "invite", "create")
    found = told(data, "invite", "list")
    assert [(one["number"], one["used"], one["uses"], one["note"]) for one in found] == [
        (3, 0, 1, ""),
        (2, 0, 1, ""),
        (1, 1, 2, "group"),
    ]
    assert all(one["state"] == "open" and "invite" not in one for one in found)
    assert 6.9 * 86_400 < found[2]["expires"] - found[2]["created"] < 7.1 * 86_400
    (event,) = told(data, "invite", "revoke", "2")
    assert event == {"event": "invite_revoked", "number": 2}
    refused(data, "invite", "revoke", "2", words=("2", "ssbfast room invite"))
    refused(data, "invite", "revoke", "two", words=("two",))
    assert [one["state"] for one in told(data, "invite")] == ["open", "revoked", "open"]
    for bad in (["--uses", "0"], ["--days", "400"], ["--url", "ftp://x"], ["--url", "https://"]):
        refused(data, "invite", "create", *bad, words=(bad[0],))
    assert len(told(data, "invite")) == 3


def test_states_of_invites(data: Path) -> None:
    with RoomStore(data) as store:
        store.create_invite(bytes(32), by=ME)
        store.create_invite(bytes([1] * 32), by=None, expires=5.0)
        store.create_invite(bytes([2] * 32), by=None)
        store.claim_invite(bytes([2] * 32), OTHER, 5.0)
        store.change_settings(by=None, mode=Mode.COMMUNITY)
    assert [one["state"] for one in told(data, "invite")] == ["used up", "expired", "not valid"]


def test_aliases(data: Path) -> None:
    assert "no aliases" in room(data, "alias")
    with RoomStore(data) as store:
        for name in ("bob", "alice"):
            store.register_alias(name, ME, SIGNATURE, most=8, now=1.0)
    assert [(one["alias"], one["id"]) for one in told(data, "alias")] == [("alice", A), ("bob", A)]
    (event,) = told(data, "alias", "revoke", "bob")
    assert event == {"event": "alias_revoked", "alias": "bob"}
    refused(data, "alias", "revoke", "bob", words=("'bob'", "ssbfast room alias"))
    assert room(data, "alias", "list").startswith(f"alice  {A}")


def test_the_mode(data: Path) -> None:
    (event,) = told(data, "mode")
    assert event == {"event": "mode", "mode": "open", "changed": False}
    (event,) = told(data, "mode", "restricted")
    assert event == {"event": "mode", "mode": "restricted", "changed": True, "kept": [], "lost": []}
    assert "as before" in room(data, "mode", "restricted")
    assert room(data, "mode", "community").startswith("restricted → community\n")
    refused(data, "mode", "anarchy", words=("anarchy", "community"))


def test_keeping_who_is_present(data: Path) -> None:
    refused(data, "mode", "community", "--keep-present", words=("no room runs",))
    refused(data, "mode", "open", "--keep-present", words=("community and restricted",))
    refused(data, "mode", "--keep-present", words=("community and restricted",))
    assert room(data, "mode").startswith("open")

    async def visit(running: Running) -> None:
        one, other, member = (Keypair.generate() for _ in range(3))
        address = running.event("listening")["address"]
        await asyncio.to_thread(room, data, "members", "add", str(member.id))
        async with RoomClient(one) as a, RoomClient(other) as b, RoomClient(member) as c:
            for client in (a, b, c):
                await client.join(address)
                assert running.event("joined")["id"] == client.me.id.short
            (event,) = await asyncio.to_thread(told, data, "mode", "community")
            assert event["changed"] and not event["kept"]
            assert event["lost"] == [str(one.id), str(other.id)]
        await asyncio.to_thread(room, data, "mode", "open")
        while (await asyncio.to_thread(control.ask, data, "status"))["mode"] != "open":
            await asyncio.sleep(0.05)
        async with RoomClient(one) as a, RoomClient(other) as b, RoomClient(member) as c:
            for client in (a, b, c):
                await client.join(address)
            text = await asyncio.to_thread(room, data, "mode", "restricted", "--keep-present")
            assert all(f"{who.id} is a member now" in text for who in (one, other)) and str(member.id) not in text
            assert len(await asyncio.to_thread(told, data, "members")) == 3
            assert len(await asyncio.to_thread(told, data, "attendants")) == 3

    with Running("room", "--data", str(data), "--listen", "127.0.0.1:0", "--no-udp", "--json") as running:
        asyncio.run(visit(running))


def test_what_is_lost_is_said(data: Path) -> None:
    async def visit(running: Running) -> None:
        async with RoomClient(Keypair.generate()) as one:
            await one.join(running.event("listening")["address"])
            running.event("joined")
            assert f"ssbfast room members add {one.me.id} --data" in await asyncio.to_thread(
                room, data, "mode", "community"
            )

    with Running("room", "--data", str(data), "--listen", "127.0.0.1:0", "--no-udp", "--json") as running:
        asyncio.run(visit(running))


def test_settings(data: Path) -> None:
    (event,) = told(data, "settings", "--name", "Our room", "--invite-days", "7", "--mode-by", "moderator")
    expected = {"mode": "open", "name": "Our room", "description": "", "language": "en", "invite_days": 7}
    expected |= {"alias_style": "path", "mode_by": "moderator", "changed": True, "event": "settings"}
    assert event == expected
    (event,) = told(data, "settings")
    assert event == {**expected, "changed": False}
    assert "name          Our room" in room(data, "settings", "--name", "Our room")
    refused(data, "settings", "--name", "x" * 1000, words=("name",))


def test_login_links(data: Path) -> None:
    refused(data, "login-link", A, words=(A, "is no member"))
    room(data, "members", "add", A)
    (event,) = told(data, "login-link", A, "--url", "https://room.example/")
    assert event["id"] == A and event["url"] == f"https://room.example{event['path']}"
    assert "https://HOST/login/link?code=" in room(data, "login-link", A)
    hash = hash_of(event["path"].partition("code=")[2])
    assert hash is not None
    with RoomStore(data) as store:
        assert store.take_link(hash, event["expires"] - 1) == (ME, "login")


def test_the_audit_log(data: Path) -> None:
    assert "Nobody" in room(data, "audit")
    room(data, "members", "add", A, "--role", "moderator")
    with RoomStore(data) as store:
        store.block(OTHER, "", by=ME)
    first, second = told(data, "audit")
    assert (first["number"], first["action"], first["by"], first["subject"]) == (1, "add", None, A)
    assert (second["number"], second["action"], second["by"], second["subject"]) == (2, "block", A, B)
    (line,) = room(data, "audit", "--count", "1").splitlines()
    assert "block" in line and B in line and ME.short in line


def test_what_others_wrote_begins_no_line(data: Path) -> None:
    evil = f"x\n{B}  admin\x1b[2J"
    with RoomStore(data) as store:
        store.create_invite(bytes(32), by=load_secret(data / "secret").id, note=evil)
        store.add_member(OTHER, Role.MODERATOR, by=None)
        store.block(ME, evil, by=OTHER)
    for names in (["invite"], ["deny"]):
        (line,) = room(data, *names).splitlines()
        assert "\x1b" not in line and "admin" in line
    assert "by a visitor" in room(data, "invite")


def test_backup_and_restore(tmp_path: Path, data: Path) -> None:
    room(data, "members", "add", A)
    file = tmp_path / "backup.tar"
    (event,) = told(data, "backup", str(file))
    assert event == {"event": "backup", "id": str(load_secret(data / "secret").id), "file": str(file)}
    refused(data, "backup", str(file), words=(str(file), "exists"))
    new = tmp_path / "new"
    assert "Next: ssbfast room --data" in room(new, "restore", str(file))
    assert [event["id"] for event in told(new, "members")] == [A]
    refused(new, "restore", str(file), words=(str(new), "already"))
    refused(tmp_path / "other", "restore", str(tmp_path / "none.tar"), words=("none.tar", "no such file"))


def test_import_go(tmp_path: Path) -> None:
    files, new = GoRoomFiles(tmp_path / "go"), tmp_path / "new"
    member = files.member(A, 3)
    files.denied(B)
    files.alias("Shout", Keypair.generate(), member)
    files.run("INSERT INTO fallback_passwords (password_hash, member_id) VALUES (x'00', ?)", member)
    (event,) = told(new, "import-go", str(files.data))
    assert (event["event"], event["mode"], event["members"], event["denied"]) == ("would_import", "community", 1, 1)
    assert event["with_password"] == [A] and len(event["left_out"]) == 1
    assert not new.exists()
    text = room(new, "import-go", str(files.data))
    assert f"login-link {A}" in text and "'Shout'" in text and "--yes" in text
    (event,) = told(new, "import-go", str(files.data), "--yes")
    assert event["event"] == "imported"
    assert [event["id"] for event in told(new, "members")] == [A]
    assert load_secret(new / "secret").id == files.me.id
    refused(new, "import-go", str(files.data), words=("already",))
    load_secret(tmp_path / "another" / "secret", create=True)
    refused(tmp_path / "another", "import-go", str(files.data), "--yes", words=("another room's identity",))
    refused(new, "import-go", str(tmp_path), words=("no data directory of go-ssb-room",))


# ---------------------------------------------------------------- a room that runs


@pytest.mark.parametrize("damage", ["newer", "empty"])
def test_a_room_does_not_run_on_a_store_that_it_cannot_read(data: Path, damage: str) -> None:
    """Who was blocked in it must not come in because of that."""
    RoomStore(data).close()
    if damage == "newer":
        raw(data, "PRAGMA user_version = 99")
    else:
        (data / FILE).write_bytes(b"")
    before = snapshot(data)
    done = run_here("room", "--data", str(data), "--listen", "127.0.0.1:0", "--no-udp")
    assert_unusable(done, str(data / FILE), damage)
    assert snapshot(data) == before


def test_a_room_runs_where_nothing_can_be_written(
    data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As it did when it kept nothing: a secret in a read-only volume is enough."""

    def refuse(*_args: object, **_options: object) -> None:
        raise BadInputError("the file system is read-only")

    monkeypatch.setattr(room_store, "RoomStore", refuse)
    assert open_records(data) is None
    assert "keeps no members" in capsys.readouterr().err
    (data / FILE).write_bytes(b"")
    with pytest.raises(BadInputError):
        open_records(data)


def test_a_running_room_follows(data: Path) -> None:
    async def visit(running: Running) -> None:
        member, stranger = Keypair.generate(), Keypair.generate()
        address = running.event("listening")["address"]
        await asyncio.to_thread(room, data, "members", "add", str(member.id))
        async with RoomClient(member) as one, RoomClient(stranger) as other:
            await one.join(address)
            assert running.event("joined")["id"] == member.id.short
            await other.join(address)
            assert running.event("joined")["id"] == stranger.id.short
            await asyncio.to_thread(room, data, "deny", "add", str(stranger.id))
            assert (await asyncio.to_thread(running.event, "left"))["id"] == stranger.id.short
            await asyncio.to_thread(room, data, "mode", "restricted")
            await asyncio.to_thread(room, data, "members", "remove", str(member.id))
            assert (await asyncio.to_thread(running.event, "left"))["id"] == member.id.short

    with Running("room", "--data", str(data), "--listen", "127.0.0.1:0", "--json") as running:
        asyncio.run(visit(running))
