"""Tickets in words through a real room: the right words lead to a ticket; guesses are few, and rooms cannot join in."""

from __future__ import annotations

import asyncio
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest

from ssbfast import limits
from ssbfast.client import words as words_module
from ssbfast.client.pairing import Paired
from ssbfast.client.words import EXPIRED, GUESSED, LOST, ask_for_ticket
from ssbfast.errors import BadInputError, LimitError, MissingExtraError, RefusedError, RemoteError, SSBError, StoreError
from ssbfast.ids import FeedId
from ssbfast.keys import Keypair
from ssbfast.net.peer import Peer
from ssbfast.wire.pairing import Ticket
from ssbfast.wire.words import ANNOUNCE, CONFIRM, EXCHANGE, FIND, WRONG, Exchange, Words, as_member, message_in
from tests.client.test_pairing import Home, home_of
from tests.helpers.clients import RecordingClient
from tests.helpers.rawpeer import eventually
from tests.helpers.require import require

try:
    from ssbfast.wire.words import word_list

    word_list()
    HAS_WORDS = True
except MissingExtraError:
    HAS_WORDS = False


@pytest.fixture(autouse=True)
def quick_refusals(monkeypatch: pytest.MonkeyPatch) -> None:
    require("words", HAS_WORDS, "pip install 'ssbfast[words]'")
    monkeypatch.setattr(limits, "REFUSAL_SECONDS", 1.0)  # decisions, too, have no more


class WordsHome(Home):
    """A target whose tickets are in words."""

    def __init__(self, *args: Any) -> None:
        self.ended: list[str] = []
        super().__init__(*args, on_words_ended=self.ended.append)

    async def words(self, seconds: float = 3600.0) -> Words:
        return (await self.tickets.make_words(self.client.rooms[0], seconds))[0]

    def wrong(self, words: Words) -> Words:
        """Words with the same nameplate and another password."""
        return Words(words.nameplate, "zoo-zoo" if words.password != "zoo-zoo" else "zone-zoo")

    async def look(self, client: RecordingClient, words: Words) -> Ticket:
        return await client.find_ticket(client.rooms[0], words)

    async def caller(self, client: RecordingClient, words: Words) -> Peer:
        """A session of the words' key, before anything is asked."""
        guest = Peer(path="tunnel")
        key = words.key(self.at.id, self.me.id)
        await client._open_tunnel(client.rooms[0], self.me.id, None, guest, me=key)
        return guest


def home(data: Path) -> AbstractAsyncContextManager[WordsHome]:
    return home_of(lambda at: WordsHome(at, data))


def begin(words: Words, guest: Peer) -> Exchange:
    return Exchange(words, guest.link.session.export_key, is_taker=True)


async def test_words_make_both_friends(tmp_path: Path) -> None:
    async with home(tmp_path) as a:
        c = await a.taker()
        words = await a.words()
        ticket = await a.look(c, Words.parse(f" {str(words).upper().replace('-', ' ')}\n"))
        assert (ticket.target, str(ticket.room)) == (a.me.id, a.at.address)
        await c.pair(ticket, "laptop")
        assert a.paired == [Paired(c.me.id, "laptop", a.at.id)]
        with pytest.raises(SSBError):  # they are spent
            await a.look(c, words)
        assert a.ended == []
        assert a.client.named("accepted") == []
        await eventually(lambda: not a.at.room.server.nameplates)  # and the room has forgotten them


async def test_wrong_words_are_few(tmp_path: Path) -> None:
    async with home(tmp_path) as a:
        c = await a.taker()
        words = await a.words()
        for guess in range(limits.WORDS_GUESSES):
            assert a.ended == [], guess
            with pytest.raises(RefusedError, match=WRONG):
                await a.look(c, a.wrong(words))
        assert a.ended == [GUESSED]
        with pytest.raises(SSBError):
            await a.look(c, words)
        assert a.paired == []
        other = await a.words()  # new ones hold
        assert other != words
        await (await a.taker()).pair(await a.look(await a.taker(), other))
        assert len(a.paired) == 1


async def test_guesses_at_once_are_no_more(tmp_path: Path) -> None:
    """Sessions that begin before any of them is wrong, and one that leaves before it is told."""
    async with home(tmp_path) as a:
        c = await a.taker()
        words = await a.words()
        guests = [await a.caller(c, words) for _ in range(limits.WORDS_GUESSES + 2)]
        exchanges = [begin(a.wrong(words), guest) for guest in guests]

        async def ask(guest: Peer, exchange: Exchange) -> object:
            return await guest.call(EXCHANGE, as_member("message", exchange.message))

        answers = await asyncio.gather(*map(ask, guests, exchanges), return_exceptions=True)
        assert [isinstance(one, dict) for one in answers] == [True] * limits.WORDS_GUESSES + [False] * 2
        assert a.ended == []
        for guest in guests:
            await guest.close()  # an answer that was heard is a guess, too
        await eventually(lambda: a.ended == [GUESSED])


