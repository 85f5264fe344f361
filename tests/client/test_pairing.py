"""Pairing through a real room: one ticket lets one peer in, once; thieves, hostile rooms and replays get nothing."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import pytest

from ssbfast import limits
from ssbfast.client.follow_graph import MemoryGraph, StoreGraph
from ssbfast.client.pairing import Paired, Tickets
from ssbfast.client.tunnel_auth import Trust
from ssbfast.errors import (
    BadInputError,
    LimitError,
    LocalProtocolError,
    RefusedError,
    RemoteError,
    SSBError,
    StoreError,
)
from ssbfast.ids import FeedId
from ssbfast.keys import Keypair
from ssbfast.net.peer import Peer
from ssbfast.store.peer_store import Store
from ssbfast.wire.address import parse_address
from ssbfast.wire.pairing import METHOD, UNUSABLE, USED, Take, Taken, Ticket
from tests.helpers.clients import RecordingClient, RoomWithClients, room_with_clients
from tests.helpers.rawpeer import eventually


@pytest.fixture(autouse=True)
def quick_refusals(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "REFUSAL_SECONDS", 1.0)  # decisions, too, have no more


AnyHome = TypeVar("AnyHome", bound="Home")


class Home:
    """A target with tickets, in a room."""

    def __init__(self, at: RoomWithClients, data: Path, **options: Any) -> None:
        self.at = at
        self.me = Keypair.generate()
        self.data = data
        self.paired: list[Paired] = []
        self.time = time.time()
        self.tickets = Tickets(
            self.me,
            data,
            name="home",
            services=lambda _who: ("ssh", "web"),
            on_paired=self.paired.append,
            now=lambda: self.time,
            **options,
        )
        self.trust = Trust(StoreGraph(data))
        self.client: RecordingClient

    @property
    def contacts(self) -> dict[FeedId, str | None]:
        with Store(self.data) as store:
            return {one.id: one.nickname for one in store.contacts() if one.relation.follows}

    async def ticket(self, seconds: float = 3600.0) -> Ticket:
        return await self.tickets.make(parse_address(self.at.address)[0], seconds)

    async def taker(self) -> RecordingClient:
        return await self.at.client(Keypair.generate(), trust=Trust(MemoryGraph()))

    async def guest(self, client: RecordingClient, ticket: Ticket) -> Peer:
        """A session of the ticket key, before anything is taken."""
        guest = Peer(path="tunnel")
        await client._open_tunnel(client.rooms[0], self.me.id, None, guest, me=ticket.key())
        return guest


@asynccontextmanager
async def home_of(make: Callable[[RoomWithClients], AnyHome]) -> AsyncIterator[AnyHome]:
    """A target in a room. make: makes it."""
    async with room_with_clients() as at:
        found = make(at)
        found.client = await at.client(found.me, trust=found.trust, tickets=found.tickets)
        try:
            yield found
        finally:
            await found.client.close()
            await found.tickets.close()
            await found.trust.close()


def home(data: Path) -> AbstractAsyncContextManager[Home]:
    return home_of(lambda at: Home(at, data))


async def test_a_ticket_makes_both_friends(tmp_path: Path) -> None:
    async with home(tmp_path) as a:
        c = await a.taker()
        taken = await c.pair(await a.ticket(), "laptop")
        assert taken == Taken("home", ("ssh", "web"))
        assert a.paired == [Paired(c.me.id, "laptop", a.at.id)]
        assert a.contacts == {c.me.id: "laptop"}
        # From now on the caller is let in by its own key.
        peer = await c.connect(a.me.id, anyway=True)
        assert await peer.call("add", 1, 2) == 3
        assert a.client.named("denied") == []
        await peer.close()


async def test_it_is_spent(tmp_path: Path) -> None:
    async with home(tmp_path) as a:
        c, thief = await a.taker(), await a.taker()
        ticket = await a.ticket()
        first = await c.pair(ticket)
        with pytest.raises(RefusedError, match=USED):
            await thief.pair(ticket)
        assert await c.pair(ticket) == first  # a lost answer can be asked for again
        assert len(a.paired) == 1
        assert a.contacts == {c.me.id: None}
        with pytest.raises(RefusedError):
            await thief.connect(a.me.id, anyway=True)


async def test_two_at_once(tmp_path: Path) -> None:
    async with home(tmp_path) as a:
        takers = [await a.taker() for _ in range(6)]
        ticket = await a.ticket()
        outcomes = await asyncio.gather(*(c.pair(ticket) for c in takers), return_exceptions=True)
        (winner,) = [c for c, outcome in zip(takers, outcomes, strict=True) if isinstance(outcome, Taken)]
        assert [str(one) for one in outcomes if not isinstance(one, Taken)] == [USED] * 5
        assert list(a.contacts) == [winner.me.id]


async def test_nicknames_that_are_taken_get_a_number(tmp_path: Path) -> None:
    async with home(tmp_path) as a:
        for _ in range(3):
            await (await a.taker()).pair(await a.ticket(), "laptop")
        assert sorted(filter(None, a.contacts.values())) == ["laptop", "laptop-2", "laptop-3"]


async def test_a_hostile_name_is_neither_told_nor_kept(tmp_path: Path) -> None:
    names: list[Any] = ["\x1b[2Jlaptop", "\u202elaptop", "l" * 10_000, "Laptop!", {"a": 1}]
    async with home(tmp_path) as a:
        for name in names:
            await (await a.taker()).pair(await a.ticket(), name)
        assert [paired.nickname for paired in a.paired] == [None] * len(names)
        assert list(a.contacts.values()) == [None] * len(names)


async def test_a_guest_can_do_nothing_else(tmp_path: Path) -> None:
    async with home(tmp_path) as a:
        c = await a.taker()
        guest = await a.guest(c, await a.ticket())
        assert set(await guest.call("manifest")) == {"gossip", "manifest", "pair"}
        for call in ("add", "direct.offer", "direct.want"):
            with pytest.raises(RemoteError):
                await guest.call(call, 1, 2)
        await guest.close()
        assert a.client.named("accepted") == []
        assert not a.client._inner


@pytest.mark.parametrize("call", [METHOD, "manifest", "nothing"])
async def test_a_guest_that_asks_on_and_on_is_cut(tmp_path: Path, call: str) -> None:
    async with home(tmp_path) as a:
        c, ticket = await a.taker(), await a.ticket()
        guest = await a.guest(c, ticket)
        answers = await asyncio.gather(
            *(guest.call(call, {}) for _ in range(limits.GUEST_CALLS + 50)), return_exceptions=True
        )
        await guest.wait_closed()
        answered = [one for one in answers if not isinstance(one, SSBError) or isinstance(one, RemoteError)]
        assert len(answered) <= limits.GUEST_CALLS
        assert (await c.pair(ticket)).name == "home"


@pytest.mark.parametrize("late", [60.0, 3600.0])
async def test_an_expired_one_is_refused_like_any_key(tmp_path: Path, late: float) -> None:
    async with home(tmp_path) as a:
        c = await a.taker()
        ticket = await a.ticket(3600.0)
        a.time = ticket.ends + late - 60.0
        with pytest.raises(SSBError) as ours:
            await c.pair(ticket)
        with pytest.raises(SSBError) as other:
            await c.pair(Ticket.new(a.me.id, ticket.room, a.time + 3600.0))
        assert str(ours.value) == str(other.value)
        assert a.contacts == {}


async def test_a_blocked_peer_does_not_spend_it(tmp_path: Path) -> None:
    async with home(tmp_path) as a:
        c, other = await a.taker(), await a.taker()
        with Store(a.data) as store:
            store.block(c.me.id)
        ticket = await a.ticket()
        with pytest.raises(RefusedError, match=UNUSABLE):
            await c.pair(ticket)
        await other.pair(ticket)
        assert list(a.contacts) == [other.me.id]


async def test_the_signature_belongs_to_taker_and_session(tmp_path: Path) -> None:
    async with home(tmp_path) as a:
        c, other = await a.taker(), await a.taker()
        ticket = await a.ticket()
        key = ticket.key().id
        guest, again = await a.guest(c, ticket), await a.guest(c, ticket)

        def take(me: Keypair, session: Peer, target: FeedId = a.me.id, ticket: FeedId = key) -> dict[str, Any]:
            return Take.sign(me, "laptop", session.link.session.export_key, ticket, target).as_json()

        good = take(c.me, guest)
        forged = [
            take(c.me, again),  # a replay from another session
            take(c.me, guest, target=other.me.id),
            take(c.me, guest, ticket=other.me.id),
            take(other.me, guest),  # the room named another caller
            {**good, "id": str(other.me.id)},
            {**good, "id": str(a.me.id)},
            {**good, "signature": ("B" if good["signature"][0] == "A" else "A") + good["signature"][1:]},
            {"id": good["id"]},
            {"signature": good["signature"]},
            {**good, "signature": 7},
            [],
            None,
        ]
        for one in forged:
            with pytest.raises(RemoteError, match=UNUSABLE):
                await guest.call(METHOD, one)
        with pytest.raises(RemoteError, match=UNUSABLE):
            await guest.call(METHOD)
        assert a.contacts == {}
        assert await guest.call(METHOD, good) == {"name": "home", "services": ["ssh", "web"]}
        assert list(a.contacts) == [c.me.id]
        await guest.close()
        await again.close()


async def test_one_may_not_take_ones_own(tmp_path: Path) -> None:
    async with home(tmp_path) as a:
        with pytest.raises(SSBError):
            await a.client.pair(await a.ticket())
        assert a.contacts == {}


async def test_guests_that_left_before_they_were_let_in_take_no_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The end of such a session may come first, while the disk is asked about its key."""
    problems: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: problems.append(context))
    async with home(tmp_path) as a:
        ticket = await a.ticket()
        monkeypatch.setattr(limits, "PAIRING_SECONDS", 0.0)
        for _ in range(limits.PAIRING_SESSIONS):
            assert await a.tickets.admit(Peer(path="tunnel"), ticket.key().id, None) is not None
        monkeypatch.undo()
        await eventually(lambda: not a.tickets._guests)
        c = await a.taker()
        assert await c.pair(ticket) == Taken("home", ("ssh", "web"))
        assert await a.tickets.admit(Peer(path="tunnel"), ticket.key().id, None) is not None
        await a.tickets.close()
    assert not problems


