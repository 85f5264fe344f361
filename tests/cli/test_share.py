"""`ssbfast share`, `open`, `connect NICK/SERVICE`: from services and a ticket to bytes, and which friend gets what."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import stat
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from ssbfast.cli.peer_output import PeerWords
from ssbfast.cli.resolve_target import split_service
from ssbfast.client.port_claims import PortClaims
from ssbfast.errors import BadInputError, RefusedError
from ssbfast.keys import load_secret
from ssbfast.net.forward.tcp import METHOD
from ssbfast.net.forward.tcp_server import ServiceServer
from ssbfast.pasted.endpoint import read_place
from ssbfast.store.peer_store import Store
from tests.helpers.clients import room_with_clients
from tests.helpers.commands import assert_unusable, run_here
from tests.helpers.commands_here import CommandHere
from tests.helpers.forwards import TcpEnd, TcpService
from tests.helpers.room_processes import free_port
from tests.helpers.served_room import ServedRoom
from tests.helpers.udp import udp_program, udp_service

ROOM = "net:127.0.0.1:9~shs:WYKP7NFtjOAe9iuSwVvU4r3Bn+tAMi1TYowFcw0CCUA="


async def echo(name: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Say a name, then what comes, up to its end."""
    writer.write(f"{name}:".encode())
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()


class House:
    """A room, `home` that shares services in it, and friends of home."""

    def __init__(self, room: ServedRoom, data: Path, stack: AsyncExitStack) -> None:
        self.room = room
        self.address = room.server.address
        self.data = data
        self.ports: dict[str, int] = {}
        self.home: CommandHere
        self._stack = stack

    async def service(self, name: str) -> str:
        """A service that says its name; what `share` is told of it."""
        service = await self._stack.enter_async_context(TcpService(lambda *ends: echo(name, *ends)))
        self.ports[name] = service.port
        return f"{name}={service.port}"

    async def run(self, command: str, who: str, *arguments: str) -> CommandHere:
        """A command of a friend that stays. Sessions stay in the room."""
        more = ("--data", str(self.data / who), "--path", "tunnel")
        return await self._stack.enter_async_context(CommandHere(command, *arguments, *more))

    async def share(self, *arguments: str) -> CommandHere:
        return await self.run("share", "home", *arguments, "--room", self.address, "--name", "home")

    def friend(self, who: str) -> None:
        """Make a peer and home follow each other, and know by which room."""
        for one, other in ((who, "home"), ("home", who)):
            with Store(self.data / one) as store:
                store.befriend(load_secret(self.data / other / "secret", create=True).id, other, self.address)


@asynccontextmanager
async def house(data: Path) -> AsyncIterator[House]:
    async with room_with_clients() as at, AsyncExitStack() as stack:
        yield House(at.room, data, stack)


async def ask(place: str, data: bytes = b"hello") -> bytes:
    """Send bytes to HOST:PORT or unix:PATH, and return what comes back up to the end."""
    wire = TcpEnd(
        *(
            await asyncio.open_unix_connection(place.removeprefix("unix:"))
            if place.startswith("unix:")
            else await asyncio.open_connection(*place.split(":"))
        )
    )
    try:
        await wire.send(data)
        wire.finish()
        return await wire.rest()
    finally:
        await wire.close()


# ---------------------------------------------------------------- UDP


async def test_a_udp_service(tmp_path: Path) -> None:
    """It is found at its own port, or a free one, or where it is told to be; what is not there is said in capitals."""
    async with house(tmp_path) as at, udp_service() as wg:
        at.friend("laptop")
        home = await at.share(f"wg=udp:{wg.port}", f"dns=udp:127.0.0.1:{free_port()}", await at.service("web"))
        await home.event("announced")
        shown = [text for text in home.texts if text.startswith("  ")]
        assert shown[0] == f"  wg   udp:127.0.0.1:{wg.port}  UDP: cannot be asked"
        assert shown[1].endswith("  NOTHING LISTENS THERE")
        laptop = await at.run("open", "laptop", "home")
        bound = await laptop.event("bound", service="wg")
        assert bound["bind"].startswith("udp:127.0.0.1:") and bound["url"] is None
        other = await at.run("open", "laptop", "home/wg", "--bind", "udp:127.0.0.1:0")
        for place in (bound["bind"], (await other.event("bound"))["bind"]):
            await other.event("connected")
            async with udp_program(read_place(place)) as program:
                program.send(b"hello")
                assert await program.read() == b"hello"
        web = await laptop.event("bound", service="web")
        assert await ask(web["bind"]) == b"web:hello"


