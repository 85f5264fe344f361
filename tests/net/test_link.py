"""The life of one connection: handshake, goodbyes in every order, deaths."""

from __future__ import annotations

import asyncio
import os
from typing import Any

import pytest

from ssbfast import limits
from ssbfast.errors import (
    BoxStreamError,
    DeadlineError,
    HandshakeError,
    LocalProtocolError,
    PacketError,
    RefusedError,
    SessionEndedError,
    SSBError,
    TruncatedError,
)
from ssbfast.ids import FeedId
from ssbfast.keys import Keypair
from ssbfast.net.handshake_driver import Admit
from ssbfast.net.link import Link, Watchers
from ssbfast.net.relay import Relay
from ssbfast.wire.handshake import ClientHandshake, ServerHandshake
from tests.helpers.rawpeer import RawPeer, RawTunnel, eventually, settle

A, B = Keypair.generate(), Keypair.generate()


class Two:
    """A client's and a server's link on one TCP connection, each with a raw peer as handler."""

    def __init__(self, **server_options: Any) -> None:
        self.relay = Relay(pool=16 * limits.MiB)
        self.here, self.there = RawPeer(A, self.relay), RawPeer(B, self.relay)
        self._options = server_options
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> Two:
        loop = asyncio.get_running_loop()
        links: list[Link] = []

        def inbound() -> Link:
            links.append(Link(self.relay, ServerHandshake(B), self.there, **self._options))
            return links[0]

        self._server = await loop.create_server(inbound, "127.0.0.1", 0)
        port = self._server.sockets[0].getsockname()[1]
        _transport, self.here.link = await loop.create_connection(
            lambda: Link(self.relay, ClientHandshake(A, B.id), self.here), "127.0.0.1", port
        )
        await eventually(lambda: links)
        self.there.link = links[0]
        return self

    async def opened(self) -> Two:
        await eventually(lambda: self.here.is_open.is_set() and self.there.is_open.is_set())
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for peer in (self.here, self.there):
            peer.link.release("test")
            peer.link.abort()
        await self.over()
        await eventually(lambda: self.relay.hub.lent == 0 and not self.relay._links)

    async def over(self) -> None:
        await asyncio.wait_for(asyncio.gather(self.here.gone.wait(), self.there.gone.wait()), 20)

    def stream(self, req: int = 1) -> tuple[RawTunnel, RawTunnel]:
        return raw_stream(self.here, req), raw_stream(self.there, -req)


def raw_stream(peer: RawPeer, req: int) -> RawTunnel:
    peer.tunnels[req] = tunnel = RawTunnel(peer, req)
    return tunnel


# ---------------------------------------------------------------- handshake


async def test_both_know_each_other_and_the_same_keys() -> None:
    async with Two() as two:
        await two.opened()
        assert two.here.link.remote == B.id and two.there.link.remote == A.id
        assert two.here.link.session.export_key == two.there.link.session.export_key
        assert two.here.link.is_open and two.there.link.is_open
        assert "unproven" not in repr(two.here.link)
        for secret in (two.here.link.session.send_key, two.here.link.session.receive_key):
            assert secret.hex() not in repr(two.here.link) and repr(secret) not in repr(two.here.link)


async def test_before_the_handshake_there_is_nothing_to_ask() -> None:
    link = Link(Relay(pool=4 * limits.MiB), ClientHandshake(A, B.id), RawPeer(A, None))  # type: ignore[arg-type]
    for ask in (lambda: link.remote, lambda: link.session):
        with pytest.raises(LocalProtocolError):
            ask()
    for use in (lambda: link.core, lambda: link.control(2, 1, b"{}")):
        with pytest.raises(SessionEndedError):
            use()
    link.close()
    link.abort()
    link.release("nobody")
    assert link.progress() == (0, 0)
    assert repr(link) == "<Link unproven handshake>"


def never(_who: FeedId) -> bool:
    return False


async def later_never(_who: FeedId) -> bool:
    await asyncio.sleep(0)
    return False


async def broken(_who: FeedId) -> bool:
    raise RuntimeError("the graph is away")


@pytest.mark.parametrize("admit", [never, later_never, broken])
@pytest.mark.parametrize("delay", [0.0, 0.2])
async def test_a_refused_caller_gets_silence(admit: Admit, delay: float) -> None:
    asyncio.get_running_loop().set_exception_handler(lambda _loop, _context: None)
    async with Two(admit=admit, refusal_delay=delay) as two:
        await two.over()
        assert isinstance(two.here.error, HandshakeError)
        assert isinstance(two.there.error, RefusedError)
        assert not two.there.is_open.is_set()


