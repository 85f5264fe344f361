"""The control socket: its questions, its owner, dead sockets, long paths, and those who misuse it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import stat
from pathlib import Path
from typing import Any

import pytest

from ssbfast import limits
from ssbfast.errors import BadInputError, RefusedError
from ssbfast.server import control
from ssbfast.server.control import Control, ask

pytestmark = pytest.mark.skipif(not control.is_supported(), reason="no Unix sockets here")


def refuse(_request: dict[str, Any]) -> Any:
    raise RefusedError("not now")


async def later(request: dict[str, Any]) -> Any:
    await asyncio.sleep(0)
    return request["number"] + 1


HANDLERS: dict[str, control.Handler] = {"one": lambda _request: {"is": 1}, "later": later, "refuse": refuse}


async def asked(data: Path, name: str, **members: Any) -> Any:
    return await asyncio.to_thread(ask, data, name, **members)


async def test_two_commands_at_once(tmp_path: Path) -> None:
    served = Control(tmp_path, HANDLERS)
    await served.start()
    assert await asyncio.gather(asked(tmp_path, "one"), asked(tmp_path, "later", number=6)) == [{"is": 1}, 7]
    with pytest.raises(BadInputError, match="not now"):
        await asked(tmp_path, "refuse")
    with pytest.raises(BadInputError, match="does not know"):
        await asked(tmp_path, "what")
    await served.close()
    assert not served.path.exists()
    with pytest.raises(BadInputError, match=r"no room runs on .*ssbfast room --data"):
        await asked(tmp_path, "one")


async def test_it_is_its_owner_s(tmp_path: Path) -> None:
    served = Control(tmp_path, HANDLERS)
    await served.start()
    assert stat.S_IMODE(served.path.stat().st_mode) == 0o600
    await served.close()


async def test_another_user_is_not_served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    served = Control(tmp_path, HANDLERS)
    await served.start()
    monkeypatch.setattr(control, "_is_allowed", lambda _writer: False)
    with pytest.raises(BadInputError, match="does not answer"):
        await asked(tmp_path, "one")
    await served.close()


async def test_a_dead_room_s_socket_is_replaced_and_a_living_one_s_is_not(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(tmp_path / control.FILE))
    first, second = Control(tmp_path, HANDLERS), Control(tmp_path, HANDLERS)
    await first.start()
    with pytest.raises(BadInputError, match="another room runs"):
        await second.start()
    await second.close()
    assert await asked(tmp_path, "one")
    await first.close()


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="long paths need /proc")
async def test_a_long_path(tmp_path: Path) -> None:
    data = tmp_path / ("x" * 100) / ("y" * 100)
    data.mkdir(parents=True)
    served = Control(data, HANDLERS)
    await served.start()
    assert await asked(data, "one")
    await served.close()
    assert os.listdir(data) == []


@pytest.mark.parametrize(
    "line",
    [
        b"\n",
        b"{}\n",
        b"[]\n",
        b'{"ask": 3}\n',
        b'{"ask": ["one"]}\n',
        b"\xff\xfe\n",
        b'{"ask": null}\n',
        b"[" * 5000 + b"\n",
    ],
)
async def test_nonsense_is_answered_and_the_next_line_is_served(tmp_path: Path, line: bytes) -> None:
    served = Control(tmp_path, HANDLERS)
    await served.start()
    reader, writer = await asyncio.open_unix_connection(served.path)
    for half in (line[:1], line[1:]):
        writer.write(half)
        await asyncio.sleep(0)
    assert set(json.loads(await reader.readline())) == {"error"}
    writer.write(b'{"ask": "one"}\n')
    assert json.loads(await reader.readline()) == {"answer": {"is": 1}}
    writer.close()
    await served.close()


async def test_those_who_say_nothing_or_too_much_lose_their_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "CONTROL_SECONDS", 0.3)
    served = Control(tmp_path, HANDLERS)
    await served.start()
    silent = [await asyncio.open_unix_connection(served.path) for _ in range(limits.CONTROL_CLIENTS)]
    one_more = await asyncio.open_unix_connection(served.path)
    assert await one_more[0].read() == b""
    one_more[1].close()
    for reader, writer in silent:
        assert await reader.read() == b""
        writer.close()
    reader, writer = await asyncio.open_unix_connection(served.path)
    writer.write(b"x" * (limits.CONTROL_LINE * 3))
    with contextlib.suppress(ConnectionError):  # closed with bytes unread
        assert await reader.read() == b""
    writer.close()
    monkeypatch.undo()
    assert await asked(tmp_path, "one")
    await served.close()