def test_a_udp_port_needs_a_name(tmp_path: Path) -> None:
    done = run_here("connect", f"@{'A' * 43}=.ed25519", "--room", ROOM, "--bind", "udp:0", "--data", str(tmp_path))
    assert_unusable(done, "by its name")


# ---------------------------------------------------------------- the road


@pytest.fixture
def far_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let friends be on other machines: there a port that home offers is like any other."""
    monkeypatch.setattr(PortClaims, "take", lambda *_: None)


@pytest.mark.usefixtures("far_away")
async def test_from_a_ticket_to_two_services(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async with house(tmp_path) as at:
        dead = free_port()
        home = await at.share(await at.service("web"), await at.service("ssh"), f"git={dead}")
        await home.event("announced")
        assert [text.split("  ") for text in home.texts if text.startswith("  ")] == [
            ["", "web", f"127.0.0.1:{at.ports['web']}".ljust(15), "answers"],
            ["", "ssh", f"127.0.0.1:{at.ports['ssh']}".ljust(15), "answers"],
            ["", "git", f"127.0.0.1:{dead}".ljust(15), "NOTHING LISTENS THERE"],
        ]
        ticket = (await home.event("ticket"))["ticket"]
        assert f"Let someone in (once, within the hour):   ssbfast pair {ticket}" in home.texts
        paired = await asyncio.to_thread(
            run_here, "pair", str(ticket), "--data", str(tmp_path / "laptop"), "--name", "laptop"
        )
        assert paired.stdout.startswith("Paired with home (") and "Offered: web, ssh, git." in paired.stdout
        assert (await home.event("paired"))["nickname"] == "laptop"
        git = await at.run("connect", "laptop", "home/git", "--bind", "127.0.0.1:0")
        with pytest.raises(ConnectionResetError):
            await ask((await git.event("bound"))["bind"])
        await git.event("forward_problem", reason="nothing listens at the other end")
        await home.event("forward_problem", reason=f"git: nothing listens at 127.0.0.1:{dead}")
        laptop = await at.run("open", "laptop", "home/web", "home/ssh", "home/git")
        for name in ("web", "ssh"):
            found = await laptop.event("bound", service=name)
            assert await ask(found["bind"]) == f"{name}:hello".encode()
        told = capsys.readouterr().err
        for name in ("web", "ssh"):
            place = f"127.0.0.1:{at.ports[name]}"
            assert f"{name} cannot be at its own port here, {place}: the port is taken\n" in told
        assert (await laptop.event("bound", service="git"))["bind"] == f"127.0.0.1:{dead}"  # its own port is free here


def free_web_port() -> int:
    """A free port of those that are taken for a web site's."""
    for port in range(8000, 9000):
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
    raise OSError("no port is free")


