"""The writer of refused connections to the peer's store: at once when it is quiet, once a second in a flood."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from ssbfast import limits
from ssbfast.errors import StoreError
from ssbfast.ids import FeedId
from ssbfast.room.denials import Batch, Denial, RandBelow
from ssbfast.room.tunnel_auth import Verdict
from ssbfast.store.peer_store import Store


class DenialLog:
    """The refusals of one running peer.

    A write that fails is tried again with the next; until then the batch stays as bounded as any. Its denials are
    reported at once, without numbers, and not again when they were written.
    Cancelling the caller changes nothing: writes run on their own, and `close` waits for the last.

    Args:
        data: The data directory. The log has a connection to the store of its own.
        recorded: Called in the loop with each denial that is remembered, right after it was written.
        now: The clock; returns seconds since 1970.
        randbelow: The source of chance, which an attacker must not foresee; returns an int below its argument.
        report: Called in the loop with a line for the user when refusals cannot be recorded, and when they can again.

    Raises:
        BadInputError: The store cannot be used.
    """

    def __init__(
        self,
        data: str | os.PathLike[str],
        *,
        recorded: Callable[[Denial], None] | None = None,
        now: Callable[[], float] = time.time,
        randbelow: RandBelow = secrets.randbelow,
        report: Callable[[str], None] = lambda _line: None,
    ) -> None:
        self._store = Store(data)
        self._listeners = [] if recorded is None else [recorded]
        self._now = now
        self._randbelow = randbelow
        self._batch = Batch(randbelow)
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="denials")
        self._writer: asyncio.Task[None] | None = None
        self._closed = False
        self.failure: StoreError | None = None
        """Why the last write failed; None when it did not."""
        self._report = report
        self._told: set[Denial] = set()  # without a number

    def listen(self, recorded: Callable[[Denial], None]) -> None:
        """Add a listener.

        Args:
            recorded: Called in the loop with each denial that is remembered.
        """
        self._listeners.append(recorded)

    def refused(self, room: FeedId, origin: FeedId, verdict: Verdict) -> None:
        """Note a refusal. A verdict that admits is not noted.

        Args:
            room: The id of the room that the caller came through.
            origin: The caller's key, which message 3 has proved.
            verdict: The decision, with the reason of the refusal.
        """
        if verdict.reason is None or self._closed:
            return
        known = verdict.relation is not None and verdict.relation.known
        self._batch.add(Denial(room, origin, verdict.reason, self._now(), known))
        if self._writer is None:
            self._writer = asyncio.get_running_loop().create_task(self._write_all())

    async def name(self, room: FeedId, origin: FeedId, alias: str, verified_at: float) -> None:
        """Note a verified alias of a refused peer. What cannot be written is left out."""
        if self._closed:
            return
        loop = asyncio.get_running_loop()
        with contextlib.suppress(StoreError):
            await loop.run_in_executor(self._worker, self._store.name_denials, room, origin, alias, verified_at)

    async def close(self) -> None:
        """Write what has not been written, and close the store. Harmless when closed."""
        if self._closed:
            return
        self._closed = True
        try:
            if self._writer is not None:
                self._writer.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await self._writer
            if len(self._batch):
                await self._write()
        finally:
            self._worker.shutdown(wait=True)
            self._store.close()

    async def _write_all(self) -> None:
        try:
            while len(self._batch):
                await self._write()
                await asyncio.sleep(limits.DENIAL_WRITE_SECONDS)
        finally:
            self._writer = None

    async def _write(self) -> None:
        batch, self._batch = self._batch, Batch(self._randbelow)
        loop = asyncio.get_running_loop()
        writing = loop.run_in_executor(self._worker, self._store.record, batch, self._randbelow)
        try:
            await asyncio.shield(writing)
        except asyncio.CancelledError:
            await asyncio.wait((writing,))  # a write that has begun is waited for, and its numbers are told
            self._written(writing, batch)
            raise
        except StoreError:
            pass
        self._written(writing, batch)

    def _written(self, writing: asyncio.Future[list[Denial]], batch: Batch) -> None:
        error = writing.exception()
        if error is None:
            if self.failure is not None:
                self._report("refused connections are recorded again")
            self.failure = None
            for denial in writing.result():
                if replace(denial, number=None) not in self._told:
                    self._tell(denial)
            self._told.clear()
            return
        if not isinstance(error, StoreError):
            raise error
        if self.failure is None:
            self._report(f"refused connections are not recorded: {error}")
        self.failure = error
        batch.absorb(self._batch)
        self._batch = batch
        waiting = set(batch.denials())
        for denial in sorted(waiting - self._told, key=lambda denial: denial.time):
            self._tell(denial)
        self._told = waiting  # as bounded as the batch

    def _tell(self, denial: Denial) -> None:
        for recorded in self._listeners:
            try:
                recorded(denial)
            except Exception as problem:  # the next one is told all the same
                context = {"message": "telling of a denial failed", "exception": problem}
                asyncio.get_running_loop().call_exception_handler(context)
