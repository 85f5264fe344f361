"""An end with the engine and one without: each chooses alone, and the wire is QUIC's."""

from __future__ import annotations

import asyncio
import random
import sys
from typing import Any

import pytest

if sys.version_info < (3, 11):
    pytest.skip("aioquic needs Python 3.11: there are no direct paths", allow_module_level=True)

from ssbfast import limits
from ssbfast.direct import quic_engine
from ssbfast.direct.quic_connection import Connection
from ssbfast.direct.quic_engine import FastConnection
from ssbfast.direct.quic_path import DirectPath
from ssbfast.wire.direct.keys import Role
from tests.helpers.direct import PathPair, RecordingHandler, direct, move
from tests.helpers.rawpeer import eventually, settle

if not quic_engine.HAS_ENGINE:
    pytest.skip("there is no engine on this machine", allow_module_level=True)

either = pytest.mark.parametrize("aioquic", [Role.CALLER, Role.TARGET], ids=["aioquic calls", "the engine calls"])
SIZE = 600_000


@pytest.fixture(autouse=True)
def auto(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSBFAST_DIRECT", "auto")


async def pour_both_ways(ends: PathPair) -> asyncio.Task[None]:
    """Send a lot, each way; the task is over when all is there."""
    chance = random.Random(11)
    up, down = chance.randbytes(SIZE), chance.randbytes(SIZE)

    async def pour(path: DirectPath, data: bytes) -> None:
        for start in range(0, len(data), 65_536):
            path.send_data(data[start : start + 65_536])
            await eventually(lambda: path.unsent < 131_072)

    async def work() -> None:
        await asyncio.gather(pour(ends.caller, up), pour(ends.target, down))
        await eventually(lambda: len(ends.there.data) >= SIZE and len(ends.here.data) >= SIZE)
        assert ends.there.data == up and ends.here.data == down

    return asyncio.create_task(work())


@either
async def test_data_both_ways_arrive_whole(aioquic: Role) -> None:
    async with direct(aioquic) as ends:
        kinds = {path.role: type(path._quic) for path in (ends.caller, ends.target)}
        assert kinds == {aioquic: Connection, aioquic.other: FastConnection}
        ends.caller.send_records(b"first")
        await (await pour_both_ways(ends))
        assert ends.there.records == b"first"
        figures = {path.role: path.figures for path in (ends.caller, ends.target)}
        for role, found in figures.items():
            assert SIZE // found.mtu <= found.packets and 1200 <= found.mtu <= limits.QUIC_DATAGRAM_IPV4
            assert found.engine == ("aioquic" if role is aioquic else "native")
        assert figures[aioquic].lost is None
        lost = figures[aioquic.other].lost
        assert lost is not None and 0 <= lost < figures[aioquic.other].packets


async def forward(path: DirectPath, here: RecordingHandler, other: DirectPath, there: RecordingHandler) -> None:
    """Forward three connections from one end to the other: one ends, one is cut here and one there."""
    await eventually(path.can_open)
    whole, cut, kept = (path.open_stream() for _ in range(3))
    for stream in (whole, cut, kept):
        path.send_stream(stream, b"hello")
    path.send_stream(whole, b"", end=True)
    await eventually(lambda: {whole, cut, kept} <= set(there.streams) and whole in there.ended)
    other.send_stream(whole, b"back", end=True)
    path.reset_stream(cut)
    await eventually(lambda: whole in here.ended and there.resets == [cut])
    other.send_stream(cut, b"to nobody")
    other.send_stream(kept, b"still there")
    await eventually(lambda: here.streams.get(kept) == b"still there")
    assert here.streams[whole] == b"back" and cut not in here.streams and not here.resets
    other.reset_stream(kept)
    await eventually(lambda: here.resets == [kept])


@either
async def test_forwarded_streams_end_and_are_reset(aioquic: Role) -> None:
    async with direct(aioquic) as ends:
        await forward(ends.caller, ends.here, ends.target, ends.there)
        for handler in (ends.here, ends.there):
            handler.resets.clear()
        await forward(ends.target, ends.there, ends.caller, ends.here)
        assert not ends.here.lost and not ends.there.lost


@either
async def test_datagrams_pass_beside_the_streams(aioquic: Role) -> None:
    async with direct(aioquic) as ends:
        ends.caller.send_data(bytes(100_000))
        for path in (ends.caller, ends.target):
            for length in (0, 1, 1000, path.datagram_room):
                assert path.send_datagram(bytes(length))
        await eventually(lambda: len(ends.here.datagrams) == len(ends.there.datagrams) == 4)
        await eventually(lambda: len(ends.there.data) == 100_000)


@pytest.mark.parametrize("ender", [Role.CALLER, Role.TARGET])
@either
async def test_an_end_is_told_to_the_other(aioquic: Role, ender: Role) -> None:
    for clean in (True, False):
        async with direct(aioquic) as ends:
            path = ends.caller if ender is Role.CALLER else ends.target
            last = ends.there if ender is Role.CALLER else ends.here
            path.send_data(b"last words")
            if clean:
                path.close()
            else:
                path.abort("a secret reason")
            await ends.lost()
            assert [end.lost[0][0] for end in (ends.here, ends.there)] == [clean, clean]
            assert last.data == (b"last words" if clean else b"") and "secret" not in last.lost[0][1]


@either
async def test_a_ping_is_heard(aioquic: Role) -> None:
    async with direct(aioquic) as ends:
        before = ends.here.heard, ends.there.heard
        for path in (ends.caller, ends.target):
            path.ping()
        await eventually(lambda: ends.here.heard > before[0] and not ends.caller._pinging)
        await eventually(lambda: ends.there.heard > before[1] and not ends.target._pinging)


@pytest.mark.parametrize("engines", ["both", "the caller's", "the target's", "none"])
async def test_a_caller_that_moves_is_followed(engines: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its NAT forgets: in the middle of a transfer its datagrams come from another port."""
    if engines == "none":
        monkeypatch.setenv("SSBFAST_DIRECT", "aioquic")
    async with direct({"the caller's": Role.TARGET, "the target's": Role.CALLER}.get(engines)) as ends:
        work = await pour_both_ways(ends)
        await eventually(lambda: 0 < len(ends.there.data) < SIZE)
        before = move(ends.sockets[0])
        await work
        fast: Any = ends.target._quic
        if isinstance(fast, FastConnection):
            assert fast._remote == ends.sockets[0].local != before
            assert fast._engine.figures()["forged"] == 0
        assert not ends.here.lost and not ends.there.lost


async def test_a_flood_from_elsewhere_takes_no_moving_caller_s_place() -> None:
    """Each address that bogus datagrams come from is forgotten at once: there is room for those of the caller."""
    async with direct() as ends:
        fast = ends.target._quic
        assert isinstance(fast, FastConnection)
        work = await pour_both_ways(ends)
        await eventually(lambda: 0 < len(ends.there.data) < SIZE)
        move(ends.sockets[0])
        head = bytes([0x41]) + fast.host_cid
        for port in range(1024, 1124):
            ends.target.datagram(head + bytes(40), ("127.0.0.1", port))
        await settle()
        await work
        assert fast._remote == ends.sockets[0].local and len(fast._remotes) <= 2
