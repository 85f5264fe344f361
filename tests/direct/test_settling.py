"""How the engine takes a direct path over: when it does, when it does not, and what comes meanwhile."""

from __future__ import annotations

import asyncio
import importlib.util
import random
import sys
from collections.abc import Iterator
from typing import Any

import pytest

if sys.version_info < (3, 11):
    pytest.skip("aioquic needs Python 3.11: there are no direct paths", allow_module_level=True)

from aioquic.quic.events import StreamReset
from aioquic.tls import CipherSuite

from ssbfast import limits
from ssbfast.direct import quic_engine, udp
from ssbfast.direct.engine_choice import engine_choice
from ssbfast.direct.quic_connection import Connection
from ssbfast.direct.quic_driver import QuicDriver
from ssbfast.direct.quic_engine import FastConnection
from ssbfast.direct.udp import UdpSocket
from ssbfast.errors import LocalProtocolError
from ssbfast.wire.direct.keys import Role
from tests.helpers.direct import PathPair, RawTarget, direct, raw_caller, raw_target
from tests.helpers.rawpeer import eventually, settle

if not quic_engine.HAS_ENGINE:
    pytest.skip("there is no engine on this machine", allow_module_level=True)

CANNOT = (False, "the engine could not take it over")


@pytest.fixture(autouse=True)
def chosen(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """SSBFAST_DIRECT as the test's parameter `says`; `auto` by default."""
    spec = getattr(request.node, "callspec", None)
    monkeypatch.setenv("SSBFAST_DIRECT", spec.params.get("says", "auto") if spec else "auto")


class Noise:
    """Whether connections are never quiet. looked: how often somebody asked."""

    def __init__(self) -> None:
        self.on, self.looked = True, 0


@pytest.fixture
def noise(monkeypatch: pytest.MonkeyPatch) -> Iterator[Noise]:
    found, whole = Noise(), quic_engine.is_quiet

    def is_quiet(connection: Any) -> bool:
        found.looked += 1
        return not found.on and whole(connection)

    monkeypatch.setattr(quic_engine, "is_quiet", is_quiet)
    yield found


async def is_whole(ends: PathPair) -> None:
    """Data pass both ways."""
    ends.caller.send_data(b"there")
    ends.target.send_data(b"back")
    await eventually(lambda: ends.there.data == b"there" and ends.here.data == b"back")


# ---------------------------------------------------------------- which engine it is


@pytest.mark.parametrize("says", ["auto", "native", "aioquic"])
async def test_the_environment_chooses(says: str) -> None:
    kind = Connection if says == "aioquic" else FastConnection
    async with direct() as ends:
        for path in (ends.caller, ends.target):
            assert type(path._quic) is type(path._driver._quic) is kind
        await is_whole(ends)


async def test_a_choice_that_nobody_knows_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSBFAST_DIRECT", "Native")
    with pytest.raises(LocalProtocolError, match="it can be auto, aioquic, native"):
        engine_choice()
    monkeypatch.delenv("SSBFAST_DIRECT")
    assert engine_choice() == "auto"


@pytest.mark.parametrize(
    "gone", ["aioquic.tls.cipher_suite_hash", "aioquic.quic.recovery.QuicPacketRecovery.congestion_window"]
)
def test_an_aioquic_that_the_engine_does_not_know_is_gone_on_with_alone(
    gone: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(gone)
    monkeypatch.delitem(sys.modules, "ssbfast.direct.quic_handover")
    spec = importlib.util.spec_from_file_location("another_engine", quic_engine.__file__)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.HAS_ENGINE is False


@pytest.mark.parametrize("says", ["auto", "native"])
async def test_a_moment_that_never_comes(says: str, noise: Noise, monkeypatch: pytest.MonkeyPatch) -> None:
    """aioquic goes on, and is not asked again; or the path ends, where nothing but the engine will do."""
    monkeypatch.setattr(limits, "DIRECT_SETTLE_LEAST", 0.02)
    ends = PathPair()
    try:
        ends.start()
        if says == "native":
            await ends.lost()
            assert CANNOT in ends.here.lost + ends.there.lost
            assert not ends.here.ready, "the caller begins nothing"
            return
        await ends.ready()
        noise.on, looked = False, noise.looked
        await is_whole(ends)
        assert noise.looked == looked > 0
        assert isinstance(ends.caller._quic, Connection) and isinstance(ends.target._quic, Connection)
    finally:
        await ends.close()


async def test_a_slow_path_has_three_round_trips(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[float] = []
    whole = QuicDriver.settle

    def settled(driver: QuicDriver, within: float) -> None:
        given.append(within)
        whole(driver, within)

    monkeypatch.setattr(QuicDriver, "settle", settled)
    monkeypatch.setattr(limits, "DIRECT_SETTLE_LEAST", 1.25)
    for rtt, measured, within in (
        (0.5, 0.1, limits.DIRECT_SETTLE_RTTS * 0.5),
        (None, 0.6, limits.DIRECT_SETTLE_RTTS * 0.6),
        (0.001, 0.4, limits.DIRECT_SETTLE_LEAST),
    ):
        monkeypatch.setattr(Connection, "rtt", rtt)
        ends = PathPair()
        ends.start(rtt=measured)
        await ends.ready()
        await ends.close()
        assert given == [within, within]
        given.clear()


@pytest.mark.parametrize("says", ["auto", "native"])
async def test_another_cipher_suite_is_aioquic_s(says: str) -> None:
    ends = PathPair()
    for path in (ends.caller, ends.target):
        quic: Any = path._quic
        quic._configuration.cipher_suites = [CipherSuite.AES_128_GCM_SHA256]
    try:
        ends.start()
        if says == "native":
            await ends.lost()
            assert CANNOT in ends.here.lost + ends.there.lost
            return
        await ends.ready()
        await is_whole(ends)
        assert isinstance(ends.caller._quic, Connection) and isinstance(ends.target._quic, Connection)
    finally:
        await ends.close()


async def test_what_the_engine_cannot_take_stays_with_aioquic(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_args: Any) -> None:
        raise ValueError("the handover does not fit the limits")

    monkeypatch.setattr(limits, "DIRECT_SETTLE_LEAST", 0.02)
    monkeypatch.setattr(quic_engine, "Engine", refuse)
    told: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: told.append(context))
    async with direct() as ends:
        await is_whole(ends)
        assert isinstance(ends.caller._quic, Connection) and not told


async def test_an_owner_that_raises_when_time_is_up_loses_the_path(
    noise: Noise, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "DIRECT_SETTLE_LEAST", 0.02)
    monkeypatch.setattr(limits, "DIRECT_FAREWELL_SECONDS", 0.05)
    told: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: told.append(context["exception"]))
    mistake = ZeroDivisionError("a mistake of the test's")

    def ready(_path: Any) -> None:
        raise mistake

    async with raw_caller() as raw:
        raw.there.path_ready = ready  # type: ignore[method-assign]
        await raw.connect()
        raw.write(0, raw.proof)
        await eventually(lambda: raw.sockets[1].is_closed)
        assert told == [mistake] and len(raw.there.lost) == 1


# ---------------------------------------------------------------- what comes meanwhile


@pytest.mark.parametrize("late", [False, True], ids=["the engine", "aioquic"])
async def test_what_comes_while_it_settles_is_kept_in_order(
    late: bool, noise: Noise, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "DIRECT_SETTLE_LEAST", 600.0)
    async with raw_caller() as raw:
        await raw.connect()
        raw.write(0, raw.proof + b"one ")
        await eventually(lambda: raw.target._proven)
        for stream, data in ((0, b"two "), (2, b"data "), (0, b"three"), (2, b"more")):
            count = len(raw.target._early)
            raw.write(stream, data)
            await eventually(lambda count=count: len(raw.target._early) > count)  # type: ignore[misc]
        assert raw.there.log == ["ready"] and not raw.target.is_settled, "a target is ready, and says nothing by itself"
        if late:
            raw.target._driver._settle(None)
        else:
            noise.on = False
            raw.quic.send_ping(1)
            raw.driver.transmit_soon()
        await eventually(lambda: len(raw.there.log) == 6)
        assert raw.there.log == ["ready", "records", "records", "data", "records", "data"]
        assert (raw.there.records, raw.there.data) == (b"one two three", b"data more")
        assert isinstance(raw.target._quic, Connection if late else FastConnection)
        assert not raw.target._early


async def prove_and(raw: RawTarget) -> None:
    """Begin, and say the proof."""
    raw.start()
    await eventually(lambda: len(raw.got(0)) == 32)
    raw.write(0, raw.proof)
    await eventually(lambda: raw.caller._proven)


async def test_a_stream_that_is_reset_while_it_settles_is_told_behind_its_bytes(
    noise: Noise, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "DIRECT_SETTLE_LEAST", 600.0)
    async with raw_target() as raw:
        await prove_and(raw)
        raw.write(1, b"x")
        await eventually(lambda: raw.caller._early)
        raw.quic.reset_stream(1, 5)
        raw.driver.transmit_soon()
        await eventually(lambda: len(raw.caller._early) == 2)
        assert raw.here.log == []
        noise.on = False
        raw.quic.send_ping(1)
        raw.driver.transmit_soon()
        await eventually(lambda: raw.here.resets)
        assert raw.here.log == ["ready", "stream", "reset"] and raw.here.streams == {1: b"x"}


async def test_a_peer_that_repeats_itself_while_it_settles_fills_no_memory(
    noise: Noise, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A frame that stops a stream costs it three bytes and no credit, as often as it likes."""
    monkeypatch.setattr(limits, "DIRECT_SETTLE_LEAST", 600.0)
    monkeypatch.setattr(limits, "DIRECT_SETTLE_KEPT", 5)
    async with raw_target() as raw:
        await prove_and(raw)
        raw.write(1, b"x")
        for count in range(1, 6):
            await eventually(lambda n=count: raw.here.lost or len(raw.caller._early) == n)  # type: ignore[misc]
            raw.quic.stop_stream(1, 5)
            raw.driver.transmit_soon()
        await eventually(lambda: raw.here.lost or len(raw.caller._early) > 5)
        assert raw.here.lost == [(False, "too much came before the path was settled")]
        assert not raw.caller._early and raw.here.log == ["lost"]


@pytest.mark.parametrize("when", ["while it settles", "as it is ready"])
async def test_a_path_that_is_lost_tells_nothing_of_what_has_come(
    when: str, noise: Noise, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "DIRECT_SETTLE_LEAST", 600.0)
    async with raw_target() as raw:
        await prove_and(raw)
        raw.write(1, b"x")
        await eventually(lambda: raw.caller._early)
        if when == "while it settles":
            raw.caller.abort("enough")
        else:
            raw.here.path_ready = lambda path: path.abort("enough")  # type: ignore[method-assign]
        noise.on = False
        raw.quic.send_ping(1)
        raw.driver.transmit_soon()
        await eventually(lambda: raw.here.lost)
        await settle(50)
        assert raw.here.log == ["lost"]


# ---------------------------------------------------------------- streams that the other end does not allow yet


@pytest.mark.parametrize("says", ["aioquic", "native"])
async def test_a_stream_is_opened_as_soon_as_the_other_end_allows_it(says: str) -> None:
    """aioquic at the other end allows one, the session's records."""
    async with raw_target() as raw:
        await prove_and(raw)
        await eventually(lambda: raw.here.ready)
        path = raw.caller
        assert isinstance(path._quic, FastConnection) is (says == "native")
        assert not path.can_open()
        with pytest.raises(LocalProtocolError):
            path.open_stream()
        raw.quic._local_max_streams_bidi.value = 3
        raw.driver.transmit_soon()
        await eventually(path.can_open)
        first, other = path.open_stream(), path.open_stream()
        assert (first, other, path.can_open()) == (4, 8, False)
        path.send_stream(other, b"bytes")
        path.reset_stream(first)
        await eventually(lambda: raw.got(other) == b"bytes")
        await eventually(lambda: any(isinstance(event, StreamReset) for event in raw.events))
        assert {event.stream_id for event in raw.events if isinstance(event, StreamReset)} == {first}
        assert path.is_ready and path.unsent == 0


# ---------------------------------------------------------------- key updates


@pytest.mark.parametrize("role", [Role.CALLER, Role.TARGET])
async def test_keys_may_change_in_the_middle_of_a_transfer(role: Role) -> None:
    """The engine's end follows aioquic's updates, both ways, and loses nothing."""
    chance = random.Random(7)
    async with direct(role) as ends:
        ours, theirs = (ends.caller, ends.target) if role is Role.CALLER else (ends.target, ends.caller)
        here, there = (ends.here, ends.there) if role is Role.CALLER else (ends.there, ends.here)
        fast, updating = theirs._quic, ours._quic
        assert isinstance(fast, FastConnection) and isinstance(updating, Connection)
        sent, back = bytearray(), bytearray()
        for number in range(1, 6):
            up, down = chance.randbytes(150_000), chance.randbytes(150_000)
            sent += up
            back += down
            ours.send_data(up)
            theirs.send_data(down)
            await eventually(lambda: 0 < ours.unsent < 100_000 or ours.unsent == 0)
            updating.request_key_update()
            await eventually(lambda n=number: fast._engine.figures()["updates"] == n)  # type: ignore[misc]
            await eventually(lambda n=150_000 * number: len(there.data) == len(here.data) == n)  # type: ignore[misc]
        assert there.data == sent and here.data == back
        assert fast._engine.figures()["forged"] == 0


# ---------------------------------------------------------------- sockets


class Full:
    """A path's socket, on which nothing has room while it is `full`. tried: how often it was asked to send."""

    def __init__(self, udp: UdpSocket) -> None:
        self.sock, self.full, self.tried = udp._sock, True, 0
        udp._sock = self  # type: ignore[assignment]

    def __getattr__(self, name: str) -> Any:
        return getattr(self.sock, name)

    def sendmsg(self, *args: Any) -> int:
        self.tried += 1
        if self.full:
            raise BlockingIOError
        return self.sock.sendmsg(*args)


async def test_a_timer_that_is_due_does_not_spin_while_the_socket_is_full() -> None:
    async with direct() as ends:
        driver, fast, loop = ends.caller._driver, ends.caller._quic, asyncio.get_running_loop()
        assert isinstance(fast, FastConnection)
        assert driver._timer is not None
        fast.get_timer = lambda: 0.0  # type: ignore[method-assign]
        for held, pause in ((None, 0.0), ((b"x", 1, ends.sockets[1].local), 0.01)):
            driver._timer.cancel()
            driver._timer, driver._held, before = None, held, loop.time()
            driver._arm()
            assert driver._timer is not None
            assert (driver._timer.when() >= before + pause) is (held is not None)
        driver._held = None
        del fast.get_timer


async def test_what_finds_the_socket_full_goes_first_when_there_is_room() -> None:
    """Nothing of it counts as lost, and nothing overtakes it."""
    data = random.Random(9).randbytes(400_000)
    async with direct() as ends:
        fast = ends.caller._quic
        assert isinstance(fast, FastConnection)
        fast.get_timer = lambda: None  # type: ignore[method-assign]  # nothing but room makes it go on
        ends.sockets[0]._joins = True
        socket = Full(ends.sockets[0])
        ends.caller.send_data(data)
        await eventually(lambda: socket.tried > 20)
        assert ends.caller._driver._held is not None and not ends.there.data
        socket.full, tried = False, socket.tried
        await eventually(lambda: socket.tried > tried)
        del fast.get_timer
        await eventually(lambda: len(ends.there.data) == len(data))
        assert ends.there.data == data and ends.caller._driver._held is None
        assert fast._engine.figures()["lost"] == 0


async def test_many_small_pieces_wait_as_one() -> None:
    """The engine holds so many of a stream, and no more; what comes behind them arrives too, in order."""
    pieces = [b"%d," % number for number in range(2 * limits.QUIC_SEGMENTS)]
    async with direct() as ends:
        fast = ends.caller._quic
        assert isinstance(fast, FastConnection)
        for piece in pieces:
            ends.caller.send_data(piece)
        assert fast._engine.figures()["segments"] == limits.QUIC_SEGMENTS
        assert bytes(fast._over[2][0]) == b"".join(pieces[limits.QUIC_SEGMENTS :])
        await eventually(lambda: ends.there.data == b"".join(pieces))
        await eventually(lambda: not fast._engine._lent)
        assert not fast._over


@pytest.mark.parametrize("what", ["reads no trains", "sends no trains"])
async def test_where_the_system_joins_nothing_it_goes_one_by_one(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    data = random.Random(10).randbytes(400_000)
    if what == "reads no trains":
        monkeypatch.setattr(udp, "_READS_TRAINS", False)
    async with direct() as ends:
        for sock in ends.sockets:
            assert (sock._memory is None) is (what == "reads no trains")
            sock._joins = sock._joins and what == "reads no trains"
        ends.caller.send_data(data)
        ends.target.send_data(data)
        await eventually(lambda: len(ends.there.data) == len(ends.here.data) == len(data))
        assert ends.there.data == ends.here.data == data


async def test_an_engine_that_is_over_keeps_no_keys() -> None:
    async with direct() as ends:
        ends.caller.send_data(b"x" * 100_000)
        await eventually(lambda: len(ends.there.data) == 100_000)
        memory = [ends.caller._quic._engine._memory, ends.target._quic._engine._memory]
        keys = [ends.caller._quic._generations._send, ends.caller._quic._generations._receive]
        assert all(keys)
        text = b"x" * 64
        assert any(text in bytes(one) for one in memory)
        ends.caller.close()
        await eventually(lambda: ends.there.lost)
        assert not any(text in bytes(one) for one in memory)
        ends.caller.send_datagram(b"late")
