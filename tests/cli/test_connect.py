"""`ssbfast listen` and `ssbfast connect`, with a room between them, as processes: a friend's web server, byte by byte;
who is refused, and how that ends; what happens when somebody is killed."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from ssbfast.store.peer_store import Store
from ssbfast.wire.address import TunnelAddress, format_address
from tests.helpers.commands import BAD_IDS, assert_unusable, make_newer, succeed
from tests.helpers.processes import PATIENCE, Running, run
from tests.helpers.room_processes import RoomProcesses, free_port, kill, post, room_processes, web_server
from tests.helpers.rooms import feed
from tests.helpers.stores import snapshot

REPORT_SECONDS = 20.0
"""An end is told at once, also on a busy machine: sooner than silence would be."""
"""How long others may take to tell that somebody is gone."""

KEY = str(feed(3))[1:-8]
ROOM = f"net:127.0.0.1:9~shs:{KEY}"


@pytest.fixture
def place(tmp_path: Path) -> Iterator[RoomProcesses]:
    with room_processes(tmp_path) as made:
        yield made


@pytest.fixture
def web() -> Iterator[int]:
    with web_server() as port:
        yield port


def tunnel(place: RoomProcesses, room: str = "room", target: str = "a") -> str:
    return format_address(TunnelAddress(place.id(room), place.id(target)))


def in_time(process: Running, event: str) -> dict[str, object]:
    began = time.monotonic()
    found = process.event(event)
    assert time.monotonic() - began < REPORT_SECONDS
    return found


# ---------------------------------------------------------------- friends


def test_a_friends_web_server_is_reached_byte_by_byte(place: RoomProcesses, web: int) -> None:
    place.friends("a", "c")
    place.room()
    listen = place.listen("a", web)
    announced = listen.event("announced")
    assert len(announced.pop("session")) == 8
    assert announced == {
        "event": "announced",
        "portal": str(place.id("room")),
        "id": str(place.id("a")),
        "address": tunnel(place),
    }
    connect, port = place.connect("c", str(announced["address"]))
    connected, accepted = connect.event("connected"), listen.event("accepted")
    assert len(connected.pop("session")) == len(accepted.pop("session")) == 8
    assert connected == {
        "event": "connected",
        "peer": str(place.id("a")),
        "path": "tunnel",
        "portal": str(place.id("room")),
    }
    assert accepted == {**connected, "event": "accepted", "peer": str(place.id("c"))}
    bodies = [os.urandom(size) for size in (1, 1000, 4096, 70_000, 3_000_000)] * 4
    with ThreadPoolExecutor(10) as pool:
        assert list(pool.map(lambda body: post(port, body), bodies)) == bodies
    connect.signal(signal.SIGINT)
    listen.signal(signal.SIGTERM)
    assert (connect.wait(), listen.wait()) == (0, 0)
    assert (connect.stderr, listen.stderr) == ("", "")


@pytest.mark.slow
def test_a_thousand_requests_leave_nothing_behind(place: RoomProcesses, web: int) -> None:
    place.friends("a", "c")
    place.room()
    listen = place.listen("a", web)
    listen.event("announced")
    connect, port = place.connect("c", str(place.id("a")))
    connect.event("connected")
    processes = [psutil.Process(process.process.pid) for process in (listen, connect)]
    before = [process.num_fds() for process in processes]
    with ThreadPoolExecutor(50) as pool:
        bodies = [os.urandom(number) for number in range(1000, 3000, 2)]
        assert list(pool.map(lambda body: post(port, body), bodies)) == bodies
    until = time.monotonic() + PATIENCE
    while [process.num_fds() for process in processes] != before:
        assert time.monotonic() < until


def test_a_feed_id_is_enough_and_the_target_may_come_later(place: RoomProcesses, web: int) -> None:
    place.friends("a", "c")
    place.room()
    connect, port = place.connect("c", str(place.id("a")))
    assert connect.event("waiting") == {
        "event": "waiting",
        "id": str(place.id("c")),
        "peer": str(place.id("a")),
        "reason": "not in the room",
    }
    with ThreadPoolExecutor(1) as pool:
        early = pool.submit(post, port, b"before there is a tunnel")
        place.listen("a", web)
        assert early.result() == b"before there is a tunnel"


def test_the_room_may_come_later(place: RoomProcesses, web: int) -> None:
    place.friends("a", "c")
    listen = place.listen("a", web)
    connect, port = place.connect("c", str(place.id("a")))
    for process in (listen, connect):
        assert process.event("reconnecting")["portal"] == str(place.id("room"))
    place.room()
    connect.event("connected")
    assert post(port, b"hello") == b"hello"


def test_several_rooms(place: RoomProcesses, web: int) -> None:
    other = free_port()
    place.friends("a", "c")
    place.room("room")
    second = place.room("second", other)
    rooms = ("--room", place.address("room"), "--room", place.address("second", other))
    listen = place.listen("a", web, *rooms)
    assert {listen.event("announced")["portal"] for _ in range(2)} == {str(place.id("room")), str(place.id("second"))}
    both = f"{tunnel(place, 'second')};{tunnel(place, 'room')}"
    connect, port = place.connect("c", both, *rooms)
    connect.event("connected")
    kill(second)
    assert post(port, b"through the other one") == b"through the other one"


def test_one_room_that_is_none_does_not_matter_when_there_is_another(place: RoomProcesses, web: int) -> None:
    place.friends("a", "c")
    place.room()
    wrong = f"net:127.0.0.1:{place.port}~shs:{str(place.id('nobody'))[1:-8]}"
    listen = place.listen("a", web, "--room", wrong, "--room", place.address())
    listen.event("announced")
    connect, port = place.connect("c", str(place.id("a")), "--room", place.address(), "--room", wrong)
    connect.event("connected")
    assert post(port, b"hello") == b"hello"
    connect.signal(signal.SIGINT)
    assert connect.wait() == 0
    assert place.id("nobody").short in connect.stderr


def test_a_private_address(place: RoomProcesses, web: int) -> None:
    place.friends("a", "c")
    place.room()
    listen = place.listen("a", web, "--private-for", str(place.id("c")))
    issued = listen.event("private_address")
    assert (issued["portal"], issued["recipient"]) == (str(place.id("room")), str(place.id("c")))
    listen.event("announced")
    connect, port = place.connect("c", issued["address"])
    connect.event("connected")
    assert post(port, b"hello") == b"hello"
    place.follow("d", "a")
    arguments = ("--room", place.address(), "--bind", "127.0.0.1:0", "--data", str(place.path("d")))
    place.id("d")
    assert_unusable(run("connect", issued["address"], *arguments), "unknown portal or not for you")


# ---------------------------------------------------------------- strangers


@pytest.mark.slow
def test_a_stranger_is_refused_listed_followed_and_let_in(place: RoomProcesses, web: int) -> None:
    place.follow("c", "a")
    place.room()
    listen = place.listen("a", web)
    listen.event("announced")
    connect, port = place.connect("c", tunnel(place))
    denied = listen.event("denied")
    assert {key: denied[key] for key in ("portal", "origin", "address", "proven", "reason", "n")} == {
        "portal": str(place.id("room")),
        "origin": str(place.id("c")),
        "address": format_address(TunnelAddress(place.id("room"), place.id("c"))),
        "proven": True,
        "reason": "stranger",
        "n": 1,
    }
    assert connect.event("waiting")["reason"] == "refused"
    listed = place.denials("a").stdout
    assert place.id("c").short in listed
    followed = place.denials("a", "--follow", "1", "--yes")
    assert (followed.returncode, followed.stderr) == (0, "")
    connect.event("connected")
    assert post(port, b"a friend now") == b"a friend now"


def test_denials_connect_calls_back(place: RoomProcesses, web: int) -> None:
    place.room()
    place.friends("c", "a")
    with Store(place.path("a")) as store:
        store.unfollow(place.id("c"))
    listen = place.listen("a", web)
    listen.event("announced")
    # c offers something too: it is announced, and so can be called back
    place.listen("c", web).event("announced")
    place.connect("c", str(place.id("a")))
    number = listen.event("denied")["n"]
    arguments = ("--connect", str(number), "--room", place.address(), "--bind", "127.0.0.1:0")
    refused = place.denials("a", *arguments)
    assert refused.returncode == 1
    assert refused.stderr.endswith("(or --anyway)\n")
    call = place.start("denials", "a", *arguments, "--anyway")
    port = int(call.event("bound")["bind"].rpartition(":")[2])
    call.event("connected")
    assert post(port, b"hello back") == b"hello back"


@pytest.mark.parametrize(("relation", "word"), [("nothing", "ssbfast follow"), ("block", "ssbfast unblock")])
def test_who_does_not_follow_does_not_dial(place: RoomProcesses, relation: str, word: str) -> None:
    place.room()
    if relation == "block":
        with Store(place.path("c")) as store:
            store.follow(place.id("a"))
            store.block(place.id("a"))
    arguments = ("--room", place.address(), "--bind", "127.0.0.1:0", "--data", str(place.path("c")), "--path", "tunnel")
    done = run("connect", str(place.id("a")), *arguments)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert word in done.stderr
    assert f"--data {place.path('c')}" in done.stderr


@pytest.mark.slow
def test_an_unfollow_ends_the_tunnel_and_a_follow_brings_it_back(place: RoomProcesses, web: int) -> None:
    place.friends("a", "c")
    place.room()
    listen = place.listen("a", web)
    listen.event("announced")
    connect, port = place.connect("c", str(place.id("a")))
    connect.event("connected")
    succeed("unfollow", str(place.id("c")), "--data", str(place.path("a")))
    in_time(listen, "closed")
    in_time(connect, "closed")
    succeed("follow", str(place.id("c")), "--data", str(place.path("a")))
    connect.event("connected")
    assert post(port, b"again") == b"again"


def test_without_its_follow_graph_it_does_not_dial_and_keeps_asking(place: RoomProcesses) -> None:
    place.room()
    server = f"net:127.0.0.1:{free_port()}~shs:{KEY}"
    connect, _port = place.connect("c", str(feed(1)), "--ssb-server", server)
    denied = connect.event("denied")
    assert (denied["proven"], denied["reason"], denied["address"]) == (False, "graph away", None)
    assert connect.event("waiting")["reason"] == "the follow graph cannot be asked just now"
    connect.signal(signal.SIGTERM)
    assert connect.wait() == 0


def test_everyone_is_said_aloud(place: RoomProcesses, web: int) -> None:
    place.room()
    listen = place.listen("a", web, "--policy", "everyone")
    listen.event("announced")
    connect, port = place.connect("c", str(place.id("a")), "--allow", str(place.id("a")))
    connect.event("connected")
    assert post(port, b"hello") == b"hello"
    listen.signal(signal.SIGTERM)
    assert listen.wait() == 0
    assert "everyone" in listen.stderr


def test_allow_lets_in_by_name_only(place: RoomProcesses, web: int) -> None:
    place.friends("a", "d")
    place.follow("c", "a")
    place.room()
    listen = place.listen("a", web, "--policy", "allow", "--allow", str(place.id("c")))
    listen.event("announced")
    place.connect("c", str(place.id("a")))[0].event("connected")
    place.connect("d", str(place.id("a")))
    assert listen.event("denied")["origin"] == str(place.id("d"))


# ---------------------------------------------------------------- SIGKILL


def receive_until(sock: socket.socket, end: bytes) -> bytes:
    received = b""
    while end not in received:
        more = sock.recv(1)
        assert more, received
        received += more
    return received


@pytest.mark.parametrize("victim", ["room", "listen", "connect"])
@pytest.mark.slow
def test_who_is_killed_is_reported_and_missed_until_it_is_back(place: RoomProcesses, web: int, victim: str) -> None:
    place.friends("a", "c")
    room = place.room()
    listen = place.listen("a", web)
    listen.event("announced")
    connect, port = place.connect("c", str(place.id("a")))
    connect.event("connected")
    listen.event("accepted")
    assert post(port, b"before") == b"before"
    # A connection is open while it happens, and must not hang.
    with socket.create_connection(("127.0.0.1", port), 60) as open_connection:
        open_connection.sendall(b"POST / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 10\r\n\r\n")
        # It has arrived: one that still waits for a tunnel may go on waiting for the next.
        assert b"100 Continue" in receive_until(open_connection, b"\r\n\r\n")
        kill({"room": room, "listen": listen, "connect": connect}[victim])
        others = [process for name, process in (("listen", listen), ("connect", connect)) if name != victim]
        for process in others:
            in_time(process, "closed")
        began = time.monotonic()
        with contextlib.suppress(ConnectionError):
            assert open_connection.recv(1) == b""
        assert time.monotonic() - began < REPORT_SECONDS
    if victim == "room":
        for process in others:
            in_time(process, "reconnecting")
        place.room()
    elif victim == "listen":
        place.listen("a", web)
    else:
        connect, port = place.connect("c", str(place.id("a")))
    connect.event("connected")
    assert post(port, b"after") == b"after"


def test_the_second_signal_quits_at_once(place: RoomProcesses) -> None:
    room = place.room()
    listen = place.listen("a", 9)
    listen.event("announced")
    room.signal(signal.SIGSTOP)  # it does not answer the goodbye
    listen.signal(signal.SIGINT)
    while listen.process.poll() is None:
        listen.signal(signal.SIGINT)
        time.sleep(0.05)  # too many would fill asyncio's pipe, and Python says so on stderr
    assert listen.wait() == 0
    assert listen.stderr == ""


# ---------------------------------------------------------------- mistakes


def test_only_strangers_in_the_room_is_a_failure(place: RoomProcesses) -> None:
    place.room()
    wrong = f"net:127.0.0.1:{place.port}~shs:{str(place.id('nobody'))[1:-8]}"
    arguments = ("--room", wrong, "--bind", "127.0.0.1:0", "--data", str(place.path("c")), "--path", "tunnel")
    done = run("connect", str(place.id("a")), *arguments)
    assert done.returncode == 1
    assert "wrong key in its address" in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_taken_port(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        bind = f"127.0.0.1:{other.getsockname()[1]}"
        done = run("connect", str(feed(1)), "--room", ROOM, "--bind", bind, "--data", str(tmp_path / "peer"))
    assert_unusable(done, bind, "taken")
    assert not (tmp_path / "peer").exists()


GOOD = {"target": str(feed(1)), "--room": ROOM, "--bind": "127.0.0.1:0"}
MISTAKES = [
    *(("target", text) for text in BAD_IDS),
    ("target", "tunnel:@x:@y"),
    ("target", f"tunnel:{feed(3)}:{feed(1)}~shs:{KEY}"),
    ("target", f"tunnel:{feed(4)}:{feed(1)}"),
    ("target", f"tunnel:{feed(3)}:{feed(1)};tunnel:{feed(3)}:{feed(2)}"),
    ("target", ROOM),
    ("target", "ptunnel:"),
    ("target", "ptunnel:3:AAAA:BBBB"),
    ("target", f"ptunnel:2:{'A' * 22}:{'A' * 43}"),
    ("--room", "nonsense"),
    ("--room", ""),
    ("--room", "net:127.0.0.1:8008"),
    ("--room", f"net:127.0.0.1:0~shs:{KEY}"),
    ("--room", "ws://127.0.0.1:8008"),
    ("--room", f"unix:/tmp/x~shs:{KEY}"),
    ("--room", f"net:127.0.0.1:8008~shs:{KEY[:-2]}"),
    ("--room", f"{ROOM};net:127.0.0.1:10~shs:{str(feed(4))[1:-8]}"),
    ("--bind", "127.0.0.1"),
    ("--bind", "*:8080"),
    ("--bind", "::1:8080"),
    ("--bind", "127.0.0.1:99999"),
    ("--bind", "127.0.0.1:http"),
    ("--bind", "[::1:80"),
    ("--bind", "two words:80"),
    ("--bind", "a" * 64 + ".example:80"),
    ("--room", f"net:{'a' * 64}.example:8008~shs:{KEY}"),
    ("--room", f"net:a..example:8008~shs:{KEY}"),
    ("--bind", "no-such-host.invalid:80"),
    ("--policy", "friends"),
    ("--policy", "allow"),
    ("--allow", "@x"),
    ("--ssb-server", "nonsense"),
    ("--network-key", "AAAA"),
    ("--data", ""),
]


@pytest.mark.parametrize(("option", "value"), MISTAKES)
def test_mistakes_are_one_line_and_nothing_is_made(tmp_path: Path, option: str, value: str) -> None:
    given = {**GOOD, "--data": str(tmp_path / "peer"), option: value}
    target = given.pop("target")
    done = run("connect", target, *(word for pair in given.items() for word in pair))
    assert_unusable(done)
    assert not (tmp_path / "peer").exists()


@pytest.mark.parametrize("missing", ["target", "--room", "--bind"])
def test_what_is_missing_is_named(tmp_path: Path, missing: str) -> None:
    given = {**GOOD, "--data": str(tmp_path / "peer")}
    given.pop(missing)
    target = [given.pop("target")] if "target" in given else []
    done = run("connect", *target, *(word for pair in given.items() for word in pair))
    assert_unusable(done, missing.upper() if missing == "target" else missing)


def test_a_store_of_a_newer_version_stays_as_it_is(tmp_path: Path) -> None:
    before = make_newer(tmp_path)
    done = run("connect", str(feed(1)), "--room", ROOM, "--bind", "127.0.0.1:0", "--data", str(tmp_path))
    assert_unusable(done, "newer version")
    assert snapshot(tmp_path) == before


def test_a_secret_that_others_can_read(place: RoomProcesses) -> None:
    place.id("c")
    (place.path("c") / "secret").chmod(0o644)
    done = run("connect", str(feed(1)), "--room", ROOM, "--bind", "127.0.0.1:0", "--data", str(place.path("c")))
    assert_unusable(done, "chmod 600")


def test_ones_own_id(place: RoomProcesses) -> None:
    me = str(place.id("c"))
    done = run("connect", me, "--room", ROOM, "--bind", "127.0.0.1:0", "--data", str(place.path("c")))
    assert_unusable(done, "that is your own id")


def test_help() -> None:
    text = succeed("connect", "--help")
    for option in ("--room", "--bind", "--anyway", "--policy", "--allow", "--ssb-server", "--data", "--json"):
        assert option in text
