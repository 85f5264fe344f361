"""A room that is backed up while it runs, and goes on in another directory: the same to its members."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import threading
from pathlib import Path

import pytest

from ssbfast import Keypair, RoomClient
from ssbfast.errors import SSBError
from ssbfast.net.control_socket import NotRunningError
from ssbfast.room.roles import Mode
from ssbfast.server.control import ask
from ssbfast.store.room_store import RoomStore
from tests.helpers.commands import events
from tests.helpers.processes import PATIENCE
from tests.helpers.room_processes import room_processes
from tests.helpers.rooms import feed


async def may_enter(address: str, me: Keypair) -> bool:
    async with RoomClient(me) as client:
        try:
            await client.join(address)
        except SSBError:
            return False
        return True


@pytest.mark.slow
def test_to_another_directory(tmp_path: Path) -> None:
    member, stranger = Keypair.generate(), Keypair.generate()
    with room_processes(tmp_path) as place:
        old, new = place.path("room"), place.path("moved")
        with RoomStore(old) as store:
            store.add_member(member.id, by=None)
            store.change_settings(by=None, mode=Mode.RESTRICTED)
        room = place.room()
        begun, over = threading.Event(), threading.Event()
        busy = threading.Thread(target=stir, args=(old, begun, over))
        busy.start()
        assert begun.wait(PATIENCE)
        events("room", "backup", str(tmp_path / "backup.tar"), "--data", str(old))
        over.set()
        busy.join(PATIENCE)
        before = told(old)
        room.signal(signal.SIGINT)
        assert room.wait() == 0
        assert events("room", "restore", str(tmp_path / "backup.tar"), "--data", str(new))[0]["id"] == before["id"]
        place.room("moved")
        after = told(new)
        assert after["id"] == before["id"] and after["mode"] == before["mode"]
        address = place.address("moved")
        assert address == place.address()
        assert asyncio.run(may_enter(address, member)) and not asyncio.run(may_enter(address, stranger))
        listed = {one["id"] for one in events("room", "deny", "--data", str(new))}
        assert str(feed(0)) in listed, "what was written before the backup began"


def stir(data: Path, begun: threading.Event, over: threading.Event) -> None:
    """Change the records all the time."""
    with RoomStore(data) as store:
        n = 0
        while not over.is_set():
            store.block(feed(n), "", by=None)
            n += 1
            begun.set()


def told(data: Path) -> dict[str, object]:
    """The status of the room, once it answers."""
    for _ in range(600):
        with contextlib.suppress(NotRunningError):
            found: dict[str, object] = ask(data, "status")
            return found
        threading.Event().wait(0.1)
    raise AssertionError("it does not answer")