async def test_guests_are_few_and_do_not_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "PAIRING_SESSIONS", 3)
    monkeypatch.setattr(limits, "PAIRING_ATTEMPTS", 4)
    monkeypatch.setattr(limits, "PAIRING_SECONDS", 0.5)
    async with home(tmp_path) as a:
        c, friend = await a.taker(), await a.taker()
        with Store(a.data) as store:
            store.follow(friend.me.id)
        ticket, other = await a.ticket(), await a.ticket()
        guests = [await a.guest(c, ticket) for _ in range(3)]
        with pytest.raises(SSBError):  # no place
            await a.guest(c, other)
        peer = await friend.connect(a.me.id, anyway=True)  # which costs a friend nothing
        assert await peer.call("add", 1, 2) == 3
        for guest in guests:
            await guest.wait_closed()
        await eventually(lambda: not a.tickets._guests)
        await (await a.guest(c, ticket)).close()
        with pytest.raises(SSBError):  # the ticket has had its sessions
            await a.guest(c, ticket)
        await c.pair(other)  # and the other one has not
        await peer.close()


async def test_tickets_have_bounds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "TICKETS", 2)
    async with home(tmp_path) as a:
        for seconds in (59.0, limits.TICKET_SECONDS_MAX + 1):
            with pytest.raises(BadInputError):
                await a.ticket(seconds)
        await a.ticket()
        await a.ticket()
        with pytest.raises(LimitError):
            await a.ticket()
        with Store(a.data, now=lambda: a.time) as store:
            assert store.cancel_tickets() == 2
        await a.ticket()
        a.time += 3600.0
        await a.ticket()
        a.time += 86_400.0
        await a.ticket()
        with Store(a.data) as store:
            assert len(store.tickets()) == 2


