"""A tunnel that is kept open: how soon it is dialled again, whatever ends it. Only least times are measured."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from ssbfast.backoff import Backoff
from ssbfast.cli.persistent_tunnel import PersistentTunnel
from ssbfast.cli.resolve_target import Target
from ssbfast.errors import RefusedError, SSBError
from ssbfast.keys import Keypair
from ssbfast.net.peer import Peer
from ssbfast.room.tunnel_auth import AllowList
from tests.helpers.clients import RecordingClient
from tests.helpers.false_room import FalseRoom, false_room
from tests.helpers.rawpeer import eventually

ME, TARGET = Keypair.generate(), Keypair.generate()


class Session:
    """As much of a `Peer` as a line needs. It is over after so many seconds."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    async def wait_closed(self) -> None:
        await asyncio.sleep(self._seconds)


class Script:
    """A client whose attempts go as a list says: an error, or the seconds that a session lasts. Then nothing more.

    dialled, ended: when attempts began, and when their sessions were over or they failed.
    """

    me = ME

    def __init__(self, *steps: SSBError | float) -> None:
        self.steps = list(steps)
        self.dialled: list[float] = []
        self.ended: list[float] = []
        self.done = asyncio.Event()

    async def connect(self, _target: object, *, anyway: bool) -> Session:
        loop = asyncio.get_running_loop()
        self.dialled.append(loop.time())
        if not self.steps:
            self.done.set()
            await asyncio.Event().wait()
        step = self.steps.pop(0)
        if isinstance(step, SSBError):
            self.ended.append(loop.time())
            raise step
        self.ended.append(loop.time() + step)
        return Session(step)

    @property
    def gaps(self) -> list[float]:
        """From the end of each attempt to the next."""
        return [begins - ends for ends, begins in zip(self.ended, self.dialled[1:], strict=True)]


class Pauses(Backoff):
    """Remembers what it has said."""

    def __init__(self, *arguments: float, **options: float) -> None:
        super().__init__(*arguments, **options)  # type: ignore[arg-type]
        self.said: list[float] = []

    def next(self) -> float:
        self.said.append(super().next())
        return self.said[-1]


async def play(script: Script, pauses: Pauses, *, news: bool = False) -> None:
    """Keep a line until the script is over. news: all the time something is said that cuts pauses short."""
    line = PersistentTunnel(
        script,  # type: ignore[arg-type]
        Target(TARGET.id, ()),
        anyway=False,
        on_opened=lambda _peer: None,
        on_event=lambda _event: None,
        backoff=pauses,
    )
    line._changed.set()
    keeping = asyncio.ensure_future(line.keep())

    async def cry() -> None:
        while True:
            line._changed.set()
            await asyncio.sleep(0)

    crying = asyncio.ensure_future(cry()) if news else None
    await asyncio.wait_for(script.done.wait(), 20)
    for task in filter(None, (keeping, crying)):
        task.cancel()
    await asyncio.gather(*filter(None, (keeping, crying)), return_exceptions=True)


@pytest.mark.parametrize("news", [False, True])
async def test_sessions_that_die_at_once_are_not_dialled_again_without_a_pause(news: bool) -> None:
    script, pauses = Script(*[0.0] * 6), Pauses(0.02, 2.0, 0.16)
    await play(script, pauses, news=news)
    assert len(pauses.said) == len(script.gaps) == 6
    for pause, gap, longest in zip(pauses.said, script.gaps, (0.02, 0.04, 0.08, 0.16, 0.16, 0.16), strict=True):
        assert longest / 2 <= pause <= longest
        assert gap >= (pause / 2 if news else pause) - 0.005


async def test_a_session_of_use_lets_the_pauses_begin_again() -> None:
    script = Script(0.0, 0.0, 0.05, 0.0)
    pauses = Pauses(0.02, 2.0, 0.16, useful=0.04)
    await play(script, pauses)
    assert [pause > 0.02 for pause in pauses.said] == [False, True, False, True]


async def test_who_is_refused_waits_twice_as_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PersistentTunnel, "_explain", lambda _self, _error: "refused")
    script, pauses = Script(*[RefusedError("no")] * 3), Pauses(0.02, 2.0, 0.16)
    await play(script, pauses)
    for pause, gap in zip(pauses.said, script.gaps, strict=True):
        assert gap >= 2 * pause - 0.005


async def test_a_target_that_comes_is_dialled_without_delay() -> None:
    script, pauses = Script(RefusedError("not there")), Pauses(3600.0, most=3600.0)
    await play(script, pauses, news=True)
    assert pauses.said and script.gaps[0] < 20


# ---------------------------------------------------------------- a room that cuts every session


class Cutter(FalseRoom):
    """Cuts each tunnel as soon as its caller has been let in, and says that the target has just come."""

    def __init__(self) -> None:
        super().__init__()
        self.cuts = 0

    def cut(self) -> None:
        for side in self.all:
            for tunnel, partner in list(side.partners.items()):
                if tunnel.count >= 64 + 80 and partner.count >= 64 + 112:
                    self.cuts += 1
                    tunnel.end("cut")
                    partner.end("cut")
            for req in filter(side.mux.is_open, side.lists):
                for kind in ("left", "joined"):
                    side.item(req, {"type": kind, "id": str(TARGET.id)})


@asynccontextmanager
async def cutting() -> AsyncIterator[Cutter]:
    room = Cutter()
    async with false_room(room):

        async def cut() -> None:
            while True:
                room.cut()
                await asyncio.sleep(0.001)

        cutter = asyncio.ensure_future(cut())
        yield room
        cutter.cancel()
        await asyncio.gather(cutter, return_exceptions=True)


async def test_a_room_that_cuts_every_session_is_not_hammered() -> None:
    opened: list[float] = []
    loop = asyncio.get_running_loop()
    pauses = Pauses(0.05, 2.0, 0.4)
    async with (
        cutting() as room,
        RecordingClient(TARGET, admission=AllowList([ME.id])) as target,
        RecordingClient(ME) as caller,
    ):
        await target.join(room.address)
        joined = await caller.join(room.address, announce=False, attendants=True)

        def told(_peer: Peer) -> None:
            opened.append(loop.time())

        events: list[dict[str, Any]] = []
        line = PersistentTunnel(
            caller, Target(TARGET.id, ()), anyway=False, on_opened=told, on_event=events.append, backoff=pauses
        )
        works = [asyncio.ensure_future(line.keep()), asyncio.ensure_future(line.watch(joined))]
        await eventually(lambda: len(opened) >= 6)
        for work in works:
            work.cancel()
        await asyncio.gather(*works, return_exceptions=True)
    assert room.cuts >= 5
    assert opened[5] - opened[0] >= sum(pauses.said[:5]) / 2 - 0.005
    assert sum(pauses.said[:5]) > 0.5
