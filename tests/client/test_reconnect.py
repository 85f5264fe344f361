"""Staying in a room: lost, slow, mute, and back again."""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from ssbfast import limits
from ssbfast.backoff import Backoff
from ssbfast.client.joined_room import JoinedRoom, KeyedEndpoint
from ssbfast.client.reconnect import keep
from ssbfast.errors import BusyError, DeadlineError, HandshakeError, RemoteError, SessionEndedError, SSBError
from ssbfast.keys import Keypair
from ssbfast.net.link import Link
from ssbfast.net.peer import Peer
from ssbfast.net.relay import Relay
from ssbfast.room.tunnel_auth import AllowList
from ssbfast.wire.address import TunnelAddress, format_address
from ssbfast.wire.handshake import ServerHandshake
from tests.helpers.clients import RecordingClient, nothing_left, room_with_clients
from tests.helpers.rawpeer import PATIENCE, eventually
from tests.helpers.room_process import room_process
from tests.helpers.tcp_lines import line

SEED = b"room".ljust(32, b".")


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Back-off as always, only faster."""
    init = Backoff.__init__
    defaults = (0.02, 2.0, 0.1, *(init.__defaults__ or ())[3:])
    monkeypatch.setattr(init, "__defaults__", defaults)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return int(sock.getsockname()[1])


# ---------------------------------------------------------------- the keeper alone, with a fake clock


class Script:
    """Sessions and failures as a list says: an error is a failed attempt, a number a session of so many seconds."""

    def __init__(self, *steps: SSBError | float) -> None:
        self.steps = list(steps)
        self.room = JoinedRoom(Keypair.generate().id, [KeyedEndpoint("x", 1, Keypair.generate().id)])
        self.slept: list[float] = []
        self.told: list[tuple[str, dict[str, object]]] = []
        self.timeouts: list[float] = []

    async def enter(self, room: JoinedRoom, seconds: float) -> None:
        self.timeouts.append(seconds)
        step = self.steps.pop(0)
        if isinstance(step, SSBError):
            raise step
        room._peer = _Session(step)  # type: ignore[assignment]

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        if not self.steps:
            self.room.is_leaving = True
            self.steps.append(SessionEndedError("the end of the script"))

    async def run(self, *, stay: bool = True, wait: bool = False) -> None:
        backoff = Backoff(0.5, 2.0, 5.0, chance=lambda: 1.0)
        await keep(self.room, self.enter, self.tell, stay=stay, wait=wait, backoff=backoff, sleep=self.sleep)

    def tell(self, event: str, room: JoinedRoom, **members: object) -> None:
        self.told.append((event, members))


class _Session:
    is_open = False
    error = SessionEndedError("the connection died")

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    async def wait_closed(self) -> None:
        loop = asyncio.get_running_loop()
        began, real = loop.time(), loop.time
        loop.time = lambda: real() + self.seconds  # type: ignore[method-assign]
        assert loop.time() >= began + self.seconds


@pytest.fixture
async def _real_clock() -> AsyncIterator[None]:
    loop = asyncio.get_running_loop()
    yield
    loop.__dict__.pop("time", None)


AWAY = SessionEndedError("could not connect: connection refused")


@pytest.mark.usefixtures("_real_clock")
async def test_pauses_grow_and_begin_again_after_a_session_that_held() -> None:
    script = Script(0.0, AWAY, AWAY, AWAY, AWAY, AWAY, limits.RECONNECT_MAX, AWAY)
    await script.run()
    assert script.slept == [0.5, 1.0, 2.0, 4.0, 5.0, 5.0, 0.5, 1.0]
    assert [event for event, _ in script.told].count("announced") == 2
    assert script.told[1] == ("reconnecting", {"reason": "the connection died", "seconds": 0.5})
    assert script.told[2] == ("reconnecting", {"reason": str(AWAY), "seconds": 1.0})
    assert script.timeouts[0] == limits.DIAL_SECONDS
    assert set(script.timeouts[1:]) == {limits.RECONNECT_DIAL_SECONDS}


@pytest.mark.usefixtures("_real_clock")
async def test_a_room_that_throws_us_out_at_once_is_not_hammered() -> None:
    script = Script(*[0.0] * 6)
    await script.run()
    assert script.slept == [0.5, 1.0, 2.0, 4.0, 5.0, 5.0]


@pytest.mark.parametrize("error", [AWAY, DeadlineError("late"), HandshakeError(), RemoteError("no room")])
async def test_the_first_time_fails_at_once_unless_waiting(error: SSBError) -> None:
    script = Script(error)
    await script.run()
    assert script.room.first.exception() is error and script.told == []


@pytest.mark.parametrize(
    ("error", "waits"),
    [
        (AWAY, True),
        (DeadlineError("late"), True),
        (BusyError(), True),
        (HandshakeError(), False),
        (RemoteError("no room"), False),
    ],
)
async def test_who_waits_waits_for_rooms_that_may_come(error: SSBError, waits: bool) -> None:
    script = Script(error)
    await script.run(wait=True)
    assert bool(script.slept) is waits
    assert script.room.first.done() is not waits


async def test_who_does_not_stay_is_gone_after_the_first_session() -> None:
    script = Script(0.0)
    await script.run(stay=False)
    assert [event for event, _ in script.told] == ["announced"] and script.slept == []


# ---------------------------------------------------------------- with real rooms


async def test_a_lost_session_comes_back_and_is_told(quick: None) -> None:
    async with room_with_clients() as at:
        friend = Keypair.generate()
        target = await at.client(admission=AllowList([friend.id]))
        caller = await at.client(friend)
        assert target.named("announced") == [
            {
                "event": "announced",
                "portal": str(at.id),
                "id": str(target.me.id),
                "address": format_address(TunnelAddress(at.id, target.me.id)),
                "session": target.staying[0].label,
            }
        ]
        room = target.staying[0]
        room.session.link.abort()
        await target.told("announced", 2)
        lost = target.named("reconnecting")[0]
        assert (lost["portal"], lost["id"], lost["address"]) == (str(at.id), str(target.me.id), at.address)
        assert lost["reason"] and lost["seconds"] > 0
        first, second = (event["session"] for event in target.named("announced"))
        assert lost["session"] == first != second == room.label
        assert target.rooms == (room,) and room.is_open and room.is_listed
        assert await (await caller.connect(target.me.id)).call("add", 1, 2) == 3


async def test_changes_go_on_over_sessions(quick: None) -> None:
    async with room_with_clients() as at:
        watcher, other = await at.client(), await at.client()
        seen: list[tuple[str, bool]] = []

        async def follow() -> None:
            async for change in watcher.staying[0].changes():
                seen.append(("other" if change.id == other.me.id else "us", change.present))

        following = asyncio.create_task(follow())
        await eventually(lambda: ("other", True) in seen)
        await other.close()
        watcher.rooms[0].session.link.abort()
        await watcher.told("announced", 2)
        await eventually(lambda: ("other", False) in seen)
        await watcher.close()
        await asyncio.wait_for(following, PATIENCE)
        assert seen.count(("other", True)) == seen.count(("other", False)) == 1


@pytest.mark.slow
async def test_a_room_that_ends_its_list_is_entered_again(quick: None) -> None:
    async with room_with_clients() as at:
        client = await at.client()
        (session,) = at.room.server._sessions.values()
        (reader,) = at.room.server._methods._attendance._of[session.number]
        session.end_stream(reader.req)
        lost = await client.told("reconnecting")
        assert lost["reason"] == "the room ended its list"
        await client.told("announced", 2)
        assert at.room.server.portal.attendants() == [client.me.id]


async def test_who_left_does_not_come_back(quick: None) -> None:
    async with room_with_clients() as at, nothing_left():
        client = RecordingClient()
        async with client:
            room = await client.join(at.address)
            waiting = [asyncio.create_task(room.wait_left()), asyncio.create_task(room.wait_joined())]
            await room.leave()
            await room.leave()
            await asyncio.wait_for(waiting[0], PATIENCE)
            assert client.rooms == client.staying == () and not room.is_open
            assert [change async for change in room.changes()] == []
            with pytest.raises(SessionEndedError):
                await room.wait_joined()
        assert client.named("reconnecting") == []


async def test_without_staying_the_end_is_the_end() -> None:
    async with room_with_clients() as at:
        client = await at.client(join=False)
        room = await client.join(at.address, stay=False)
        room.session.link.abort()
        await asyncio.wait_for(room.wait_left(), PATIENCE)
        assert client.staying == () and client.named("reconnecting") == []


async def test_a_room_that_is_not_there_yet_can_be_waited_for(quick: None) -> None:
    port = free_port()
    address = f"net:127.0.0.1:{port}~shs:{str(Keypair.from_seed(SEED).id)[1:-8]}"
    async with RecordingClient() as client:
        joining = asyncio.create_task(client.join(address, wait=True))
        waiting = await client.told("reconnecting", 3)
        assert waiting["address"] == address and "refused" in str(waiting["reason"])
        assert client.rooms == () and len(client.staying) == 1 and not joining.done()
        async with room_process(ROOM_SEED=SEED.hex(), ROOM_PORT=str(port)):
            room = await asyncio.wait_for(joining, PATIENCE)
            assert room.attendants == {client.me.id}
            await client.close()


async def test_a_killed_room_is_told_at_once_and_reached_again_when_it_is_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """The end of its connections tells, and nothing that would have to be waited for: pings are an hour apart."""
    monkeypatch.setattr(limits, "PING_SECONDS", 3600.0)
    again: dict[str, Any] = {"ROOM_SEED": SEED.hex(), "ROOM_PORT": str(free_port())}
    friend = Keypair.generate()
    async with RecordingClient(admission=AllowList([friend.id])) as target, RecordingClient(friend) as caller:
        async with room_process(**again) as room:
            await target.join(room.address)
            await caller.join(room.address, announce=False)
            peer = await caller.connect(target.me.id)
            room.process.send_signal(signal.SIGKILL)
            await asyncio.gather(target.told("reconnecting"), caller.told("closed"), peer.wait_closed())
            with pytest.raises(SessionEndedError, match="just now"):
                await caller.connect(target.me.id)
        async with room_process(**again):
            await target.told("announced", 2)
            await caller.staying[0].wait_joined()
            assert await (await caller.connect(target.me.id)).call("add", 20, 22) == 42
            assert caller.named("announced") == []
            await caller.close()
            await target.close()


@pytest.mark.slow
async def test_a_room_with_a_delay_of_200_ms() -> None:
    async with room_with_clients() as at, line(at.room.server.port, 0.1) as slow:
        friend = Keypair.generate()
        target = await at.client(admission=AllowList([friend.id]), join=False)
        caller = await at.client(friend, join=False)
        await asyncio.gather(*(client.join(slow.through(at.address)) for client in (target, caller)))
        peer = await caller.connect(target.me.id)
        assert await peer.call("add", 1, 2) == 3
        await peer.close()
        assert peer.error is None
        await caller.close()
        await target.close()


async def test_a_dead_line_is_noticed_by_pings_and_left(quick: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is lost on it that TCP would miss: both ends acknowledge."""
    monkeypatch.setattr(limits, "PING_SECONDS", 0.1)
    monkeypatch.setattr(limits, "PING_ANSWER_SECONDS", 0.5)
    monkeypatch.setattr(limits, "HANDSHAKE_SECONDS", 0.5)
    async with room_with_clients() as at, line(at.room.server.port) as dead:
        client = await at.client(join=False)
        await client.join(dead.through(at.address))
        dead.cut = True
        assert "pings" in (await client.told("reconnecting"))["reason"]
        assert "handshake in time" in (await client.told("reconnecting", 2))["reason"]
        dead.cut = False
        await client.told("announced", 2)
        await client.close()


