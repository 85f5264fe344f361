"""The peers that a peer follows and blocks: in memory, in its own store, or in an ssb server.

    graph = StoreGraph("~/.local/share/ssbfast/peer")
    verdict = await judge(graph, caller, Policy.FOLLOWS)
    unwatch = graph.watch(caller, verdict.relation, lambda relation: ...)     # called within a second of a change

`ssb_server_graph` has the one for ssb servers.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol, runtime_checkable

from ssbfast import limits
from ssbfast.errors import GraphAwayError, SSBError, StoreError
from ssbfast.ids import FeedId
from ssbfast.room.tunnel_auth import Policy, Relation, Verdict, admit
from ssbfast.store.peer_store import Store

Changed = Callable[[Relation | None], None]
Unwatch = Callable[[], None]


class FollowGraph(Protocol):
    """A source of follows and blocks that reports their changes."""

    async def relation(self, who: FeedId) -> Relation:
        """Return our relation to `who` now. Raises GraphAwayError: then no peer may be let in."""

    def watch(self, who: FeedId, relation: Relation | None, changed: Changed) -> Unwatch:
        """Call `changed`, in the loop, whenever the relation is another one than was last believed.

        A change is told within one second, whichever process made it. While the graph is away nothing is told, or
        None, once, when it may not come back; when it is back, what has changed meanwhile.

        Args:
            who: The peer's id.
            relation: What is believed now; None when nothing is, and the first answer is told too.
            changed: Called in the loop with the new relation.

        Returns:
            A function that ends the watching.
        """

    async def close(self) -> None:
        """Let go of files and connections. Harmless when closed."""


@runtime_checkable
class HintingGraph(FollowGraph, Protocol):
    """A follow graph that also has a quick guess, for keys that are not proven yet."""

    def hint(self, who: FeedId) -> Relation | None:
        """Return what is known of `who` in memory, maybe out of date; None when nothing is.

        It is called hundreds of times a second, for any ids that a room claims: it must neither wait nor send anything.
        """


async def judge(
    graph: FollowGraph, who: FeedId, policy: Policy, *, allowed: bool = False, origin_matches: bool = True
) -> Verdict:
    """Decide over a key that is proven, or that we are about to dial. See `room.tunnel_auth.admit`.

    The graph is always asked, under every policy and however clear the case is, and has `GRAPH_SECONDS` to answer;
    if it does not, or fails, every peer is refused. Raises nothing.
    """
    relation: Relation | None = None
    try:
        relation = await asyncio.wait_for(graph.relation(who), limits.GRAPH_SECONDS)
    except (SSBError, asyncio.TimeoutError):
        pass
    except Exception as error:
        _report("a follow graph failed", error)
    return admit(policy, relation, allowed, origin_matches=origin_matches)


def _report(message: str, error: Exception) -> None:
    asyncio.get_running_loop().call_exception_handler({"message": message, "exception": error})


class _Watch:
    __slots__ = ("changed", "relation")

    def __init__(self, relation: Relation | None, changed: Changed) -> None:
        self.relation = relation
        self.changed = changed


class Watches:
    """The watches of keys, and what each watcher believes. For providers."""

    def __init__(self) -> None:
        self._of: dict[FeedId, set[_Watch]] = {}

    def __len__(self) -> int:
        return len(self._of)

    def add(self, who: FeedId, relation: Relation | None, changed: Changed) -> Unwatch:
        watch = _Watch(relation, changed)
        self._of.setdefault(who, set()).add(watch)

        def remove() -> None:
            mine = self._of.get(who, set())
            mine.discard(watch)
            if not mine:
                self._of.pop(who, None)

        return remove

    def keys(self) -> tuple[FeedId, ...]:
        return tuple(self._of)

    def tell(self, who: FeedId, relation: Relation | None) -> None:
        """Take the graph's answer: call the watchers that believe otherwise (soon: they may be slow, or fail)."""
        for watch in tuple(self._of.get(who, ())):
            if watch.relation != relation:
                watch.relation = relation
                asyncio.get_running_loop().call_soon(self._call, who, watch, relation)

    def _call(self, who: FeedId, watch: _Watch, relation: Relation | None) -> None:
        if watch in self._of.get(who, ()):  # or it has been taken back a moment ago
            watch.changed(relation)

    def clear(self) -> None:
        self._of.clear()