async def test_new_words_that_cannot_be_made_end_those_before_aloud(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The room has given their nameplate away for the new one: our user may not believe that they hold."""

    def fails(*_: object) -> None:
        raise StoreError("the disk is full")

    async with home(tmp_path) as a:
        c, words = await a.taker(), await a.words()
        with monkeypatch.context() as patch:
            patch.setattr(a.tickets._store, "add_ticket", fails)
            with pytest.raises(StoreError):
                await a.words()
        assert a.ended == [LOST] and a.tickets.words is None
        with pytest.raises(RefusedError):
            await a.look(c, words)
        await a.look(c, await a.words())


async def test_a_session_guesses_once(tmp_path: Path) -> None:
    async with home(tmp_path) as a:
        c = await a.taker()
        words = await a.words()
        guest = await a.caller(c, words)
        exchange = begin(words, guest)
        sent = as_member("message", exchange.message)
        forms: list[Any] = [
            None,
            {},
            [],
            {"message": 7},
            {"message": "AA=="},
            {"message": sent["message"][:-4]},
            "a" * 99,
        ]
        for form in forms:
            with pytest.raises(RemoteError, match=WRONG):
                await guest.call(EXCHANGE, form)
        with pytest.raises(RemoteError, match=WRONG):  # nothing to confirm
            await guest.call(CONFIRM, as_member("confirm", bytes(32)))
        answer = message_in(await guest.call(EXCHANGE, sent))
        assert answer is not None
        with pytest.raises(RemoteError, match=WRONG):
            await guest.call(EXCHANGE, sent)
        exchange.finish(answer)
        with pytest.raises(RemoteError, match=WRONG):
            await guest.call(CONFIRM, as_member("confirm", bytes(32)))
        with pytest.raises(RemoteError, match=WRONG):  # the right one comes too late
            await guest.call(CONFIRM, as_member("confirm", exchange.confirmation()))
        await guest.close()
        await c.pair(await a.look(c, words))


@pytest.mark.parametrize(
    "point", ["41" + "ff" * 32, "41" + "01" + "00" * 31, "42" + "01" + "00" * 31, "41" + "00" * 32]
)
async def test_messages_that_are_no_points(tmp_path: Path, point: str) -> None:
    async with home(tmp_path) as a:
        c = await a.taker()
        guest = await a.caller(c, await a.words())
        with pytest.raises(RemoteError, match=WRONG):
            await guest.call(EXCHANGE, as_member("message", bytes.fromhex(point)))
        await guest.close()


async def test_two_takers(tmp_path: Path) -> None:
    async with home(tmp_path) as a:
        takers = [await a.taker() for _ in range(3)]
        words = await a.words()
        outcomes = await asyncio.gather(*(a.look(c, words) for c in takers), return_exceptions=True)
        assert sum(isinstance(outcome, Ticket) for outcome in outcomes) == 1
        assert all(isinstance(outcome, Ticket | SSBError) for outcome in outcomes)
        assert a.ended == []


async def test_the_words_key_opens_nothing_else(tmp_path: Path) -> None:
    async with home(tmp_path) as a:
        c = await a.taker()
        words = await a.words()
        guest = await a.caller(c, words)
        assert await guest.call("manifest") == {
            "gossip": {"ping": "duplex"},
            "manifest": "sync",
            "pair": {"confirm": "async", "words": "async"},
        }
        for name in ("add", "pair.take", "direct.offer"):
            with pytest.raises(RemoteError):
                await guest.call(name, 1, 2)
        await guest.close()
        assert not a.client._inner
        assert a.tickets._words is not None
        assert a.tickets._words.admit(Peer(path="tunnel", portal=c.me.id)) is None  # nor does it in another room
        with pytest.raises(SSBError):  # nor does the key of other words
            await a.caller(c, Words("other", words.password))


async def test_holders_of_a_nameplate_cost_ticket_holders_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "PAIRING_SESSIONS", 2)
    monkeypatch.setattr(limits, "PAIRING_ATTEMPTS", 4)
    async with home(tmp_path) as a:
        c = await a.taker()
        words = await a.words()
        guests = [await a.caller(c, words) for _ in range(2)]
        with pytest.raises(SSBError):
            await a.caller(c, words)
        await c.pair(await a.ticket())
        for guest in guests:
            await guest.close()
        for _ in range(2):
            await (await a.caller(c, words)).close()
        await eventually(lambda: a.ended == [GUESSED])  # no session is left


async def test_sessions_of_words_do_not_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "PAIRING_SECONDS", 0.2)
    async with home(tmp_path) as a:
        guest = await a.caller(await a.taker(), await a.words())
        await guest.wait_closed()


async def test_words_expire(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with home(tmp_path) as a:
        with pytest.raises(BadInputError):
            await a.words(59.0)
        ticket = await a.ticket()

        async def make(*_: Any) -> Ticket:
            return ticket

        monkeypatch.setattr(a.tickets, "make", make)
        words = await a.words(0.1)
        await eventually(lambda: a.ended == [EXPIRED])
        with pytest.raises(SSBError):
            await a.look(await a.taker(), words)


async def test_words_that_are_made_at_once(tmp_path: Path) -> None:
    async with home(tmp_path) as a:
        c = await a.taker()
        first, second = await asyncio.gather(a.words(), a.words())
        if first.nameplate != second.nameplate:
            with pytest.raises(RefusedError, match="no peer"):
                await a.look(c, first)
        await a.look(c, second)


async def test_ones_own_words_are_for_another(tmp_path: Path) -> None:
    async with home(tmp_path) as a:
        with pytest.raises(RefusedError, match="your own"):
            await a.look(a.client, await a.words())


async def test_new_words_end_those_before(tmp_path: Path) -> None:
    async with home(tmp_path) as a:
        c = await a.taker()
        words = await a.words()
        guest = await a.caller(c, words)
        other = await a.words()
        await guest.wait_closed()
        if other.nameplate != words.nameplate:
            with pytest.raises(RefusedError, match="no peer"):
                await a.look(c, words)
        await a.look(c, other)
        assert a.ended == []


async def test_a_room_that_comes_back_hears_the_nameplate_again(tmp_path: Path) -> None:
    async with home(tmp_path) as a:
        c = await a.taker()
        words = await a.words()
        room = a.client.rooms[0]
        first = room.session
        first.link.abort()
        nameplates = a.at.room.server.nameplates
        await eventually(lambda: room.session is not first and room.is_open and len(nameplates) == 1)
        await a.look(c, words)


async def test_a_nameplate_that_another_peer_got_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with home(tmp_path) as a:
        thief = await a.taker()
        words = await a.words()
        thief_session = thief.rooms[0].session
        with pytest.raises(RemoteError, match="taken"):
            await thief_session.call(ANNOUNCE, words.nameplate)

        async def late(session: Peer, nameplate: str) -> None:
            await thief_session.call(ANNOUNCE, nameplate)
            await session.call(ANNOUNCE, nameplate)

        monkeypatch.setattr(words_module, "announce", late)
        a.client.rooms[0].session.link.abort()
        await eventually(lambda: a.ended == [LOST])


async def test_nameplates_that_are_taken_are_drawn_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with home(tmp_path) as a:
        other = await a.taker()
        await other.rooms[0].session.call(ANNOUNCE, "maple")
        drawn = [
            Words("maple", "zoo-zoo"),
            Words("otter", "zoo-zoo"),
            *[Words("maple", "zoo-zoo")] * limits.WORDS_DRAWS,
        ]
        monkeypatch.setattr(Words, "draw", lambda: drawn.pop(0))
        assert (await a.words()).nameplate == "otter"
        with pytest.raises(LimitError, match="taken"):
            await a.words()


async def test_a_hostile_room_that_names_another_peer(tmp_path: Path) -> None:
    """The peer that it names lets the words' key in and guesses: it learns nothing, and its ticket is not used."""
    async with home(tmp_path) as a:
        c = await a.taker()
        words = await a.words()
        fake = WordsHome(a.at, tmp_path / "fake")
        fake.client = await a.at.client(fake.me, trust=fake.trust, tickets=fake.tickets)
        monkey = pytest.MonkeyPatch()
        try:
            monkey.setattr(Words, "draw", lambda: Words("other", a.wrong(words).password))
            guessed = await fake.words()
            key = Words(words.nameplate, "").key(a.at.id, fake.me.id).id
            assert fake.tickets._words is not None
            fake.tickets._words.key = key  # it lets in those that come for the true words
            guest = Peer(path="tunnel")
            me = words.key(a.at.id, fake.me.id)
            await c._open_tunnel(c.rooms[0], fake.me.id, None, guest, me=me)
            with pytest.raises(RefusedError, match=WRONG):
                await ask_for_ticket(guest, words, a.at.id, fake.me.id)
            await guest.close()
            assert guessed.password != words.password
        finally:
            monkey.undo()
            await fake.client.close()
            await fake.tickets.close()
            await fake.trust.close()


class Lying:
    """A session whose other end answers what it is told to, for the taker's checks."""

    def __init__(self, words: Words, target: FeedId, **changes: Any) -> None:
        self.link = self
        self.session = self
        self.export_key = b"e" * 32
        self._words, self._target, self._changes = words, target, changes

    async def call(self, name: str, argument: dict[str, Any], **_: Any) -> Any:
        if name == EXCHANGE:
            self._exchange = Exchange(self._words, self.export_key, is_taker=False)
            message = message_in(argument)
            assert message is not None
            self._exchange.finish(message)
            return {**as_member("message", self._exchange.message), **self._changes.get("exchange", {})}
        return {**as_member("confirm", self._exchange.confirmation()), **self._changes.get("confirm", {})}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"exchange": {"message": None}}, WRONG),
        ({"exchange": as_member("message", b"B" + b"\xff" * 32)}, WRONG),
        ({"confirm": {"confirm": None}}, "does not know the words"),
        ({"confirm": as_member("confirm", bytes(32))}, "does not know the words"),
        ({"confirm": {"ticket": None}}, "no ticket"),
        ({"confirm": {"ticket": "pair-"}}, "no ticket"),
        ({"confirm": {"ticket": "other target"}}, "another peer"),
        ({"confirm": {"ticket": "other room"}}, "another room"),
    ],
)
async def test_what_the_taker_checks(changes: dict[str, Any], said: str) -> None:
    from ssbfast.wire.address import parse_address

    words, target, room, other = Words("maple", "otter-violin"), *(Keypair.generate().id for _ in range(3))

    def ticket(target: FeedId, room: FeedId) -> str:
        return str(Ticket.new(target, parse_address(f"net:127.0.0.1:8008~shs:{str(room)[1:-8]}")[0], 2e9))

    texts = {"other target": ticket(other, room), "other room": ticket(target, other)}
    told = {"ticket": ticket(target, room), **changes.get("confirm", {})}
    told["ticket"] = texts.get(str(told["ticket"]), told["ticket"])
    peer: Any = Lying(words, target, **{**changes, "confirm": told})
    with pytest.raises(RefusedError, match=said):
        await ask_for_ticket(peer, words, room, target)
    good: Any = Lying(words, target, confirm={"ticket": ticket(target, room)})
    assert (await ask_for_ticket(good, words, room, target)).target == target