# ---------------------------------------------------------------- rooms that say nothing


@asynccontextmanager
async def mute_room(handshake: bool) -> AsyncIterator[str]:
    """Accepts connections, and keys if told so, and says nothing."""
    me, relay = Keypair.generate(), Relay(pool=1 << 22)
    loop = asyncio.get_running_loop()
    links: list[Link] = []

    def make() -> asyncio.BaseProtocol:
        if not handshake:
            return asyncio.Protocol()
        peer = Peer(intercept=lambda _peer, _called: True)
        links.append(Link(relay, ServerHandshake(me), peer))
        return links[-1]

    server = await loop.create_server(make, "127.0.0.1", 0)
    try:
        yield f"net:127.0.0.1:{server.sockets[0].getsockname()[1]}~shs:{str(me.id)[1:-8]}"
    finally:
        server.close()
        for link in links:
            link.abort()


@pytest.mark.parametrize(
    ("handshake", "message"),
    [(False, "the peer did not finish the handshake in time"), (True, r"the room does not answer \(room.metadata\)")],
)
async def test_a_mute_room_has_a_deadline(handshake: bool, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "HANDSHAKE_SECONDS", 0.2)
    monkeypatch.setattr(limits, "CALL_SECONDS", 0.2)
    async with mute_room(handshake) as address, nothing_left(), RecordingClient() as client:
        with pytest.raises(DeadlineError, match=message):
            await client.join(address)
        assert client.staying == () and client.rooms == ()


