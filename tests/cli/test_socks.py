"""`ssbfast open --socks`: programs reach services of friends by name; tunnels open when they are needed."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from ssbfast import limits, load_secret
from ssbfast.cli.nicknames import Nicknames
from ssbfast.cli.path_options import PathChoice, PathGate, Paths
from ssbfast.cli.peer_options import RoomAddress, TrustOptions
from ssbfast.cli.socks import _Socks
from ssbfast.errors import SSBError
from ssbfast.ids import MAIN_NETWORK, FeedId
from ssbfast.keys import Keypair
from ssbfast.net.endpoints import Endpoint, UdpEndpoint
from ssbfast.net.forward.service import Service
from ssbfast.net.forward.socks5 import Reply
from ssbfast.net.forward.tcp import METHOD
from ssbfast.net.forward.tcp_server import ServiceServer
from ssbfast.room.tunnel_auth import AllowList, Policy
from ssbfast.store.peer_store import Store
from tests.helpers.clients import RecordingClient, RoomWithClients, room_with_clients
from tests.helpers.commands import failed, run_here
from tests.helpers.forwards import TcpService
from tests.helpers.rawpeer import eventually, settle
from tests.helpers.socks import ask, refusal


class Output:
    """A printer that keeps what it is told."""

    as_json = True

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []

    def text(self, _text: str) -> None:
        """Nothing reads it."""

    def event(self, event: dict[str, Any]) -> None:
        self.events.append(event)

    def named(self, name: str) -> list[dict[str, Any]]:
        return [event for event in self.events if event["event"] == name]


class World:
    """A room, the services a and b, and a user with a SOCKS5 port. friend: what the user calls the one at home."""

    place: Endpoint
    server: ServiceServer

    def __init__(self, at: RoomWithClients, data: Path, ports: tuple[int, int], stack: AsyncExitStack) -> None:
        self.at = at
        self.data = data
        self.me = load_secret(data / "secret", create=True).id
        self.ports = ports
        self.output = Output()
        self.running: asyncio.Future[int]
        self._stack = stack

    async def stop(self) -> None:
        """End the command."""
        self.running.cancel()
        await asyncio.gather(self.running, return_exceptions=True)

    def befriend(self, who: FeedId, nickname: str, room: RoomWithClients | None = None) -> None:
        with Store(self.data) as store:
            store.befriend(who, nickname, (room or self.at).address)

    async def home(
        self, key: Keypair | None = None, room: RoomWithClients | None = None, **options: Any
    ) -> RecordingClient:
        """A peer that offers both services."""
        client = await (room or self.at).client(key, admission=AllowList([self.me]))
        services = [Service(Endpoint("127.0.0.1", port), name) for port, name in zip(self.ports, "ab", strict=True)]
        server = await self._stack.enter_async_context(ServiceServer(services, **options))
        server.register(client._answering._api)
        self.server = server
        return client


def says(name: bytes) -> TcpService:
    async def serve(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(name)

    return TcpService(serve)


@asynccontextmanager
async def world(data: Path, *rooms: str) -> AsyncIterator[World]:
    async with AsyncExitStack() as stack:
        at = await stack.enter_async_context(room_with_clients())
        services = [await stack.enter_async_context(says(name)) for name in (b"this is a", b"this is b")]
        made = World(at, data, (services[0].port, services[1].port), stack)
        names = stack.enter_context(Nicknames(data))
        command = _Socks(
            Endpoint("127.0.0.1", 0),
            data,
            MAIN_NETWORK,
            (RoomAddress.parse(at.address),),
            False,
            None,
            TrustOptions(Policy.FOLLOWS, (), None),
            Paths(PathChoice.TUNNEL, (), False, 0.0),
            names,
        )
        made.running = asyncio.ensure_future(command.run(made.output))  # type: ignore[arg-type]
        try:
            await eventually(lambda: made.running.done() or made.output.named("bound"))
            host, _, port = made.output.named("bound")[0]["bind"].rpartition(":")
            made.place = Endpoint(host, int(port))
            yield made
        finally:
            await made.stop()


async def answer(place: Endpoint, host: str, port: int = 80) -> bytes:
    code, wire = await ask(place, host, port)
    assert code is Reply.SUCCEEDED
    wire.finish()
    try:
        return await wire.rest()
    finally:
        await wire.close()


async def test_names_lead_to_the_services_of_friends(tmp_path: Path) -> None:
    async with world(tmp_path) as at:
        home = await at.home()
        at.befriend(home.me.id, "home")
        assert not at.output.named("connected"), "nothing has been asked for"
        assert await answer(at.place, "b.home.ssb") == b"this is b"
        assert await answer(at.place, "a.home.ssb", 1) == b"this is a"
        assert await answer(at.place, "home.ssb") == b"this is a"
        assert await answer(at.place, "home.ssb", at.ports[1]) == b"this is b"
        assert await refusal(at.place, "c.home.ssb") is Reply.REFUSED
        assert await refusal(at.place, "a.nothing.ssb") is Reply.UNREACHABLE
        assert await refusal(at.place, "a.example") is Reply.NOT_ALLOWED
        assert len(at.output.named("connected")) == 1, "one tunnel carries them all"
        at.befriend(Keypair.generate().id, "other")
        with Store(at.data) as store:
            store.rename(home.me.id, "house")
        assert await answer(at.place, "b.house.ssb") == b"this is b"
        assert await refusal(at.place, "b.home.ssb") is Reply.UNREACHABLE


async def test_friends_that_come_and_go_while_it_runs_and_their_rooms(tmp_path: Path) -> None:
    async with world(tmp_path) as at:
        home = await at.home()
        at.befriend(home.me.id, "home")
        async with room_with_clients() as room:
            other = await at.home(room=room)
            at.befriend(other.me.id, "other", room)
            assert await answer(at.place, "b.other.ssb") == b"this is b"
            with Store(at.data) as store:
                store.forget(other.me.id)
            assert await refusal(at.place, "b.other.ssb") is Reply.UNREACHABLE
            sessions = room.room.server._sessions
            await eventually(lambda: [one.link.remote for one in sessions.values()] == [other.me.id])
            assert await answer(at.place, "b.home.ssb") == b"this is b", "it goes on"
            at.befriend(other.me.id, "again", room)
            assert await answer(at.place, "a.again.ssb") == b"this is a"
            # A session that goes on keeps its room, wherever the friend is met next.
            at.befriend(other.me.id, "again")
            assert await answer(at.place, "b.again.ssb") == b"this is b"
            assert not other.named("closed")[1:], "only the one that was forgotten"
            await at.stop()


async def test_contacts_are_read_when_they_have_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A thousand rooms take a tenth of a second."""
    async with world(tmp_path) as at:
        home = await at.home()
        at.befriend(home.me.id, "home")
        assert await answer(at.place, "a.home.ssb") == b"this is a"
        read: list[Any] = []
        monkeypatch.setattr("ssbfast.cli.socks._rooms_of", lambda contacts: read.append(contacts) or [])
        for _ in range(3):
            assert await answer(at.place, "a.home.ssb") == b"this is a"
        assert not read
        at.befriend(Keypair.generate().id, "other")
        await eventually(lambda: len(read) == 1)


