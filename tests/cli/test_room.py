"""`ssbfast room` as a process: what it prints, how it ends, and what it says about mistakes."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import re
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from aioice import stun

from ssbfast import FeedId, Keypair, NetworkId, RoomClient
from ssbfast.cli.room.run import default_data, run_fast
from ssbfast.errors import HandshakeError, SessionEndedError
from ssbfast.keys import load_secret
from ssbfast.room.tunnel_auth import AllowList
from ssbfast.wire.address import NetAddress, parse_address
from tests.helpers.processes import Running, run

LOOPBACK = ("--listen", "127.0.0.1:0")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "room"


def start(data: Path, *arguments: str) -> Running:
    return Running("room", "--data", str(data), *arguments)


def introduction(room: Running) -> str:
    """What people see first."""
    lines = [room.line() or ""]
    while "Ctrl-C" not in lines[-1]:
        lines.append(room.line() or "")
    return "\n".join(lines)


@pytest.mark.slow
def test_it_lists_its_address_first_and_then_who_comes_tunnels_and_goes(data: Path) -> None:
    async def visit(address: str) -> tuple[FeedId, FeedId]:
        a, c = Keypair.generate(), Keypair.generate()
        async with RoomClient(a, admission=AllowList([c.id])) as target, RoomClient(c) as caller:
            await target.join(address)
            await caller.join(address, announce=False)
            peer = await caller.connect(a.id)
            await peer.close()
        return a.id, c.id

    with start(data, "--json", *LOOPBACK) as room:
        listening = room.event("listening")
        assert set(listening) == {"event", "level", "id", "address", "invite", "udp"}
        assert listening["id"] == str(load_secret(data / "secret").id)
        assert listening["invite"].endswith(":SSB+Room+PSK3TLYC2T86EHQCUHBUHASCASE18JBV24=")
        a, c = asyncio.run(visit(listening["address"]))
        assert room.event("joined") == {"event": "joined", "level": "info", "id": a.short}
        opened = room.event("tunnel_opened")
        session = opened.pop("session")
        assert opened == {"event": "tunnel_opened", "level": "info", "origin": c.short, "target": a.short}
        closed = room.event("tunnel_closed")
        assert set(closed) == {"event", "level", "origin", "target", "bytes", "seconds", "reason", "session"}
        assert closed["session"] == session and len(session) == 8
        assert closed["bytes"] > 300  # two handshakes' worth
        assert room.event("left") == {"event": "left", "level": "info", "id": a.short}


@pytest.mark.parametrize("installed", [True, False])
def test_it_runs_on_uvloop_where_that_is_installed(installed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if installed:
        pytest.importorskip("uvloop")  # not for Windows
    else:
        monkeypatch.setitem(sys.modules, "uvloop", None)
    loops: list[str] = []

    async def which() -> None:
        loops.append(type(asyncio.get_running_loop()).__module__.partition(".")[0])

    run_fast(which())
    assert loops == ["uvloop" if installed else "asyncio"]


def test_people_are_told_what_to_do_next(data: Path) -> None:
    with start(data, *LOOPBACK) as room:
        text = introduction(room)
    assert text.startswith(f"Room {load_secret(data / 'secret').id}\n")
    assert "SSB+Room+PSK" in text
    assert "RoomClient.join" in text
    assert "this machine only" not in text


@pytest.mark.parametrize(("host", "warns"), [((), True), (("--host", "room.example"), False)])
def test_a_wildcard_alone_can_be_dialled_from_this_machine_only(data: Path, host: tuple[str, ...], warns: bool) -> None:
    with start(data, "--listen", "*:0", *host) as room:
        text = introduction(room)
    assert ("this machine only" in text) is warns
    assert ("net:room.example:" in text) is not warns


def test_host_is_what_it_publishes(data: Path) -> None:
    with start(data, "--json", "--host", "room.example:443", *LOOPBACK) as room:
        (address,) = parse_address(room.event("listening")["address"])
    assert address.transport == NetAddress("room.example", 443)


@pytest.mark.parametrize(
    "number", [signal.SIGTERM, signal.SIGINT, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else [])]
)
async def test_a_signal_says_goodbye_to_all_and_exits_0(data: Path, number: signal.Signals) -> None:
    with start(data, "--json", *LOOPBACK) as room:
        async with RoomClient(Keypair.generate()) as client:
            joined = await client.join(room.event("listening")["address"])
            session = joined.session
            room.signal(number)
            await session.wait_closed()
            assert session.error is None  # goodbyes on both sides
        assert room.wait() == 0
        assert room.stderr == ""


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_a_hangup_that_is_ignored_stays_so(data: Path) -> None:
    """`nohup` is for that."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        room = start(data, "--json", *LOOPBACK)
    finally:
        signal.signal(signal.SIGHUP, before)
    with room:
        address = room.event("listening")["address"]
        for _ in range(3):
            room.signal(signal.SIGHUP)
            assert run("attendants", "--room", address).returncode == 0
        room.signal(signal.SIGTERM)
        assert room.wait() == 0


