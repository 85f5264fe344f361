"""Nameplates of pairing at a room: which session has which, and that strangers find them slowly."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from ssbfast import limits
from ssbfast.budgets import Rates, rings
from ssbfast.ids import FeedId
from ssbfast.room.effects import AnnounceNameplate, FindNameplate
from ssbfast.server.limit_table import NAMEPLATES, RoomCaps
from ssbfast.server.nameplates import TOO_OFTEN, Nameplates
from ssbfast.wire.words import NOT_THERE, TAKEN
from tests.helpers.clients import room_with_clients
from tests.helpers.rawpeer import eventually
from tests.helpers.rooms import feed


class Session:
    """A session that keeps what it is answered."""

    def __init__(self, number: int, who: FeedId, host: str) -> None:
        self.number = number
        self.link = SimpleNamespace(remote=who)
        self.networks = rings(host)
        self.heard: Any = None

    def answer(self, _req: int, value: Any) -> None:
        self.heard = value

    def refuse(self, _req: int, message: str) -> None:
        self.heard = message


class World:
    """The nameplates of a room whose clock stands, and its callers."""

    def __init__(self) -> None:
        self.now = 0.0
        self.reached: list[str] = []
        rates = Rates(RoomCaps().allowances(NAMEPLATES))
        self.names = Nameplates(rates, lambda: self.now, self.reached.append)
        self._count = 0

    def enter(self, number: int | None = None, host: str = "192.0.2.1") -> Any:
        """A session of a key with that number; of a key of its own unless given."""
        self._count += 1
        return Session(self._count, feed(number or self._count), host)

    def announce(self, session: Any, nameplate: str | None) -> Any:
        self.names.announce(session, AnnounceNameplate(session.number, 1, nameplate))
        return session.heard

    def find(self, session: Any, nameplate: str) -> Any:
        self.names.find(session, FindNameplate(session.number, 1, nameplate))
        return session.heard


@pytest.fixture
def world() -> World:
    return World()


def word(number: int) -> str:
    return "abc" + "".join(chr(ord("a") + number // 26**at % 26) for at in range(3))


def test_one_per_session(world: World) -> None:
    a, c = world.enter(), world.enter()
    assert world.find(c, "maple") == NOT_THERE
    assert world.announce(a, "maple") is True
    assert world.find(c, "maple") == str(a.link.remote)
    assert world.announce(a, "otter") is True
    assert world.find(c, "maple") == NOT_THERE
    assert world.announce(a, None) is True
    assert world.find(c, "otter") == NOT_THERE
    assert len(world.names) == 0


def test_another_key_does_not_get_it_and_a_newer_session_does(world: World) -> None:
    a, thief, again = world.enter(7), world.enter(), world.enter(7)
    assert world.announce(a, "maple") is True
    assert world.announce(thief, "maple") == TAKEN
    assert world.find(thief, "maple") == str(feed(7))
    assert world.announce(again, "maple") is True
    world.names.forget(a)  # the end of the old session takes nothing from the newer one
    assert world.find(thief, "maple") == str(feed(7))
    world.names.forget(again)
    assert world.announce(thief, "maple") is True


@pytest.mark.parametrize("ask", [World.find, World.announce])
def test_a_key_asks_slowly(world: World, ask: Callable[[World, Any, str], Any]) -> None:
    a, c, stranger = world.enter(), world.enter(5), world.enter(5)
    world.announce(a, "maple")
    answers = [ask(world, session, word(at)) for at in range(20) for session in (c, stranger)]
    assert answers.count(TOO_OFTEN) == len(answers) - int(limits.NAMEPLATES_BURST)
    assert ask(world, c, "maple") == TOO_OFTEN  # which tells not whether it is there
    assert "nameplates" in world.reached
    world.now += 60.0
    assert world.find(c, "maple") == str(a.link.remote)
    assert world.announce(c, None) is True  # to give one back costs nothing


@pytest.mark.parametrize("hosts", [["192.0.2.9"], [f"2001:db8:0:{at:x}::1" for at in range(100)]])
def test_a_hundred_keys_of_one_address_do_not_see_all(world: World, hosts: list[str]) -> None:
    a, c = world.enter(), world.enter()
    strangers = [world.enter(host=hosts[at % len(hosts)]) for at in range(100)]
    world.announce(a, "maple")
    seen = 0
    for _second in range(0, 3600, 10):
        for stranger in strangers[:20]:
            seen += world.find(stranger, word(seen)) == NOT_THERE
        strangers = strangers[20:] + strangers[:20]
        world.now += 10.0
    assert 100 < seen < 250  # of 2,048
    assert world.find(c, "maple") == str(a.link.remote)  # an honest pair elsewhere feels nothing
    assert world.announce(a, "otter") is True


def test_one_address_has_few_and_the_first_stay(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "NAMEPLATES_PER_ADDRESS", 3)
    monkeypatch.setattr(limits, "NAMEPLATES", 5)
    world = World()
    first = world.enter()
    assert world.announce(first, "maple") is True
    for at in range(6):
        assert world.announce(world.enter(), word(at)) is True
    assert len(world.names) == 3
    others = [world.enter(host=f"198.51.100.{at}") for at in range(3)]
    for at, other in enumerate(others):
        assert world.announce(other, word(100 + at)) is True
    assert len(world.names) == 5
    asker = world.enter(host="203.0.113.1")
    assert world.find(asker, "maple") == str(first.link.remote)
    assert [world.find(asker, word(100 + at)) for at in range(3)] == [str(one.link.remote) for one in others]
    assert {"nameplates_kept", "nameplates_kept_per_address"} <= set(world.reached)


async def test_through_a_room() -> None:
    async with room_with_clients() as at:
        a, c = await at.client(), await at.client()
        session, other = a.rooms[0].session, c.rooms[0].session
        assert await session.call("pairing.announce", "maple") is True
        assert await other.call("pairing.find", "maple") == str(a.me.id)
        manifest = await other.call("manifest")
        assert manifest["pairing"] == {"announce": "async", "find": "async"}
        names = at.room.server.nameplates
        await a.close()
        await eventually(lambda: not names)
