"""`ssbfast room top`: in order, again and again, on a terminal and elsewhere."""

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
from ssbfast.cli.room.top import page
from ssbfast.server.busiest import Busiest
from ssbfast.server.control import Control
from ssbfast.server.status import handlers
from tests.helpers.commands import assert_unusable, run_here, succeed
from tests.helpers.processes import Running, without_time
from tests.helpers.rawpeer import RawTunnel, eventually
from tests.helpers.served_room import ServedRoom, served_room
from tests.helpers.terminals import Terminal

pytestmark = pytest.mark.skipif(os.name != "posix", reason="Unix sockets and terminals")


class Scene:
    """A room in this process with two tunnels, one of which carries something."""

    def __init__(self, room: ServedRoom, tunnels: list[RawTunnel], data: Path, control: Control) -> None:
        self.room = room
        self.control = control
        self.tunnels = tunnels
        self.data = data

    async def carry(self, size: int, number: int = 0) -> None:
        before = self.room.server.tunnels.bytes_relayed
        self.tunnels[number].write(b"x" * size)
        await eventually(lambda: self.room.server.tunnels.bytes_relayed == before + size)


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    async with served_room() as room:
        control = Control(tmp_path, handlers(room.server))
        await control.start()
        caller = await room.raw(announce=False)
        targets = [await room.raw(), await room.raw()]
        tunnels = [(await room.tunnel(caller, target))[0] for target in targets]
        yield Scene(room, tunnels, tmp_path, control)
        await control.close()


async def test_rates_are_those_since_the_look_before(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    busiest, tunnels = Busiest(), scene.room.server.limits.tunnels
    await scene.carry(50_000)
    first = busiest.look(tunnels, 9)
    assert first[0].rate > 0 and first[1].rate == 0 and sum(first[0].tunnel.moved) == 50_000
    assert busiest.look(tunnels, 9) == first, "too soon: it is the same look"
    monkeypatch.setattr(limits, "TOP_LEAST_SECONDS", 0.0)
    assert [one.rate for one in busiest.look(tunnels, 9)] == [0, 0]
    await scene.carry(1_000, 1)
    (second,) = busiest.look(tunnels, 1)
    assert sum(second.tunnel.moved) == 1_000 and second.rate == busiest.rate > 0
    busiest.forget()
    assert sum(busiest.look(tunnels, 1)[0].tunnel.moved) == 50_000, "since they began, as at first"
    busiest.forget()


async def test_what_nobody_looks_at_is_forgotten(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "TOP_FORGET_SECONDS", 0.01)
    busiest = Busiest()
    busiest.look(scene.room.server.limits.tunnels, 9)
    await eventually(lambda: not busiest._seen and not busiest._rates)


async def test_a_page_an_object_and_how_many(scene: Scene) -> None:
    await scene.carry(50_000)
    text = await asyncio.to_thread(succeed, "room", "top", "--data", str(scene.data), "--count", "1")
    assert re.match(r"ssbfast room  up \d", text)
    assert "3 sessions, 2 attendants, 0 in the handshake" in text and "2 tunnels" in text
    rows = [line for line in text.splitlines() if "→" in line]
    assert len(rows) == 2 and "50.0 kB" in rows[0]
    options = ("--json", "--count", "2", "--interval", "0.2", "--most", "1")
    lines = (await asyncio.to_thread(succeed, "room", "top", "--data", str(scene.data), *options)).splitlines()
    first, second = map(without_time, lines)
    assert first["event"] == "top" and len(first["tunnels"]) == 1 and first["tunnels"][0]["bytes"] == 50_000
    assert second["rate"] == 0 and second["room"]["tunnels"] == 2


def test_the_orders_of_a_page() -> None:
    tunnels = [
        {"origin": "@a…", "target": "@b…", "seconds": 10.0, "bytes": 5_000, "rate": 20.0},
        {"origin": "@c…", "target": "@d…", "seconds": 90.0, "bytes": 1_000, "rate": 90.0},
        {"origin": "@e…", "target": "@f…", "seconds": 50.0, "bytes": 9_000, "rate": 10.0},
    ]
    told = {
        "name": "x\x1b[2J",
        "seconds": 5,
        "sessions": 1,
        "attendants": 1,
        "connections": 0,
        "tunnels": 3,
        "bytes": 1,
    }
    found: dict[str, Any] = {"room": told, "rate": 120.0, "tunnels": tunnels}
    orders = {order: re.findall(r"@(\w)… →", "\n".join(page(found, order))) for order in "sbt"}
    assert orders == {"s": ["c", "a", "e"], "b": ["e", "a", "c"], "t": ["c", "e", "a"]}
    assert "\x1b" not in "".join(page(found, "s"))


def test_no_room(tmp_path: Path) -> None:
    assert_unusable(run_here("room", "top", "--data", str(tmp_path)), "no room runs")


# ---------------------------------------------------------------- a terminal


@pytest.mark.parametrize("how", ["q", "Ctrl-C"])
async def test_keys_on_a_terminal(scene: Scene, how: str) -> None:
    def use() -> None:
        import fcntl
        import struct
        import termios

        with contextlib.closing(Terminal("room", "top", "--data", str(scene.data), "--interval", "0.2")) as terminal:
            fcntl.ioctl(terminal._there, termios.TIOCSWINSZ, struct.pack("4H", 24, 100, 0, 0))
            terminal.see("by bytes a second;")
            assert "2 tunnels" in terminal.text
            terminal.press("t")
            terminal.see("by time;")
            terminal.press("q") if how == "q" else terminal.process.send_signal(signal.SIGINT)
            assert terminal.end() == 0

    await scene.carry(50_000)
    await asyncio.to_thread(use)


async def test_the_room_ends(scene: Scene) -> None:
    command = ("room", "top", "--data", str(scene.data), "--json", "--interval", "0.2")
    with Running(*command) as process:
        await asyncio.to_thread(process.event, "top")
        await scene.control.close()
        assert await asyncio.to_thread(process.wait) == 2
        assert re.fullmatch(r"ssbfast: .*(does not answer|no room runs).*\n", process.stderr)


async def test_ctrl_c_where_pages_are_printed(scene: Scene) -> None:
    with Running("room", "top", "--data", str(scene.data)) as process:
        await asyncio.to_thread(process.line)
        process.signal(signal.SIGINT)
        assert await asyncio.to_thread(process.wait) == 0 and process.stderr == ""