async def test_an_admission_that_takes_too_long_is_a_no(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "REFUSAL_SECONDS", 0.2)
    forever = asyncio.Event()

    async def undecided(_who: FeedId) -> bool:
        return await forever.wait()

    async with Two(admit=undecided) as two:
        await two.over()
        assert isinstance(two.there.error, RefusedError)


async def test_an_admission_may_take_its_time() -> None:
    yes = asyncio.Event()

    async def slow(_who: FeedId) -> bool:
        return await yes.wait()

    async with Two(admit=slow) as two:
        await settle(50)
        assert not two.there.is_open.is_set()
        yes.set()
        await two.opened()


async def test_who_floods_during_the_decision_is_refused() -> None:
    asked, forever = asyncio.Event(), asyncio.Event()

    async def undecided(_who: FeedId) -> bool:
        asked.set()
        return await forever.wait()

    async with Two(admit=undecided) as two:
        await asyncio.wait_for(asked.wait(), 20)
        transport = two.here.link._transport
        assert transport is not None
        transport.write(os.urandom(limits.EARLY_BYTES + 1))
        await two.over()
        assert isinstance(two.there.error, HandshakeError)


async def test_the_handshake_has_a_deadline_on_both_sides() -> None:
    loop = asyncio.get_running_loop()
    relay = Relay(pool=4 * limits.MiB)
    silent = await loop.create_server(asyncio.Protocol, "127.0.0.1", 0)
    peer = RawPeer(A, relay)
    _, link = await loop.create_connection(
        lambda: Link(relay, ClientHandshake(A, B.id), peer, deadline=0.1), *silent.sockets[0].getsockname()
    )
    await asyncio.wait_for(peer.gone.wait(), 20)
    assert isinstance(peer.error, DeadlineError)
    assert not link.is_open
    silent.close()


@pytest.mark.parametrize("server", [A.id, FeedId(bytes(32))], ids=["itself", "no point"])
async def test_a_key_that_cannot_be_called_fails_at_once(server: FeedId) -> None:
    loop = asyncio.get_running_loop()
    relay = Relay(pool=4 * limits.MiB)
    silent = await loop.create_server(asyncio.Protocol, "127.0.0.1", 0)
    peer = RawPeer(A, relay)
    await loop.create_connection(
        lambda: Link(relay, ClientHandshake(A, server), peer, deadline=1000), *silent.sockets[0].getsockname()
    )
    await asyncio.wait_for(peer.gone.wait(), 20)
    assert isinstance(peer.error, HandshakeError)
    silent.close()


# ---------------------------------------------------------------- endings


@pytest.mark.parametrize("first", ["here", "there", "both"])
async def test_goodbyes_in_any_order_are_a_clean_end_for_both(first: str) -> None:
    async with Two() as two:
        await two.opened()
        if first != "there":
            two.here.link.close()
        if first != "here":
            two.there.link.close()
        two.here.link.close()
        await two.over()
        assert two.here.error is None and two.there.error is None
        for link in (two.here.link, two.there.link):
            link.close()
            link.abort()
            assert not link.is_open
            with pytest.raises(SessionEndedError):
                link.control(2, 1, b"{}")


@pytest.mark.parametrize("closer", ["here", "there", "both"])
async def test_what_is_queued_on_either_side_arrives_before_the_end(closer: str) -> None:
    async with Two() as two:
        await two.opened()
        one, other = two.stream()
        data = [os.urandom(400_000), os.urandom(400_000)]
        one.write(data[0])
        other.write(data[1])
        if closer != "there":
            two.here.link.close()
        if closer != "here":
            two.there.link.close()
        await two.over()
        assert other.received == data[0]
        assert one.received == data[1]
        assert two.here.error is None and two.there.error is None


async def test_our_answer_to_a_goodbye_comes_behind_what_we_had_queued(monkeypatch: pytest.MonkeyPatch) -> None:
    """JS takes the packet stream's goodbye for the end, whatever comes behind it."""
    had: list[int] = []
    async with Two() as two:
        await two.opened()
        one, other = two.stream()
        answered = Link._peer_left

        def spied(link: Link) -> None:
            if link is two.here.link:
                had.append(one.count)
            answered(link)

        monkeypatch.setattr(Link, "_peer_left", spied)
        two.here.link.hold("test")
        data = os.urandom(4 * limits.MiB)
        other.write(data)
        await eventually(lambda: other.lane.taken)
        two.here.link.close()
        await eventually(lambda: not two.there.link.is_open)
        two.here.link.release("test")
        await two.over()
        assert had[0] == len(data)
        assert one.received == data
        assert two.here.error is None and two.there.error is None