async def test_a_room_in_the_middle(tmp_path: Path) -> None:
    """It has a session with each end and passes all messages on: right words do not help, the sessions differ."""
    async with home(tmp_path) as a:
        middle = await a.taker()
        words = await a.words()
        guest = await a.caller(middle, words)
        relayed: Any = Lying(words, a.me.id)

        async def call(name: str, argument: dict[str, Any], **_: Any) -> Any:
            return await guest.call(name, argument)

        relayed.call = call
        with pytest.raises(RefusedError, match=WRONG):
            await ask_for_ticket(relayed, words, a.at.id, a.me.id)
        assert a.tickets._words is not None
        assert a.tickets._words._wrong == 1
        # The same without another session in between goes well.
        await guest.close()
        await a.look(middle, words)


@pytest.mark.parametrize("answer", [None, 7, "home", {"id": 7}])
async def test_what_a_room_may_say_of_a_nameplate(answer: Any, tmp_path: Path) -> None:
    async def call(name: str, *_: Any, **__: Any) -> Any:
        assert name == FIND
        return answer

    peer: Any = Lying(Words("maple", "otter-violin"), Keypair.generate().id)
    peer.call = call
    with pytest.raises(RefusedError, match="no id"):
        await words_module.find_target(peer, Words("maple", "otter-violin"))


async def test_a_room_that_knows_no_words(tmp_path: Path) -> None:
    async with home(tmp_path) as a:
        for name in ("announce", "find"):
            del a.at.room.server._methods._table["pairing", name]
        c = await a.taker()
        with pytest.raises(RefusedError, match="the room knows no tickets in words"):
            await a.words()
        with pytest.raises(RefusedError, match="the room knows no tickets in words"):
            await a.look(c, Words("maple", "ocean-violin"))
        await c.pair(await a.ticket())  # tickets go on