class MemoryGraph:
    """A follow graph in memory, for programs that keep it elsewhere, and for tests."""

    def __init__(self) -> None:
        self._relations: dict[FeedId, Relation] = {}
        self._watches = Watches()

    def set(self, who: FeedId, *, follows: bool | None = None, blocks: bool | None = None) -> None:
        """Set our relation to `who`.

        Args:
            who: The peer's id.
            follows: True when we follow it; None leaves that part as it is.
            blocks: True when we block it; None leaves that part as it is.
        """
        before = self._relations.get(who, Relation())
        after = Relation(before.follows if follows is None else follows, before.blocks if blocks is None else blocks)
        if after.known:
            self._relations[who] = after
        else:
            self._relations.pop(who, None)
        if after != before:
            self._watches.tell(who, after)

    async def relation(self, who: FeedId) -> Relation:
        return self._relations.get(who, Relation())

    def hint(self, who: FeedId) -> Relation | None:
        return self._relations.get(who)

    def watch(self, who: FeedId, relation: Relation | None, changed: Changed) -> Unwatch:
        stop = self._watches.add(who, relation, changed)
        self._watches.tell(who, self._relations.get(who, Relation()))
        return stop

    async def close(self) -> None:
        self._watches.clear()


class Poll:
    """A poll that runs while something is watched. For providers whose graph other programs change.

    always: also while nothing is watched.
    """

    def __init__(self, look: Callable[[], Coroutine[Any, Any, None]], seconds: float, *, always: bool = False) -> None:
        self._look = look
        self._seconds = seconds
        self._always = always
        self._task: asyncio.Task[None] | None = None

    def run(self, watches: Watches) -> None:
        """Run as long as there are watches."""
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run(watches))

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def _run(self, watches: Watches) -> None:
        try:
            while self._always or len(watches):
                try:
                    await self._look()
                except SSBError:
                    pass  # away: nothing is known, nothing is told
                except Exception as error:  # a mistake of ours must not leave blocked peers connected
                    _report("a look at the follow graph failed", error)
                await asyncio.sleep(self._seconds)
        finally:
            self._task = None


