"""Callers without number at the target's end of tunnels: friends get through, and nobody learns whom we follow.

The room is a false one where it takes part, so that none of a real room's own limits help. Rates are not measured:
while a friend dials, strangers knock at every turn of the loop, which is faster than any of the rates that were seen.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from ssbfast import limits
from ssbfast.client.follow_graph import MemoryGraph
from ssbfast.client.tunnel_auth import Trust
from ssbfast.ids import FeedId
from ssbfast.keys import Keypair
from ssbfast.net.peer import Peer
from ssbfast.room.tunnel_auth import AllowList, Policy
from ssbfast.wire.handshake import ClientHandshake
from tests.helpers.clients import RecordingClient, room_with_clients
from tests.helpers.false_room import FalseRoom, false_room
from tests.helpers.rawpeer import PATIENCE, RawTunnel, eventually, settle

FRIENDLY_CALLS = 20


@pytest.fixture(autouse=True)
def quick_goodbyes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bare ends of tunnels do not answer them."""
    monkeypatch.setattr(limits, "GOODBYE_SECONDS", 0.1)


class Place:
    """A false room, and a target in it that follows whom a test says."""

    def __init__(self, room: FalseRoom, target: RecordingClient, graph: MemoryGraph) -> None:
        self.room = room
        self.target = target
        self.graph = graph

    @property
    def unproven(self) -> int:
        return self.target._answering.unproven

    @property
    def refused(self) -> int:
        return self.target._answering.refused

    def friend(self) -> Keypair:
        friend = Keypair.generate()
        self.graph.set(friend.id, follows=True)
        return friend

    def knock(self, origin: FeedId | None = None) -> RawTunnel:
        return self.room.knock(self.target.me.id, origin or Keypair.generate().id)

    async def knock_often(self, times: int, origin: FeedId | None = None) -> list[RawTunnel]:
        """Knock, each time in another name or always in this one, and wait until all have been heard."""
        tunnels = []
        for _ in range(times):
            tunnels.append(self.knock(origin))
            await asyncio.sleep(0)
        await self.heard()
        return tunnels

    async def heard(self) -> None:
        """What the room has sent so far has come to the target, and what that answered has come back."""
        side = self.room.sessions[self.target.me.id]
        for _ in range(3):  # answers overtake the ends of tunnels
            await side.call("manifest")
            await settle()

    async def prove(self, key: Keypair, origin: FeedId | None = None) -> RawTunnel:
        return await self.room.prove(self.target.me.id, origin or key.id, key)

    async def is_let_in(self, tunnel: RawTunnel, key: Keypair) -> bool:
        """Whether a tunnel that was kept waiting still leads to message 4."""
        handshake = ClientHandshake(key, self.target.me.id)
        tunnel.write(handshake.start())
        hello = await tunnel.read(64)
        if tunnel.ended is not None:
            return False
        tunnel.write(handshake.receive(hello)[0].data)  # type: ignore[union-attr]
        return len(await tunnel.read(64 + 80)) == 64 + 80


@asynccontextmanager
async def place(**options: Any) -> AsyncIterator[Place]:
    graph = MemoryGraph()
    async with false_room() as room, RecordingClient(trust=Trust(graph, **options)) as target:
        await target.join(room.address)
        yield Place(room, target, graph)


# ---------------------------------------------------------------- floods


class Flood:
    """Strangers that knock at every turn of the loop: as so many origins, going as far as `kind` says."""

    def __init__(self, here: Place, origins: int, kind: str) -> None:
        self.opened = 0
        self._here = here
        self._keys = [Keypair.generate() for _ in range(origins)]
        self._kind = kind
        self._proving: set[asyncio.Task[RawTunnel]] = set()
        self._running = asyncio.create_task(self._run())

    async def __aenter__(self) -> Flood:
        await eventually(lambda: self.opened > 2 * limits.PENDING_INNER)
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in (self._running, *self._proving):
            task.cancel()
        await asyncio.gather(self._running, *self._proving, return_exceptions=True)

    async def _run(self) -> None:
        for key in itertools.cycle(self._keys):
            self.opened += 1
            if self._kind != "proven":
                tunnel = self._here.knock(key.id)
                if self._kind == "hello":
                    tunnel.write(ClientHandshake(key, self._here.target.me.id).start())
            else:
                task = asyncio.ensure_future(self._here.prove(key))
                self._proving.add(task)
                task.add_done_callback(self._proving.discard)
            await asyncio.sleep(0)