async def test_a_service_that_is_new_is_found_and_one_of_udp_is_none(tmp_path: Path) -> None:
    async with world(tmp_path) as at:
        home = await at.home()
        at.befriend(home.me.id, "home")
        assert await answer(at.place, "a.home.ssb") == b"this is a"
        udp = Service(UdpEndpoint("127.0.0.1", 9), "udp")
        new = Service(Endpoint("127.0.0.1", at.ports[1]), "new")
        at.server.replace([udp, new])
        assert await answer(at.place, "new.home.ssb") == b"this is b"
        assert await refusal(at.place, "udp.home.ssb") is Reply.REFUSED
        assert await answer(at.place, "home.ssb", 9) == b"this is b", "the first of TCP"


async def test_a_friend_that_is_not_there_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key = Keypair.generate()
    async with world(tmp_path) as at:
        at.befriend(key.id, "home")
        with monkeypatch.context() as patch:
            patch.setattr(limits, "DIAL_SECONDS", 0.2)
            assert await refusal(at.place, "a.home.ssb") is Reply.UNREACHABLE
        asking = asyncio.ensure_future(answer(at.place, "a.home.ssb"))
        await eventually(lambda: len(at.output.named("waiting")) == 2)
        await at.home(key)
        assert await asking == b"this is a"


