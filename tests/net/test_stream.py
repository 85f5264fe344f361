"""Calls and streams between two peers of ours: items, ends, cancelling, back-pressure, and what goes wrong."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from typing import Any

import pytest

from ssbfast import limits
from ssbfast.errors import (
    DeadlineError,
    LimitError,
    LocalProtocolError,
    RefusedError,
    RemoteError,
    SessionEndedError,
)
from ssbfast.net.api import Api
from ssbfast.net.peer import Peer
from ssbfast.net.stream import Stream
from ssbfast.wire.muxrpc import CallKind
from tests.helpers.pairs import connected, listening_in
from tests.helpers.rawpeer import PATIENCE, eventually, settle


class Served:
    """What a test's peer serves, and what became of it."""

    def __init__(self) -> None:
        self.api = Api()
        self.log: list[str] = []
        self.gate = asyncio.Event()
        self.got: list[Any] = []
        for name in ("add", "wait", "refuse", "crash"):
            self.api.call(name)(getattr(self, name))
        for name in ("count", "tick", "flood", "fail"):
            self.api.source(name)(getattr(self, name))
        for name in ("swallow", "ignore"):
            self.api.sink(name)(getattr(self, name))
        self.api.duplex("echo")(self.echo)

    async def add(self, _peer: Peer, a: int, b: int) -> int:
        return a + b

    async def wait(self, _peer: Peer) -> bool:
        try:
            await self.gate.wait()
        finally:
            self.log.append("wait is over")
        return True

    async def refuse(self, _peer: Peer) -> None:
        raise RefusedError("not for you")

    async def crash(self, _peer: Peer) -> None:
        raise RuntimeError("/home/somebody/secret 192.0.2.1")

    async def count(self, _peer: Peer, n: int) -> AsyncIterator[int]:
        try:
            for i in range(n):
                yield i
        finally:
            self.log.append("count is over")

    async def tick(self, _peer: Peer) -> AsyncIterator[int]:
        try:
            yield 1
            await self.gate.wait()
            yield 2
        finally:
            self.log.append("tick is over")

    async def flood(self, _peer: Peer, n: int, size: int) -> AsyncIterator[bytes]:
        for i in range(n):
            self.log.append(str(i))
            yield bytes([i % 255 + 1]) * size

    async def fail(self, _peer: Peer, kind: str) -> AsyncIterator[int]:
        yield 1
        if kind == "ours":
            raise RefusedError("enough")
        raise ValueError("/home/somebody")

    async def swallow(self, _peer: Peer, stream: Stream) -> None:
        async for item in stream:
            self.got.append(item)
        self.log.append("swallow is over")

    async def ignore(self, _peer: Peer, stream: Stream) -> None:
        await self.gate.wait()
        async for item in stream:
            self.got.append(item)

    async def echo(self, _peer: Peer, stream: Stream) -> None:
        async for item in stream:
            await stream.send(item)


@pytest.fixture
def unhandled() -> list[dict[str, Any]]:
    """What reaches the loop's exception handler."""
    return []


def watch(found: list[dict[str, Any]]) -> None:
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: found.append(context))


# ---------------------------------------------------------------- calls


@pytest.mark.parametrize("split", [False, True])
async def test_calls_are_answered(split: bool) -> None:
    async with connected(Served().api, split=split) as pair:
        assert await asyncio.gather(*(pair.here.call("add", i, 1) for i in range(50))) == list(range(1, 51))
        assert await pair.here.call("manifest") == {
            **{"add": "async", "fail": "source", "count": "source", "crash": "async", "echo": "duplex"},
            **{"flood": "source", "ignore": "sink", "refuse": "async", "swallow": "sink", "tick": "source"},
            **{"gossip": {"ping": "duplex"}, "manifest": "sync", "wait": "async"},
        }


async def test_both_ends_call_and_serve() -> None:
    async with connected(Served().api, Served().api) as pair:
        answers = await asyncio.gather(pair.here.call("add", 1, 2), pair.there.call("add", 3, 4))
        assert answers == [3, 7]


@pytest.mark.parametrize("call", ["no.such.method", "count", "add.more"])
async def test_unknown_methods_are_refused_in_the_words_clients_look_for(call: str) -> None:
    async with connected(Served().api) as pair:
        with pytest.raises(RemoteError) as caught:
            await pair.here.call(call)
        assert caught.value.message == f"method:{call.replace('.', ',')} is not in list of allowed methods"


