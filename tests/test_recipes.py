"""The recipes of docs/howto/recipes.md, with the real programs where they are installed, through a room."""

from __future__ import annotations

import asyncio
import contextlib
import os
import pwd
import re
import shlex
import shutil
import socket
import subprocess
import sys
import urllib.request
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest

from ssbfast.keys import load_secret
from ssbfast.room.roles import Mode
from tests.cli.test_share import House, ask, house
from tests.helpers.commands import run_here
from tests.helpers.kept_room import kept_room
from tests.helpers.processes import PATIENCE
from tests.helpers.rawpeer import eventually
from tests.helpers.require import require
from tests.helpers.room_processes import free_port

pytestmark = pytest.mark.slow

PAGE = "docs/howto/recipes.md"
TEXT = (Path(__file__).parent.parent / PAGE).read_text(encoding="utf-8")


def recipe(title: str) -> list[list[str]]:
    """The commands of a section, as words."""
    section = re.split(r"^## ", TEXT, flags=re.MULTILINE)
    (text,) = (part for part in section if part.startswith(f"{title}\n"))
    return [
        shlex.split(line) for block in re.findall(r"```sh\n(.*?)```", text, re.DOTALL) for line in block.splitlines()
    ]


class Kitchen:
    """A house with the friend `laptop`."""

    def __init__(self, at: House) -> None:
        self.at = at
        at.friend("laptop")

    async def share(self, words: list[str], theirs: object, ours: object) -> None:
        """Run `ssbfast share …` of a recipe, with the service's port here instead of that of the recipe."""
        text = shlex.join(words)
        assert words[:2] == ["ssbfast", "share"] and f"={theirs} " in text and "--room ROOM" in text
        changed = text.replace(f"={theirs} ", f"={ours} ").replace("ROOM", self.at.address)
        home = await self.at.run("share", "home", *shlex.split(changed)[2:], "--name", "home", "--no-ticket")
        await home.event("announced")

    async def open(self, words: list[str]) -> str:
        """Run `ssbfast open …` of a recipe; return where the service is found."""
        assert words[:2] == ["ssbfast", "open"]
        laptop = await self.at.run("open", "laptop", *words[2:])
        return str((await laptop.event("bound"))["bind"])


@pytest.fixture
async def kitchen(tmp_path: Path) -> AsyncIterator[Kitchen]:
    async with house(tmp_path) as at:
        yield Kitchen(at)


async def run(words: list[str], **options: Any) -> str:
    """Run a program beside this loop; return what it prints."""
    done = await asyncio.to_thread(
        subprocess.run, words, capture_output=True, text=True, timeout=PATIENCE, check=False, **options
    )
    assert done.returncode == 0, done.stderr
    return str(done.stdout)


@asynccontextmanager
async def serving(words: list[str], port: int, **options: Any) -> AsyncIterator[None]:
    """Run a server until the end; it is there once its port answers."""
    with subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, **options) as process:

        def answers() -> bool:
            if process.poll() is not None:
                pytest.fail(f"{words[0]} has ended: {process.communicate()[1]}")
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                return True
            return False

        try:
            await eventually(answers)
            yield
        finally:
            process.terminate()
            await asyncio.to_thread(process.communicate)


# ---------------------------------------------------------------- programs that do not run as root


@pytest.fixture
def account() -> pwd.struct_passwd:
    """An account with a shell that is not root's: our own, if that will do."""
    mine = pwd.getpwuid(os.geteuid())
    found = [mine] if mine.pw_uid else [one for one in pwd.getpwall() if one.pw_uid and one.pw_shell.endswith("sh")]
    require("account", bool(found), "only root has a shell here")
    return found[0]


@pytest.fixture
def folder(account: pwd.struct_passwd) -> Iterator[Path]:
    """A folder of that account, which pytest's own folders keep out."""
    import tempfile

    with tempfile.TemporaryDirectory() as name:
        if not os.geteuid():
            os.chown(name, account.pw_uid, account.pw_gid)
        yield Path(name)


