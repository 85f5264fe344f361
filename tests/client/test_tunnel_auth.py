"""Tunnelled authentication at both ends, through a real room: who gets through, who is refused, where it is told."""

from __future__ import annotations

import asyncio
import itertools
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from ssbfast import limits
from ssbfast.client.denial_log import DenialLog
from ssbfast.client.follow_graph import MemoryGraph, StoreGraph
from ssbfast.client.room_client import RoomClient
from ssbfast.client.tunnel_auth import Trust
from ssbfast.errors import GraphAwayError, NotDialledError, RefusedError, RemoteError
from ssbfast.ids import FeedId
from ssbfast.keys import Keypair
from ssbfast.net.link import Phase
from ssbfast.room.denials import Denial
from ssbfast.room.tunnel_auth import AllowList, Policy, Reason, Relation
from ssbfast.store.peer_store import Store
from ssbfast.wire.address import TunnelAddress, format_address
from ssbfast.wire.handshake import ClientHandshake
from tests.helpers.clients import RecordingClient, RoomWithClients, room_with_clients
from tests.helpers.rawpeer import PATIENCE, RawTunnel, eventually

ROOT = Path(__file__).parents[2]
REFUSAL = 0.3


@pytest.fixture(autouse=True)
def quick_refusals(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "REFUSAL_SECONDS", REFUSAL)
    monkeypatch.setattr(limits, "DENIAL_WRITE_SECONDS", 0.05)


class AwayGraph(MemoryGraph):
    async def relation(self, who: FeedId) -> Relation:
        raise GraphAwayError("gone fishing")


class Side:
    """A peer with a graph of its own and a store that its denials go to."""

    def __init__(self, data: Path) -> None:
        self.me = Keypair.generate()
        self.data = data
        self.graph = MemoryGraph()
        self.trust: Trust
        self.client: RecordingClient

    @property
    def denials(self) -> list[Denial]:
        with Store(self.data) as store:
            return store.denials()

    async def enter(
        self, at: RoomWithClients, announce: bool = True, graph: Any = None, **policy: Any
    ) -> RecordingClient:
        self.trust = Trust(graph or self.graph, denials=DenialLog(self.data), **policy)
        self.client = await at.client(self.me, trust=self.trust, join=False)
        await self.client.join(at.address, announce=announce)
        return self.client


@asynccontextmanager
async def sides(tmp_path: Path) -> AsyncIterator[tuple[RoomWithClients, Side, Side]]:
    """A the target, C the caller; the same room."""
    a, c = Side(tmp_path / "a"), Side(tmp_path / "c")
    async with room_with_clients() as at:
        yield at, a, c
        for side in (a, c):
            if hasattr(side, "client"):
                await side.client.close()
                await side.trust.close()


def reason_of(relation: Relation) -> str | None:
    if relation.blocks:
        return "blocked"
    return None if relation.follows else "stranger"


BOTH_WAYS = [Relation(*flags) for flags in itertools.product((False, True), repeat=2)]


# ---------------------------------------------------------------- the table


@pytest.mark.parametrize("callers", BOTH_WAYS, ids=lambda r: f"C:{'f' * r.follows}{'b' * r.blocks}")
@pytest.mark.parametrize("targets", BOTH_WAYS, ids=lambda r: f"A:{'f' * r.follows}{'b' * r.blocks}")
async def test_a_tunnel_needs_a_follow_and_no_block_on_both_sides(
    tmp_path: Path, targets: Relation, callers: Relation
) -> None:
    """targets: what A, who is called, thinks of C. callers: what C thinks of A."""
    async with sides(tmp_path) as (at, a, c):
        a.graph.set(c.me.id, follows=targets.follows, blocks=targets.blocks)
        c.graph.set(a.me.id, follows=callers.follows, blocks=callers.blocks)
        target, caller = await a.enter(at), await c.enter(at, announce=False)
        at_c, at_a = reason_of(callers), reason_of(targets)
        if at_c is not None:
            with pytest.raises(NotDialledError) as caught:
                await caller.connect(a.me.id)
            assert caught.value.reason == at_c
            (denied,) = caller.named("denied")
            assert (denied["portal"], denied["origin"], denied["reason"]) == (str(at.id), str(a.me.id), at_c)
            assert (denied["address"], denied["proven"], denied["n"]) == (None, False, None)
            assert at.room.named("tunnel_opened") == [] == target.events[1:]
        elif at_a is not None:
            with pytest.raises(RefusedError) as refused:
                await caller.connect(a.me.id)
            assert not isinstance(refused.value, NotDialledError)
            denied = await target.told("denied")
            await eventually(lambda: a.denials)
            (denial,) = a.denials
            assert (denial.room, denial.origin, denial.reason.value) == (at.id, c.me.id, at_a)
            assert denied == {
                "event": "denied",
                "portal": str(at.id),
                "origin": str(c.me.id),
                "address": format_address(TunnelAddress(at.id, c.me.id)),
                "proven": True,
                "reason": at_a,
                "time": denial.time,
                "n": denial.number,
            }
            assert caller.named("denied") == []
        else:
            peer = await caller.connect(a.me.id)
            assert await peer.call("add", 1, 2) == 3
            assert (await target.told("accepted"))["peer"] == str(c.me.id)
            assert target.named("denied") == caller.named("denied") == []
        assert len(target.named("denied")) + len(caller.named("denied")) == (1 if at_c or at_a else 0)
        await asyncio.gather(target.close(), caller.close())
        await asyncio.gather(a.trust.close(), c.trust.close())
        assert len(a.denials) == (1 if at_a and not at_c else 0) and c.denials == []


