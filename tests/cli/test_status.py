"""`ssbfast status` and `ssbfast path`: what people and programs are shown of running processes."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from ssbfast import limits
from ssbfast.cli.status import page
from ssbfast.client import control_socket
from ssbfast.client.control_socket import ControlSocket
from ssbfast.client.identity_lock import IdentityLock
from ssbfast.direct.path_figures import EngineName, PathFigures
from ssbfast.store.peer_store import Store
from tests.helpers.commands import assert_unusable, events, failed, run_here, succeed
from tests.helpers.meeting import MeetingClients, meeting
from tests.helpers.processes import Running
from tests.helpers.rooms import feed
from tests.helpers.terminals import Terminal

pytestmark = pytest.mark.skipif(os.name != "posix", reason="Unix sockets and terminals")


@pytest.fixture
async def met(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[MeetingClients]:
    """A caller and a target on a direct path; the caller has a control socket."""
    monkeypatch.setattr(limits, "DIRECT_FAREWELL_SECONDS", 0.1)
    async with meeting() as met, ControlSocket.beside(tmp_path, "connect") as control:
        control.serve(met.caller)
        with Store(tmp_path) as store:
            store.follow(met.target.me.id, "home")
        await met.path("direct")
        await met.has_standby()
        yield met


def test_nothing_runs(tmp_path: Path) -> None:
    text = succeed("status", "--data", str(tmp_path))
    assert text == f"nothing runs here; next: ssbfast share NAME=HOST:PORT --room ROOM --data {tmp_path}\n"
    assert events("status", "--data", str(tmp_path)) == [{"event": "status", "processes": []}]
    assert events("status", "--data", str(tmp_path / "none")) == [{"event": "status", "processes": []}]
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("is_link", [True, False])
async def test_what_is_in_the_place_of_a_socket_is_named_and_not_asked(tmp_path: Path, is_link: bool) -> None:
    place = tmp_path / "peer" / "listen.socket"
    async with IdentityLock(tmp_path, "share"):
        place.parent.mkdir()
        if is_link:
            place.symlink_to(tmp_path / "listen.socket")
        else:
            place.write_text("precious")
        async with IdentityLock(place.parent, "share"):
            text = await asyncio.to_thread(succeed, "status", "--data", str(place.parent))
    what = "a link" if is_link else "no socket"
    told = f"{place} is {what}, and keeps what runs here from being asked: remove it, start that anew"
    assert " ".join(text.split()) == f"a process here: {told}"
    assert os.path.lexists(place)


async def test_a_session_with_its_nickname(met: MeetingClients, tmp_path: Path) -> None:
    text = await asyncio.to_thread(succeed, "status", "--data", str(tmp_path))
    first, room, session, more = text.splitlines()[:4]
    assert re.fullmatch(rf"connect, pid {os.getpid()}, since 20\S+Z", first)
    assert re.fullmatch(r"  room  127\.0\.0\.1  joined \d.* ago", room)
    assert re.match(r"  home        direct [\d.]+ ms  down .*  up .*", session)
    assert "via 127.0.0.1" in session + more
    assert re.search(r"  mtu \d{4}  (loss \d\.\d %  native|aioquic) engine\n", text)
    (event,) = await asyncio.to_thread(events, "status", "--data", str(tmp_path))
    (process,) = event["processes"]
    (one,) = process["sessions"]
    assert set(one["direct"]) == {"engine", "mtu", "packets", "lost"}
    assert one["nickname"] == "home" and one["path"] == "direct" and one["peer"] == str(met.target.me.id)


async def test_a_direct_path_is_good_on_a_terminal(
    met: MeetingClients, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.delenv("NO_COLOR", raising=False)
    text = await asyncio.to_thread(succeed, "status", "--data", str(tmp_path))
    assert re.search(r"\n  home        \x1b\[32mdirect [\d.]+ ms\x1b\[0m  down ", text)
    plain = re.sub(r"\x1b\[\d*m", "", text)
    assert plain.splitlines()[0].startswith("connect, pid") and "  room  127.0.0.1  joined" in plain
    assert "\x1b" not in await asyncio.to_thread(succeed, "--plain", "status", "--data", str(tmp_path))


async def test_several_processes_side_by_side(met: MeetingClients, tmp_path: Path) -> None:
    async with IdentityLock(tmp_path) as lock, ControlSocket.beside(tmp_path, "open") as starting:
        lock.control.serve(met.target, lambda: [{"name": "ssh", "kind": "tcp"}])
        (event,) = await asyncio.to_thread(events, "status", "--data", str(tmp_path))
        told = event["processes"]
        assert [one.get("command") for one in told if "problem" not in one] == ["listen", "connect"]
        assert [one["problem"] for one in told if "problem" in one] == ["this process does not know that question"]
        assert starting.about["command"] == "open"
        text = await asyncio.to_thread(succeed, "status", "--data", str(tmp_path))
        assert "  offers  ssh\n" in text and met.caller.me.id.short in text


async def test_to_the_room_and_back_by_nickname(met: MeetingClients, tmp_path: Path) -> None:
    data = ("--data", str(tmp_path))
    assert (
        await asyncio.to_thread(succeed, "path", "home", "tunnel", *data) == "home  through the room, and stays there\n"
    )
    text = await asyncio.to_thread(succeed, "status", *data)
    assert "not direct: the room's tunnel was chosen" in text and "  home        tunnel" in text
    (event,) = await asyncio.to_thread(events, "path", "home", "direct", *data)
    assert event == {
        "event": "path",
        "peer": str(met.target.me.id),
        "preferred": "direct",
        "session": met.peer.label,
        "path": "direct",
        "reached": True,
        "reason": None,
    }
    assert await asyncio.to_thread(succeed, "path", str(met.target.me.id), "auto", *data) == "home  direct\n"


async def test_a_path_that_cannot_be_had(met: MeetingClients, tmp_path: Path) -> None:
    data = ("--data", str(tmp_path))
    await asyncio.to_thread(succeed, "path", "home", "tunnel", *data)
    await met.target.choose_path(met.caller.me.id, control_socket.PreferredPath.TUNNEL)
    done = await asyncio.to_thread(run_here, "path", "home", "direct", *data)
    assert (done.returncode, done.stdout) == (1, "home  through the room: the other end wants none\n")
    done = await asyncio.to_thread(run_here, "path", str(feed(9)), "direct", *data, "--json")
    failed(done, 1, "refused", "no session with that peer")


def test_paths_where_nothing_runs_and_of_nobody(tmp_path: Path) -> None:
    data = ("--data", str(tmp_path))
    done = run_here("path", str(feed(1)), "direct", *data)
    assert done.returncode == 1 and "nothing runs here" in done.stderr
    assert_unusable(run_here("path", "home", "direct", *data), "no contact is called home")
    assert run_here("path", str(feed(1)), "sideways", *data).returncode == 2


def direct(engine: EngineName, mtu: int = 1400, packets: int = 7, lost: int | None = None) -> dict[str, Any]:
    return PathFigures(engine, mtu, packets, lost).as_json()


def test_a_page_has_eighty_columns_and_nothing_that_a_terminal_obeys() -> None:
    session: dict[str, Any] = {
        "peer": str(feed(1)),
        "session": "00",
        "path": "tunnel",
        "preferred": "direct",
        "portal": str(feed(3)),
        "since": 0.0,
        "rtt_ms": {"tunnel": 1234.5, "direct": 3.21},
        "faster": "direct",
        "received": 512_000_000_000,
        "sent": 999_900_000,
        "receiving": 999_900_000.0,
        "sending": 0.4,
        "connections": 12345,
        "reason": "no direct path: \x1b[2J" + "long " * 40,
        "nickname": "a" * 32,
        "waiting": False,
    }
    process = {
        "command": "listen",
        "pid": 4711,
        "since": "2026-11-30T08:15:00Z",
        "rooms": [
            {"id": str(feed(2)), "host": "x" * 200, "since": None, "reason": "no\nanswer", "external": False},
            {"id": str(feed(4)), "host": "room.example", "since": 0.0, "reason": None, "external": True},
        ],
        "offered": [{"name": f"service-{number}", "kind": "tcp"} for number in range(20)],
        "sessions": [
            session,
            {**session, "path": "direct", "reason": None, "nickname": None, "faster": "direct"},
            {**session, "path": "direct", "reason": None, "faster": None, "waiting": True, "direct": direct("aioquic")},
            {**session, "path": "direct", "direct": direct("native", 1472, 2_000_000, 1_999_999)},
            {**session, "path": "direct", "direct": direct("native", 1200, 4096, 3)},
        ],
    }
    found = {"processes": [process, {"problem": "it does not answer"}]}
    assert 110 < max(map(len, page(found, Path("/nowhere"), 120))) <= 120
    lines = page(found, Path("/nowhere"))
    assert max(map(len, lines)) <= 80 and all(line.isprintable() for line in lines), lines
    text = " ".join(" ".join(lines).split())
    for words in (
        "tunnel 1234 ms",
        "down 512.00 GB (999.9 MB/s) up 999.9 MB 12345 connections",
        "chosen: direct",
        "no answer, it waits down",
        "the direct path would be faster: 3.2 ms",
        f"via {feed(3).short}",
        "room.example joined",
        "as a guest: no peer reaches you there",
        "service-19",
        "mtu 1400 aioquic engine",
        "mtu 1472 loss 100.0 % native engine",
        "mtu 1200 loss 0.1 % native engine",
        "a process here: it does not answer",
    ):
        assert words in text, (words, text)
    assert text.count("would be faster") == 1 and text.count("direct 3.2 ms") == 3


@pytest.mark.slow
async def test_watching_in_lines_and_on_a_terminal(met: MeetingClients, tmp_path: Path) -> None:
    def in_lines() -> None:
        with Running("status", "--watch", "--json", "--data", str(tmp_path)) as process:
            for _ in range(2):
                assert process.event("status")["processes"][0]["sessions"][0]["path"] == "direct"
            process.signal(signal.SIGINT)
            assert process.wait() == 0 and process.stderr == ""

    def on_a_terminal(key: str) -> None:
        with contextlib.closing(Terminal("status", "--watch", "--data", str(tmp_path))) as terminal:
            terminal.see("q quit")
            terminal.see("home")
            terminal.press("q") if key == "q" else terminal.process.send_signal(signal.SIGINT)
            assert terminal.end() == 0

    await asyncio.to_thread(in_lines)
    await asyncio.to_thread(on_a_terminal, "q")
    await asyncio.to_thread(on_a_terminal, "Ctrl-C")
