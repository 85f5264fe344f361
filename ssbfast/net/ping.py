"""gossip.ping: a game of volleyball with timestamps, which keeps a session alive and tells when it is dead.

The server sends its time and the other sends its own back; the other serves next, `PING_SECONDS` later. An answer
to our own serve is not answered again: two ends that answered everything would play without pause. The dialler opens
the stream and serves first.

Source: pull-ping 2.0 (npm).
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Coroutine
from typing import Any, Literal, Protocol, TypeVar

from ssbfast import limits
from ssbfast.errors import DeadlineError, SSBError
from ssbfast.net.sleep_detector import awake_clock
from ssbfast.net.stream import Stream, StreamSession
from ssbfast.wire.muxrpc import CallKind

S = TypeVar("S", bound=Stream)


class PingStream(Stream):
    """The stream of a gossip.ping: open as long as the session, however idle that is."""


class PingSession(StreamSession, Protocol):
    """A session that pings keep alive, as far as they need it.

    path, round_trips: as a `Peer` has them.
    """

    path: Literal["tunnel", "direct", "tcp"]
    round_trips: dict[Literal["tunnel", "direct", "tcp"], float]

    def open_as(self, make: Callable[[Any, int], S], kind: CallKind, name: str, args: tuple[Any, ...]) -> S:
        """Open a stream of a class of its own."""

    def background(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run work until the session ends."""


def keep_alive(peer: PingSession) -> None:
    """Ping a peer that we have dialled, from now until the session ends.

    A peer that does not want pings is left in peace. One that does not answer within `PING_ANSWER_SECONDS` is dead:
    its session fails with DeadlineError.
    """
    try:
        args = ({"timeout": int(limits.PING_SECONDS * 1000)},)
        stream = peer.open_as(PingStream, CallKind.DUPLEX, "gossip.ping", args)
    except SSBError:
        return  # the session has ended
    peer.background(play(peer, stream, serves=True))


async def play(peer: PingSession, stream: Stream, *, serves: bool) -> None:
    """Play until the stream or the session ends. serves: whether the first serve is ours."""
    read = peer.link.sent  # of what we sent, as far as an answer proves it
    try:
        async with stream:
            while True:
                if not serves and await _served(peer, stream):
                    await stream.send(_wall_milliseconds())
                    await asyncio.sleep(limits.PING_SECONDS)
                asked = peer.link.sent
                await _serve(peer, stream, read)
                serves, read = False, asked
    except asyncio.TimeoutError:
        peer.link.fail(DeadlineError("the peer does not answer pings"))
    except (SSBError, StopAsyncIteration):
        return


async def measure(peer: PingSession) -> None:
    """Note the round trip of the path that the session has now, by one ping; nothing when no answer comes in time."""
    args = ({"timeout": int(limits.PING_SECONDS * 1000)},)
    with contextlib.suppress(SSBError, StopAsyncIteration, asyncio.TimeoutError):
        async with peer.open_as(PingStream, CallKind.DUPLEX, "gossip.ping", args) as stream:
            await asyncio.wait_for(_serve(peer, stream, 0), limits.PING_ANSWER_SECONDS)


async def _serve(peer: PingSession, stream: Stream, read: int) -> None:
    """Send our time, wait for the answer as `_answered` does, and note how long it took."""
    loop, path = asyncio.get_running_loop(), peer.path
    began = loop.time()
    await stream.send(_wall_milliseconds())
    await _answered(peer, stream, read)
    if peer.path == path:
        peer.round_trips[path] = loop.time() - began


async def _answered(peer: PingSession, stream: Stream, read: int) -> None:
    """Wait for the answer. Raises asyncio.TimeoutError when it is overdue and nothing else tells that the peer lives.

    read: of our bytes, those that the peer has read for sure. An answer that waits behind what we do not read ourselves
    is not overdue, nor one whose question waits behind what the peer takes slowly, or has yet to read.
    """
    link, silent = peer.link, 0.0
    while True:
        before = _signs(peer)
        try:
            await _next_within(stream, limits.PING_ANSWER_SECONDS)
            return
        except asyncio.TimeoutError:
            silent = 0.0 if link.is_held or _signs(peer) != before else silent + limits.PING_ANSWER_SECONDS
            if silent > 0.0 and silent >= _reading_time(link.sent - read):
                raise


def _reading_time(n: int) -> float:
    """Return seconds in which the slowest consumer that keeps its stream reads n bytes: half an inbox a stall."""
    inbox = limits.STREAM_INBOX // 2
    return max(0, n - inbox) / inbox * limits.STALL_SECONDS


def _signs(peer: PingSession) -> tuple[object, ...]:
    """Return numbers that change while the peer lives: what has come, and how far it takes what waits."""
    link = peer.link
    backlog = link.progress()
    return link.received, backlog if any(backlog) else None


async def _served(peer: PingSession, stream: Stream) -> bool:
    """Wait for the other's serve; return False when it is overdue although we read: some peers only answer.

    While it may lie behind what we do not read ourselves we do not serve instead: the other end would take that for an
    answer, and for a proof that we have read all that came before.
    """
    loop = asyncio.get_running_loop()
    while True:
        began, was_held = loop.time(), peer.link.is_held
        try:
            await _next_within(stream, limits.PING_SECONDS + limits.PING_ANSWER_SECONDS)
            return True
        except asyncio.TimeoutError:
            held_at = peer.link.held_at
            if not (was_held or peer.link.is_held or (held_at is not None and held_at >= began)):
                return False


async def _next_within(stream: Stream, seconds: float) -> None:
    """Wait for an item while we are awake: what came while we slept has yet to be read. Raises asyncio.TimeoutError."""
    clock = awake_clock()
    until = clock.time() + seconds
    while True:
        try:
            await asyncio.wait_for(stream.__anext__(), max(until - clock.time(), 0.0))
            return
        except asyncio.TimeoutError:
            if clock.time() >= until:
                raise


def _wall_milliseconds() -> int:
    return int(time.time() * 1000)