class Hints:
    """All contacts of a store in memory, for questions that may not wait. relations: as they were at the last look."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._stamp: tuple[int, int, int] | None = None
        self._task: asyncio.Task[None] | None = None
        self._next = 0.0
        self.relations: dict[FeedId, Relation] = {}
        with contextlib.suppress(StoreError):  # the next question will be answered by the error
            self.relations = self._read()

    def refresh(self, in_thread: Callable[..., Coroutine[Any, Any, Any]]) -> None:
        """Look again, soon, if the last look is `GRAPH_POLL_SECONDS` old."""
        loop = asyncio.get_running_loop()
        if self._task is None and loop.time() >= self._next:
            self._next = loop.time() + limits.GRAPH_POLL_SECONDS
            self._task = loop.create_task(self._look(in_thread))

    async def stop(self) -> None:
        if self._task is not None:
            await asyncio.wait((self._task,))

    async def _look(self, in_thread: Callable[..., Coroutine[Any, Any, Any]]) -> None:
        try:
            stamp = await in_thread(self._store.stamp)
            if stamp != self._stamp:
                self.relations = await in_thread(self._read)
                self._stamp = stamp
        except GraphAwayError:
            pass  # what was known before is still the best guess
        finally:
            self._task = None

    def _read(self) -> dict[FeedId, Relation]:
        return {contact.id: contact.relation for contact in self._store.contacts()}


class StoreGraph:
    """The follow graph in a peer's own store, which other processes may change (`ssbfast follow`, `block`, …).

    A store that cannot be read for `STORE_GONE_SECONDS` is not waited for: watchers are told that nothing is known.

    Args:
        data: The data directory. The graph has a connection to the store of its own, used in a thread, so that nothing
            ever waits for the disk in the loop.
        report: Called in the loop with a line for the user when the store cannot be read any more, is back, or is
            another one. To be given only in a running loop, where the store is then looked at all the time.

    Raises:
        BadInputError: The store cannot be used.
    """

    def __init__(self, data: str | os.PathLike[str], *, report: Callable[[str], None] | None = None) -> None:
        self._store = Store(data)
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="follow-graph")
        self._watches = Watches()
        self._stamp: tuple[int, int, int] | None = None
        self._hints = Hints(self._store)
        self._closed = False
        self._report = report or (lambda _line: None)
        self._failure: str | None = None
        self._away_since: float | None = None
        self._exchanged = 0
        self._poll = Poll(self._look, limits.GRAPH_POLL_SECONDS, always=report is not None)
        if report is not None:
            self._poll.run(self._watches)

    async def relation(self, who: FeedId) -> Relation:
        """Return what the store says now. Raises GraphAwayError when it cannot be read, or is closed."""
        relation: Relation = await self._in_thread(self._store.relation, who)
        return relation

    def hint(self, who: FeedId) -> Relation | None:
        """Return what the store said at the last look; a new look is taken in the background."""
        if not self._closed:
            self._hints.refresh(self._in_thread)
        return self._hints.relations.get(who)

    def watch(self, who: FeedId, relation: Relation | None, changed: Changed) -> Unwatch:
        stop = self._watches.add(who, relation, changed)
        self._stamp = None  # what is believed may be older than our last look
        if not self._closed:
            self._poll.run(self._watches)
        return stop

    async def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._watches.clear()
        await self._poll.stop()
        await self._hints.stop()
        closing = asyncio.get_running_loop().run_in_executor(self._worker, self._store.close)
        self._worker.shutdown(wait=False)  # what was asked before is answered first
        await asyncio.shield(closing)

    async def _look(self) -> None:
        try:
            await self._look_at_store()
        except GraphAwayError:
            self._stamp = None
            self._is_away()
            raise
        self._away_since = None

    async def _look_at_store(self) -> None:
        # First the stamp, then the relations: a change in between is seen by the next look.
        stamp = await self._in_thread(self._store.stamp)
        if stamp == self._stamp:
            return
        relations = await self._in_thread(self._store.relations, self._watches.keys())
        self._stamp = stamp
        for who, relation in relations.items():
            self._watches.tell(who, relation)

    def _is_away(self) -> None:
        now = asyncio.get_running_loop().time()
        if self._away_since is None:
            self._away_since = now
        elif now - self._away_since >= limits.STORE_GONE_SECONDS:
            watched = self._watches.keys()
            for who in watched:
                self._watches.tell(who, None)

    async def _in_thread(self, work: Callable[..., Any], *args: Any) -> Any:
        if self._closed:
            raise GraphAwayError("the follow graph is closed")
        try:
            answer = await asyncio.get_running_loop().run_in_executor(self._worker, work, *args)
        except StoreError as error:
            self._say(str(error))
            raise GraphAwayError(str(error)) from None
        self._say(None)
        return answer

    def _say(self, failure: str | None) -> None:
        """Report a change to the user. failure: why the store cannot be read; None: it can."""
        exchanged = self._store.exchanged != self._exchanged
        self._exchanged = self._store.exchanged
        before, self._failure = self._failure, failure
        if failure is not None and before != failure:
            self._report(f"{failure}; nobody is let in until it can be read")
        elif failure is None and exchanged:
            self._report("another store has taken the place of ours: from now on it says who is let in")
        elif failure is None and before is not None:
            self._report("the store can be read again")
