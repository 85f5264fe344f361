"""Strangers that keep knocking, each time with another identity: friends get through, and nothing grows.

What 100,000 of them leave in the log is told by tests/room/test_denials.py; here they come over real sockets.
"""

from __future__ import annotations

import asyncio
import gc
import tracemalloc
from pathlib import Path

import pytest

from ssbfast import limits
from ssbfast.client.denial_log import DenialLog
from ssbfast.client.follow_graph import StoreGraph
from ssbfast.client.room_client import RoomClient
from ssbfast.client.tunnel_auth import Trust
from ssbfast.errors import SSBError
from ssbfast.keys import Keypair
from ssbfast.store.peer_store import Store
from tests.helpers.clients import RoomWithClients, room_with_clients

STRANGERS = 600
AT_ONCE = 60
FRIENDLY_CALLS = 20


async def knock(here: RoomWithClients, target: Keypair) -> None:
    """One identity, one refused tunnel."""
    async with RoomClient(Keypair.generate()) as stranger:
        await stranger.join(here.address, announce=False)
        with pytest.raises(SSBError):
            await stranger.connect(target.id)


async def hammer(here: RoomWithClients, target: Keypair) -> None:
    """At most so many at once, until all have knocked."""
    left = iter(range(STRANGERS))

    async def one_after_another() -> None:
        for _ in left:
            await knock(here, target)

    await asyncio.gather(*(one_after_another() for _ in range(AT_ONCE)))


@pytest.mark.slow
@pytest.mark.timeout(180)
async def test_friends_get_through_a_crowd_of_strangers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "REFUSAL_SECONDS", 2.0)  # the decisions, too, have no more
    friend = Keypair.generate()
    with Store(tmp_path) as store:
        store.follow(friend.id)
    trust = Trust(StoreGraph(tmp_path), denials=DenialLog(tmp_path))
    async with room_with_clients() as here:
        target = await here.client(trust=trust)
        carol = await here.client(friend)
        await knock(here, target.me)  # what the first one needs is there from now on
        gc.collect()
        tracemalloc.start()
        before, _peak = tracemalloc.get_traced_memory()
        crowd = asyncio.create_task(hammer(here, target.me))
        answered = 0
        while not crowd.done() or answered < FRIENDLY_CALLS:
            peer = await carol.connect(target.me.id)
            assert await peer.call("add", 20, 22) == 42
            await peer.close()
            answered += 1
        await crowd
        assert answered >= FRIENDLY_CALLS
        for events in (here.room.events, target.events, carol.events):
            events.clear()  # what the test itself keeps
        gc.collect()
        # The crowd lives in this process too and makes malloc keep pages: what is really held is what counts.
        after, _peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert after - before < 2 * limits.MiB
        await trust.close()  # its files count as well
    with Store(tmp_path) as store:
        kept = store.denials()
        counts = store.denial_counts()
    assert len(kept) <= limits.DENIALS_PER_ROOM
    assert sum(count.refused for count in counts.values()) <= STRANGERS + 1
    assert len({denial.number for denial in kept}) == len(kept)
    assert (tmp_path / "store.sqlite").stat().st_size < limits.MiB