async def test_unknown_streams_are_refused_too() -> None:
    async with connected(Served().api) as pair:
        for kind in (CallKind.SOURCE, CallKind.SINK, CallKind.DUPLEX):
            stream = pair.here.open_stream(kind, "add", ())
            with pytest.raises(RemoteError, match="not in list of allowed methods"):
                await stream.__anext__()


async def test_an_answer_that_is_too_long_fails_alone() -> None:
    served = Served()

    @served.api.call("text")
    async def text(peer: Peer, size: int) -> str:
        return "x" * size

    async with connected(served.api) as pair:
        assert len(await pair.here.call("text", limits.OWN_ANSWER)) == limits.OWN_ANSWER
        with pytest.raises(RemoteError, match="too long"):
            await pair.here.call("text", limits.OWN_ANSWER + 1)
        assert await pair.here.call("add", 1, 1) == 2


async def test_an_error_of_ours_is_told_and_any_other_is_not(unhandled: list[dict[str, Any]]) -> None:
    async with connected(Served().api) as pair:
        watch(unhandled)
        with pytest.raises(RemoteError, match=r"^not for you$"):
            await pair.here.call("refuse")
        assert not unhandled
        with pytest.raises(RemoteError, match=r"^internal error$"):
            await pair.here.call("crash")
        with pytest.raises(RemoteError, match=r"^internal error$"):
            await pair.here.call("add", 1)
        assert [type(context["exception"]) for context in unhandled] == [RuntimeError, TypeError]
        assert await pair.here.call("add", 1, 1) == 2


async def test_a_cancelled_call_leaves_nothing_and_its_late_answer_is_nobodys() -> None:
    served = Served()
    async with connected(served.api) as pair:
        calling = asyncio.create_task(pair.here.call("wait"))
        await eventually(lambda: pair.there._tasks)
        calling.cancel()
        with pytest.raises(asyncio.CancelledError):
            await calling
        assert not pair.here._answers and pair.here.mux.open_streams == 0
        served.gate.set()
        await eventually(lambda: served.log == ["wait is over"])
        assert await pair.here.call("add", 1, 1) == 2


async def test_a_call_may_have_a_deadline() -> None:
    served = Served()
    async with connected(served.api) as pair:
        with pytest.raises(DeadlineError):
            await pair.here.call("wait", timeout=0.05)
        assert not pair.here._answers and pair.here.mux.open_streams == 0


@pytest.mark.parametrize("how", ["abort", "close"])
async def test_calls_and_streams_end_with_the_session_on_both_ends(how: str) -> None:
    served = Served()
    async with connected(served.api) as pair:
        calling = asyncio.create_task(pair.here.call("wait"))
        stream = pair.here.source("tick")
        assert await stream.__anext__() == 1
        reading = asyncio.create_task(stream.__anext__())
        await eventually(lambda: len(pair.there._tasks) == 2)
        if how == "abort":
            pair.there.link.abort()
        else:
            await pair.there.close()
        for task in (calling, reading):
            with pytest.raises((SessionEndedError, RemoteError)):
                await asyncio.wait_for(task, PATIENCE)
        await pair.here.wait_closed()
        assert (pair.here.error is None) is (how == "close")
        await eventually(lambda: sorted(served.log) == ["tick is over", "wait is over"])
        with pytest.raises(SessionEndedError):
            await pair.here.call("add", 1, 1)
        with pytest.raises(SessionEndedError):
            pair.here.source("tick")


# ---------------------------------------------------------------- streams


@pytest.mark.parametrize("split", [False, True])
async def test_a_source_is_read_to_its_end(split: bool) -> None:
    served = Served()
    async with connected(served.api, split=split) as pair:
        assert [item async for item in pair.here.source("count", 1000)] == list(range(1000))
        assert served.log == ["count is over"]
        await eventually(lambda: pair.there.mux.open_streams == 0 and pair.here.mux.open_streams == 0)
        await eventually(lambda: not pair.here._streams and not pair.there._streams)


async def test_a_reader_that_never_answers_ends_makes_nothing_pile_up(monkeypatch: pytest.MonkeyPatch) -> None:
    served = Served()
    async with connected(served.api) as pair:
        listening_in(monkeypatch, pair.here.mux, lambda body: False)
        for req in range(1, 3000):
            pair.here.link.control(0x0A, req, b'{"name":["count"],"args":[1],"type":"source"}')
            if req % 100 == 0:
                await settle(3)
        await eventually(lambda: len(served.log) == 2999)
        await eventually(lambda: not pair.there._streams and not pair.there._tasks)


