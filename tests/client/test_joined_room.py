"""Rooms of all generations, as a client finds them; they are played by a server with fewer methods."""

from __future__ import annotations

import asyncio
import dataclasses
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest

from ssbfast import limits
from ssbfast.cli.attendants import _look_at_list
from ssbfast.client import joined_room
from ssbfast.client.joined_room import Attendance, AttendanceChanges, KeyedEndpoint, feed_ids, reflectors_of
from ssbfast.errors import AddressError, RemoteError, SSBError
from ssbfast.ids import FeedId
from ssbfast.keys import Keypair
from ssbfast.room.effects import Answer, Fail
from ssbfast.room.tunnel_auth import AllowList
from ssbfast.wire.muxrpc import JSON, Called
from tests.helpers.clients import RecordingClient, RoomWithClients, room_with_clients
from tests.helpers.false_room import false_room
from tests.helpers.rawpeer import eventually
from tests.helpers.rooms import feed

OLDER = {
    2: [],
    1: ["room.metadata", "room.attendants"],
    2018: ["room.metadata", "tunnel.isRoom", "room.attendants", "tunnel.endpoints"],
}


def age(at: RoomWithClients, generation: int) -> list[str]:
    """Make the room one of that generation; what it is asked."""
    for name in OLDER[generation]:
        del at.room.server._methods._table[tuple(name.split("."))]
    return spy(at)


def spy(at: RoomWithClients) -> list[str]:
    asked: list[str] = []
    happened = at.room.server.event_received

    def listen(session: Any, event: object) -> None:
        if isinstance(event, Called):
            asked.append(".".join(event.name))
        happened(session, event)

    at.room.server.event_received = listen  # type: ignore[method-assign]
    return asked


@pytest.mark.parametrize(
    ("generation", "announce", "calls"),
    [
        (2, True, ["gossip.ping", "room.metadata", "room.attendants"]),
        (2, False, ["gossip.ping", "room.metadata"]),
        (2, "2018", ["gossip.ping", "room.metadata", "tunnel.announce"]),
        (1, True, ["gossip.ping", "room.metadata", "tunnel.isRoom", "room.attendants", "tunnel.endpoints"]),
        (1, False, ["gossip.ping", "room.metadata", "tunnel.isRoom"]),
        (2018, "2018", ["gossip.ping", "room.metadata", "tunnel.isRoom", "tunnel.announce"]),
        (2018, False, ["gossip.ping", "room.metadata", "tunnel.isRoom"]),
    ],
)
async def test_calls_by_generation(generation: int, announce: Any, calls: list[str]) -> None:
    async with room_with_clients() as at:
        asked = age(at, generation)
        me = Keypair.generate()
        client = await at.client(admission=AllowList([me.id]), join=False)
        room = await client.join(at.address, announce)
        assert (room.generation, asked) == (generation, calls)
        assert at.room.server.portal.attendants() == ([] if announce is False else [client.me.id])
        assert room.is_listed is (announce is not False)
        assert len(client.named("announced")) == (0 if announce is False else 1)
        caller = await at.client(me, join=False)
        await caller.join(at.address, announce=False)
        if announce is not False:
            assert await (await caller.connect(client.me.id)).call("add", 1, 2) == 3


async def test_who_wants_to_be_listed_needs_a_room_with_a_list() -> None:
    async with room_with_clients() as at:
        age(at, 2018)
        client = await at.client(join=False)
        with pytest.raises(RemoteError, match="not a room"):
            await client.join(at.address)


@pytest.mark.parametrize("answer", [False, None, "yes", 1])
async def test_what_denies_being_a_room_is_none(answer: JSON) -> None:
    async with room_with_clients() as at:
        at.room.server._methods._table["room", "metadata"] = (
            "async",
            lambda session, call, _now: [Answer(session, call.req, answer)],
        )
        client = await at.client(join=False)
        for announce in (True, False):
            with pytest.raises(RemoteError, match="not a room"):
                await client.join(at.address, announce)


