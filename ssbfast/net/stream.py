"""One muxrpc source, sink or duplex in Python: items in, items out, back-pressure both ways.

Items that arrive wait in an inbox; past `STREAM_INBOX` bytes, with `STREAM_ITEM` more for each item, the whole
session is not read any more (muxrpc has no flow control per stream) until the application has taken some, or for
`STALL_SECONDS`: then this stream ends with an error and the session goes on.

An application that makes a call inside its `async for` waits for an answer that lies behind the stream's items. So when
the task that reads a full stream waits for something else of the session, reading goes on, until `STREAM_BACKLOG` bytes
wait in all its streams; then the stream ends at once. The same when nothing is taken for `STREAM_PATIENCE` while any
task waits: the reader may be waiting for that one.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import AbstractContextManager
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol

from ssbfast import limits, native
from ssbfast.errors import LimitError, SessionEndedError, SSBError
from ssbfast.net.logs import Log

if TYPE_CHECKING:
    from ssbfast.net.link import Link
    from ssbfast.wire.muxrpc import MuxRPC

_LOW = limits.TUNNEL_SHARE // 2
_log = Log("stream")


class StreamSession(Protocol):
    """A session that a stream is part of, as far as the stream needs it."""

    mux: MuxRPC
    waiters: dict[asyncio.Task[Any] | None, bool]
    held: set[Stream]

    @property
    def link(self) -> Link:
        """Link of the session."""

    @property
    def is_open(self) -> bool:
        """True when the session is open."""

    @property
    def inbox_bytes(self) -> int:
        """Bytes of all streams that wait to be taken."""

    def waiting(self, *, answer: bool) -> AbstractContextManager[None]:
        """Enclose a wait of the application for what the session brings."""

    def end(self, stream: Stream, error: str | None) -> None:
        """End our direction of a stream."""


class Stream:
    """A muxrpc stream; iterate over what comes, `send` what goes, `end` when done.

    As an async context manager it ends its direction on the way out, with an error if there was one.
    """

    def __init__(self, peer: StreamSession, req: int) -> None:
        self._peer = peer
        self._req = req
        self._inbox: deque[tuple[Any, int]] = deque()
        self._inbox_bytes = 0
        self._inbox_low = limits.STREAM_INBOX // 2
        self._inbox_checked = 0
        self._taken = 0
        self._waits_indirectly = False
        self._reader: asyncio.Task[Any] | None = None
        self._arrived: asyncio.Event | None = None
        self._lane: native.Lane | None = None
        self._stall: asyncio.TimerHandle | None = None
        self.ended = False
        self.error: SSBError | None = None
        self.name = "a stream"
        """The method, for messages."""
        self.server: asyncio.Task[None] | None = None
        """The task that feeds a source of ours; the consumer's end cancels it, whatever it waits for."""

    @property
    def req(self) -> int:
        """Number that we write in its packets."""
        return self._req

    # ------------------------------------------------------------ outwards

    async def send(self, item: Any) -> None:
        """Send one item: bytes, str or anything JSON.

        Waits for room first. Raises LimitError for an item of more
        than 64 KiB, ValueError for an empty one, LocalProtocolError after `end`, and the stream's error or
        SessionEndedError when it is over.
        """
        if self.error is not None:
            raise self.error
        lane = self._outlet()
        while lane.full:
            await self._room(lane)
        if self.ended and self.error is not None:
            raise self.error
        flags, _req, body = self._peer.mux.item(self._req, item)
        if len(body) > limits.CALL_BODY:
            raise LimitError(f"an item may have at most {limits.CALL_BODY} bytes")
        if not lane.packet(flags, body):
            raise LimitError("queue memory is used up")
        self._peer.link.touched()

    async def end(self, error: str | None = None) -> None:
        """End our direction, behind what was sent. Harmless when it has ended."""
        self.end_now(error)

    def end_now(self, error: str | None = None) -> None:
        """End our direction like `end`, from where nothing can be awaited."""
        self._peer.end(self, error)

    async def __aenter__(self) -> Stream:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.end(None if error is None else "aborted")

    # ------------------------------------------------------------ inwards

    def __aiter__(self) -> AsyncIterator[Any]:
        return self

    async def __anext__(self) -> Any:
        while not self._inbox:
            if self.error is not None:
                raise self.error
            if self.ended:
                raise StopAsyncIteration
            if self._arrived is None:
                self._arrived = asyncio.Event()
            self._arrived.clear()
            with self._peer.waiting(answer=self._req > 0):
                await self._arrived.wait()
        self._reader = asyncio.current_task()
        item, size = self._inbox.popleft()
        self._inbox_bytes -= size
        self._taken += 1
        if self._inbox_bytes <= self._inbox_low:
            self.unhold()
        return item

    @property
    def inbox_bytes(self) -> int:
        """Bytes that wait to be taken, as they are counted against the limits."""
        return self._inbox_bytes

    def on_item(self, item: Any, size: int) -> None:
        """Take an item from the session, `size` bytes on the wire."""
        size += limits.STREAM_ITEM
        self._inbox.append((item, size))
        self._inbox_bytes += size
        self._wake()
        if self._inbox_bytes > limits.STREAM_INBOX and not self.ended:
            self._full()

    def waits(self, task: asyncio.Task[Any] | None) -> None:
        """Note, while the session is held for us, that this task begins to wait for something else that it brings."""
        if task is self._reader:
            self.unhold()
            self._full()

    def _full(self) -> None:
        """Hold the session, unless our reader waits for what comes behind: then nothing is taken before that."""
        directly = self._reader in self._peer.waiters
        if directly or self._waits_indirectly:
            if self._inbox_bytes <= self._inbox_checked:
                return
            if self._peer.inbox_bytes <= limits.STREAM_BACKLOG:
                self._inbox_checked = self._inbox_bytes + limits.STREAM_INBOX
                return
        if directly:
            self._stalled()
        elif self._stall is None:
            self._inbox_low = limits.STREAM_INBOX // 2
            if self._waits_indirectly:
                self._inbox_low = self._inbox_bytes - limits.STREAM_INBOX
            self._peer.link.hold(self)
            self._peer.held.add(self)
            self._look_again(asyncio.get_running_loop().time() + limits.STALL_SECONDS)

    def _look_again(self, deadline: float) -> None:
        loop = asyncio.get_running_loop()
        pause = min(limits.STREAM_PATIENCE, deadline - loop.time())
        self._stall = loop.call_later(pause, self._still_held, deadline, self._taken)

    def _still_held(self, deadline: float, taken: int) -> None:
        if asyncio.get_running_loop().time() >= deadline:
            self._stalled()
        elif self._taken > taken or self._waits_indirectly or not any(self._peer.waiters.values()):
            self._look_again(deadline)
        else:
            self._waits_indirectly = True
            self.unhold()

    def on_end(self, error: SSBError | None) -> None:
        """Note from the session that the peer's direction has ended."""
        if not self.ended:
            self.ended = True
            self.error = error
            self.unhold()  # nothing more comes, and what is here is not too late
            self._wake()
            if self.server is not None:
                self.server.cancel()

    def release(self) -> None:
        """Let go of everything once both directions have ended; what was queued still leaves."""
        self.unhold()
        lane, self._lane = self._lane, None
        if lane is not None:
            self._peer.link.when(lambda: not lane.queued, lane.close)

    # ------------------------------------------------------------ inside

    def packet(self, flags: int, body: bytes) -> None:
        """Queue a packet of this stream behind what it has sent."""
        if not self._outlet().packet(flags, body):
            self._peer.link.control(flags, self._req, body)  # no memory: rather early than never
        self._peer.link.touched()

    def _outlet(self) -> native.Lane:
        if self._lane is None:
            self._lane = native.Lane(self._peer.link.core, self._req, limits.TUNNEL_SHARE)
        return self._lane

    async def _room(self, lane: native.Lane) -> None:
        loop = asyncio.get_running_loop()
        ready: asyncio.Future[None] = loop.create_future()
        link = self._peer.link

        def wake() -> None:
            if not ready.done():  # the sender may have been cancelled
                ready.set_result(None)

        link.when(lambda: lane.queued <= _LOW and not lane.full, wake)
        await ready
        if not link.is_open:
            raise SessionEndedError("the session is over")

    def _wake(self) -> None:
        if self._arrived is not None:
            self._arrived.set()

    def unhold(self) -> None:
        """Let the session be read, full inbox or not."""
        if self._stall is not None:
            self._stall.cancel()
            self._stall = None
            self._peer.held.discard(self)
            self._peer.link.release(self)

    def _stalled(self) -> None:
        self.unhold()
        _log.warning("a stream was ended: %d bytes of it were not read in time", self._inbox_bytes)
        self.on_end(LimitError(f"what {self.name} brought, {self._inbox_bytes} bytes, was not read in time"))
        self._inbox.clear()
        self._inbox_bytes = 0
        self.end_now("not read in time")
