"""Follow graphs: what each says, how it tells of changes, and that nobody passes while it cannot be asked."""

from __future__ import annotations

import asyncio
import sqlite3
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from ssbfast import limits
from ssbfast.client.follow_graph import Changed, HintingGraph, MemoryGraph, StoreGraph, Unwatch, judge
from ssbfast.errors import BadInputError, GraphAwayError
from ssbfast.ids import FeedId
from ssbfast.room.tunnel_auth import Policy, Reason, Relation
from ssbfast.store.peer_store import FILE, Contact, Store
from tests.helpers.rawpeer import eventually
from tests.helpers.rooms import feed

ROOT = Path(__file__).parent.parent.parent
A, B, C = feed(1), feed(2), feed(3)


class Seen:
    """Collects what a watch tells."""

    def __init__(self) -> None:
        self.relations: list[Relation] = []
        self._news = asyncio.Event()

    def __call__(self, relation: Relation) -> None:
        self.relations.append(relation)
        self._news.set()

    async def next(self) -> Relation:
        """The next one, or the last if it has come already."""
        await asyncio.wait_for(self._news.wait(), 10)
        self._news.clear()
        return self.relations[-1]


class Graph:
    """One provider under test, and how to change what it knows."""

    def __init__(self, graph: HintingGraph, change: Callable[[FeedId, Relation], None]) -> None:
        self.graph = graph
        self.change = change


@pytest.fixture(params=["memory", "store"])
async def some(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Graph]:
    if request.param == "memory":
        memory = MemoryGraph()

        def change_memory(who: FeedId, relation: Relation) -> None:
            memory.set(who, follows=relation.follows, blocks=relation.blocks)

        yield Graph(memory, change_memory)
        await memory.close()
        return
    graph = StoreGraph(tmp_path)
    with Store(tmp_path) as store:

        def change_store(who: FeedId, relation: Relation) -> None:
            (store.follow if relation.follows else store.unfollow)(who)
            (store.block if relation.blocks else store.unblock)(who)

        yield Graph(graph, change_store)
    await graph.close()
    await graph.close()


async def test_relations(some: Graph) -> None:
    assert await some.graph.relation(A) == Relation()
    for relation in (Relation(True), Relation(True, True), Relation(False, True), Relation()):
        some.change(A, relation)
        assert await some.graph.relation(A) == relation
        assert await some.graph.relation(B) == Relation()


async def test_a_hint_is_what_was_known_last(some: Graph, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "GRAPH_POLL_SECONDS", 0.0)
    for relation in (Relation(True), Relation(True, True)):
        some.change(A, relation)
        await eventually(lambda relation=relation: some.graph.hint(A) == relation)  # type: ignore[misc]
    assert some.graph.hint(B) is None
    some.change(A, Relation())
    await eventually(lambda: some.graph.hint(A) is None)


async def test_hints_of_a_store_are_there_from_the_start_and_never_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Store(tmp_path) as store:
        store.follow(A)
    graph = StoreGraph(tmp_path)
    reads = 0
    read = Store.contacts

    def counted(self: Store) -> list[Contact]:
        nonlocal reads
        assert threading.current_thread() is not threading.main_thread()
        reads += 1
        return read(self)

    monkeypatch.setattr(Store, "contacts", counted)
    for _ in range(1000):
        assert graph.hint(A) == Relation(True) and graph.hint(B) is None
        await asyncio.sleep(0)
    await eventually(lambda: graph._hints._task is None)
    assert reads <= 2  # not once a question
    await graph.close()
    assert graph.hint(A) == Relation(True)


async def test_changes_are_told_to_whom_they_concern(some: Graph) -> None:
    some.change(A, Relation(True))
    some.change(B, Relation(True))
    first, second, other = Seen(), Seen(), Seen()
    some.graph.watch(A, Relation(True), first)
    stop = some.graph.watch(A, Relation(True), second)
    some.graph.watch(B, Relation(True), other)
    some.change(A, Relation(True, True))
    assert await first.next() == await second.next() == Relation(True, True)
    stop()
    stop()
    some.change(A, Relation(False, True))
    while await first.next() != Relation(False, True):
        pass  # the store is changed in two steps
    assert second.relations == [Relation(True, True)]
    assert other.relations == []