# ---------------------------------------------------------------- on the wire


async def knock(tunnel: RawTunnel, handshake: ClientHandshake) -> float:
    """Go as far as message 3; when it was sent."""
    tunnel.write(handshake.start())
    tunnel.write(handshake.receive(await tunnel.read(64))[0].data)  # type: ignore[union-attr]
    return asyncio.get_running_loop().time()


async def test_refusals_look_alike_whatever_the_reason(tmp_path: Path) -> None:
    async with sides(tmp_path) as (at, a, away):
        stranger, blocked, both, impostor, friend = (Keypair.generate() for _ in range(5))
        a.graph.set(blocked.id, blocks=True)
        a.graph.set(both.id, follows=True, blocks=True)
        a.graph.set(friend.id, follows=True)
        await a.enter(at)
        await away.enter(at, graph=AwayGraph())
        cases = [
            (stranger, a, stranger),
            (blocked, a, blocked),
            (both, a, both),
            (impostor, a, friend),  # message 3 proves a friend; the room said that it was somebody else
            (friend, away, friend),
        ]
        seen = set()
        for session, target, key in cases:
            raw = await at.room.raw(session, announce=False)
            tunnel = raw.connect(at.id, target.me.id)
            sent = await knock(tunnel, ClientHandshake(key, target.me.id))
            error = await tunnel.wait_ended()
            assert isinstance(error, RemoteError)
            assert asyncio.get_running_loop().time() - sent >= REFUSAL - 0.05  # nobody is sent away sooner
            seen.add((error.message, error.name, len(tunnel.received)))
        assert len(seen) == 1
        assert seen.pop()[2] == 64  # the hello, and no message 4
        await eventually(lambda: len(a.denials) == 4 and len(away.denials) == 1)
        assert [denial.reason for denial in a.denials] == [
            Reason.STRANGER,
            Reason.BLOCKED,
            Reason.BLOCKED,
            Reason.MISMATCH,
        ]
        assert a.denials[-1].origin == friend.id
        with Store(a.data) as store:
            assert store.denial_counts()[at.id].faults == 1
        assert away.denials[0].reason is Reason.GRAPH_AWAY


async def test_who_is_let_in_need_not_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "REFUSAL_SECONDS", 2 * PATIENCE)
    async with sides(tmp_path) as (at, a, c):
        a.graph.set(c.me.id, follows=True)
        c.graph.set(a.me.id, follows=True)
        await a.enter(at)
        caller = await c.enter(at)
        await asyncio.wait_for(caller.connect(a.me.id), PATIENCE)


async def test_who_hangs_up_during_the_decision_is_no_denial(tmp_path: Path) -> None:
    asked = asyncio.Event()

    class SlowGraph(MemoryGraph):
        async def relation(self, who: FeedId) -> Relation:
            asked.set()
            await asyncio.Event().wait()
            raise AssertionError

    async with sides(tmp_path) as (at, a, _c):
        target = await a.enter(at, graph=SlowGraph())
        raw = await at.room.raw(announce=False)
        tunnel = raw.connect(at.id, target.me.id)
        await knock(tunnel, ClientHandshake(raw.me, target.me.id))
        await asked.wait()
        assert target._answering.refused == 1 and target._answering.unproven == 0
        tunnel.end("never mind")
        await eventually(lambda: target._answering.refused == 0)
        assert target.named("denied") == []