async def test_a_source_that_waits_learns_that_its_reader_has_gone() -> None:
    served = Served()
    async with connected(served.api) as pair:
        stream = pair.here.source("tick")
        assert await stream.__anext__() == 1
        await stream.end()
        await eventually(lambda: served.log == ["tick is over"])
        await eventually(lambda: not pair.there._tasks and not pair.there._streams and not pair.here._streams)
        assert pair.here.mux.open_streams == pair.there.mux.open_streams == 0


async def test_a_source_cancelled_in_full_flow_stops() -> None:
    served = Served()
    async with connected(served.api) as pair:
        stream = pair.here.source("flood", 100_000, 10_000)
        for _ in range(10):
            await stream.__anext__()
        await stream.end()
        await eventually(lambda: not pair.there._tasks and not pair.here._streams)
        assert len(served.log) < 2000
        assert await pair.here.call("add", 1, 1) == 2


@pytest.mark.parametrize(("kind", "text"), [("ours", "enough"), ("other", "internal error")])
async def test_a_source_that_fails_ends_with_an_error(kind: str, text: str, unhandled: list[dict[str, Any]]) -> None:
    async with connected(Served().api) as pair:
        watch(unhandled)
        stream = pair.here.source("fail", kind)
        assert await stream.__anext__() == 1
        with pytest.raises(RemoteError, match=f"^{text}$"):
            await stream.__anext__()
        assert len(unhandled) == (kind == "other")
        await eventually(lambda: not pair.there._streams and not pair.here._streams)


async def test_a_sink_gets_everything_and_then_the_end() -> None:
    served = Served()
    async with connected(served.api) as pair:
        items = [b"bytes", "text", {"a": None}, [1], 0, False, True, b"\0" * limits.CALL_BODY]
        async with pair.here.sink("swallow") as stream:
            for item in items:
                await stream.send(item)
        await eventually(lambda: served.log == ["swallow is over"])
        assert served.got == items
        assert [type(item) for item in served.got] == [type(item) for item in items]
        await eventually(lambda: not pair.there._streams and not pair.here._streams)


async def test_what_cannot_be_sent_is_said_and_the_stream_goes_on() -> None:
    served = Served()
    async with connected(served.api) as pair:
        stream = pair.here.duplex("echo")
        for item, error in ((b"", ValueError), ("", ValueError), (b"x" * (limits.CALL_BODY + 1), LimitError)):
            with pytest.raises(error):
                await stream.send(item)
        await stream.send(b"fine")
        assert await stream.__anext__() == b"fine"
        await stream.end()
        with pytest.raises(LocalProtocolError):
            await stream.send(b"late")
        assert [item async for item in stream] == []


async def test_a_block_that_fails_ends_its_stream_with_an_error() -> None:
    served = Served()
    async with connected(served.api) as pair:
        with pytest.raises(KeyError):
            async with pair.here.duplex("echo") as stream:
                await stream.send(1)
                raise KeyError
        await eventually(lambda: not pair.there._tasks and not pair.there._streams)


async def test_a_megabyte_goes_round() -> None:
    async with connected(Served().api) as pair:
        data = [os.urandom(30_000) for _ in range(100)]
        stream = pair.here.duplex("echo")
        sending = asyncio.create_task(_send_all(stream, data))
        assert [item async for item in stream] == data
        await sending


async def _send_all(stream: Stream, items: list[bytes]) -> None:
    for item in items:
        await stream.send(item)
    await stream.end()


# ---------------------------------------------------------------- back-pressure


async def test_send_waits_for_a_reader_that_does_not_read() -> None:
    served = Served()
    async with connected(served.api) as pair:
        stream = pair.here.sink("ignore")
        items = [bytes([i]) * 60_000 for i in range(1, 251)] * 2
        sending = asyncio.create_task(_send_all(stream, items))
        await eventually(lambda: pair.there.link._holds)
        for _ in range(50):
            await asyncio.sleep(0.005)
        assert not sending.done()
        assert pair.lent * 4096 < 2 * limits.MiB
        inbox = next(iter(pair.there._streams.values()))._inbox_bytes
        assert inbox < limits.STREAM_INBOX + limits.RECEIVE_BUFFER + 60_000
        served.gate.set()
        await asyncio.wait_for(sending, PATIENCE)
        await eventually(lambda: len(served.got) == len(items))
        assert served.got == items