@pytest.mark.slow
def test_the_second_signal_quits_at_once(data: Path) -> None:
    with start(data, "--json", *LOOPBACK) as room:
        (address,) = parse_address(room.event("listening")["address"])
        # A client that never answers the goodbye keeps the room waiting: a process that is stopped.
        code = (
            "import asyncio, sys; from ssbfast import *\n"
            "async def main():\n"
            "    async with RoomClient(Keypair.generate()) as client:\n"
            "        await client.join(sys.argv[1])\n"
            "        print('in', flush=True)\n"
            "        await asyncio.sleep(600)\n"
            "asyncio.run(main())"
        )
        frozen = subprocess.Popen([sys.executable, "-c", code, str(address)], stdout=subprocess.PIPE, text=True)
        try:
            assert frozen.stdout is not None
            assert frozen.stdout.readline() == "in\n"
            room.event("joined")
            frozen.send_signal(signal.SIGSTOP)
            room.signal(signal.SIGINT)
            while room.process.poll() is None:
                room.signal(signal.SIGINT)
                time.sleep(0.05)  # too many would fill asyncio's pipe, and Python says so on stderr
            assert room.wait() == 0
            assert room.stderr == ""
        finally:
            frozen.kill()
            frozen.wait()
            if frozen.stdout is not None:
                frozen.stdout.close()


async def test_head_ends_it_quietly(data: Path) -> None:
    read_end, write_end = os.pipe()
    room_process = subprocess.Popen(
        [sys.executable, "-m", "ssbfast", "room", "--data", str(data), "--json", *LOOPBACK],
        stdout=write_end,
        stderr=subprocess.PIPE,
        text=True,
    )
    os.close(write_end)
    try:
        with os.fdopen(read_end) as head:
            address = json.loads(head.readline())["address"]
        async with RoomClient(Keypair.generate()) as client:
            with contextlib.suppress(SessionEndedError):  # it may leave while we come in
                joined = await client.join(address)  # the event has no reader any more
                await joined.session.wait_closed()
        assert room_process.wait(60) == 0
        assert room_process.stderr is not None
        assert room_process.stderr.read() == ""
    finally:
        room_process.kill()
        room_process.wait()
        if room_process.stderr is not None:
            room_process.stderr.close()


async def test_another_network_stays_outside(data: Path) -> None:
    key = os.urandom(32)
    with start(data, "--json", "--network-key", base64.b64encode(key).decode(), *LOOPBACK) as room:
        address = room.event("listening")["address"]
        async with RoomClient(Keypair.generate()) as stranger:
            with pytest.raises(HandshakeError):
                await stranger.join(address)
        async with RoomClient(Keypair.generate(), network=NetworkId(key)) as member:
            assert (await member.join(address)).id == load_secret(data / "secret").id


