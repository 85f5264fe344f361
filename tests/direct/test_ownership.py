"""Who closes what of a direct path on every way out: sockets of attempts, of paths, and of connections that fail."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from ssbfast import limits
from ssbfast.direct.carriers import DirectCarrier
from ssbfast.direct.hole_punch import Attempt
from ssbfast.direct.udp import UdpSocket
from ssbfast.wire.direct.keys import Role
from ssbfast.wire.direct.punch.attempt import Failed
from ssbfast.wire.direct.punch.candidates import Candidates
from tests.helpers.direct import PathPair, both_engines, direct, keys, only, raw_caller
from tests.helpers.rawpeer import eventually, settle

pytestmark = both_engines

# ---------------------------------------------------------------- an attempt


async def punching_attempt() -> tuple[Attempt, list[UdpSocket], asyncio.Task[Any]]:
    """One that punches, with nobody there."""
    attempt = Attempt(loopback=True)
    await attempt.gather()
    sockets = [udp for _, udp in attempt._open_sockets()]
    task = asyncio.create_task(attempt.punch(keys(Role.CALLER), Candidates()))
    await settle()
    return attempt, sockets, task


async def cancelled(task: asyncio.Task[Any]) -> None:
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_path_that_is_won_as_the_attempt_is_cancelled_is_closed() -> None:
    """The winner's socket belongs to the attempt until somebody has it."""
    attempt, sockets, task = await punching_attempt()
    attempt._won(0, ("127.0.0.1", 4000), None)
    task.cancel()
    await cancelled(task)
    assert sockets and all(udp.is_closed for udp in sockets)


async def test_what_comes_behind_a_cancellation_finds_nobody() -> None:
    """The task has not run yet, and its future is cancelled already."""
    attempt, sockets, task = await punching_attempt()
    task.cancel()
    attempt._won(0, ("127.0.0.1", 4000), None)
    failed: Any = SimpleNamespace(effects=lambda: [Failed("nothing came through")], timer=lambda: None)
    attempt._carry_out(failed)
    await cancelled(task)
    assert all(udp.is_closed for udp in sockets)


# ---------------------------------------------------------------- a path


class Owner:
    """A session that takes a path, or has ended in the meantime."""

    def __init__(self, *, takes: bool = True) -> None:
        self.takes = takes
        self.over = 0

    def path_ready(self, carrier: DirectCarrier) -> None:
        if self.takes:
            carrier.begin(1)
        else:
            carrier.end(False)

    def path_over(self, carrier: DirectCarrier) -> None:
        self.over += 1


def opening(owner: Owner) -> tuple[DirectCarrier, PathPair]:
    """A way of the caller's, and both ends of its path."""
    nobody: Any = SimpleNamespace(carrier_lost=lambda *_args: None, sign_received=lambda *_args: None)
    anyone: Any = owner
    carrier = DirectCarrier(nobody, anyone)
    ends = PathPair()
    carrier.path = ends.caller
    ends.caller._handler = carrier
    return carrier, ends


async def test_a_path_whose_opening_is_cancelled_is_closed() -> None:
    carrier, ends = opening(Owner())
    try:
        task = asyncio.create_task(carrier.open(ends.sockets[0], ends.sockets[1].local, within=600))
        await settle()
        task.cancel()
        await cancelled(task)
        assert ends.sockets[0].is_closed and not ends.sockets[1].is_closed
    finally:
        await ends.close()


@pytest.mark.parametrize("takes", [True, False])
async def test_a_path_that_is_ready_is_the_session_s_or_nobody_s(takes: bool) -> None:
    carrier, ends = opening(Owner(takes=takes))
    try:
        ends.start_target()
        ends.target.allow(ends.sockets[0].local)
        await carrier.open(ends.sockets[0], ends.sockets[1].local, within=600)
        assert ends.caller.is_ready is takes
    finally:
        await ends.close()


async def test_a_socket_says_farewell_only_to_whom_has_met_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "DIRECT_FAREWELL_SECONDS", 0.05)
    async with direct() as ends:
        ends.caller.abort("the test says so")
        assert not ends.sockets[0].is_closed
        await eventually(lambda: ends.sockets[0].is_closed)
    ends = PathPair()
    ends.start_caller()
    ends.caller.abort("the test says so")
    assert ends.sockets[0].is_closed
    await ends.close()


# ---------------------------------------------------------------- a connection that fails


async def test_an_owner_that_raises_loses_the_connection_and_not_its_socket(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It must not, and if it does: the mistake is reported, and nothing of the connection is left."""
    monkeypatch.setattr(limits, "DIRECT_FAREWELL_SECONDS", 0.05)
    told: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: told.append(context["exception"]))
    async with raw_caller() as raw:
        mistake = ZeroDivisionError("a mistake of the test's")

        def ready(_path: Any) -> None:
            raise mistake

        raw.there.path_ready = ready  # type: ignore[method-assign]
        await raw.connect()
        raw.write(0, raw.proof)
        await eventually(lambda: raw.sockets[1].is_closed)
        assert told == [mistake] and len(raw.there.lost) == 1


@pytest.mark.parametrize("what", ["datagrams_to_send", "handle_timer"])
@only("aioquic")
async def test_a_mistake_of_quic_s_costs_the_connection_and_not_its_socket(
    what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "DIRECT_FAREWELL_SECONDS", 0.05)

    def fail(*_args: Any) -> Any:
        raise AssertionError("a mistake of QUIC's")

    async with direct() as ends:
        monkeypatch.setattr(ends.caller._quic, what, fail)
        ends.caller.ping()
        ends.sockets[1].close()  # nothing comes back: a timer fires
        await eventually(lambda: ends.sockets[0].is_closed)
        assert ends.here.lost == [(False, "QUIC cannot go on")]


async def test_a_connection_that_cannot_begin_closes_its_socket(monkeypatch: pytest.MonkeyPatch) -> None:
    ends = PathPair()

    def fail(*_args: Any) -> None:
        raise ValueError("no such address")

    monkeypatch.setattr(ends.caller._quic, "connect", fail)
    with pytest.raises(ValueError, match="no such address"):
        ends.start_caller()
    assert ends.sockets[0].is_closed
    await ends.close()