def as_account(account: pwd.struct_passwd) -> dict[str, Any]:
    return {} if os.geteuid() else {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": [], "cwd": "/"}


# ---------------------------------------------------------------- the recipes


async def test_ssh(kitchen: Kitchen, account: pwd.struct_passwd, folder: Path, tmp_path: Path) -> None:
    sshd = shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin")
    require("sshd", sshd is not None and shutil.which("ssh") is not None)
    share, ssh = recipe("ssh")
    port, mine = free_port(), as_account(account)
    await run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / "host")], **mine)
    await run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / "key")])
    (folder / "keys").write_text((tmp_path / "key.pub").read_text())
    settings = {"HostKey": folder / "host", "AuthorizedKeysFile": folder / "keys", "PidFile": "none", "UsePAM": "no"}
    words = [f"{key}={value}" for key, value in {**settings, "StrictModes": "no", "ListenAddress": "127.0.0.1"}.items()]
    options = [part for word in words for part in ("-o", word)]
    async with serving([str(sshd), "-D", "-e", "-f", os.devnull, "-p", str(port), *options], port, **mine):
        await kitchen.share(share, 22, port)
        config = tmp_path / "config"
        (host,) = re.findall(r"```\n(Host .*?)```", TEXT, re.DOTALL)
        config.write_text(f"{host}    User {account.pw_name}\n    IdentityFile {tmp_path / 'key'}\n")
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        peer = {**os.environ, "PATH": path, "SSBFAST_PEER_DATA": str(tmp_path / "laptop")}
        known = ("-o", "StrictHostKeyChecking=accept-new", "-o", f"UserKnownHostsFile={tmp_path / 'known'}")
        words = [*ssh, "-F", str(config), *known, "echo hello; exit"]
        assert await run(words, env=peer) == "hello\n"
        laptop = await kitchen.at.run("open", "laptop", "--socks", "127.0.0.1:0")
        await laptop.event("bound")
        assert not [event for event in laptop.events if event["event"] == "connected"]
        assert await run(words, env=peer) == "hello\n"
        await laptop.event("connected")  # by its session, then
        assert (tmp_path / "known").read_text().startswith("home.ssb ")


async def test_git(kitchen: Kitchen, tmp_path: Path) -> None:
    require("git", shutil.which("git") is not None)
    daemon, share, open_, clone = recipe("git")
    bare = tmp_path / "srv" / "notes.git"
    text = os.urandom(200_000).hex()
    git = ["git", "-c", "safe.directory=*", "-c", "user.name=n", "-c", "user.email=n@example.org"]
    await run([*git, "init", "-q", "-b", "main", str(tmp_path / "work")])
    (tmp_path / "work" / "note").write_text(text)
    await run([*git, "-C", str(tmp_path / "work"), "add", "note"])
    await run([*git, "-C", str(tmp_path / "work"), "commit", "-q", "-m", "Note"])
    await run([*git, "clone", "-q", "--bare", str(tmp_path / "work"), str(bare)])
    port = free_port()
    changed = shlex.join(daemon).replace("/srv/git", str(bare.parent)).replace("9418", str(port))
    async with serving(shlex.split(changed), port):
        await kitchen.share(share, 9418, port)
        bound = await kitchen.open(open_)
        await run(shlex.split(shlex.join(clone).replace("127.0.0.1:9418", bound)), cwd=tmp_path)
    assert (tmp_path / "notes" / "note").read_text() == text


async def test_a_web_service_with_a_websocket(kitchen: Kitchen) -> None:
    websockets = pytest.importorskip("websockets.asyncio.server")
    client = pytest.importorskip("websockets.asyncio.client")
    share, open_ = recipe("A web service")

    async def echo(connection: Any) -> None:
        async for message in connection:
            await connection.send(message)

    def page(connection: Any, request: Any) -> Any:
        return None if request.path == "/socket" else connection.respond(HTTPStatus.OK, "films\n")

    async with websockets.serve(echo, "127.0.0.1", 0, process_request=page) as server:
        await kitchen.share(share, 8096, server.sockets[0].getsockname()[1])
        bound = await kitchen.open(open_)

        def browse() -> bytes:
            with urllib.request.urlopen(f"http://{bound}/", timeout=PATIENCE) as answer:
                return bytes(answer.read())

        assert await asyncio.to_thread(browse) == b"films\n"
        async with client.connect(f"ws://{bound}/socket") as connection:
            for message in ("hello", os.urandom(900_000)):
                await connection.send(message)
                assert await connection.recv() == message