@pytest.mark.parametrize("handshake", [False, True])
async def test_a_cancelled_join_at_a_mute_room_leaves_nothing(handshake: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """At once: a join that waited for the room to speak would wait for an hour."""
    for name in ("HANDSHAKE_SECONDS", "CALL_SECONDS"):
        monkeypatch.setattr(limits, name, 3600.0)
    async with mute_room(handshake) as address, RecordingClient() as client, nothing_left():
        for turns in (*range(20), 50, 200):
            joining = asyncio.create_task(client.join(address, wait=True))
            for _ in range(turns):
                await asyncio.sleep(0)
            joining.cancel()
            with pytest.raises(asyncio.CancelledError):
                await joining
            assert client.staying == ()


async def test_a_cancelled_join_between_attempts_leaves_nothing() -> None:
    async with RecordingClient() as client, nothing_left():
        address = f"net:127.0.0.1:{free_port()}~shs:{str(Keypair.generate().id)[1:-8]}"
        joining = asyncio.create_task(client.join(address, wait=True))
        await client.told("reconnecting")
        joining.cancel()
        with pytest.raises(asyncio.CancelledError):
            await joining
        assert client.staying == ()


async def test_closing_the_client_ends_a_join_that_waits() -> None:
    async with nothing_left():
        async with RecordingClient() as client:
            address = f"net:127.0.0.1:{free_port()}~shs:{str(Keypair.generate().id)[1:-8]}"
            joinings = [asyncio.create_task(client.join(address, wait=True)) for _ in range(2)]
            await client.told("reconnecting")
            late = asyncio.create_task(client.join(address, wait=True))
            await asyncio.sleep(0)
        for joining in (*joinings, late):
            with pytest.raises(SessionEndedError, match="left"):
                await joining


async def test_a_mistake_of_ours_is_told_to_whoever_joins_and_later_to_the_loop(
    quick: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    problems: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: problems.append(context))
    enter = JoinedRoom.enter

    async def trip(_room: JoinedRoom, _peer: Peer) -> None:
        raise ZeroDivisionError

    async with room_with_clients() as at, RecordingClient() as client:
        monkeypatch.setattr(JoinedRoom, "enter", trip)
        with pytest.raises(ZeroDivisionError):
            await client.join(at.address)
        monkeypatch.setattr(JoinedRoom, "enter", enter)
        room = await client.join(at.address)
        monkeypatch.setattr(JoinedRoom, "enter", trip)
        room.session.link.abort()
        await asyncio.wait_for(room.wait_left(), PATIENCE)
        assert [type(problem["exception"]) for problem in problems] == [ZeroDivisionError]


async def test_the_events_of_one_session_have_one_label() -> None:
    async with room_with_clients() as at:
        friend = Keypair.generate()
        target = await at.client(admission=AllowList([friend.id]))
        caller = await at.client(friend)
        for count in (1, 2):
            peer = await caller.connect(target.me.id)
            await target.told("accepted", count)
            await peer.close()
            await caller.told("closed", count)
            await target.told("closed", count)
        for member, opened in ((caller, "connected"), (target, "accepted")):
            labels = [event["session"] for event in member.named(opened)]
            assert labels == [event["session"] for event in member.named("closed")]
            assert len(set(labels)) == 2 and all(len(label) == 8 for label in labels)
