"""The keeper of a room's records: it changes the store in a thread, and tells the room at once what is different.

The store is the only truth. After each write (by a call, the web site, a command in another process) the keeper reads
what changed, brings the registry up to date, and calls `on_changes` in the loop. What another process has written is
seen within `limits.RECORDS_LOOK_SECONDS`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypeVar

from ssbfast import limits
from ssbfast.errors import StoreError
from ssbfast.room.records import News, RoomRecords
from ssbfast.room.registry import Change, Registry

T = TypeVar("T")


class Keeper:
    """The one way in which a running room changes its records.

    Args:
        records: The store.
        registry: What the room knows of it in memory.
        on_changes: Called in the loop with what is different, in order; before the call that changed it returns. With
            nothing when something was written that is not in the registry: an invite.
        on_problem: Called with one line when the store cannot be read, once until it can be again; the same when it
            cannot be written, at most once in `RECORDS_PROBLEM_SECONDS`.
        on_written: Called with the seconds that a change took.

    Attributes:
        version: Another number after each change of the store, by this room or by others: what was read before may be
            out of date.
    """

    def __init__(
        self,
        records: RoomRecords,
        registry: Registry,
        on_changes: Callable[[Sequence[Change]], None],
        on_problem: Callable[[str], None] = lambda text: None,
        on_written: Callable[[float], None] = lambda seconds: None,
    ) -> None:
        self.records = records
        self.registry = registry
        self.version = 0
        self._on_changes = on_changes
        self._on_problem = on_problem
        self._on_written = on_written
        self._thread: ThreadPoolExecutor | None = None
        self._looking: asyncio.Task[None] | None = None
        self._has_problem = False
        self._told_of_writing = -float("inf")

    def load(self) -> None:
        """Read all records, before the room opens. Blocks. Raises StoreError."""
        self.registry.apply(self.records.news(None))

    def start(self) -> None:
        """Begin to look for what other processes write. In the loop."""
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="ssbfast-records")
        self._looking = asyncio.get_running_loop().create_task(self._look())

    async def close(self) -> None:
        """End: what was begun is finished first."""
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.gather(self._looking, return_exceptions=True)
        if self._thread is not None:
            thread, self._thread = self._thread, None
            await asyncio.get_running_loop().run_in_executor(None, thread.shutdown)

    async def run(self, method: Callable[..., T], *args: object, **options: object) -> T:
        """Call a method of the records in the thread, apply what it changed, and return what it returned.

        A caller that is cancelled leaves the change to finish: it is applied nevertheless.

        Args:
            method: A bound method of `records`, which changes something.
            args: Its arguments.
            options: Its keyword arguments.

        Raises:
            StoreError: The store cannot be read or written just now.
        """
        return await asyncio.shield(asyncio.ensure_future(self._change(partial(method, *args, **options))))

    async def read(self, method: Callable[..., T], *args: object, **options: object) -> T:
        """Call a method of the records that changes nothing, in the thread. Raises StoreError."""
        return await self._in_thread(partial(method, *args, **options))

    async def refresh(self) -> None:
        """Apply what others have written by now. Raises StoreError."""
        news = await self._in_thread(partial(self.records.news, self.registry.number))
        self.version += 1
        self._apply(news)

    # ------------------------------------------------------------ inside

    async def _in_thread(self, call: Callable[[], T]) -> T:
        if self._thread is None:
            raise StoreError("the room is closing")
        return await asyncio.get_running_loop().run_in_executor(self._thread, call)

    async def _change(self, call: Callable[[], T]) -> T:
        since = self.registry.number

        def work() -> tuple[T, News, float]:
            began = time.perf_counter()
            result = call()
            return result, self.records.news(since), time.perf_counter() - began

        try:
            result, news, took = await self._in_thread(work)
        except StoreError as error:
            self._tell_of_writing(str(error))
            raise
        finally:
            self.version += 1
        self._on_written(took)
        self._apply(news)
        return result

    def _tell_of_writing(self, problem: str) -> None:
        now = asyncio.get_running_loop().time()
        if self._thread is not None and now - self._told_of_writing >= limits.RECORDS_PROBLEM_SECONDS:
            self._told_of_writing = now
            self._on_problem(problem)

    def _apply(self, news: News) -> None:
        number = self.registry.number
        changes = self.registry.apply(news)
        if changes or self.registry.number != number:
            self._on_changes(changes)

    async def _look(self) -> None:
        seen: object = None
        loop = asyncio.get_running_loop()
        sweeps = loop.time()
        while True:
            await asyncio.sleep(limits.RECORDS_LOOK_SECONDS)
            try:
                if loop.time() >= sweeps:
                    sweeps = loop.time() + limits.RECORDS_SWEEP_SECONDS
                    await self._in_thread(partial(self.records.sweep, time.time()))
                stamp = self.records.stamp()
                if stamp != seen:
                    await self.refresh()
                    seen = stamp
                self._has_problem = False
            except StoreError as error:
                self.version += 1
                if not self._has_problem:
                    self._has_problem = True
                    self._on_problem(str(error))
