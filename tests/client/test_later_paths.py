"""Direct paths that are loaded behind the first session: it has them all the same, and they never hold it up."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from dataclasses import replace

import pytest

from ssbfast.client import direct_paths
from ssbfast.client.later_paths import LaterPaths
from ssbfast.direct import options
from ssbfast.direct.options import PreferredPath
from ssbfast.errors import DirectUnavailableError
from tests.helpers.meeting import HERE, meeting
from tests.helpers.rawpeer import eventually

LATER = replace(HERE, after=3600.0)
SOON = replace(HERE, after=0.01)


async def test_the_session_leaves_the_room_later() -> None:
    async with meeting(c=SOON) as met:
        await met.path("direct")
        await met.is_usable()


async def test_a_choice_of_the_path_does_not_wait() -> None:
    async with meeting(c=LATER) as met:
        assert met.caller._direct is None
        (outcome,) = await asyncio.wait_for(met.caller.choose_path(met.target.me.id, PreferredPath.DIRECT), 60)
        assert outcome.reason is None and met.peer.path == "direct"


async def test_sessions_that_are_over_are_forgotten() -> None:
    async with meeting(c=LATER) as met:
        later = met.caller._later
        assert later is not None and list(later._waiting) == [met.peer]
        await met.peer.close()
        await eventually(lambda: not later._waiting)
        await met.caller.connect(met.target.me.id)
    assert later._loading is not None and later._loading.cancelled() and not later._waiting


async def test_the_loop_goes_on_while_they_are_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    """And the session stays in the room where they cannot be."""
    goes_on, began = threading.Event(), threading.Event()

    def ready() -> None:
        began.set()
        goes_on.wait(60)
        raise DirectUnavailableError

    monkeypatch.setattr(direct_paths, "ready", ready)
    async with meeting(a=None, c=SOON) as met:
        await eventually(began.is_set)
        await met.is_usable()
        goes_on.set()
        assert met.caller._later is not None
        await met.caller._later.hurry()
        assert met.caller._direct is None and met.peer.path == "tunnel"


async def test_it_ends_in_the_middle(monkeypatch: pytest.MonkeyPatch) -> None:
    goes_on, began = threading.Event(), threading.Event()
    monkeypatch.setattr(direct_paths, "ready", lambda: (began.set(), goes_on.wait(60)))
    begun: list[int] = []
    later = LaterPaths(0.0, lambda: begun.append(1))
    async with meeting(a=None, c=None) as met:
        later.add(met.peer, lambda: begun.append(2))
        await eventually(began.is_set)
        await later.close()
        goes_on.set()
        await eventually(lambda: not any(thread.name == "direct-paths" for thread in threading.enumerate()))
        await asyncio.sleep(0)
        assert begun == []


def test_what_is_not_installed_is_noticed_without_loading(monkeypatch: pytest.MonkeyPatch) -> None:
    code = """if True:
        import sys
        from ssbfast.client.room_client import RoomClient
        from ssbfast.direct.options import Direct, may_be_ready
        from ssbfast.keys import Keypair
        RoomClient(Keypair.generate(), direct=Direct(after=1.0))
        names = ("aioquic", "aioice", "ifaddr", "ssbfast.client.direct_paths")
        print(may_be_ready(), [name for name in names if name in sys.modules])
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "True []\n"
    monkeypatch.setattr(options.importlib.util, "find_spec", lambda name: None if name == "ifaddr" else name)
    assert not options.may_be_ready()