@pytest.mark.parametrize("kind", ["silent", "hello", "proven"])
@pytest.mark.parametrize("origins", [1, 12, 100])
@pytest.mark.slow
async def test_no_friend_is_kept_out_by_a_flood(origins: int, kind: str) -> None:
    async with place() as here, RecordingClient(here.friend()) as caller:
        await caller.join(here.room.address, announce=False)
        async with Flood(here, origins, kind) as flood:
            for _ in range(FRIENDLY_CALLS):
                before = flood.opened
                peer = await caller.connect(here.target.me.id)
                assert flood.opened > before
                assert await peer.call("add", 20, 22) == 42
                await peer.close()
                assert here.unproven <= limits.PENDING_INNER and here.refused <= limits.REFUSED_INNER
        assert here.target.rooms[0].is_open and len(here.target.named("announced")) == 1


async def test_a_friend_whom_the_graph_is_slow_to_know_is_not_taken_for_a_stranger(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Strangers that are refused already give way before a friend who is being decided over."""
    monkeypatch.setattr(limits, "REFUSED_INNER", 4)
    async with place() as here:
        friend, asked = here.friend(), asyncio.Event()
        relation = here.graph.relation

        async def slowly(who: FeedId) -> Any:
            if who == friend.id:
                await asked.wait()
            return await relation(who)

        here.graph.relation = slowly  # type: ignore[method-assign]
        here.graph.hint = lambda who: None  # type: ignore[method-assign]
        waiting = await here.prove(friend)
        await eventually(lambda: here.refused == 1)
        for number in range(8):
            await here.prove(Keypair.generate())
            await eventually(lambda number=number: len(here.target.named("denied")) > number)  # type: ignore[misc]
        assert here.refused == 4 and waiting.ended is None
        asked.set()
        assert len(await waiting.read(64 + 80)) == 64 + 80


async def test_a_forged_origin_does_not_help_behind_message_3(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "REFUSED_INNER", 4)
    async with place() as here:
        friend, asked = here.friend(), asyncio.Event()
        relation = here.graph.relation

        async def slowly(who: FeedId) -> Any:
            await asked.wait()
            return await relation(who)

        here.graph.relation = slowly  # type: ignore[method-assign]
        waiting = await here.prove(friend)
        await eventually(lambda: here.refused == 1)
        forged = [await here.prove(Keypair.generate(), here.friend().id) for _ in range(5)]
        assert await forged[0].wait_ended() is not None
        assert here.refused == 4 and waiting.ended is None
        asked.set()
        assert len(await waiting.read(64 + 80)) == 64 + 80


async def test_refused_ones_have_slots_by_origin() -> None:
    async with place() as here:
        single = await here.prove(Keypair.generate())
        greedy = Keypair.generate()
        most = limits.REFUSED_INNER_PER_ORIGIN
        # By the origin, which costs a session in an honest room; keys cost nothing.
        many = [await here.prove(Keypair.generate(), greedy.id) for _ in range(most + 2)]
        for tunnel in many[:2]:
            assert await tunnel.wait_ended() is not None
        await eventually(lambda: here.refused == 1 + most)
        assert single.ended is None and all(tunnel.ended is None for tunnel in many[2:])


# ---------------------------------------------------------------- a room that forges origins


async def test_whom_we_expect_keeps_a_slot_while_invented_origins_come_and_go() -> None:
    async with place() as here:
        friend = here.friend()
        waiting, stranger = here.knock(friend.id), here.knock()
        await here.knock_often(limits.PENDING_INNER + 10)
        assert stranger.ended is not None and waiting.ended is None
        assert here.unproven == limits.PENDING_INNER
        assert await here.is_let_in(waiting, friend)


@pytest.mark.slow
async def test_a_forged_friend_has_no_more_slots_than_others_and_is_not_let_in() -> None:
    async with place() as here:
        forged, friend = here.friend(), here.friend()
        stranger, waiting = here.knock(), here.knock(friend.id)
        forgeries = await here.knock_often(limits.PENDING_INNER, forged.id)
        most = limits.PENDING_INNER_PER_ORIGIN
        assert [tunnel.ended is None for tunnel in forgeries] == [False] * (len(forgeries) - most) + [True] * most
        assert stranger.ended is None and here.unproven == most + 2
        assert not await here.is_let_in(forgeries[-1], Keypair.generate())
        assert (await here.target.told("denied"))["reason"] == "mismatch"
        assert await here.is_let_in(waiting, friend)


async def test_many_forged_friends_push_out_strangers_first_and_then_each_other() -> None:
    async with place() as here:
        friends = [here.friend() for _ in range(limits.PENDING_INNER)]
        stranger, real = here.knock(), friends[0]
        waiting = here.knock(real.id)
        for friend in friends[1:]:
            here.knock(friend.id)
        await here.heard()
        assert stranger.ended is not None and waiting.ended is None
        assert await here.is_let_in(waiting, real)


async def test_a_blocked_origin_cannot_be_told_from_a_stranger_by_its_slot() -> None:
    """Nor one that only the other policy would let in: who would be refused is nobody whom we expect."""
    async with place(allowed=[(allowed := Keypair.generate()).id]) as here:
        blocked, unfollowed = here.friend(), here.friend()
        here.graph.set(blocked.id, blocks=True)
        here.graph.set(allowed.id, blocks=True)
        here.graph.set(unfollowed.id, follows=False)
        order = [Keypair.generate(), blocked, unfollowed, allowed, Keypair.generate()]
        tunnels = [here.knock(key.id) for key in order]
        for number in range(len(order)):
            assert [tunnel.ended is None for tunnel in tunnels] == [False] * number + [True] * (len(order) - number)
            count = limits.PENDING_INNER - len(order) + 1 if not number else 1
            for _ in range(count):
                here.knock()
            await eventually(lambda number=number: tunnels[number].ended is not None)  # type: ignore[misc]


@pytest.mark.parametrize("policy", Policy)
async def test_expected_are_those_whom_the_policy_lets_in_by_name(policy: Policy) -> None:
    friend, allowed, both, blocked, stranger = (Keypair.generate().id for _ in range(5))
    graph = MemoryGraph()
    trust = Trust(graph, policy=policy, allowed=[allowed, both, blocked])
    for who in (friend, both, blocked):
        graph.set(who, follows=True, blocks=who == blocked)
    expected = {who for who in (friend, allowed, both, blocked, stranger) if trust.expects(who)}
    assert expected == ({allowed, both} if policy is Policy.ALLOW else {friend, allowed, both})
    for who in expected:
        assert (await trust.judge(who)).admitted


async def test_a_graph_without_hints_expects_those_who_are_allowed() -> None:
    class Plain:
        def __init__(self) -> None:
            self._graph = MemoryGraph()
            self.relation, self.watch, self.close = self._graph.relation, self._graph.watch, self._graph.close

    friend, allowed = Keypair.generate(), Keypair.generate()
    graph = Plain()
    graph._graph.set(friend.id, follows=True)
    trust = Trust(graph, allowed=[allowed.id])
    assert trust.expects(allowed.id) and not trust.expects(friend.id)
    async with false_room() as room, RecordingClient(trust=trust) as target, RecordingClient(friend) as caller:
        await target.join(room.address)
        await caller.join(room.address, announce=False)
        assert (await caller.connect(target.me.id)).is_open


async def test_endings_of_refused_ones_tell_nothing_of_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    """When their slots run out they end in the order in which they came, whoever they are."""
    monkeypatch.setattr(limits, "REFUSED_INNER", 4)
    async with place() as here:
        friend, blocked, both, stranger = here.friend(), Keypair.generate(), here.friend(), Keypair.generate()
        here.graph.set(blocked.id, blocks=True)
        here.graph.set(both.id, blocks=True)
        tunnels = []
        for key, origin in ((both, None), (stranger, None), (friend, Keypair.generate().id), (blocked, None)):
            tunnels.append(await here.prove(key, origin))
            await here.target.told("denied", len(tunnels))
        assert {event["reason"] for event in here.target.named("denied")} == {"blocked", "stranger", "mismatch"}
        for number, tunnel in enumerate(tunnels):
            assert [tunnel.ended is None for tunnel in tunnels] == [False] * number + [True] * (4 - number)
            await here.prove(Keypair.generate())
            assert str(await tunnel.wait_ended()) == str(await tunnels[0].wait_ended())


async def test_an_admission_of_ones_own_hears_of_proven_keys_only() -> None:
    asked: list[FeedId] = []

    class Nobody:
        def decide(self, who: FeedId) -> bool:
            asked.append(who)
            return False

    async with false_room() as room, RecordingClient(admission=Nobody()) as target:
        await target.join(room.address)
        origin = Keypair.generate()
        room.knock(target.me.id, origin.id)
        tunnel = await room.prove(target.me.id, origin.id, origin)
        await target.told("denied")
        assert asked == [origin.id] and tunnel.ended is None


# ---------------------------------------------------------------- sessions


async def open_many(caller: RecordingClient, target: RecordingClient, count: int) -> list[Peer]:
    return [await caller.connect(target.me.id) for _ in range(count)]


async def test_a_key_has_so_many_sessions_and_the_newest_stay() -> None:
    async with room_with_clients() as at:
        friend, other = Keypair.generate(), Keypair.generate()
        target = await at.client(admission=AllowList([friend.id, other.id]))
        callers = [await at.client(friend) for _ in range(2)]  # on two machines, so to speak
        bystander = await (await at.client(other)).connect(target.me.id)
        most = limits.INNER_SESSIONS_PER_KEY
        busy = (await open_many(callers[0], target, 1))[0]
        stream = busy.duplex("echo")
        await stream.send("still here?")
        assert await anext(aiter(stream)) == "still here?"
        peers = [busy]
        for number in range(most + 8):
            peers += await open_many(callers[number % 2], target, 1)
        await eventually(lambda: sum(peer.is_open for peer in peers) == most)
        assert len(target._inner) == most + 1
        assert [peer.is_open for peer in peers] == [True] + [False] * 9 + [True] * (most - 1)
        assert await asyncio.gather(*(peer.call("add", 1, 1) for peer in peers if peer.is_open)) == [2] * most
        assert await bystander.call("add", 1, 1) == 2
        gone = {event["reason"] for event in target.named("closed")}
        assert gone == {"newer sessions have taken its place"}
        await stream.end()


async def test_sessions_have_a_limit_in_all_and_the_greediest_loses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "INNER_SESSIONS", 6)
    async with room_with_clients() as at:
        keys = [Keypair.generate() for _ in range(4)]
        target = await at.client(admission=AllowList([key.id for key in keys]))
        callers = [await at.client(key) for key in keys]
        greedy = await open_many(callers[0], target, 4)
        others = [(await open_many(caller, target, 1))[0] for caller in callers[1:]]
        await eventually(lambda: len(target._inner) == 6)
        assert [peer.is_open for peer in greedy] == [False, True, True, True]
        assert all(peer.is_open for peer in others)


async def test_with_everybody_welcome_those_whom_we_follow_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "INNER_SESSIONS", 3)
    async with room_with_clients() as at:
        friend, graph = Keypair.generate(), MemoryGraph()
        graph.set(friend.id, follows=True)
        target = await at.client(trust=Trust(graph, policy=Policy.EVERYONE))
        known = await open_many(await at.client(friend), target, 2)
        strangers = [(await open_many(await at.client(), target, 1))[0] for _ in range(3)]
        await eventually(lambda: len(target._inner) == 3)
        assert all(peer.is_open for peer in known)
        assert [peer.is_open for peer in strangers] == [False, False, True]


async def test_whoever_leaves_before_being_taken_is_not_kept_for_the_application() -> None:
    async with room_with_clients() as at:
        friend = Keypair.generate()
        target, caller = await at.client(admission=AllowList([friend.id])), await at.client(friend)
        for _ in range(5):
            await (await caller.connect(target.me.id)).close()
        await eventually(lambda: len(target.named("closed")) == 5)
        assert len(target._arrivals) == 0
        staying = await caller.connect(target.me.id)
        taken = await asyncio.wait_for(anext(aiter(target.incoming())), PATIENCE)
        assert taken.is_open and taken.id == friend.id and len(target._arrivals) == 0
        await staying.close()


async def test_a_peer_is_idle_while_it_only_pings() -> None:
    async with room_with_clients() as at:
        friend = Keypair.generate()
        target, caller = await at.client(admission=AllowList([friend.id])), await at.client(friend)
        peer = await caller.connect(target.me.id)
        there = await asyncio.wait_for(anext(aiter(target.incoming())), PATIENCE)
        await eventually(lambda: there.mux.open_streams)
        assert there.is_idle and peer.is_idle
        stream = peer.duplex("echo")
        await eventually(lambda: not there.is_idle)
        assert not peer.is_idle
        await stream.end()
        await eventually(lambda: there.is_idle and peer.is_idle)