async def test_the_list_without_being_on_it() -> None:
    async with room_with_clients() as at:
        watcher, other = await at.client(join=False), await at.client()
        room = await watcher.join(at.address, announce=False, attendants=True)
        assert room.attendants == {other.me.id} and not room.is_listed
        third = await at.client()
        await eventually(lambda: room.attendants == {other.me.id, third.me.id})
        assert watcher.named("announced") == []


async def test_a_room_that_lists_everybody_is_found_out() -> None:
    async with room_with_clients() as at:
        subscribe = at.room.server._methods._subscribe
        at.room.server._methods._table["room", "attendants"] = (
            "source",
            lambda session, call, now: subscribe(session, Called(call.req, call.kind, call.name, []), now),
        )
        watcher = await at.client(join=False)
        room = await watcher.join(at.address, announce=False, attendants=True)
        assert room.is_listed


async def test_a_program_that_only_calls_does_not_take_its_own_users_place() -> None:
    async with room_with_clients() as at:
        me, friend = Keypair.generate(), Keypair.generate()
        listening = await at.client(me, admission=AllowList([friend.id]))
        for attendants in (False, True):
            calling = await at.client(me, join=False)
            await calling.join(at.address, announce=False, attendants=attendants)
        caller = await at.client(friend)
        await caller.connect(me.id)
        await listening.told("accepted")


async def test_alternatives_of_another_room_are_not_taken_later() -> None:
    async with room_with_clients() as one, room_with_clients() as two:
        client = await one.client(join=False)
        room = await client.join(f"{one.address};{two.address}")
        assert [way.key for way in room.ways] == [one.id] and room.id == one.id
        assert repr(room) == f"<JoinedRoom {one.id.short}>"
        assert str(room.ways[0]) == one.address
        room.session.link.abort()
        await client.told("announced", 2)
        assert client.rooms == (room,) and not two.room.server._sessions
        await client.close()
        assert repr(room) == f"<JoinedRoom {one.id.short} left>"


@pytest.mark.parametrize("is_old", [False, True])
@pytest.mark.parametrize("announce", [True, False])
async def test_an_outsider_of_a_community_is_in_it_without_its_list(announce: bool, is_old: bool) -> None:
    async with (
        false_room() as room,
        RecordingClient() as guest,
        RecordingClient(admission=AllowList([guest.me.id])) as member,
    ):
        room.members, room.is_old = {member.me.id}, is_old
        await member.join(room.address)
        room.present = [str(member.me.id)]
        joined = await guest.join(room.address, announce, attendants=True)
        assert joined.is_external and not joined.is_listed and joined.attendants == set()
        assert await (await guest.connect(member.me.id)).call("add", 1, 2) == 3
        assert guest.named("announced") == []
        assert [event["portal"] for event in guest.named("external")] == [str(room.id)]
        assert len([side for side in room.all if side.link.remote == guest.me.id]) == 1  # it does not come again
        with pytest.raises(SSBError, match="tells its members alone"):
            _look_at_list(joined)


async def test_an_outsider_that_becomes_a_member_is_listed_from_its_next_session_on() -> None:
    async with false_room() as room, RecordingClient() as client:
        room.members, room.present = set(), [str(client.me.id)]
        joined = await client.join(room.address)
        assert joined.is_external
        room.members.add(client.me.id)
        room.sessions[client.me.id].link.abort()
        await client.told("announced")
        assert not joined.is_external and joined.is_listed
        room.members.clear()
        room.sessions[client.me.id].link.abort()
        await client.told("external", 2)
        assert joined.is_external and joined.attendants == set()


async def test_a_member_that_is_refused_the_list_is_not_in_the_room() -> None:
    async with room_with_clients() as at:
        at.room.server._methods._table["room", "attendants"] = (
            "source",
            lambda session, call, _now: [Fail(session, call.req, "not today")],
        )
        client = await at.client(join=False)
        with pytest.raises(RemoteError, match="not today"):
            await client.join(at.address)


