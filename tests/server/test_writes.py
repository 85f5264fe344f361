"""Calls that change a room's records: how many may wait, how often, and what they are answered when it goes wrong."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ssbfast import limits
from ssbfast.budgets import Rates
from ssbfast.errors import DeadlineError, RefusedError, RemoteError, StoreError
from ssbfast.ids import FeedId
from ssbfast.keys import Keypair
from ssbfast.room.alias_rules import MEMBERS_ONLY
from ssbfast.room.roles import Mode, Role
from ssbfast.server.limit_table import REFUSED, RoomCaps
from ssbfast.server.writes import BUSY, NO_STORE, TOO_OFTEN
from ssbfast.store.room_store import RoomStore
from ssbfast.wire.alias import sign_alias
from ssbfast.wire.http_auth import is_solution, new_nonce, solve
from ssbfast.wire.muxrpc import CallKind
from tests.helpers.clients import RecordingClient
from tests.helpers.kept_room import KEYS, KeptRoom, kept_room
from tests.helpers.rawpeer import RawPeer, eventually

MEMBER, MODERATOR = KEYS[Role.MEMBER], KEYS[Role.MODERATOR]


async def register(room: KeptRoom, peer: RawPeer, name: str) -> Any:
    found = await peer.call("room.registerAlias", name, sign_alias(peer.me, room.server.me.id, name))
    return found.message if isinstance(found, RemoteError) else found


def ask(room: KeptRoom, peer: RawPeer, name: str) -> int:
    """The call only."""
    signature = sign_alias(peer.me, room.server.me.id, name)
    return peer.open(CallKind.ASYNC, "room.registerAlias", name, signature)


class SlowStore:
    """Lets a method of a store wait until a test says so."""

    def __init__(self, method: Callable[..., Any]) -> None:
        self._method = method
        self.go = threading.Event()
        self.calls = 0

    def __call__(self, *args: object, **options: object) -> Any:
        self.calls += 1
        assert self.go.wait(20)
        return self._method(*args, **options)


async def test_a_session_has_two_of_them_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with kept_room(tmp_path) as room:
        slow = SlowStore(room.store.register_alias)
        monkeypatch.setattr(room.store, "register_alias", slow)
        peer, other = await room.room.raw(MEMBER), await room.room.raw(MODERATOR)
        waiting = [ask(room, peer, name) for name in ("a", "b")]
        assert await register(room, peer, "c") == BUSY
        theirs = ask(room, other, "d")  # one peer's do not keep another's from waiting
        assert await other.call("whoami") == {"id": str(room.server.me.id)}  # nor calls that write nothing
        slow.go.set()
        await eventually(lambda: all(req in peer.answers for req in waiting) and theirs in other.answers)
        assert [peer.answers[req] for req in waiting] == ["https://127.0.0.1/a", "https://127.0.0.1/b"]
        assert await register(room, peer, "c") == "https://127.0.0.1/c"


async def test_all_together_wait_in_as_many_places_as_there_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "WRITES_WAITING_PER_ADDRESS", 3)
    async with kept_room(tmp_path, Mode.OPEN) as room:
        slow = SlowStore(room.store.register_alias)
        monkeypatch.setattr(room.store, "register_alias", slow)
        peers = [await room.room.raw(announce=False) for _ in range(4)]
        reqs = [ask(room, peer, f"a{n}") for n, peer in enumerate(peers[:3])]
        await eventually(lambda: slow.calls == 1)
        await asyncio.gather(*(peer.call("whoami") for peer in peers[:3]))
        assert await register(room, peers[3], "b") == BUSY
        slow.go.set()
        await eventually(lambda: all(req in peer.answers for req, peer in zip(reqs, peers, strict=False)))
        assert await register(room, peers[3], "b") == "https://127.0.0.1/b"


async def test_a_session_that_leaves_or_is_cut_while_it_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with kept_room(tmp_path) as room:
        slow = SlowStore(room.store.register_alias)
        monkeypatch.setattr(room.store, "register_alias", slow)
        gone, cut = await room.room.raw(MEMBER), await room.room.raw(MODERATOR)
        ask(room, gone, "gone")
        await eventually(lambda: slow.calls == 1)
        ask(room, cut, "cut")
        await cut.call("whoami")
        blocking = asyncio.create_task(room.block(MODERATOR.id))
        await gone.kill()
        slow.go.set()
        await blocking
        await asyncio.wait_for(cut.gone.wait(), 20)
        assert room.server.registry.alias("gone") is not None  # what was begun is done
        assert room.server.registry.alias("cut") is None
        assert room.store.aliases()[0].name == "gone" and len(room.store.aliases()) == 1


@pytest.mark.parametrize("how", ["block", "remove_member", "change_settings"])
async def test_a_right_that_is_lost_while_a_call_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    async with kept_room(tmp_path) as room:
        loses = {
            "block": lambda: room.store.block(MEMBER.id, "", by=None),
            "remove_member": lambda: room.store.remove_member(MEMBER.id, by=None),
            "change_settings": lambda: room.store.change_settings(by=None, mode=Mode.RESTRICTED),
        }
        method = room.store.register_alias

        def late(*args: Any, **options: Any) -> Any:
            loses[how]()
            return method(*args, **options)

        monkeypatch.setattr(room.store, "register_alias", late)
        peer = await room.room.raw(MEMBER)
        if how == "block":
            ask(room, peer, "late")
            await asyncio.wait_for(peer.gone.wait(), 20)
        else:
            assert await register(room, peer, "late") == MEMBERS_ONLY
        assert room.store.aliases() == []


async def test_a_room_closes_when_what_it_writes_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with kept_room(tmp_path) as room:
        slow = SlowStore(room.store.register_alias)
        monkeypatch.setattr(room.store, "register_alias", slow)
        ask(room, await room.room.raw(MEMBER), "late")
        await eventually(lambda: slow.calls == 1)
        asyncio.get_running_loop().call_later(0.1, slow.go.set)
    with RoomStore(tmp_path) as store:
        assert [alias.name for alias in store.aliases()] == ["late"]


async def test_a_store_that_fails_fails_the_call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_args: object, **_options: object) -> None:
        raise StoreError("the disk is full")

    async with kept_room(tmp_path) as room:
        peer = await room.room.raw(MEMBER)
        with monkeypatch.context() as patch:
            patch.setattr(room.store, "register_alias", broken)
            assert await register(room, peer, "a") == NO_STORE
        assert await register(room, peer, "a") == "https://127.0.0.1/a"


async def test_a_key_has_thirty_registrations_at_once(tmp_path: Path) -> None:
    async with kept_room(tmp_path) as room:
        peer, second, other = [await room.room.raw(key) for key in (MEMBER, MEMBER, MODERATOR)]
        for _ in range(30):
            assert await register(room, peer, "a") == "https://127.0.0.1/a"
        assert await register(room, second, "b") == TOO_OFTEN
        assert await register(room, peer, "A") == "alias is not valid"  # what is not begun costs nothing
        assert await register(room, other, "b") == "https://127.0.0.1/b"
        assert await peer.call("room.revokeAlias", "a") is True  # another budget


def test_an_hour_has_sixty_registrations_of_a_key_and_refusals_cost_nothing() -> None:
    rates, networks = Rates(RoomCaps().allowances(REFUSED)), ("192.0.2.1",)
    found = [second for second in range(3600) if rates.take("registrations", "key", networks, float(second))]
    assert 59 <= len(found) <= 60
    assert rates.take("registrations", "other", networks, 3600.0)


def test_an_address_with_a_hundred_keys_has_a_budget_of_its_own() -> None:
    rates, networks = Rates(RoomCaps().allowances(REFUSED)), ("192.0.2.1",)
    found = [n for n in range(1000) if rates.take("registrations", n % 100, networks, 0.0)]
    assert len(found) == 300
    assert rates.take("registrations", "key", ("192.0.2.2",), 0.0)


# ---------------------------------------------------------------- sign-in


class SignIns:
    """Remembers what is solved."""

    def __init__(self, me: FeedId, sc: str) -> None:
        self.me, self.sc = me, sc
        self.solved: list[FeedId] = []

    def solve(self, feed: FeedId, sc: str, cc: str, sol: str, now: float) -> bool:
        if sc != self.sc or not is_solution(self.me, feed, sc, cc, sol):
            return False
        self.solved.append(feed)
        return True


async def test_a_solution_that_a_peer_sends(tmp_path: Path) -> None:
    async with kept_room(tmp_path) as room:
        me, sc, cc = room.server.me.id, new_nonce(), new_nonce()
        peer = await room.room.raw(MEMBER)
        right = solve(MEMBER, me, sc, cc)
        assert await peer.call("httpAuth.sendSolution", sc, cc, right) is False  # there is no web site
        room.server.web.sign_ins = sign_ins = SignIns(me, sc)
        for args in ((), (sc,), (sc, cc), (sc, cc, 7), (sc, cc, "x"), (sc, cc, solve(MODERATOR, me, sc, cc))):
            assert await peer.call("httpAuth.sendSolution", *args) is False
        assert await peer.call("httpAuth.sendSolution", sc, cc, right, "more") is False
        assert await peer.call("httpAuth.sendSolution", new_nonce(), cc, right) is False
        assert sign_ins.solved == []
        assert await peer.call("httpAuth.sendSolution", sc, cc, right) is True
        assert sign_ins.solved == [MEMBER.id]


async def test_a_client_sends_a_solution(tmp_path: Path) -> None:
    async with kept_room(tmp_path) as room, RecordingClient(MEMBER) as client:
        sc = new_nonce()
        room.server.web.sign_ins = SignIns(room.server.me.id, sc)
        joined = await client.join(room.server.address)
        assert await client.sign_in(joined, sc) is True
        assert await client.sign_in(joined, new_nonce()) is False
        with pytest.raises(ValueError):
            await client.sign_in(joined, "short")


async def test_all_browsers_of_a_key_are_signed_out(tmp_path: Path) -> None:
    async with kept_room(tmp_path) as room:
        for n, key in enumerate((MEMBER, MEMBER, MODERATOR)):
            room.store.add_web_session(bytes([n]) * 32, key.id, "Firefox", 1.0)
        peer, guest = await room.room.raw(MEMBER), await room.room.raw(announce=False)
        assert await guest.call("httpAuth.invalidateAllSolutions") is True
        assert await peer.call("httpAuth.invalidateAllSolutions") is True
        assert list(room.store.web_sessions(MEMBER.id)) == []
        assert len(room.store.web_sessions(MODERATOR.id)) == 1


async def test_the_newest_session_of_a_key_is_asked_for_a_solution(tmp_path: Path) -> None:
    async with kept_room(tmp_path) as room:
        sc, cc = new_nonce(), new_nonce()
        with pytest.raises(RefusedError):
            await room.server.own_calls.request_solution(MEMBER.id, sc, cc)
        old, new = await room.room.raw(MEMBER), await room.room.raw(MEMBER)
        asked = asyncio.create_task(room.server.own_calls.request_solution(MEMBER.id, sc, cc))
        await eventually(lambda: new.calls)
        call = new.calls.pop()
        assert (call.name, call.kind, call.args) == (("httpAuth", "requestSolution"), CallKind.ASYNC, [sc, cc])
        new.link.control(*new.mux.answer(call.req, "solution"))
        assert await asked == "solution" and old.calls == []
        for text in ("no", "the answer is no text"):
            asked = asyncio.create_task(room.server.own_calls.request_solution(MEMBER.id, sc, cc))
            await eventually(lambda: new.calls)
            req = new.calls.pop().req
            new.link.control(*(new.mux.fail(req, "no") if text == "no" else new.mux.answer(req, 7)))
            with pytest.raises(RemoteError, match=text):
                await asked
        asked = asyncio.create_task(room.server.own_calls.request_solution(MEMBER.id, sc, cc))
        await eventually(lambda: new.calls)
        await new.kill()
        with pytest.raises(RefusedError):
            await asked
        assert room.server.own_calls._waiting == {}


async def test_a_peer_that_does_not_answer_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with kept_room(tmp_path) as room:
        peer, sc, cc = await room.room.raw(MEMBER, announce=False), new_nonce(), new_nonce()
        (session,) = room.server._sessions.values()
        waiting = [
            asyncio.create_task(room.server.own_calls.request_solution(MEMBER.id, sc, cc))
            for _ in range(limits.SOLUTIONS_PER_SESSION)
        ]
        await eventually(lambda: len(peer.calls) == limits.SOLUTIONS_PER_SESSION)
        with pytest.raises(RefusedError):
            await room.server.own_calls.request_solution(MEMBER.id, sc, cc)
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        assert room.server.own_calls._waiting == {}
        monkeypatch.setattr(limits, "SOLUTION_SECONDS", 0.05)
        with pytest.raises(DeadlineError):
            await room.server.own_calls.request_solution(MEMBER.id, sc, cc)
        assert session.mux.open_streams == 0
        late = peer.calls.pop()
        peer.link.control(*peer.mux.answer(late.req, "late"))
        assert await peer.call("whoami")


@pytest.mark.parametrize("answer", [True, False, None, 1])
@pytest.mark.parametrize("later", [True, False])
async def test_a_client_solves_nothing_without_consent(answer: Any, later: bool, tmp_path: Path) -> None:
    asked = []

    def at_once(request: Any) -> Any:
        asked.append(request)
        return answer

    async def in_time(request: Any) -> Any:
        await asyncio.sleep(0)
        return at_once(request)

    async with (
        kept_room(tmp_path) as room,
        RecordingClient(MEMBER, on_sign_in=in_time if later else at_once) as client,
        RecordingClient(MODERATOR) as silent,
    ):
        await client.join(room.server.address)
        await silent.join(room.server.address)
        me, sc, cc = room.server.me.id, new_nonce(), new_nonce()
        if answer is True:
            solution = await room.server.own_calls.request_solution(MEMBER.id, sc, cc)
            assert is_solution(me, MEMBER.id, sc, cc, solution)
        else:
            with pytest.raises(RemoteError, match="refused"):
                await room.server.own_calls.request_solution(MEMBER.id, sc, cc)
        assert [(request.room, request.sc, request.cc) for request in asked] == [(me, sc, cc)]
        with pytest.raises(RemoteError, match="refused"):
            await room.server.own_calls.request_solution(MEMBER.id, sc, "short")
        assert len(asked) == 1
        with pytest.raises(RemoteError, match="not in list of allowed methods"):
            await room.server.own_calls.request_solution(MODERATOR.id, sc, cc)


# ---------------------------------------------------------------- those that look on


async def test_a_watcher_that_fails_stops_nothing(tmp_path: Path) -> None:
    reported: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: reported.append(context))
    async with kept_room(tmp_path) as room:
        told: list[dict[str, Any]] = []
        room.server.events.watch(lambda event: told[event["event"]])  # type: ignore[call-overload]
        room.server.events.watch(told.append)
        await room.add(Keypair.generate().id)
        await room.room.raw(MEMBER)
        assert [event["event"] for event in told] == ["members_changed", "joined"]
        assert len(reported) == 2 and all(isinstance(context["exception"], TypeError) for context in reported)


async def test_watchers_are_told_of_events_and_changes(tmp_path: Path) -> None:
    async with kept_room(tmp_path) as room:
        first: list[dict[str, Any]] = []
        second: list[dict[str, Any]] = []
        end, end_again = room.server.events.watch(first.append), room.server.events.watch(first.append)
        room.server.events.watch(second.append)
        end_again()
        end_again()
        await room.add(Keypair.generate().id)
        await room.change_mode(Mode.OPEN)
        peer = await room.room.raw(MEMBER)
        await register(room, peer, "a")
        names = [event["event"] for event in first]
        assert names == ["members_changed", "mode_changed", "settings_changed", "joined", "aliases_changed"]
        assert first == second
        end()
        await room.change_mode(Mode.COMMUNITY)
        assert len(first) == 5 and len(second) == 7
        assert len(room.server.tunnels) == 0 and room.server.live.online() == [MEMBER.id]