@pytest.mark.parametrize("turns", range(8))
async def test_who_goes_as_he_is_let_in_has_not_come(tmp_path: Path, turns: int) -> None:
    loop = asyncio.get_running_loop()
    asked: list[asyncio.Future[Relation]] = []

    class HeldGraph(MemoryGraph):
        async def relation(self, who: FeedId) -> Relation:
            asked.append(loop.create_future())
            return await asked[-1]

    async with sides(tmp_path) as (at, a, _c):
        target = await a.enter(at, graph=HeldGraph())
        raw = await at.room.raw(announce=False)
        await knock(raw.connect(at.id, target.me.id), ClientHandshake(raw.me, target.me.id))
        await eventually(lambda: asked)
        ((link, _),) = [(link, waiting) for waiting in target._answering._waiting.values() for link in waiting.refused]
        asked[0].set_result(Relation(True))
        for _ in range(turns):
            await asyncio.sleep(0)
        link.connection_lost(None)
        await eventually(lambda: not target._inner and link.phase is Phase.CLOSED and link.owed == 0)
        assert len(target.named("accepted")) == len(target.named("closed")) <= 1


async def test_refused_ones_do_not_keep_friends_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "REFUSAL_SECONDS", 2 * PATIENCE)
    monkeypatch.setattr(limits, "REFUSED_INNER", 3)
    async with sides(tmp_path) as (at, a, c):
        a.graph.set(c.me.id, follows=True)
        c.graph.set(a.me.id, follows=True)
        target = await a.enter(at)
        raw = await at.room.raw(announce=False)
        tunnels = []
        for _ in range(5):
            tunnels.append(raw.connect(at.id, target.me.id))
            await knock(tunnels[-1], ClientHandshake(raw.me, target.me.id))
        for tunnel in tunnels[:2]:
            await tunnel.wait_ended()
        await eventually(lambda: target._answering.refused == 3)
        assert all(tunnel.ended is None for tunnel in tunnels[2:])
        caller = await c.enter(at)
        assert await (await caller.connect(target.me.id)).call("add", 1, 1) == 2
        assert len(tunnels[2].received) == 64


# ---------------------------------------------------------------- the caller's side


async def test_anyway_dials_whoever_it_is(tmp_path: Path) -> None:
    async with sides(tmp_path) as (at, a, c):
        a.graph.set(c.me.id, follows=True)
        c.graph.set(a.me.id, blocks=True)
        await a.enter(at)
        caller = await c.enter(at)
        peer = await caller.connect(a.me.id, anyway=True)
        assert await peer.call("add", 1, 1) == 2
        assert caller.named("denied") == []


async def test_a_graph_that_is_away_dials_nobody(tmp_path: Path) -> None:
    async with sides(tmp_path) as (at, a, c):
        await a.enter(at)
        caller = await c.enter(at, graph=AwayGraph())
        with pytest.raises(NotDialledError, match="cannot be asked") as caught:
            await caller.connect(a.me.id)
        assert caught.value.reason == "graph away" and isinstance(caught.value, RefusedError)


@pytest.mark.parametrize(
    ("policy", "allowed", "relation", "passes"),
    [
        (Policy.ALLOW, True, Relation(), True),
        (Policy.ALLOW, False, Relation(True), False),
        (Policy.ALLOW, True, Relation(True, True), False),
        (Policy.EVERYONE, False, Relation(), True),
        (Policy.EVERYONE, False, Relation(False, True), False),
        (Policy.FOLLOWS, True, Relation(), True),
    ],
)
async def test_policies(tmp_path: Path, policy: Policy, allowed: bool, relation: Relation, passes: bool) -> None:
    async with sides(tmp_path) as (at, a, c):
        a.graph.set(c.me.id, follows=relation.follows, blocks=relation.blocks)
        await a.enter(at, policy=policy, allowed=[c.me.id] if allowed else [])
        caller = await c.enter(at, policy=Policy.EVERYONE)
        if passes:
            assert (await caller.connect(a.me.id)).id == a.me.id
        else:
            with pytest.raises(RefusedError):
                await caller.connect(a.me.id)


