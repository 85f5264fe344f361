"""The handlers of answers and streams of `ssb.packet_stream`, and when a full stream may stop the reading.

A stream that is not taken from holds the connection's only reader, so that little piles up. But the program may stand
inside its `async for` and wait for something that is behind the stream's messages: the answer of a call, the messages
of another stream. While anything of ours is awaited, a stream may therefore hold much more (`limits.STREAM_BACKLOG`).
"""

from __future__ import annotations

import asyncio
import logging
from asyncio import Event
from collections import deque
from collections.abc import AsyncIterator, Generator
from typing import Any, ClassVar

from ssbfast import limits
from ssbfast.compat.ssb.messages import PSMessage
from ssbfast.errors import LimitError, SessionEndedError

_log = logging.getLogger("ssbfast.compat.ssb")


class Waits:
    """The waits of a program on one connection, and the full streams that hold its reader meanwhile."""

    def __init__(self) -> None:
        self.calls = 0
        """Answers that are awaited, and writers that wait for the peer to read."""
        self.streams = 0
        """Streams whose next message is awaited. It may never come: live streams are silent for hours."""
        self.held: set[PSStreamHandler] = set()

    def wake(self) -> None:
        """Let the held reader read on, as the program begins to wait."""
        for handler in self.held:
            handler._room.set()


class PSRequestHandler:
    """A handler that waits for the one answer of a request: `await handler`."""

    _error: Exception | None = None
    _waits: Waits | None = None

    def __init__(self, req: int) -> None:
        self.req = req
        self.event = Event()
        self._msg: PSMessage | None = None

    async def process(self, msg: PSMessage) -> None:
        """Take the answer that has come."""
        self._msg = msg
        self.event.set()

    async def stop(self) -> None:
        """Stop waiting: no answer will come any more."""
        self._finish(None)

    def _finish(self, error: Exception | None) -> None:
        if not self.event.is_set():
            self._error = error
            self.event.set()

    async def _wait(self) -> PSMessage:
        waits = self._waits
        if waits is None:
            await self.event.wait()
        elif not self.event.is_set():
            waits.calls += 1
            if waits.held:
                waits.wake()
            try:
                await self.event.wait()
            finally:
                waits.calls -= 1
        if self._msg is None:
            raise SessionEndedError("the connection ended before the answer came") from self._error
        return self._msg

    def __await__(self) -> Generator[Any, None, PSMessage]:
        """Return the answer. SessionEndedError when the connection ends before it."""
        return self._wait().__await__()

    def __aiter__(self) -> AsyncIterator[PSMessage]:
        return self

    async def __anext__(self) -> PSMessage:
        """Return the answer, the first time."""
        if self.event.is_set() and self._msg is None and self._error is None:
            raise StopAsyncIteration
        msg = await self._wait()
        self._msg = self._error = None
        return msg


class PSStreamHandler:
    """A handler that keeps what has come on a stream until it is taken: `async for msg in handler`.

    When `limits.STREAM_INBOX` bytes wait, `process` waits, and nothing more is read from the connection, unless the
    program waits for something else on it; then `limits.STREAM_BACKLOG` is the bound, and beyond it the stream ends.
    """

    inbox: ClassVar[int] = limits.STREAM_INBOX
    _error: Exception | None = None
    _waits: Waits | None = None
    _stuck = False
    """Nothing was taken for `limits.STALL_SECONDS`: the program waits for something that we cannot know of."""
    _overfull = False

    def __init__(self, req: int) -> None:
        self.req = req
        self._messages: deque[tuple[PSMessage, int]] = deque()
        self._size = 0
        self._ended = False
        self._abandoned = False
        self._some = Event()
        self._room = Event()

    async def process(self, msg: PSMessage) -> None:
        """Take another message."""
        if self._ended or self._abandoned:
            return
        raw = msg._raw if isinstance(msg, PSMessage) else None
        size = limits.STREAM_ITEM + len(raw or b"")
        self._messages.append((msg, size))
        self._size += size
        self._some.set()
        if self._size > self.inbox:
            await self._hold()

    async def _hold(self) -> None:
        """Hold the reader while the stream is full and nothing waits for what may come behind it."""
        waits = self._waits or Waits()
        while self._size > self.inbox and not self._ended and not self._abandoned:
            if self._size <= max(limits.STREAM_BACKLOG, self.inbox):
                if waits.calls or waits.streams or self._stuck:
                    return
                self._stuck = await self._nothing_taken(waits)
            elif waits.calls or (await self._nothing_taken(waits) and waits.streams):
                self._overflow()

    async def _nothing_taken(self, waits: Waits) -> bool:
        """Wait for room, or until the program waits for something. True: neither came for a long time."""
        late = False

        def give_up() -> None:
            nonlocal late
            late = True
            self._room.set()

        timer = asyncio.get_running_loop().call_later(limits.STALL_SECONDS, give_up)
        self._room.clear()
        waits.held.add(self)
        try:
            await self._room.wait()
        finally:
            waits.held.discard(self)
            timer.cancel()
        return late

    def _overflow(self) -> None:
        """End the stream; what is here can still be taken."""
        text = f"the stream was ended: more than {limits.STREAM_BACKLOG} bytes of it waited to be taken"
        _log.warning("stream %d: %s", self.req, text)
        self._overfull = True
        self._finish(LimitError(text))

    async def stop(self) -> None:
        """Stop the stream: nothing more will come, and iteration ends behind what is here."""
        self._finish(None)

    def _finish(self, error: Exception | None) -> None:
        if not self._ended:
            self._ended = True
            self._error = error
            self._some.set()
            self._room.set()

    def _abandon(self) -> None:
        """Abandon the stream: nothing will take from it any more."""
        self._abandoned = True
        self._messages.clear()
        self._size = 0
        self._room.set()

    def __aiter__(self) -> AsyncIterator[PSMessage]:
        return self

    async def __anext__(self) -> PSMessage:
        """Return the next message.

        SessionEndedError when the connection broke before the stream had ended, LimitError when too much of it waited.
        """
        while not self._messages:
            if self._ended:
                self._raise_end()
            self._some.clear()
            await self._wait()
        msg, size = self._messages.popleft()
        self._size -= size
        self._room.set()
        return msg

    async def _wait(self) -> None:
        waits = self._waits or Waits()
        waits.streams += 1
        waits.wake()
        try:
            await self._some.wait()
        finally:
            waits.streams -= 1

    def _raise_end(self) -> None:
        if self._overfull:
            raise LimitError(str(self._error))
        if self._error is not None:
            raise SessionEndedError("the connection broke before the stream had ended") from self._error
        raise StopAsyncIteration