async def test_ports_of_the_system_are_not_taken_at_a_friends_word(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with house(tmp_path) as at:
        at.friend("laptop")
        home = await at.share("web=80", "dns=udp:1023")
        await home.event("announced")
        laptop = await at.run("open", "laptop", "home/web", "home/dns")
        for name in ("web", "dns"):
            bound = (await laptop.event("bound", service=name))["bind"]
            assert int(bound.rpartition(":")[2]) >= 1024
        assert (await laptop.event("bound", service="web"))["url"] is not None
        assert "cannot be at" not in capsys.readouterr().err


@pytest.mark.usefixtures("far_away")
async def test_a_friend_does_not_choose_ports_for_what_was_not_named(tmp_path: Path) -> None:
    """Else it could be found where a program of this machine expects its own database."""
    async with house(tmp_path) as at:
        at.friend("laptop")
        ports = {name: free_port() for name in ("web", "db", "wg")}
        services = (f"web={ports['web']}", f"db={ports['db']}", f"wg=udp:127.0.0.1:{ports['wg']}")
        home = await at.share(*services)
        await home.event("announced")
        laptop = await at.run("open", "laptop", "home/web", "home")
        found = {name: (await laptop.event("bound", service=name))["bind"] for name in ports}
        assert found["web"] == f"127.0.0.1:{ports['web']}", "it was asked for"
        assert found["db"] != f"127.0.0.1:{ports['db']}"
        assert found["wg"] != f"udp:127.0.0.1:{ports['wg']}"


async def test_a_friend_on_the_same_machine_does_not_stand_where_home_is_served_from(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Home would reach itself there as soon as its service is down, and one connection would become 256."""
    async with house(tmp_path) as at:
        at.friend("laptop")
        port, udp = free_port(), free_port()
        place = f"127.0.0.1:{port}"
        home = await at.share(f"web={port}", f"wg=udp:127.0.0.1:{udp}")
        await home.event("announced")
        laptop = await at.run("open", "laptop", "home/web", "home/wg")
        bound = (await laptop.event("bound", service="web"))["bind"]
        assert bound != place
        assert (await laptop.event("bound", service="wg"))["bind"] != f"udp:127.0.0.1:{udp}"
        assert f"web cannot be at its own port here, {place}: a service of yours is offered" in capsys.readouterr().err
        with pytest.raises(ConnectionResetError):
            await ask(bound)
        other = await at.run("connect", "laptop", "home/web", "--bind", place)
        with pytest.raises(BadInputError, match=f"cannot listen on {place}: a service of yours is offered to friends"):
            await other.code()


async def test_home_does_not_dial_what_leads_back_to_it(tmp_path: Path) -> None:
    async with house(tmp_path) as at:
        at.friend("laptop")
        laptop = await at.run("connect", "laptop", "home/web", "--bind", "127.0.0.1:0")
        bound = str((await laptop.event("bound"))["bind"])
        home = await at.share(f"web={bound.rpartition(':')[2]}", await at.service("ssh"))
        why = f"{bound} leads back to this peer: an ssbfast of yours listens there"
        assert (await home.event("service", problem=why)).items() >= {"name": "web", "place": bound}.items()
        await laptop.event("connected")
        with pytest.raises(ConnectionResetError):
            await ask(bound)
        await home.event("forward_problem", reason=f"web: {why}")


@pytest.mark.usefixtures("far_away")
async def test_what_looks_like_the_web_is_told_as_a_url(tmp_path: Path) -> None:
    async with house(tmp_path) as at:
        at.friend("laptop")
        port = free_web_port()
        home = await at.share(f"page={port}", f"ssh={port}", await at.service("other"))
        await home.event("announced")
        laptop = await at.run("open", "laptop", "home/page", "home/ssh", "home/other")
        page = await laptop.event("bound", service="page")
        assert (page["bind"], page["url"]) == (f"127.0.0.1:{port}", f"http://127.0.0.1:{port}")
        for name in ("ssh", "other"):
            assert (await laptop.event("bound", service=name))["url"] is None
        who = load_secret(tmp_path / "home" / "secret").id.short
        assert f"ready   page of home ({who}) at {page['url']}" in laptop.texts


async def test_no_ticket_is_made_when_none_is_wanted(tmp_path: Path) -> None:
    async with house(tmp_path) as at:
        home = await at.share(await at.service("web"), "--no-ticket")
        await home.event("announced")
        with Store(tmp_path / "home") as store:
            assert not store.tickets()
        assert [event["event"] for event in home.events] == ["service", "announced"]


async def test_friends_of_a_service_have_it_and_others_see_nothing_of_it(tmp_path: Path) -> None:
    async with house(tmp_path) as at:
        for who in ("laptop", "phone"):
            at.friend(who)
        services = [await at.service(name) for name in ("web", "ssh", "db")]
        home = await at.share(*services, "--for", "laptop:ssh,db", "--for", "phone:db")
        await home.event("announced")
        laptop = await at.run("open", "laptop", "home")
        found = [await laptop.event("bound", service=name) for name in ("web", "ssh", "db")]
        assert [await ask(event["bind"]) for event in found] == [b"web:hello", b"ssh:hello", b"db:hello"]
        phone = await at.run("open", "phone", "home")
        assert await ask((await phone.event("bound", service="db"))["bind"]) == b"db:hello"
        assert {event["service"] for event in phone.events if event["event"] == "bound"} == {"web", "db"}
        refusals = []
        for name in ("ssh", "nothing"):
            other = await at.run("open", "phone", f"home/{name}")
            with pytest.raises(RefusedError) as caught:
                await other.code()
            refusals.append(str(caught.value).replace(name, "*"))
            cut = await at.run("connect", "phone", f"home/{name}", "--bind", "127.0.0.1:0")
            with pytest.raises(ConnectionResetError):
                await ask((await cut.event("bound"))["bind"])
            refusals.append((await cut.event("forward_problem"))["reason"])
        assert refusals == ["home offers no *; it offers: web, db", "no such service"] * 2


async def test_a_friend_that_was_forgotten_keeps_no_share_from_starting(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A service that is for that friend alone is for no peer then."""
    async with house(tmp_path) as at:
        at.friend("laptop")
        services = [await at.service(name) for name in ("web", "ssh", "db")]
        (file := tmp_path / "peer.toml").write_text('[for]\nssh = ["phone", "tablet"]\ndb = ["phone", "laptop"]\n')
        home = await at.share(*services, "--config", str(file))
        await home.event("announced")
        said = [line for line in capsys.readouterr().err.splitlines() if "no contact" in line]
        assert said == ["ssbfast: no contact is called phone, tablet: [for] lets no peer in by that name"]
        laptop = await at.run("open", "laptop", "home")
        await laptop.event("bound", service="db")
        assert {event["service"] for event in laptop.events if event["event"] == "bound"} == {"web", "db"}
        with pytest.raises(RefusedError, match="home offers no ssh"):
            await (await at.run("open", "laptop", "home/ssh")).code()


async def test_a_friend_that_only_listens_has_no_names(tmp_path: Path) -> None:
    async with house(tmp_path) as at:
        at.friend("laptop")
        await at.service("web")
        home = await at.run("listen", "home", "--forward", str(at.ports["web"]), "--room", at.address)
        await home.event("announced")
        opened = await at.run("open", "laptop", "home")
        with pytest.raises(RefusedError, match="home offers no service"):
            await opened.code()
        connected = await at.run("connect", "laptop", "home", "--bind", "127.0.0.1:0")
        assert await ask((await connected.event("bound"))["bind"]) == b"web:hello"


async def test_a_friend_of_before_is_reached_without_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It serves forward.open alone, and that whatever its arguments."""
    monkeypatch.setattr(ServiceServer, "register", lambda self, api: api.carried(METHOD, self.accept))
    async with house(tmp_path) as at:
        at.friend("laptop")
        home = await at.share(await at.service("web"))
        await home.event("announced")
        opened = await at.run("open", "laptop", "home/web")
        with pytest.raises(RefusedError, match="its services have no names there"):
            await opened.code()
        connected = await at.run("connect", "laptop", "home", "--bind", "127.0.0.1:0")
        assert await ask((await connected.event("bound"))["bind"]) == b"web:hello"
        named = await at.run("connect", "laptop", "home/web", "--bind", "127.0.0.1:0")
        with pytest.raises(ConnectionResetError):
            await ask((await named.event("bound"))["bind"])


# ---------------------------------------------------------------- at a Unix socket


async def test_a_service_is_found_at_a_unix_socket(tmp_path: Path) -> None:
    async with house(tmp_path) as at:
        at.friend("laptop")
        home = await at.share(await at.service("web"), await at.service("ssh"))
        await home.event("announced")
        place = tmp_path / "socket"
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(str(place))
        async with CommandHere(
            *("connect", "home/ssh", "--bind", f"unix:{place}", "--data", str(tmp_path / "laptop")),
            *("--path", "tunnel"),
        ) as laptop:
            assert (await laptop.event("bound"))["bind"] == f"unix:{place}"
            assert stat.S_IMODE(place.stat().st_mode) == 0o600
            assert await ask(f"unix:{place}", bytes(100_000)) == b"ssh:" + bytes(100_000)
            second = await at.run("connect", "laptop", "home/ssh", "--bind", f"unix:{place}")
            with pytest.raises(BadInputError, match=r"cannot listen on unix:.*socket: it is taken"):
                await second.code()
            assert await ask(f"unix:{place}") == b"ssh:hello"
        assert not place.exists()
        place.write_bytes(b"a file")
        third = await at.run("connect", "laptop", "home/ssh", "--bind", f"unix:{place}")
        with pytest.raises(BadInputError, match="cannot listen on unix:"):
            await third.code()
        assert place.read_bytes() == b"a file"


# ---------------------------------------------------------------- stdin and stdout


def stdio(data: Path, target: str, **pipes: Any) -> subprocess.Popen[bytes]:
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **pipes}
    command = ("connect", "--stdio", target, "--data", str(data), "--path", "tunnel")
    return subprocess.Popen([sys.executable, "-m", "ssbfast", *command], **pipes)


async def ended(process: subprocess.Popen[bytes], data: bytes | None = None) -> tuple[bytes, bytes, int]:
    """Its output, errors and exit code, once it has ended."""
    out, errors = await asyncio.to_thread(process.communicate, data, 60)
    return out, errors, process.returncode


async def test_stdin_and_stdout_are_carried_whole_and_nothing_else_is_on_them(tmp_path: Path) -> None:
    async with house(tmp_path) as at:
        at.friend("laptop")
        service = await at._stack.enter_async_context(TcpService())
        home = await at.share(f"git={service.port}", await at.service("ssh"))
        await home.event("announced")
        data = os.urandom(3_000_000)
        # As ssh's ProxyCommand: the end of stdin leaves the answer open.
        assert await ended(stdio(tmp_path / "laptop", "home.ssb"), data) == (b"ssh:" + data, b"", 0)
        # The service ends first; what is sent to it still goes there.
        process = stdio(tmp_path / "laptop", "git.home.ssb")
        wire = await service.accept()
        await wire.send(b"bye")
        wire.finish()
        assert process.stdout is not None and process.stdin is not None
        assert await asyncio.to_thread(process.stdout.read) == b"bye"
        process.stdin.write(b"after")
        process.stdin.close()
        assert await wire.rest() == b"after"
        await wire.close()
        assert await asyncio.to_thread(process.wait, 60) == 0
        assert process.stderr is not None and process.stderr.read() == b""
        for pipe in (process.stdout, process.stderr):
            pipe.close()


async def test_stdio_that_comes_to_nothing_says_so_on_stderr(tmp_path: Path) -> None:
    async with house(tmp_path) as at:
        at.friend("laptop")
        home = await at.share(await at.service("web"))
        await home.event("announced")
        out, errors, code = await ended(stdio(tmp_path / "laptop", "home.ssb"))
        assert (out, code) == (b"", 1)
        assert b"no such service" in errors and errors.endswith(b"ssbfast: the connection was cut\n")
        assert errors.count(b"\n") == 2


def test_a_wait_is_told_with_its_end() -> None:
    event = {"event": "away", "peer": "home", "seconds": 600.0, "session": "00"}
    assert PeerWords(end="Ctrl-C ends it")(event) == "away    home; waiting up to 10 min; Ctrl-C ends it"
    assert PeerWords()(event | {"seconds": 90.0}) == "away    home; waiting up to 1 min 30 s"
    assert PeerWords()({"event": "back", "peer": "home"}) == "back    home"


async def test_stdio_says_why_its_session_ended(tmp_path: Path) -> None:
    async with house(tmp_path) as at:
        at.friend("laptop")
        service = await at._stack.enter_async_context(TcpService())
        home = await at.share(f"ssh={service.port}")
        await home.event("announced")
        process = stdio(tmp_path / "laptop", "home.ssb")
        wire = await service.accept()
        for session in list(at.room.server._sessions.values()):
            session.link.abort()
        _out, errors, code = await ended(process)
        assert code == 1 and errors.splitlines()[-1].startswith(b"ssbfast: the connection was cut: ")
        await wire.close()


async def test_stdio_ends_when_its_reader_is_gone_or_the_service_cuts_it(tmp_path: Path) -> None:
    async with house(tmp_path) as at:
        at.friend("laptop")
        service = await at._stack.enter_async_context(TcpService())
        home = await at.share(f"ssh={service.port}")
        await home.event("announced")
        process = stdio(tmp_path / "laptop", "home.ssb")
        wire = await service.accept()
        assert process.stdout is not None
        process.stdout.close()
        await wire.send(b"for nobody")
        assert await asyncio.to_thread(process.wait, 60) == 0
        with pytest.raises(ConnectionResetError):
            await wire.rest()
        await wire.close()
        for pipe in (process.stdin, process.stderr):
            assert pipe is not None
            pipe.close()
        second = stdio(tmp_path / "laptop", "home.ssb")
        (await service.accept()).reset()
        out, errors, code = await ended(second)
        assert (out, code) == (b"", 1) and errors.endswith(b"ssbfast: the connection was cut\n")
        if os.path.exists("/dev/full"):
            with open("/dev/full", "wb") as full:
                third = stdio(tmp_path / "laptop", "home.ssb", stdout=full)
            wire = await service.accept()
            await wire.send(b"for a full disk")
            _out, errors, code = await ended(third)
            assert code == 1 and errors == b"ssbfast: the output cannot be written: no space left on device\n"
            await wire.close()


# ---------------------------------------------------------------- what was typed


@pytest.mark.parametrize(
    ("text", "peer", "service"),
    [
        ("home/ssh", "home", "ssh"),
        (" home/ssh ", "home", "ssh"),
        ("home.ssb", "home", "ssh"),
        ("git.home.ssb", "home", "git"),
        ("ssh.home.ssb", "home", "ssh"),
        ("home", "home", None),
        (f"@{'A' * 42}/=.ed25519/ssh", f"@{'A' * 42}/=.ed25519", "ssh"),
        (f"@{'A' * 42}/=.ed25519", f"@{'A' * 42}/=.ed25519", None),
        ("room.example/alice", "room.example/alice", None),
        ("https://room.example/alice", "https://room.example/alice", None),
        ("a.git.home.ssb", "a.git.home.ssb", None),
        ("Home.ssb", "Home.ssb", None),
        (".ssb", ".ssb", None),
        ("/ssh", "/ssh", None),
        ("home/", "home/", None),
        ("home/SSH", "home/SSH", None),
    ],
)
def test_targets_with_a_service(text: str, peer: str, service: str | None) -> None:
    assert split_service(text) == (peer, service)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("share", "--room", ROOM), "no service is given"),
        (("share", "8096", "--room", ROOM), "NAME=HOST:PORT"),
        (("share", "Web=8096", "--room", ROOM), "NAME=HOST:PORT"),
        (("share", "web=0", "--room", ROOM), "port 0"),
        (("share", "web=unix:", "--room", ROOM), "unix:PATH"),
        (("share", "web=1", "web=2", "--room", ROOM), "two services have the name web"),
        (("share", "web=1", "--room", ROOM, "--for", f"@{'A' * 43}=.ed25519:ssh"), "no service is called 'ssh'"),
        (("share", "web=1"), "room"),
        (("share", "web=1", "--room", ROOM, "--for", "laptop"), "no contact is called laptop"),
        (("open", "home/web"), "no contact is called home"),
        (("open", "home/"), "home/NAME is a service"),
        (("connect", "home/SSH", "--stdio"), "home/NAME is a service"),
        (("open", "home", "home/web", "--bind", "1"), "--bind is for one service"),
        (("connect", "home/web", "--stdio", "--json"), "--stdio leaves stdout"),
        (("connect", "home/web", "--stdio", "--bind", "1"), "--stdio leaves stdout"),
        (("connect", "home/web"), "Missing option '--bind'"),
    ],
)
def test_mistakes_are_one_line_and_change_nothing(tmp_path: Path, arguments: tuple[str, ...], words: str) -> None:
    done = run_here(*arguments, "--data", str(tmp_path))
    if "--json" not in arguments:
        assert_unusable(done, words)
    assert words in done.stderr and not list(tmp_path.iterdir())


def test_what_a_file_lacks_is_said_of_that_file(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text("[services]\nweb = 1\n", encoding="utf-8")
    done = run_here("share", "--config", str(file), "--data", str(tmp_path / "a"))
    assert_unusable(done, f"room = ... in {file}")


def test_a_contact_of_no_known_room_needs_one(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        store.befriend(load_secret(tmp_path / "other", create=True).id, "home")
    assert_unusable(run_here("open", "home/web", "--data", str(tmp_path)), "Missing option '--room'")