async def test_a_peer_that_we_do_not_follow_is_not_dialled(tmp_path: Path) -> None:
    async with world(tmp_path) as at:
        home = await at.home()
        at.befriend(home.me.id, "home")
        with Store(at.data) as store:
            store.block(home.me.id)
        assert await refusal(at.place, "a.home.ssb") is Reply.NOT_ALLOWED
        assert not at.output.named("connected")


async def test_a_peer_that_knows_no_names_has_its_only_service(tmp_path: Path) -> None:
    async with world(tmp_path) as at:
        home = await at.home()
        api = home._answering._api
        (only,) = [carry for name, carry in api._carried.items() if ".".join(name) == METHOD]
        api._carried, api._methods = {}, {}
        api.carried(METHOD, only)
        at.befriend(home.me.id, "home")
        assert await answer(at.place, "home.ssb", 8080) == b"this is a"
        assert await refusal(at.place, "a.home.ssb") is Reply.REFUSED


async def test_tunnels_have_a_limit_and_the_one_that_is_idle_longest_makes_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "SOCKS_FRIENDS", 2)
    async with world(tmp_path) as at:
        homes = [await at.home() for _ in range(3)]
        for number, home in enumerate(homes):
            at.befriend(home.me.id, f"h{number}")
        for name in ("a.h0.ssb", "a.h1.ssb", "a.h0.ssb", "a.h2.ssb"):
            assert await answer(at.place, name) == b"this is a"
        closed = await homes[1].told("closed")
        assert closed["peer"] == str(at.me) and not homes[0].named("closed")


async def test_a_friend_whose_tunnel_is_given_up_leaves_no_session_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With `--path direct` each connection to one that cannot be reached so would cost one more."""
    over = asyncio.Event()

    async def failed(_gate: PathGate) -> None:
        await over.wait()
        raise SSBError("no direct path")

    monkeypatch.setattr(PathGate, "failed", failed)
    async with world(tmp_path) as at:
        home = await at.home()
        at.befriend(home.me.id, "home")
        assert await answer(at.place, "a.home.ssb") == b"this is a"
        over.set()
        await settle()
        over.clear()
        assert await answer(at.place, "a.home.ssb") == b"this is a"
        await home.told("closed")
        assert len(home._inner) == 1


@pytest.mark.skipif(shutil.which("curl") is None, reason="no curl here")
async def test_curl(tmp_path: Path) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.0 200 OK\r\n\r\nhello from home")

    async with TcpService(serve) as web, world(tmp_path) as at:
        at.ports = (at.ports[0], web.port)
        home = await at.home()
        at.befriend(home.me.id, "home")
        proxy = f"127.0.0.1:{at.place.port}"

        async def curl(url: str) -> tuple[int | None, bytes]:
            arguments = ("-sS", "--noproxy", "", "--socks5-hostname", proxy, url)
            process = await asyncio.create_subprocess_exec(
                "curl", *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
            )
            out, err = await process.communicate()
            return process.returncode, out or err

        assert await curl("http://b.home.ssb/") == (0, b"hello from home")
        assert await curl(f"http://home.ssb:{web.port}/") == (0, b"hello from home")
        code, words = await curl("http://c.home.ssb/")
        assert code == 97 and b"(5)" in words


@pytest.mark.parametrize(
    ("arguments", "kind", "words"),
    [
        (("--socks", "127.0.0.1:0"), "input", "no friend has a room yet"),
        (("--socks", "0", "home/git"), "usage", "--socks is for all friends"),
        (("--socks", "0", "--bind", "1"), "usage", "--socks is for all friends"),
        (("--socks", "unix:/tmp/x"), "usage", "HOST:PORT"),
        ((), "usage", "NICK/SERVICE"),
    ],
)
def test_options_that_do_not_go_together(arguments: tuple[str, ...], kind: str, words: str, tmp_path: Path) -> None:
    failed(run_here("open", "--data", str(tmp_path), "--json", *arguments), 2, kind, words)