async def test_a_database(kitchen: Kitchen, account: pwd.struct_passwd, folder: Path) -> None:
    require("postgres", all(shutil.which(name) for name in ("initdb", "postgres", "psql")))
    share, open_, psql = recipe("A database")
    port, mine = free_port(), as_account(account)
    (folder / "word").write_text("secret\n")
    data = str(folder / "data")
    (folder / "word").chmod(0o644)
    password = ("-A", "scram-sha-256", "-U", "notes", f"--pwfile={folder / 'word'}", "--no-sync")
    await run(["initdb", "-D", data, *password], **mine)
    server = ["postgres", "-D", data, "-k", str(folder), "-h", "127.0.0.1", "-p", str(port), "-c", "fsync=off"]
    async with serving(server, port, **mine):
        peer = {**os.environ, "PGPASSWORD": "secret"}
        await run(
            ["psql", "-h", "127.0.0.1", "-p", str(port), "-U", "notes", "postgres", "-c", "create database notes"],
            env=peer,
        )
        await kitchen.share(share, 5432, port)
        bound = await kitchen.open(open_)
        words = shlex.split(shlex.join(psql).replace("-p 5432", f"-p {bound.rpartition(':')[2]}"))
        said = await run([*words, "-tA", "-c", "select count(*), max(n) from generate_series(1, 200000) n"], env=peer)
        assert said == "200000|200000\n"


async def test_a_service_on_udp(kitchen: Kitchen, tmp_path: Path) -> None:
    """QUIC, as Syncthing speaks it: two connections, whose bytes come back whole."""
    quic = pytest.importorskip("aioquic.asyncio", reason="needs aioquic")
    from aioquic.quic.configuration import QuicConfiguration

    from tests.helpers.tls import certificate

    share, open_ = recipe("A service on UDP")
    (tmp_path / "pem").write_bytes(certificate("sync.example.org"))
    shown = QuicConfiguration(is_client=False)
    shown.load_cert_chain(tmp_path / "pem", tmp_path / "pem")
    trusted = QuicConfiguration(is_client=True, server_name="sync.example.org", idle_timeout=20.0)
    trusted.load_verify_locations(tmp_path / "pem")
    echoes: set[asyncio.Task[None]] = set()

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.read())
        writer.write_eof()

    def accept(*ends: Any) -> None:
        echoes.add(asyncio.ensure_future(echo(*ends)))

    port = free_port()
    server = await quic.serve("127.0.0.1", port, configuration=shown, stream_handler=accept)
    try:
        await kitchen.share(share, "udp:22000", f"udp:{port}")
        bound = await kitchen.open(shlex.split(shlex.join(open_).replace("22001", "0")))
        for _ in range(2):
            place = (bound.removeprefix("udp:").partition(":")[0], int(bound.rpartition(":")[2]))
            async with quic.connect(*place, configuration=trusted) as client:
                reader, writer = await client.create_stream()
                data = os.urandom(100_000)
                writer.write(data)
                writer.write_eof()
                assert await asyncio.wait_for(reader.read(), PATIENCE) == data
    finally:
        server.close()
        await asyncio.gather(*echoes)


async def test_a_friend_without_a_room(tmp_path: Path) -> None:
    """The room is that of a third person; who shares is a member there, the friend is not."""
    share, pair, open_ = recipe("A friend without a room")
    async with kept_room(tmp_path / "room", Mode.COMMUNITY) as room, AsyncExitStack() as stack:
        at = House(room.room, tmp_path, stack)
        await room.add(load_secret(tmp_path / "home" / "secret", create=True).id)
        port = (await at.service("photos")).partition("=")[2]
        words = shlex.split(shlex.join(share).replace("=8000", f"={port}").replace("ROOM", at.address))
        home = await at.run("share", "home", *words[2:], "--name", "home")
        await home.event("announced")
        ticket = str((await home.event("ticket"))["ticket"])
        words = ["--data", str(tmp_path / "friend")]
        paired = await asyncio.to_thread(run_here, *pair[1:-1], ticket, *words)
        assert paired.returncode == 0, paired.stderr
        friend = await at.run("open", "friend", *open_[2:])
        await friend.event("external")
        assert await ask(str((await friend.event("bound"))["bind"])) == b"photos:hello"


def test_each_recipe_is_run() -> None:
    titles = re.findall(r"^## (.*)$", TEXT, re.MULTILINE)
    assert titles == ["ssh", "git", "A web service", "A database", "A service on UDP", "A friend without a room"]