# ---------------------------------------------------------------- live tunnels


@pytest.mark.parametrize("side", ["target", "caller"])
@pytest.mark.parametrize("change", ["unfollow", "block"])
async def test_a_tunnel_ends_when_another_process_withdraws_trust(tmp_path: Path, side: str, change: str) -> None:
    async with sides(tmp_path) as (at, a, c):
        for one, other in ((a, c), (c, a)):
            with Store(one.data) as store:
                store.follow(other.me.id)
        target = await a.enter(at, graph=StoreGraph(a.data))
        caller = await c.enter(at, graph=StoreGraph(c.data))
        here = await caller.connect(a.me.id)
        there = await asyncio.wait_for(target.incoming().__anext__(), PATIENCE)
        loser, other = (a, c) if side == "target" else (c, a)
        code = (
            "import sys; from ssbfast.store.peer_store import Store; from ssbfast.ids import FeedId\n"
            f"Store(sys.argv[1]).{change}(FeedId.parse(sys.argv[2]))"
        )
        await asyncio.to_thread(
            subprocess.run,
            [sys.executable, "-c", code, str(loser.data), str(other.me.id)],
            cwd=ROOT,
            check=True,
        )
        await asyncio.wait_for(asyncio.gather(here.wait_closed(), there.wait_closed()), PATIENCE)
        withdrawn, cut = (there, here) if side == "target" else (here, there)
        assert isinstance(withdrawn.error, RefusedError) and str(withdrawn.error) == "trust was withdrawn"
        assert "trust" not in str(cut.error)
        told = target if side == "target" else caller
        assert (await told.told("closed"))["reason"] == "trust was withdrawn"
        assert not a.trust._watched and not c.trust._watched


async def test_an_unfollow_does_not_cut_who_is_allowed_anyway_but_a_block_does(tmp_path: Path) -> None:
    async with sides(tmp_path) as (at, a, c):
        a.graph.set(c.me.id, follows=True)
        await a.enter(at, allowed=[c.me.id])
        caller = await c.enter(at, policy=Policy.EVERYONE)
        peer = await caller.connect(a.me.id)
        a.graph.set(c.me.id, follows=False)
        assert await peer.call("add", 1, 1) == 2
        a.graph.set(c.me.id, blocks=True)
        await asyncio.wait_for(peer.wait_closed(), PATIENCE)


async def test_a_change_between_decision_and_tunnel_counts(tmp_path: Path) -> None:
    async with sides(tmp_path) as (at, a, c):
        a.graph.set(c.me.id, follows=True)
        c.graph.set(a.me.id, follows=True)
        await a.enter(at)
        caller = await c.enter(at)
        judge = c.trust.judge

        async def judged(who: FeedId, *, origin_matches: bool = True) -> Any:
            verdict = await judge(who, origin_matches=origin_matches)
            c.graph.set(a.me.id, blocks=True)
            return verdict

        c.trust.judge = judged  # type: ignore[method-assign]
        peer = await caller.connect(a.me.id)
        await asyncio.wait_for(peer.wait_closed(), PATIENCE)
        assert str(peer.error) == "trust was withdrawn"


# ---------------------------------------------------------------- without a graph


async def test_a_plain_admission_tells_of_its_refusals() -> None:
    async with room_with_clients() as at:
        friend, stranger = Keypair.generate(), Keypair.generate()
        target = await at.client(admission=AllowList([friend.id]))
        caller = await at.client(stranger)
        with pytest.raises(RefusedError):
            await caller.connect(target.me.id)
        (denied,) = target.named("denied")
        assert (denied["origin"], denied["reason"], denied["n"]) == (str(stranger.id), "stranger", None)
        raw = await at.room.raw(stranger, announce=False)
        await knock(raw.connect(at.id, target.me.id), ClientHandshake(friend, target.me.id))
        assert (await target.told("denied", 2))["reason"] == "mismatch"


def test_it_is_one_or_the_other(tmp_path: Path) -> None:
    trust = Trust(MemoryGraph(), allowed=[Keypair.generate().id])
    assert repr(trust) == "<Trust follows, 1 allowed>"
    with pytest.raises(ValueError, match="either"):
        RoomClient(Keypair.generate(), trust=trust, admission=AllowList(()))