@pytest.mark.parametrize("how", ["eof", "abort"])
async def test_an_end_without_goodbye_is_told_from_a_clean_one(how: str) -> None:
    async with Two() as two:
        await two.opened()
        transport = two.here.link._transport
        assert transport is not None
        transport.write_eof() if how == "eof" else transport.abort()
        await two.over()
        assert isinstance(two.there.error, TruncatedError if how == "eof" else SSBError)


async def test_a_peer_that_does_not_answer_the_goodbye_is_waited_for_no_longer_than_agreed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(limits, "GOODBYE_SECONDS", 0.2)
    async with Two() as two:
        await two.opened()
        two.there.link.hold("test")
        two.here.link.close()
        await asyncio.wait_for(two.here.gone.wait(), 20)
        assert two.here.error is not None


async def test_abort_is_at_once_and_drops_what_is_queued() -> None:
    async with Two() as two:
        await two.opened()
        one, _other = two.stream()
        one.write(os.urandom(500_000))
        two.here.link.abort()
        await two.over()
        assert isinstance(two.here.error, SSBError) and isinstance(two.there.error, SSBError)


async def test_what_came_before_a_forged_box_is_delivered_and_the_reason_kept() -> None:
    async with Two() as two:
        await two.opened()
        one, other = two.stream()
        one.write(b"before")
        await settle()
        transport = two.here.link._transport
        assert transport is not None
        transport.write(os.urandom(64))
        await two.over()
        assert other.received == b"before"
        assert isinstance(two.there.error, BoxStreamError)


async def test_nothing_behind_a_mistake_is_acted_upon() -> None:
    async with Two() as two:
        await two.opened()
        two.here.link.control(2, 1, b'{"name":["before"],"args":[]}')
        two.here.link.control(3, 1, b"x")
        two.here.link.control(2, 2, b'{"name":["behind"],"args":[]}')
        await two.over()
        assert isinstance(two.there.error, PacketError)
        assert [call.name for call in two.there.calls] == [("before",)]


# ---------------------------------------------------------------- holding, watching


async def test_holds_count_by_holder() -> None:
    async with Two() as two:
        await two.opened()
        one, other = two.stream()
        for who in ("a", "b", "b"):
            two.there.link.hold(who)
        one.write(b"x")
        two.there.link.release("a")
        two.there.link.release("nobody")
        for _ in range(10):
            await asyncio.sleep(0.005)
        assert other.received == b""
        two.there.link.release("b")
        assert await other.read(1) == b"x"


async def test_when_calls_back_once_each_even_if_the_link_dies() -> None:
    async with Two() as two:
        await two.opened()
        called: list[str] = []
        link = two.here.link
        link.when(lambda: True, lambda: called.append("now"))
        link.when(lambda: False, lambda: called.append("never"))
        await settle()
        assert called == ["now"]
        two.here.link.abort()
        await two.over()
        link.when(lambda: False, lambda: called.append("closed"))
        await settle()
        assert called == ["now", "never", "closed"]


def test_watchers_may_be_added_while_they_are_looked_at() -> None:
    watchers = Watchers()
    called: list[int] = []
    watchers.add(lambda: True, lambda: watchers.add(lambda: bool(called), lambda: called.append(2)))
    watchers.add(lambda: True, lambda: called.append(1))
    assert watchers.look()
    assert called == [1]
    assert not watchers.look()
    assert called == [1, 2]
    watchers.add(lambda: False, lambda: called.append(3))
    watchers.release()
    watchers.release()
    assert called == [1, 2, 3]


@pytest.mark.parametrize("is_busy", [False, True])
async def test_the_end_of_a_connection_takes_its_turn(is_busy: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a tick that has taken long already nothing more is done at once than to note that it is over."""
    async with Two() as two:
        await two.opened()
        link = two.there.link
        number = link.core.id
        monkeypatch.setattr(two.relay.turns, "is_over", lambda _share: is_busy)
        told: list[SSBError | None] = []
        closed = two.there.on_close

        def tell(link: Link, error: SSBError | None) -> None:
            told.append(error)
            closed(link, error)

        monkeypatch.setattr(two.there, "on_close", tell)
        transport = link.transport
        link.connection_lost(None)
        transport.abort()
        assert not link.is_open
        assert (two.relay.link(number) is link) == is_busy and bool(told) != is_busy
        await eventually(lambda: told and two.relay.link(number) is None)
        await settle()
        assert len(told) == 1