async def test_tiny_items_fill_the_inbox_by_their_number() -> None:
    served = Served()
    async with connected(served.api) as pair:
        stream = pair.here.sink("ignore")
        items = [1] * 60_000
        sending = asyncio.create_task(_send_all(stream, items))
        await eventually(lambda: pair.there.link._holds)
        await settle(200)
        assert not sending.done()
        inbox = next(iter(pair.there._streams.values()))._inbox
        # One read may bring more than there is room for; each item has a head of 9 bytes.
        assert len(inbox) < limits.STREAM_INBOX / limits.STREAM_ITEM + limits.RECEIVE_BUFFER / 10
        served.gate.set()
        await asyncio.wait_for(sending, PATIENCE)
        await eventually(lambda: len(served.got) == len(items))


async def test_a_stream_that_nobody_reads_ends_and_the_session_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "STALL_SECONDS", 0.3)
    served = Served()
    async with connected(served.api) as pair:
        stream = pair.here.source("flood", 100_000, 10_000)
        await eventually(lambda: pair.here.link._holds)
        waiting = asyncio.create_task(pair.here.call("add", 1, 1))
        await settle()
        assert not waiting.done()  # the whole session waits for it
        assert await asyncio.wait_for(waiting, PATIENCE) == 2
        with pytest.raises(LimitError):
            await stream.__anext__()
        await eventually(lambda: not pair.there._tasks and not pair.there._streams)  # the source was told
        await eventually(lambda: not pair.here._streams and pair.here.mux.open_streams == 0)


async def full_source(peer: Peer) -> Stream:
    """A source for which the session is held already: answers are behind what was not read."""
    stream = peer.source("flood", 300, 10_000)
    await eventually(lambda: stream in peer.held)
    return stream


@pytest.mark.parametrize("inside", ["call", "source", "duplex"])
@pytest.mark.slow
async def test_calls_inside_a_loop_over_a_stream_are_answered(inside: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Their answers are behind the stream's items: the session must not wait for the loop that waits for them."""
    monkeypatch.setattr(limits, "STREAM_PATIENCE", 100.0)  # nothing has to be guessed
    served = Served()
    async with connected(served.api, served.api) as pair:

        async def dump(peer: Peer) -> int:
            seen = 0
            async for _ in await full_source(peer):
                seen += 1
                if inside == "call":
                    assert await peer.call("add", seen, 1) == seen + 1
                elif inside == "source":
                    assert [n async for n in peer.source("count", 3)] == [0, 1, 2]
                else:
                    async with peer.duplex("echo") as echo:
                        await echo.send(seen)
                        assert await echo.__anext__() == seen
            return seen

        both = asyncio.gather(dump(pair.here), dump(pair.there))
        assert await asyncio.wait_for(both, PATIENCE) == [300, 300]
        assert not pair.here.link._holds and not pair.there.link._holds


async def test_loops_in_loops_get_on() -> None:
    served = Served()
    async with connected(served.api) as pair:
        count = 0
        async for _ in await full_source(pair.here):
            count += 1
            if count < 5:
                inner = pair.here.source("flood", 300, 10_000)
                seen = 0
                async for _ in inner:
                    seen += 1
                    assert await pair.here.call("add", seen, 1) == seen + 1
                assert seen == 300
        assert count == 300


async def test_calls_back_inside_a_sink_that_is_served_are_answered() -> None:
    served, done = Served(), asyncio.Event()

    @served.api.sink("index")
    async def index(peer: Peer, stream: Stream) -> None:
        await eventually(lambda: stream in peer.held)
        async for _ in stream:
            assert await peer.call("add", 1, 1) == 2
        done.set()

    async with connected(served.api, served.api) as pair:
        await asyncio.wait_for(_send_all(pair.here.sink("index"), [b"x" * 20_000] * 200), PATIENCE)
        await asyncio.wait_for(done.wait(), PATIENCE)


async def test_calls_of_other_tasks_that_the_loop_waits_for_are_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "STREAM_PATIENCE", 0.05)
    served = Served()
    async with connected(served.api) as pair:
        count = 0
        async for _ in await full_source(pair.here):
            count += 1
            assert await asyncio.gather(pair.here.call("add", count, 1), pair.here.call("add", 2, 2)) == [count + 1, 4]
        assert count == 300