def test_the_secret_is_made_once_and_for_the_owner_only(data: Path) -> None:
    ids = []
    for _ in range(2):
        with start(data, "--json", *LOOPBACK) as room:
            ids.append(room.event("listening")["id"])
    assert ids[0] == ids[1]
    assert stat.S_IMODE((data / "secret").stat().st_mode) == 0o600


# ---------------------------------------------------------------- UDP


def seen_by(host: str, port: int) -> tuple[tuple[str, int], tuple[str, int]]:
    """Our address, and what the room says of it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(60)
        sock.connect((host, port))
        sock.send(bytes(stun.Message(stun.Method.BINDING, stun.Class.REQUEST)))
        return sock.getsockname(), stun.parse_message(sock.recv(1000)).attributes["XOR-MAPPED-ADDRESS"]


async def reflectors(address: str) -> tuple[tuple[str, int], ...]:
    async with RoomClient(Keypair.generate()) as client:
        return (await client.join(address)).reflectors


def port_of(address: str) -> int:
    transport = parse_address(address)[0].transport
    assert isinstance(transport, NetAddress)
    return transport.port


async def test_by_default_it_reflects_beside_tcp(data: Path) -> None:
    with start(data, "--json", *LOOPBACK) as room:
        listening = room.event("listening")
        port = port_of(listening["address"])
        assert listening["udp"][0] == f"127.0.0.1:{port}"
        (_, second) = found = await reflectors(listening["address"])
        assert [f"{host}:{port}" for host, port in found] == listening["udp"]
        assert 0 < second[1] - port <= 16 or port > 65_500
        for one in found:
            us, told = seen_by(*one)
            assert us == told


def test_it_says_which_udp_ports_to_open(data: Path) -> None:
    with start(data, *LOOPBACK, "--udp", "127.0.0.1:0") as room:
        assert re.search(r"UDP +\d+ \(STUN, for direct paths: open this port", introduction(room))
    with start(data, *LOOPBACK) as room:
        assert re.search(r"UDP +\d+, \d+ \(STUN, for direct paths: open these ports", introduction(room))


async def test_udp_says_where(data: Path) -> None:
    with start(data, "--json", *LOOPBACK, "--udp", "127.0.0.2:0", "--udp", "127.0.0.1:0") as room:
        listening = room.event("listening")
        assert [text.partition(":")[0] for text in listening["udp"]] == ["127.0.0.2", "127.0.0.1"]
        found = await reflectors(listening["address"])
        assert [f"{host}:{port}" for host, port in found] == listening["udp"][1:]
        assert len(set(seen_by(*found[0]))) == 1


async def test_no_udp_is_silence(data: Path) -> None:
    with start(data, "--json", "--no-udp", *LOOPBACK) as room:
        listening = room.event("listening")
        assert listening["udp"] is None
        assert await reflectors(listening["address"]) == ()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.bind(("127.0.0.1", port_of(listening["address"])))  # it is free


@contextlib.contextmanager
def taken_udp_port() -> Iterator[int]:
    """A port that is free for TCP alone."""
    while True:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.bind(("127.0.0.1", 0))
            port = int(sock.getsockname()[1])
            try:
                socket.create_server(("127.0.0.1", port)).close()
            except OSError:
                continue  # taken for TCP, too: the next one
            yield port
            return


def test_a_taken_udp_port_is_a_warning_unless_it_was_asked_for(data: Path) -> None:
    with taken_udp_port() as port:
        where = f"127.0.0.1:{port}"
        with start(data, "--json", "--listen", where) as room:
            assert room.event("listening")["udp"] is None
            room.signal(signal.SIGTERM)
            assert room.wait() == 0
            assert room.stderr.count("\n") == 1
            assert "without UDP" in room.stderr and where in room.stderr and "taken" in room.stderr
        assert_unusable(run("room", "--data", str(data), *LOOPBACK, "--udp", where), where, "UDP", "taken")


def test_without_a_second_udp_port_it_uses_one_and_says_so(data: Path) -> None:
    with contextlib.ExitStack() as stack:
        port = stack.enter_context(run_of_udp_ports(16))
        with start(data, "--json", "--listen", f"127.0.0.1:{port}") as room:
            assert room.event("listening")["udp"] == [f"127.0.0.1:{port}"]
            room.signal(signal.SIGTERM)
            assert room.wait() == 0
            assert room.stderr.count("\n") == 1
            assert "one UDP port only" in room.stderr and f"127.0.0.1:{port + 1}" in room.stderr


@contextlib.contextmanager
def run_of_udp_ports(count: int) -> Iterator[int]:
    """A port that is free, with so many behind it that are taken for UDP."""
    for port in range(20_000, 60_000, 97):
        with contextlib.ExitStack() as stack:
            try:
                for number in range(port, port + count + 1):
                    sock = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
                    sock.bind(("127.0.0.1", number))
                    if number == port:
                        sock.close()
                socket.create_server(("127.0.0.1", port)).close()
            except OSError:
                continue
            yield port
            return
    raise AssertionError("no free ports")


@pytest.mark.parametrize(("asked", "code"), [((), 0), (("--udp", "127.0.0.1:0"), 2)])
def test_without_the_codec_it_says_so_in_one_line(
    data: Path, tmp_path: Path, asked: tuple[str, ...], code: int
) -> None:
    (tmp_path / "aioice.py").write_text("raise ImportError")
    env = {**os.environ, "PYTHONPATH": str(tmp_path)}
    with Running("room", "--data", str(data), "--json", *LOOPBACK, *asked, env=env) as room:
        if not code:
            assert room.event("listening")["udp"] is None
            room.signal(signal.SIGTERM)
        assert room.wait() == code
        assert room.stderr.count("\n") == 1 and "ssbfast[room]" in room.stderr


# ---------------------------------------------------------------- mistakes


def assert_unusable(done: subprocess.CompletedProcess[str], *words: str) -> None:
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("ssbfast: ")
    assert done.stderr.count("\n") == 1
    for word in words:
        assert word in done.stderr


def test_a_taken_port(data: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        assert_unusable(run("room", "--data", str(data), "--listen", f"127.0.0.1:{port}"), str(port), "taken")


def test_a_secret_that_others_can_read(data: Path) -> None:
    load_secret(data / "secret", create=True)
    (data / "secret").chmod(0o644)
    assert_unusable(run("room", "--data", str(data), *LOOPBACK), "chmod 600")


def test_a_secret_that_is_none(data: Path) -> None:
    data.mkdir()
    (data / "secret").write_text("{}")
    (data / "secret").chmod(0o600)
    assert_unusable(run("room", "--data", str(data), *LOOPBACK), "not a valid secret file")


def test_a_directory_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert_unusable(run("room", "--data", str(tmp_path / "file" / "room"), *LOOPBACK), "file")


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--listen", "127.0.0.1:99999"),
        ("--listen", "[::1"),
        ("--host", "two words"),
        ("--host", ":9"),
        ("--host", "room.example:0"),
        ("--network-key", "AAAA"),
        ("--udp", "127.0.0.1:99999"),
    ],
)
def test_bad_options_are_named(data: Path, option: str, value: str) -> None:
    assert_unusable(run("room", "--data", str(data), option, value), option)


def test_udp_and_no_udp_are_too_much(data: Path) -> None:
    assert_unusable(run("room", "--data", str(data), "--udp", ":0", "--no-udp"), "--udp", "--no-udp")


@pytest.mark.parametrize(("given", "home"), [("/x", "/x"), ("relative", "~/.local/share"), (None, "~/.local/share")])
def test_the_default_directory_is_the_rooms_own(monkeypatch: pytest.MonkeyPatch, given: str | None, home: str) -> None:
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    if given is not None:
        monkeypatch.setenv("XDG_DATA_HOME", given)
    assert default_data() == Path(home).expanduser() / "ssbfast" / "room"
