"""`ssbfast listen`: what it tells people, what it needs, and that mistakes change nothing. How it works together with
`ssbfast connect` is in test_connect_command.py."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from ssbfast.room.tunnel_auth import Relation
from ssbfast.wire.private_tunnel import PrivateResolver, parse_private_tunnel
from tests.client.test_ssb_server_graph import SsbServer
from tests.helpers.commands import BAD_IDS, assert_unusable, make_newer, succeed
from tests.helpers.processes import Running, run
from tests.helpers.room_processes import RoomProcesses, free_port, room_processes, web_server
from tests.helpers.rooms import feed
from tests.helpers.stores import snapshot

KEY = str(feed(3))[1:-8]
ROOM = f"net:127.0.0.1:9~shs:{KEY}"


@pytest.fixture
def place(tmp_path: Path) -> Iterator[RoomProcesses]:
    with room_processes(tmp_path) as made:
        yield made


@contextlib.contextmanager
def for_people(place: RoomProcesses, *arguments: str) -> Iterator[Running]:
    data = ("--data", str(place.path("a")), "--room", place.address())
    with Running("listen", *data, "--forward", "127.0.0.1:9", *arguments) as listen:
        yield listen


def test_people_are_told_what_to_do_next(place: RoomProcesses) -> None:
    place.room()
    with for_people(place) as listen:
        text = ""
        while "a friend runs" not in text:
            text += f"{listen.line()}\n"
    assert text.startswith(f"You are {place.id('a')}\n")
    assert f"ssbfast follow @ID --data {place.path('a')}" in text
    command = next(line for line in text.splitlines() if "a friend runs" in line)
    assert re.search(r"ssbfast connect '?tunnel:@.* --room '?net:127.* --bind ", command)


def test_a_refusal_says_how_to_let_them_in(place: RoomProcesses) -> None:
    place.room()
    place.follow("c", "a")
    with for_people(place) as listen:
        while "a friend runs" not in (listen.line() or ""):
            pass
        place.connect("c", str(place.id("a")))
        while f"denied  {place.id('c')}" not in (line := listen.line() or ""):
            assert line != ""
        assert f"ssbfast denials --follow 1 --data {place.path('a')}" in (listen.line() or "")


def test_private_addresses_are_for_those_whom_they_were_issued_for(place: RoomProcesses) -> None:
    from ssbfast import load_secret

    friends = [str(place.id(name)) for name in ("c", "d")]
    listen = place.listen("a", 9, "--private-for", friends[0], "--private-for", friends[1])
    for name in ("c", "d"):
        event = listen.event("private_address")
        assert event["recipient"] == str(place.id(name))
        address = parse_private_tunnel(event["address"])
        assert address.owner is None
        for reader in ("c", "d"):
            resolver = PrivateResolver(load_secret(place.path(reader) / "secret"))
            found = resolver.resolve(address, portals=[place.id("room")], contacts=[place.id("a")])
            assert (found is not None) is (reader == name)


def test_a_room_that_is_away_is_waited_for(place: RoomProcesses) -> None:
    listen = place.listen("a", 9)
    away = listen.event("reconnecting")
    assert away["portal"] == str(place.id("room"))
    listen.signal(signal.SIGTERM)
    assert listen.wait() == 0
    assert listen.stderr == ""


def test_a_room_that_is_none_fails(place: RoomProcesses) -> None:
    place.room()
    wrong = f"net:127.0.0.1:{place.port}~shs:{KEY}"
    arguments = ("--room", wrong, "--forward", "127.0.0.1:9", "--path", "tunnel", "--json")
    done = run("listen", "--data", str(place.path("a")), *arguments)
    assert done.returncode == 1
    (failure,) = map(json.loads, done.stdout.splitlines())
    assert (failure["event"], failure["kind"], failure["code"]) == ("error", "handshake", 1)
    assert done.stderr.count("\n") == 1
    assert feed(3).short in done.stderr


@pytest.mark.slow
async def test_an_ssb_server_is_asked_instead_of_the_contacts(place: RoomProcesses) -> None:
    server = SsbServer()
    await server.start()
    try:
        place.room()
        place.friends("a", "c")  # which does not count at a's
        listen = place.listen("a", 9, "--ssb-server", server.address)
        await asyncio.to_thread(listen.event, "announced")
        connect, _port = place.connect("c", str(place.id("a")))
        assert (await asyncio.to_thread(listen.event, "denied"))["reason"] == "stranger"
        server.relations[place.id("c")] = Relation(follows=True)
        await asyncio.to_thread(connect.event, "connected")
        server.relations[place.id("c")] = Relation(follows=True, blocks=True)
        await asyncio.to_thread(connect.event, "closed")
        await server.stop()
        assert (await asyncio.to_thread(_denied_because, listen, "graph away"))["proven"] is True
    finally:
        await server.stop()


def _denied_because(listen: Running, reason: str) -> dict[str, object]:
    while (event := listen.event("denied"))["reason"] != reason:
        pass
    return event


def test_an_invite_will_do(place: RoomProcesses) -> None:
    room = place.start("room", "room", "--listen", "127.0.0.1:0")
    listen = place.listen("a", 9, "--room", room.event("listening")["invite"])
    assert listen.event("announced")["id"] == str(place.id("a"))


GOOD = {"--room": ROOM, "--forward": "127.0.0.1:9"}
MISTAKES = [
    ("--room", "nonsense"),
    ("--room", "net:127.0.0.1:8008"),
    ("--room", f"tunnel:{feed(3)}:{feed(1)}"),
    ("--forward", "127.0.0.1"),
    ("--forward", ":0"),
    ("--forward", "127.0.0.1:0"),
    ("--forward", "127.0.0.1:65536"),
    ("--forward", "two words:80"),
    *(("--private-for", text) for text in BAD_IDS),
    *(("--allow", text) for text in BAD_IDS),
    ("--policy", "friends"),
    ("--policy", "allow"),
    ("--ssb-server", "localhost:8008"),
    ("--ssb-server", "net:localhost:8008"),
    ("--network-key", "AAAA"),
    ("--data", ""),
]


@pytest.mark.parametrize(("option", "value"), MISTAKES)
def test_mistakes_are_one_line_and_nothing_is_made(tmp_path: Path, option: str, value: str) -> None:
    given = {**GOOD, "--data": str(tmp_path / "peer"), option: value}
    assert_unusable(run("listen", *(word for pair in given.items() for word in pair)), option)
    assert not (tmp_path / "peer").exists()


@pytest.mark.parametrize("missing", ["--room", "--forward"])
def test_what_is_missing_is_named(tmp_path: Path, missing: str) -> None:
    given = {**GOOD, "--data": str(tmp_path / "peer")}
    del given[missing]
    assert_unusable(run("listen", *(word for pair in given.items() for word in pair)), missing)


def test_a_store_of_a_newer_version_stays_as_it_is(tmp_path: Path) -> None:
    before = make_newer(tmp_path)
    done = run("listen", "--data", str(tmp_path), *(word for pair in GOOD.items() for word in pair))
    assert_unusable(done, "newer version")
    assert snapshot(tmp_path) == before


def test_a_secret_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("{}")
    (tmp_path / "secret").chmod(0o600)
    before = snapshot(tmp_path)
    done = run("listen", "--data", str(tmp_path), *(word for pair in GOOD.items() for word in pair))
    assert_unusable(done, "not a valid secret file")
    assert snapshot(tmp_path) == before


def test_help() -> None:
    text = succeed("listen", "--help")
    for option in ("--room", "--forward", "--private-for", "--policy", "--allow", "--ssb-server", "--data", "--json"):
        assert option in text


@pytest.mark.parametrize("option", ["--private-for", "--allow"])
def test_your_own_id_is_no_friend(tmp_path: Path, option: str) -> None:
    data = ("--data", str(tmp_path))
    me = succeed("keys", "new", *data).splitlines()[0]
    room = f"net:127.0.0.1:9~shs:{'A' * 43}="
    assert_unusable(run("listen", "--room", room, "--forward", "9", option, me, *data), "that is your own id")


# ---------------------------------------------------------------- the service


def test_a_service_that_is_down_is_told_at_both_ends(place: RoomProcesses) -> None:
    place.friends("a", "c")
    place.room()
    service = free_port()
    listen = place.listen("a", service)
    listen.event("announced")
    start = listen.event("forward_problem")
    assert (start["peer"], start["count"]) == (None, 0)
    assert start["reason"].startswith(f"nothing listens at 127.0.0.1:{service};")
    connect, port = place.connect("c", str(place.id("a")))
    connect.event("connected")
    with socket.create_connection(("127.0.0.1", port)) as sock, pytest.raises(ConnectionResetError):
        sock.recv(1)
    here, there = connect.event("forward_problem"), listen.event("forward_problem")
    assert (here["peer"], here["reason"]) == (str(place.id("a")), "nothing listens at the other end")
    assert (there["peer"], there["reason"]) == (str(place.id("c")), f"nothing listens at 127.0.0.1:{service}")


@pytest.mark.parametrize("narrow", ["listen", "connect"])
@pytest.mark.slow
def test_connections_beyond_the_number_wait(place: RoomProcesses, narrow: str) -> None:
    place.friends("a", "c")
    place.room()
    with web_server() as web:
        listen = place.listen("a", web, *(("--connections", "1") if narrow == "listen" else ()))
        listen.event("announced")
        connect, port = place.connect("c", str(place.id("a")), *(("--connections", "1") if narrow == "connect" else ()))
        connect.event("connected")
        with socket.create_connection(("127.0.0.1", port)) as first:
            first.sendall(b"POST / HTTP/1.1\r\n")  # and no end of it
            with socket.create_connection(("127.0.0.1", port)) as second:
                second.sendall(b"GET / HTTP/1.0\r\n\r\n")
                program = listen if narrow == "listen" else connect
                assert program.event("forward_problem")["reason"] == "1 connections are open: more have to wait"
                first.close()
                assert second.recv(5) == b"HTTP/"