async def test_a_change_before_the_watch_is_told_too(some: Graph) -> None:
    """The decision stood on an older answer."""
    some.change(A, Relation(blocks=True))
    seen, unsure = Seen(), Seen()
    some.graph.watch(A, Relation(True), seen)
    some.graph.watch(A, None, unsure)
    assert await seen.next() == await unsure.next() == Relation(blocks=True)
    late = Seen()
    some.graph.watch(A, Relation(), late)
    assert await late.next() == Relation(blocks=True)
    assert len(seen.relations) == 1


async def test_what_a_watcher_does_may_fail(some: Graph) -> None:
    complaints: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: complaints.append(context["exception"]))

    def broken(relation: Relation) -> None:
        raise ValueError(relation)

    seen = Seen()
    some.graph.watch(A, Relation(), broken)
    some.graph.watch(B, Relation(), seen)
    some.change(A, Relation(True))
    some.change(B, Relation(True))
    assert await seen.next() == Relation(True)
    while not complaints:
        await asyncio.sleep(0)
    assert len(complaints) == 1


async def test_nothing_is_told_after_unwatch_even_if_it_was_under_way(some: Graph) -> None:
    seen, other = Seen(), Seen()
    stop = some.graph.watch(A, None, seen)
    some.graph.watch(A, None, lambda _relation: stop())
    some.graph.watch(A, None, other)
    stop()
    await other.next()
    assert seen.relations == []


# ---------------------------------------------------------------- judging


async def test_judging(some: Graph) -> None:
    some.change(A, Relation(True))
    some.change(B, Relation(True, True))
    assert (await judge(some.graph, A, Policy.FOLLOWS)).admitted
    assert (await judge(some.graph, B, Policy.EVERYONE, allowed=True)).reason is Reason.BLOCKED
    assert (await judge(some.graph, C, Policy.FOLLOWS)).reason is Reason.STRANGER
    assert (await judge(some.graph, C, Policy.ALLOW, allowed=True)).admitted
    assert (await judge(some.graph, A, Policy.FOLLOWS, origin_matches=False)).reason is Reason.MISMATCH


class Odd:
    """A graph that fails in the given way."""

    def __init__(self, error: Exception | None) -> None:
        self.error = error
        self.asked = 0

    async def relation(self, who: FeedId) -> Relation:
        self.asked += 1
        if self.error is not None:
            raise self.error
        await asyncio.sleep(3600)
        return Relation(True)

    def watch(self, who: FeedId, relation: Relation | None, changed: Changed) -> Unwatch:
        return lambda: None

    async def close(self) -> None:
        return None


@pytest.mark.parametrize("error", [GraphAwayError("gone"), ValueError("a bug"), None])
@pytest.mark.parametrize("policy", Policy)
async def test_without_an_answer_nobody_passes(
    policy: Policy, error: Exception | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    complaints: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: complaints.append(context["exception"]))
    monkeypatch.setattr(limits, "GRAPH_SECONDS", 0.01)
    graph = Odd(error)
    verdict = await judge(graph, A, policy, allowed=True)
    assert verdict.reason is Reason.GRAPH_AWAY and verdict.relation is None
    assert complaints == ([error] if isinstance(error, ValueError) else [])
    # Clear cases ask as well: whoever measures sees no difference.
    await judge(graph, A, policy, origin_matches=False)
    assert graph.asked == 2


def test_the_answer_comes_before_the_refusal() -> None:
    assert limits.GRAPH_SECONDS < limits.REFUSAL_SECONDS
    assert limits.GRAPH_POLL_SECONDS + limits.GRAPH_CACHE_SECONDS < 1.0


# ---------------------------------------------------------------- the store


