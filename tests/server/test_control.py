"""The control socket of a room: its questions, dead sockets and long paths; tests/net has the protocol."""

from __future__ import annotations

import asyncio
import os
import socket
import stat
from pathlib import Path
from typing import Any

import pytest

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
