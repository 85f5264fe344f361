"""gossip.ping between two peers, and against those who do not play."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from types import SimpleNamespace
from typing import Any

import pytest

from ssbfast import limits
from ssbfast.errors import DeadlineError, RemoteError
from ssbfast.net import ping
from ssbfast.net.api import Api
from ssbfast.net.link import Link
from ssbfast.net.peer import Peer
from ssbfast.net.ping import keep_alive, measure
from ssbfast.net.stream import Stream
from ssbfast.wire.muxrpc import Called, CallKind
from tests.helpers.pairs import PeerPair, connected
from tests.helpers.rawpeer import PATIENCE, eventually


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "PING_SECONDS", 0.02)


def received(peer: Peer) -> list[object]:
    """What the ping stream that `peer` has just opened receives from now on."""
    seen: list[object] = []
    (stream,) = peer._streams.values()
    accept = stream.on_item

    def on_item(item: object, size: int) -> None:
        seen.append(item)
        accept(item, size)

    stream.on_item = on_item  # type: ignore[method-assign]
    return seen


async def test_each_serves_in_turn(quick: None) -> None:
    async with connected() as pair:
        keep_alive(pair.here)
        seen = received(pair.here)
        await eventually(lambda: len(seen) >= 8)
        assert all(isinstance(item, int) for item in seen)
        assert pair.here.is_open and pair.there.is_open


async def test_it_is_quiet_between_serves() -> None:
    async with connected() as pair:
        keep_alive(pair.here)
        seen = received(pair.here)
        await eventually(lambda: seen)
        for _ in range(200):
            await asyncio.sleep(0)
        assert len(seen) == 1  # an answer is not answered


async def test_who_does_not_want_pings_is_left_in_peace(quick: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "PING_ANSWER_SECONDS", 0.02)
    api = Api()

    @api.call("now")
    async def now(_peer: Peer) -> int:
        return 1

    def no_pings(peer: Peer, called: Called) -> bool:
        if called.kind is CallKind.DUPLEX:
            peer.refuse(called.req, "no pings")
        return called.kind is CallKind.DUPLEX

    async with connected(there=api) as pair:
        pair.there._intercept = no_pings
        keep_alive(pair.here)
        await asyncio.sleep(0.2)
        assert await pair.here.call("now", timeout=PATIENCE) == 1


@pytest.mark.parametrize("side", ["dialler", "acceptor"])
async def test_who_does_not_answer_is_dead(side: str, quick: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "PING_ANSWER_SECONDS", 0.1)
    async with connected() as pair:
        if side == "dialler":
            pair.there._intercept = lambda _peer, _called: True  # takes the call, and that is all
            keep_alive(pair.here)
            loser = pair.here
        else:
            stream = pair.here.duplex("gossip.ping", {"timeout": 300_000})
            await stream.send(1)
            loser = pair.there
        await asyncio.wait_for(loser.wait_closed(), PATIENCE)
        assert isinstance(loser.error, DeadlineError)
        assert "pings" in str(loser.error)


async def test_a_peer_that_only_answers_is_served_again_and_again(quick: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "PING_ANSWER_SECONDS", 0.1)
    answered: list[object] = []

    def parrot(peer: Peer, called: Called) -> bool:
        stream = peer.accept_as(Stream, called.req)

        async def answer() -> None:
            async for item in stream:
                answered.append(item)
                await stream.send(2)

        peer.background(answer())
        return True

    async with connected() as pair:
        pair.there._intercept = parrot
        keep_alive(pair.here)
        await eventually(lambda: len(answered) >= 3)
        assert pair.here.is_open


@pytest.mark.parametrize("how", [lambda pair: pair.here.link.abort(), lambda pair: pair.here.link.close()])
async def test_it_ends_with_the_session(how: Callable[[PeerPair], None]) -> None:
    async with connected() as pair:
        keep_alive(pair.here)
        how(pair)
        await pair.here.wait_closed()
        keep_alive(pair.here)  # too late, and harmless
        assert not isinstance(pair.here.error, RemoteError | DeadlineError)


# ---------------------------------------------------------------- silence that is ours, and peers that show they live


async def test_while_we_do_not_read_ourselves_nobody_is_dead(quick: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "PING_ANSWER_SECONDS", 0.05)
    async with connected() as pair:
        pair.here.link.hold(pair)
        keep_alive(pair.here)
        await asyncio.sleep(0.5)
        assert pair.here.is_open
        pair.here.link.release(pair)
        seen = received(pair.here)
        await eventually(lambda: len(seen) >= 2)
        assert pair.here.is_open


async def test_a_slow_consumer_keeps_its_session_and_its_stream(quick: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "PING_ANSWER_SECONDS", 0.1)
    monkeypatch.setattr(limits, "STREAM_INBOX", 4 * limits.KiB)
    monkeypatch.setattr(limits, "RECEIVE_BUFFER", 8 * limits.KiB)  # else one read is a second's food
    api = Api()

    @api.source("numbers")
    async def numbers(_peer: Peer) -> AsyncIterator[str]:
        for number in range(200):
            yield str(number) * 1000

    async with connected(there=api) as pair:
        keep_alive(pair.here)
        count = 0
        async for _item in pair.here.source("numbers"):
            count += 1
            await asyncio.sleep(0.006)
        assert count == 200 and pair.here.is_open


async def test_who_sends_is_alive_and_who_stops_is_not(quick: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "PING_ANSWER_SECONDS", 0.2)
    api, is_over = Api(), asyncio.Event()

    @api.source("ticks")
    async def ticks(_peer: Peer) -> AsyncIterator[int]:
        while not is_over.is_set():
            yield 1
            await asyncio.sleep(0.01)
        await asyncio.Event().wait()

    async with connected(there=api) as pair:
        pair.there._intercept = lambda _peer, called: called.name == ("gossip", "ping")
        keep_alive(pair.here)
        stream = pair.here.source("ticks")
        for _ in range(80):
            await stream.__anext__()
        assert pair.here.is_open
        is_over.set()
        await asyncio.wait_for(pair.here.wait_closed(), PATIENCE)
        assert isinstance(pair.here.error, DeadlineError)


async def test_who_takes_what_waits_for_it_is_alive(quick: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "PING_ANSWER_SECONDS", 0.05)
    async with connected() as pair:
        pair.there._intercept = lambda _peer, _called: True
        left = iter(range(10, 0, -1))
        monkeypatch.setattr(Link, "progress", lambda _link: (next(left, 0), 0))
        keep_alive(pair.here)
        await asyncio.wait_for(pair.here.wait_closed(), PATIENCE)
        assert isinstance(pair.here.error, DeadlineError)
        assert next(left, None) is None  # not before the last of it was taken


async def test_who_does_not_read_does_not_serve_instead(quick: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other end would take that for an answer, and for a proof that all that came before was read."""
    monkeypatch.setattr(limits, "PING_ANSWER_SECONDS", 0.02)
    loop = asyncio.get_running_loop()
    waits: list[float] = []

    class Silent:
        async def __anext__(self) -> None:
            waits.append(loop.time())
            match len(waits):
                case 1:  # held, and released before we look again
                    link.held_at = loop.time()
                case 2:  # held at the end
                    link.is_held = True
                case 3:  # held at the beginning, since before
                    link.held_at, link.is_held = 0.0, False
            await asyncio.sleep(60)

    link = SimpleNamespace(is_held=False, held_at=None)
    peer: Any = SimpleNamespace(link=link)
    stream: Any = Silent()
    assert await ping._served(peer, stream) is False
    assert len(waits) == 4


async def test_a_round_trip_belongs_to_the_path_that_it_took(monkeypatch: pytest.MonkeyPatch) -> None:
    async with connected() as pair:

        def leave() -> int:
            pair.here.path = "direct"  # while it is under way
            return 1

        monkeypatch.setattr(ping, "_wall_milliseconds", leave)
        await measure(pair.here)
        assert not pair.here.round_trips
        await measure(pair.here)
        assert 0 < pair.here.round_trips["direct"] < 60