async def test_another_process_changes_the_store(tmp_path: Path) -> None:
    graph = StoreGraph(tmp_path)
    seen = Seen()
    graph.watch(A, Relation(), seen)
    code = (
        "import sys; from ssbfast.store.peer_store import Store; from tests.helpers.rooms import feed\n"
        "store = Store(sys.argv[1])\n"
        "for step in sys.stdin: getattr(store, step.strip())(feed(1)); print('done', flush=True)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    if process.stdin is None or process.stdout is None:
        raise LookupError
    loop = asyncio.get_running_loop()
    delays = []
    for step, relation in [("follow", Relation(True)), ("block", Relation(True, True)), ("unblock", Relation(True))]:
        process.stdin.write(f"{step}\n")
        process.stdin.flush()
        assert await asyncio.to_thread(process.stdout.readline) == "done\n"
        done = loop.time()
        assert await seen.next() == relation == await graph.relation(A)
        delays.append(loop.time() - done)
    assert max(delays) < 10  # a quarter of a second in truth; this machine may be busy
    process.communicate(timeout=60)
    await graph.close()


async def test_the_loop_does_not_wait_for_the_store(tmp_path: Path) -> None:
    """Nor does a reader, while somebody else writes."""
    graph = StoreGraph(tmp_path)
    blocker = sqlite3.connect(tmp_path / FILE, isolation_level=None)
    blocker.execute("BEGIN IMMEDIATE")
    blocker.execute("INSERT INTO contacts (feed, follows, blocks, changed) VALUES (?, 1, 0, 0)", (A.key,))
    assert await graph.relation(A) == Relation()
    blocker.execute("COMMIT")
    assert await graph.relation(A) == Relation(True)
    blocker.close()
    await graph.close()


async def test_a_store_that_cannot_be_read(tmp_path: Path) -> None:
    """Away for those who ask; live tunnels hear nothing, until it is back."""
    with Store(tmp_path) as store:
        store.follow(A)
        graph = StoreGraph(tmp_path)
        seen = Seen()
        graph.watch(A, Relation(True), seen)
        connection = sqlite3.connect(tmp_path / FILE, isolation_level=None)
        connection.execute("ALTER TABLE contacts RENAME TO elsewhere")
        with pytest.raises(GraphAwayError):
            await graph.relation(A)
        connection.execute("UPDATE elsewhere SET blocks = 1")
        await asyncio.sleep(2 * limits.GRAPH_POLL_SECONDS)
        assert seen.relations == []
        connection.execute("ALTER TABLE elsewhere RENAME TO contacts")
        connection.close()
        assert await seen.next() == Relation(True, True)
        await graph.close()


async def test_a_store_that_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(b"something else")
    with pytest.raises(BadInputError):
        StoreGraph(tmp_path)


async def test_nothing_is_left_behind(tmp_path: Path) -> None:
    graph = StoreGraph(tmp_path)
    graph.watch(A, None, lambda _relation: None)
    waiting = asyncio.ensure_future(graph.relation(A))
    await asyncio.sleep(0)
    await graph.close()
    assert await waiting == Relation()
    with pytest.raises(GraphAwayError):
        await graph.relation(A)
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_polling_ends_with_the_last_watch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "GRAPH_POLL_SECONDS", 0.01)
    graph = StoreGraph(tmp_path)
    with Store(tmp_path) as store:
        for _again in range(2):
            seen = Seen()
            stop = graph.watch(A, None, seen)
            await seen.next()
            stop()
            while len(asyncio.all_tasks()) > 1:
                await asyncio.sleep(0.01)
            store.block(A)
    await graph.close()


async def test_a_mistake_in_a_look_does_not_end_the_looking(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    complaints: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: complaints.append(context["exception"]))
    monkeypatch.setattr(limits, "GRAPH_POLL_SECONDS", 0.01)
    graph = StoreGraph(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(Store, "stamp", lambda _store: 1 // 0)
        seen = Seen()
        graph.watch(A, None, seen)
        while len(complaints) < 2:
            await asyncio.sleep(0.01)
    assert await seen.next() == Relation()
    await graph.close()