@pytest.mark.slow
async def test_a_loop_that_waits_for_more_than_may_pile_up_loses_its_stream(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    default = limits.STREAM_BACKLOG
    assert default == 64 * limits.MiB
    monkeypatch.setattr(limits, "STREAM_BACKLOG", 2_000_000)
    monkeypatch.setattr(limits, "STALL_SECONDS", 4.0)
    served = Served()
    async with connected(served.api) as pair:
        stream, other = (pair.here.source("flood", 1_000, 10_000) for _ in range(2))
        await stream.__anext__()
        waiting = asyncio.create_task(other.__anext__())
        await waiting
        with pytest.raises(DeadlineError):
            await pair.here.call("wait", timeout=PATIENCE / 4)
        with pytest.raises(LimitError, match="not read in time"):
            await stream.__anext__()
        assert "not read in time" in caplog.text
        assert pair.here.inbox_bytes < 2_000_000 + 2 * limits.RECEIVE_BUFFER, "all streams together"
        await other.end()
        assert len([item async for item in pair.here.source("flood", 10, 10_000)]) == 10


async def test_what_came_before_the_end_is_never_too_late(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "STALL_SECONDS", 0.2)
    served = Served()
    async with connected(served.api) as pair:
        stream = pair.here.duplex("echo")
        for n in range(3):
            stream.on_item(n, 100_000)
        assert stream in pair.here.held
        stream.on_end(None)
        assert not pair.here.held and not pair.here.link._holds
        await asyncio.sleep(0.4)
        assert [item async for item in stream] == [0, 1, 2]
        await stream.end()


async def test_a_slow_reader_that_waits_for_nothing_holds_the_session(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "STREAM_PATIENCE", 0.01)
    served = Served()
    async with connected(served.api) as pair:
        stream = pair.here.source("flood", 1_000, 10_000)
        await eventually(lambda: pair.here.link._holds)
        for _ in range(20):
            await stream.__anext__()
            await asyncio.sleep(0.02)
            assert pair.here.inbox_bytes < limits.STREAM_INBOX + 2 * limits.RECEIVE_BUFFER
        assert len([item async for item in stream]) == 980


async def test_a_reader_that_comes_back_in_time_misses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    served = Served()
    async with connected(served.api) as pair:
        stream = pair.here.source("flood", 300, 10_000)
        await eventually(lambda: pair.here.link._holds)
        items = [item async for item in stream]
        assert [item[0] for item in items] == [i % 255 + 1 for i in range(300)]
        assert {len(item) for item in items} == {10_000}
        assert not pair.here.link._holds


async def test_closing_with_a_full_unread_stream_is_clean_and_quick() -> None:
    served = Served()
    async with connected(served.api) as pair:
        pair.here.source("flood", 100_000, 10_000)
        await eventually(lambda: pair.here.link._holds)
        loop = asyncio.get_running_loop()
        began = loop.time()
        await pair.here.close()
        assert pair.here.error is None
        assert loop.time() - began < limits.GOODBYE_SECONDS


async def test_a_cancelled_send_harms_nobody() -> None:
    served = Served()
    async with connected(served.api) as pair:
        stream = pair.here.sink("ignore")
        sending = asyncio.create_task(_send_all(stream, [b"x" * 60_000] * 1000))
        await eventually(lambda: pair.there.link._holds)
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending
        await stream.end("gave up")
        served.gate.set()
        await eventually(lambda: not pair.there._tasks)
        assert await pair.here.call("add", 1, 1) == 2


async def test_requests_may_be_used_again_while_the_old_task_still_runs() -> None:
    """A peer may cancel a call and open another of the same number: both tasks end with the session."""
    served = Served()
    async with connected(served.api) as pair:
        link = pair.here.link
        body = b'{"name":["wait"],"args":[]}'
        for _ in range(2):
            link.control(0x02, 77, body)
            link.control(0x06, 77, b'{"message":"never mind"}')
        await settle()
        assert await pair.here.call("add", 1, 1) == 2
    assert served.log.count("wait is over") in (1, 2)


async def test_the_error_of_an_unread_stream_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "STALL_SECONDS", 0.05)
    api = Api()

    @api.source("much.of.it")
    async def much(_peer: Peer) -> AsyncIterator[str]:
        for _ in range(100):
            yield "x" * 10_000

    async with connected(there=api) as pair:
        stream = pair.here.source("much.of.it")
        await eventually(lambda: stream.error is not None)
        with pytest.raises(LimitError, match=r"what much\.of\.it brought.* was not read in time"):
            await stream.__anext__()
        assert pair.here.is_open
