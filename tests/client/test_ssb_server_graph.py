"""The follow graph of an ssb server, which is played by a `Peer` of ours on a socket of this machine."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from ssbfast import limits
from ssbfast.backoff import Backoff
from ssbfast.client.follow_graph import judge
from ssbfast.client.ssb_server_graph import SsbServerGraph
from ssbfast.errors import AddressError, BadInputError, GraphAwayError
from ssbfast.ids import FeedId, NetworkId, encode_key
from ssbfast.net.api import Api
from ssbfast.net.link import Link
from ssbfast.net.peer import Peer
from ssbfast.net.relay import Relay
from ssbfast.room.tunnel_auth import Policy, Reason, Relation
from ssbfast.wire.handshake import ServerHandshake
from tests.client.test_follow_graph import Seen
from tests.helpers.handshakes import ALICE, BOB, CAROL, OwnKeyServer
from tests.helpers.rooms import feed

A, B = feed(1), feed(2)


class SsbServer:
    """Answers as ssb-friends does, from `relations`; `questions` is what was asked."""

    def __init__(self) -> None:
        self.relations: dict[FeedId, Relation] = {}
        self.questions: list[tuple[str, dict[str, str]]] = []
        self.answer: Any = None
        self.hold: asyncio.Event | None = None
        self.peers: list[Peer] = []
        self.port = 0
        self.handshake: type[ServerHandshake] = ServerHandshake
        self._relay = Relay(pool=1 << 22)
        self._server: asyncio.Server | None = None
        self.api = Api()
        self.api.call("friends.isFollowing")(self._is_following)
        self.api.call("friends.isBlocking")(self._is_blocking)

    @property
    def address(self) -> str:
        return f"net:127.0.0.1:{self.port}~shs:{encode_key(BOB.id.key)}"

    async def start(self) -> None:
        def make() -> Link:
            peer = Peer(api=self.api)
            self.peers.append(peer)
            return Link(self._relay, self.handshake(BOB), peer)

        self._server = await asyncio.get_running_loop().create_server(make, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()  # not wait_closed: from Python 3.12 on, that waits for the connections, too
        for peer in self.peers:
            if peer.is_open:
                peer.link.abort()
                await peer.wait_closed()

    async def _is_following(self, _peer: Peer, question: dict[str, str]) -> Any:
        return await self._asked("isFollowing", question, "follows")

    async def _is_blocking(self, _peer: Peer, question: dict[str, str]) -> Any:
        return await self._asked("isBlocking", question, "blocks")

    async def _asked(self, name: str, question: dict[str, str], part: str) -> Any:
        self.questions.append((name, question))
        if self.hold is not None:
            await self.hold.wait()
        relation = self.relations.get(FeedId.parse(question["dest"]), Relation())
        return getattr(relation, part) if self.answer is None else self.answer


@pytest.fixture
async def server() -> AsyncIterator[SsbServer]:
    server = SsbServer()
    await server.start()
    yield server
    await server.stop()


@pytest.fixture
async def graph(server: SsbServer) -> AsyncIterator[SsbServerGraph]:
    graph = SsbServerGraph(server.address, CAROL, source=ALICE.id)
    yield graph
    await graph.close()
    await graph.close()


def expire(monkeypatch: pytest.MonkeyPatch) -> None:
    """Answers are not used again."""
    monkeypatch.setattr(limits, "GRAPH_CACHE_SECONDS", 0.0)


@pytest.mark.parametrize("relation", [Relation(), Relation(True), Relation(False, True), Relation(True, True)])
async def test_relations(server: SsbServer, graph: SsbServerGraph, relation: Relation) -> None:
    server.relations[A] = relation
    assert await graph.relation(A) == relation
    question = {"source": str(ALICE.id), "dest": str(A)}
    assert sorted(server.questions, key=str) == [("isBlocking", question), ("isFollowing", question)]


async def test_hints_are_old_answers_about_those_who_are_known_and_ask_nothing(
    server: SsbServer, graph: SsbServerGraph, monkeypatch: pytest.MonkeyPatch
) -> None:
    expire(monkeypatch)
    monkeypatch.setattr(limits, "GRAPH_CACHE", 2)
    server.relations[A] = Relation(True)
    assert graph.hint(A) is None
    await graph.relation(A)
    for number in range(10, 14):
        await graph.relation(feed(number))  # strangers push nobody out
    asked = len(server.questions)
    assert graph.hint(A) == Relation(True) and graph.hint(B) is graph.hint(feed(10)) is None
    assert len(server.questions) == asked
    server.relations[A] = Relation()
    await graph.relation(A)
    assert graph.hint(A) is None


async def test_the_servers_own_view_unless_told_otherwise(server: SsbServer) -> None:
    graph = SsbServerGraph(server.address, CAROL)
    await graph.relation(A)
    assert server.questions[0][1]["source"] == str(BOB.id)
    await graph.close()


async def test_answers_are_used_again_for_a_moment(
    server: SsbServer, graph: SsbServerGraph, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "GRAPH_CACHE_SECONDS", 3600.0)
    monkeypatch.setattr(limits, "GRAPH_CACHE", 3)
    await asyncio.gather(*(graph.relation(A) for _ in range(20)))
    await graph.relation(A)
    assert len(server.questions) == 2
    for n in range(10, 13):
        await graph.relation(feed(n))  # three others: the first is forgotten
    assert len(server.questions) == 8
    await graph.relation(feed(12))
    assert len(server.questions) == 8
    await graph.relation(A)
    assert len(server.questions) == 10


async def test_answers_grow_old(server: SsbServer, graph: SsbServerGraph, monkeypatch: pytest.MonkeyPatch) -> None:
    expire(monkeypatch)
    assert await graph.relation(A) == Relation()
    server.relations[A] = Relation(blocks=True)
    assert await graph.relation(A) == Relation(blocks=True)
    assert len(server.peers) == 1


async def test_changes_are_told(server: SsbServer, graph: SsbServerGraph) -> None:
    server.relations[A] = Relation(True)
    seen, other = Seen(), Seen()
    stop = graph.watch(A, Relation(True), seen)
    graph.watch(B, Relation(), other)
    await graph.relation(B)
    server.relations[A] = Relation(True, True)
    assert await seen.next() == Relation(True, True)
    stop()
    server.relations[A] = Relation()
    server.relations[B] = Relation(True)
    assert await other.next() == Relation(True)
    assert len(seen.relations) == 1


async def test_the_server_goes_and_comes_back(
    server: SsbServer, graph: SsbServerGraph, monkeypatch: pytest.MonkeyPatch
) -> None:
    expire(monkeypatch)
    monkeypatch.setattr(graph, "_backoff", Backoff(0.0))
    server.relations[A] = Relation(True)
    seen = Seen()
    graph.watch(A, Relation(True), seen)
    assert (await judge(graph, A, Policy.FOLLOWS)).admitted
    await server.stop()
    for _again in range(3):
        with pytest.raises(GraphAwayError):
            while True:  # the first may find the session not closed yet
                await graph.relation(A)
    verdict = await judge(graph, A, Policy.EVERYONE, allowed=True)
    assert verdict.reason is Reason.GRAPH_AWAY
    assert seen.relations == []
    server.relations[A] = Relation(blocks=True)
    await server.start()
    assert await seen.next() == Relation(blocks=True)
    assert await graph.relation(A) == Relation(blocks=True)


async def test_an_absent_server_is_not_dialled_all_the_time(
    server: SsbServer, graph: SsbServerGraph, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(graph, "_backoff", Backoff(3600.0, most=3600.0))
    await server.stop()
    with pytest.raises(GraphAwayError, match="cannot be asked"):
        await graph.relation(A)
    with pytest.raises(GraphAwayError, match="cannot be reached"):
        await graph.relation(A)


@pytest.mark.parametrize("answer", ["true", 1, {}, [], "no"])
async def test_an_answer_that_is_none(server: SsbServer, graph: SsbServerGraph, answer: Any) -> None:
    server.answer = answer
    with pytest.raises(GraphAwayError, match="neither true nor false"):
        await graph.relation(A)


async def test_no_permission(server: SsbServer, graph: SsbServerGraph) -> None:
    server.api = Api()
    await server.stop()
    await server.start()
    with pytest.raises(GraphAwayError, match="not in list of allowed methods"):
        await graph.relation(A)


async def test_a_server_that_says_nothing(
    server: SsbServer, graph: SsbServerGraph, monkeypatch: pytest.MonkeyPatch
) -> None:
    await graph.relation(B)
    server.hold = asyncio.Event()
    monkeypatch.setattr(limits, "GRAPH_SECONDS", 0.05)
    with pytest.raises(GraphAwayError, match="does not answer"):
        await graph.relation(A)
    server.hold.set()
    server.hold = None
    assert await graph.relation(A) == Relation()


async def test_a_port_that_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "GRAPH_SECONDS", 0.05)
    writers: list[asyncio.StreamWriter] = []
    silent = await asyncio.start_server(lambda _reader, writer: writers.append(writer), "127.0.0.1", 0)
    port = silent.sockets[0].getsockname()[1]
    graph = SsbServerGraph(f"net:127.0.0.1:{port}~shs:{encode_key(BOB.id.key)}", CAROL)
    with pytest.raises(GraphAwayError, match="does not answer"):
        await graph.relation(A)
    await graph.close()
    silent.close()
    for writer in writers:
        writer.transport.abort()
    await asyncio.sleep(0)


@pytest.mark.parametrize("wrong", ["key", "network"])
async def test_the_wrong_server(server: SsbServer, wrong: str) -> None:
    key = ALICE.id.key if wrong == "key" else BOB.id.key
    network = NetworkId(bytes(32)) if wrong == "network" else None
    address = f"net:127.0.0.1:{server.port}~shs:{encode_key(key)}"
    graph = SsbServerGraph(address, CAROL) if network is None else SsbServerGraph(address, CAROL, network=network)
    with pytest.raises(GraphAwayError):
        await graph.relation(A)
    await graph.close()


async def test_many_at_once_take_turns(
    server: SsbServer, graph: SsbServerGraph, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "GRAPH_SECONDS", 100.0)  # the last of so many waits long on a busy machine
    server.relations = {feed(n): Relation(n % 2 == 0, n % 3 == 0) for n in range(2000)}
    found = await asyncio.gather(*(graph.relation(feed(n)) for n in range(2000)))
    assert found == [server.relations[feed(n)] for n in range(2000)]
    assert len(graph._cache) <= limits.GRAPH_CACHE and not graph._asking


async def test_who_stops_waiting_leaves_the_others_their_answer(server: SsbServer, graph: SsbServerGraph) -> None:
    server.hold = asyncio.Event()
    first, second = (asyncio.ensure_future(graph.relation(A)) for _ in range(2))
    while not server.questions:
        await asyncio.sleep(0)
    first.cancel()
    await asyncio.sleep(0)
    server.hold.set()
    assert await second == Relation() and first.cancelled()


async def test_nothing_is_left_behind(server: SsbServer) -> None:
    before = asyncio.all_tasks()
    graph = SsbServerGraph(server.address, CAROL)
    server.hold = asyncio.Event()
    graph.watch(B, None, lambda _relation: None)
    waiting = asyncio.ensure_future(graph.relation(A))
    while not server.questions:
        await asyncio.sleep(0)
    await graph.close()
    with pytest.raises(GraphAwayError):
        await waiting
    with pytest.raises(GraphAwayError):
        await graph.relation(A)
    await server.stop()
    assert asyncio.all_tasks() == before


@pytest.mark.parametrize("address", ["net:host:8008", "unix:/tmp/x~noauth", "nonsense", ""])
async def test_addresses_that_cannot_be_dialled(address: str) -> None:
    with pytest.raises(BadInputError):
        SsbServerGraph(address, CAROL)
    with pytest.raises(AddressError):
        SsbServerGraph("net:host", CAROL)


async def test_the_servers_own_key_can_call_it(server: SsbServer) -> None:
    """The normal set-up: an ssb server of our own on this machine, which is its own master."""
    server.handshake = OwnKeyServer
    server.relations[A] = Relation(True)
    graph = SsbServerGraph(server.address, BOB)
    try:
        assert await graph.relation(A) == Relation(True)
        assert server.peers[0].id == BOB.id
    finally:
        await graph.close()