async def test_a_room_cannot_fill_our_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "ATTENDANTS", 3)
    async with room_with_clients() as at:
        client = await at.client()
        others = [await at.client() for _ in range(4)]
        await eventually(lambda: len(client.staying[0].attendants) == 3)
        assert client.me.id in client.staying[0].attendants
        await others[-1].staying[0].session.call("tunnel.ping")
        assert len(client.staying[0].attendants) == 3
    assert feed_ids([str(feed(1)), "@x", None, 7, {}, str(feed(0)), str(feed(1))]) == [feed(1), feed(0), feed(1)]


class Turns:
    """Counts turns of the loop, and the ids of lists that were looked at in each of them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        self.seen: Counter[int] = Counter()
        self._loop = asyncio.get_running_loop()
        self._done = False
        look = joined_room.feed_ids

        def counted(texts: Sequence[Any]) -> list[FeedId]:
            self.seen[self.count] += len(texts)
            return look(texts)

        monkeypatch.setattr(joined_room, "feed_ids", counted)

    def __enter__(self) -> Turns:
        self._turn()
        return self

    def __exit__(self, *_: object) -> None:
        self._done = True

    def _turn(self) -> None:
        self.count += 1
        if not self._done:
            self._loop.call_soon(self._turn)


@pytest.mark.parametrize("is_old", [False, True])
async def test_a_long_list_lets_others_have_their_turn(is_old: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    async with false_room() as room, room_with_clients() as at:
        room.is_old = is_old
        room.present = [str(feed(number)) for number in range(10_000)]
        client = await at.client()
        honest = client.staying[0].session
        with Turns(monkeypatch) as turns:
            joining = asyncio.ensure_future(client.join(room.address))
            await eventually(lambda: turns.seen)
            answers = 0
            while not joining.done():
                await honest.call("tunnel.ping")
                answers += 1
        assert len((await joining).attendants) == sum(turns.seen.values()) == 10_000
        assert max(turns.seen.values()) <= limits.ATTENDANCE_EVENTS
        assert answers and len(turns.seen) == -(-10_000 // limits.ATTENDANCE_EVENTS)


async def test_a_flood_of_events_lets_others_have_their_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    async with false_room() as room, room_with_clients() as at:
        client = await at.client()
        joined = await client.join(room.address)
        side = room.sessions[client.me.id]
        with Turns(monkeypatch) as turns:
            for number in range(4_000):
                side.item(side.lists[0], {"type": "joined", "id": str(feed(number))})
                side.item(side.lists[0], {"type": "left", "id": str(feed(number))})
                side.item(side.lists[0], {"type": "nonsense", "id": number})
            side.item(side.lists[0], {"type": "joined", "id": str(feed(7))})
            answers = 0
            while not joined.attendants or sum(turns.seen.values()) < 8_001:
                await client.staying[0].session.call("tunnel.ping")
                answers += 1
        assert joined.attendants == {feed(7)} and joined.is_open
        assert answers and max(turns.seen.values()) <= limits.ATTENDANCE_EVENTS


@pytest.mark.parametrize("ids", [None, 7, {}, "@x", [None, {}, [], 7, "", "@x"]])
async def test_a_list_without_sense_is_an_empty_one(ids: Any) -> None:
    async with false_room() as room, room_with_clients() as at:
        client = await at.client(join=False)
        room.present = [str(feed(1))]
        joined = await client.join(room.address)
        assert joined.attendants == {feed(1)}
        side = room.sessions[client.me.id]
        side.item(side.lists[0], {"type": "state", "ids": ids})
        await eventually(lambda: not joined.attendants)
        side.item(side.lists[0], {"type": "state", "ids": [str(feed(2)), None, str(feed(2))]})
        await eventually(lambda: joined.attendants == {feed(2)})


async def test_a_listener_that_never_waits_lets_others_have_their_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    changes = AttendanceChanges(feed(number) for number in range(2_000))
    with Turns(monkeypatch) as turns:
        began = turns.count
        for number in range(2_000):
            assert await changes.next() == Attendance(feed(number), True)
        assert turns.count - began >= 2_000 // limits.ATTENDANCE_EVENTS


async def test_a_listener_that_stands_still_has_no_more_waiting_than_there_are_people() -> None:
    """However often they come and go."""
    changes = AttendanceChanges(())
    for number in range(10_000):
        changes.tell(feed(number % 50), True)
        changes.tell(feed(number % 50), False)
    assert len(changes) == 0
    for number in range(50):
        changes.tell(feed(number), True)
    assert len(changes) == 50


async def test_changes_that_take_each_other_back_are_not_kept() -> None:
    changes = AttendanceChanges([feed(2), feed(1)])
    changes.tell(feed(3), True)
    changes.tell(feed(3), False)
    changes.tell(feed(1), False)
    assert await changes.next() == Attendance(feed(2), True)
    changes.tell(feed(2), False)
    assert await changes.next() == Attendance(feed(2), False)
    waiting = asyncio.ensure_future(changes.next())
    await asyncio.sleep(0)
    changes.end()
    assert await waiting is None


async def test_a_rooms_reflectors_are_those_at_the_address_of_our_session() -> None:
    async with room_with_clients() as at:
        client = await at.client()
        port = at.room.server.port
        assert client.staying[0].reflectors[0] == ("127.0.0.1", port)
        assert [host for host, _ in client.staying[0].reflectors] == 2 * ["127.0.0.1"]
        methods = at.room.server._methods
        stun = (7007, "127.0.0.1:9009", "127.0.0.2:10000", "192.0.2.1:11000")
        methods.info = dataclasses.replace(methods.info, stun=stun)
        client.staying[0].session.link.abort()
        await client.told("announced", 2)
        assert client.staying[0].reflectors == (("127.0.0.1", 7007), ("127.0.0.1", 9009))


@pytest.mark.parametrize(
    ("told", "here", "believed"),
    [
        ([8008, 3478, 8008], "192.0.2.1", [8008, 3478]),
        (["192.0.2.1:5000", "192.0.2.2:6000", "192.0.2.1", ":7000", "room.example:8000"], "192.0.2.1", [5000]),
        (["[2001:db8::1]:5000", "2001:db8::1:6000", "[2001:db8::2]:7000"], "2001:db8::1", [5000, 6000]),
        (["[fe80::1]:5000", 6000], "fe80::1%eth0", [5000, 6000]),
        ([22, 53, "192.0.2.1:80", 1023, 1024, 65_535], "192.0.2.1", [1024, 65_535]),
        ([22, 443, "192.0.2.1:53", 8008], "192.0.2.1", [443, 8008]),  # 443 is where our session is
        ([0, -1, 65_536, 10**30, True, 1.5, None, {}, [], "", "192.0.2.1:0", "192.0.2.1:65536"], "192.0.2.1", []),
        (["192.0.2.1:+5000", "192.0.2.1:٥٠٠٠", "192.0.2.1: 5000", "192.0.2.1:" + "9" * 5000], "192.0.2.1", []),
        ([*range(5000, 6000)], "192.0.2.1", [5000, 5001, 5002, 5003]),
        ([*([None] * 100_000), 5000], "192.0.2.1", []),
        ({"8008": 1}, "192.0.2.1", []),
        ("8008", "192.0.2.1", []),
        (None, "192.0.2.1", []),
    ],
)
def test_what_a_room_says_of_reflectors_is_taken_with_care(told: Any, here: str, believed: list[int]) -> None:
    assert reflectors_of({"stun": told}, (here, 443)) == tuple((here, port) for port in believed)
    assert reflectors_of({"stun": told}, None) == ()


@pytest.mark.parametrize("metadata", [True, None, [], "x", {}])
def test_rooms_without_reflectors_have_none(metadata: Any) -> None:
    assert reflectors_of(metadata, ("192.0.2.1", 1)) == ()


def test_a_way_prints_as_an_address() -> None:
    assert str(KeyedEndpoint("::1", 8008, feed(1))).startswith("net:!:!:1:8008~shs:")
    with pytest.raises(AddressError):
        str(KeyedEndpoint("", 1, feed(1)))