async def test_without_the_room_or_the_target(tmp_path: Path) -> None:
    async with home(tmp_path) as a:
        ticket = await a.ticket()
        c = await a.at.client(Keypair.generate(), join=False)
        with pytest.raises(LocalProtocolError):
            await c.pair(ticket)
        await c.join(a.at.address)
        await a.client.close()
        with pytest.raises(RefusedError):
            await c.pair(ticket)


async def test_a_store_that_is_gone_lets_nobody_in(tmp_path: Path) -> None:
    async with home(tmp_path) as a:
        c = await a.taker()
        ticket = await a.ticket()
        a.tickets._store.close()
        with pytest.raises(SSBError):
            await c.pair(ticket)


async def test_a_taker_that_leaves_meanwhile_is_told_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The ticket is spent all the same: our user has to know by which peer."""
    async with home(tmp_path) as a:
        ticket, c = await a.ticket(), await a.taker()
        guest = await a.guest(c, ticket)
        loop, before = asyncio.get_running_loop(), a.tickets._store.pair

        def pair(*arguments: Any) -> Any:
            loop.call_soon_threadsafe(guest.link.abort)
            asyncio.run_coroutine_threadsafe(eventually(lambda: not a.tickets._guests), loop).result()
            return before(*arguments)

        monkeypatch.setattr(a.tickets._store, "pair", pair)
        take = Take.sign(c.me, "laptop", guest.link.session.export_key, ticket.key().id, a.me.id)
        with pytest.raises(SSBError):
            await guest.call(METHOD, take.as_json())
        await eventually(lambda: bool(a.paired))
        assert a.paired == [Paired(c.me.id, "laptop", a.at.id)] and list(a.contacts) == [c.me.id]


async def test_a_disk_that_fails_is_not_told_to_the_taker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_args: object) -> None:
        raise StoreError("/home/a/store.sqlite: the disk is full")

    async with home(tmp_path) as a:
        c = await a.taker()
        ticket = await a.ticket()
        with monkeypatch.context() as patch:
            patch.setattr(a.tickets._store, "pair", fails)
            with pytest.raises(RemoteError, match=r"^the ticket cannot be taken now$"):
                await c.pair(ticket)
        assert (await c.pair(ticket)).name == "home"
