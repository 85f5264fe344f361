"""`connect --stdio` through a session of a process that runs already: bytes, ends, refusals, and what stays behind."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from ssbfast import limits
from ssbfast.cli import borrowing, stdio_pipes
from ssbfast.cli.lending import Lender, lending
from ssbfast.cli.nicknames import Nicknames
from ssbfast.cli.path_options import PathChoice, Paths
from ssbfast.cli.peer_options import TrustOptions
from ssbfast.client.control_socket import ControlSocket
from ssbfast.client.follow_graph import StoreGraph
from ssbfast.client.tunnel_auth import Trust
from ssbfast.errors import BadInputError, LimitError, SSBError
from ssbfast.ids import MAIN_NETWORK, NetworkId
from ssbfast.keys import load_secret
from ssbfast.net.control_socket import WithSockets, is_supported
from ssbfast.net.endpoints import Endpoint
from ssbfast.net.forward.service import Service
from ssbfast.net.forward.tcp_server import ServiceServer
from ssbfast.room.tunnel_auth import Policy
from ssbfast.store.peer_store import Store
from tests.helpers.clients import RecordingClient, RoomWithClients, nothing_left, room_with_clients
from tests.helpers.processes import PATIENCE, Running
from tests.helpers.rawpeer import eventually
from tests.helpers.room_processes import RoomProcesses, room_processes

pytestmark = pytest.mark.skipif(not is_supported(), reason="no Unix sockets here")

COLD = {"SSBFAST_NETWORK_KEY": "1KHLiKZvAvjbY1ziZEHMXawbCEIM6qwjCDm3VYRan/s="}
"""Says nothing new, and is not plain: nothing is borrowed."""
HEAVY = ("asyncio", "click", "cffi", "nacl", "sqlite3", "ssl", "aioquic", "pathlib", "ssbfast.limits", "ssbfast.wire")


def befriend(data: Path, one: str, other: str, address: str) -> None:
    """Make two peers follow each other, and know by which room."""
    for me, friend in ((one, other), (other, one)):
        with Store(data / me) as store:
            store.befriend(load_secret(data / friend / "secret", create=True).id, friend, address)


# ---------------------------------------------------------------- processes


class Scene:
    """A room, `home` that shares services in it, and `laptop` with a process that lends; each a process of its own."""

    def __init__(self, processes: RoomProcesses, listener: socket.socket) -> None:
        self.processes = processes
        self.listener = listener
        self.lender = self.lend("laptop")

    def lend(self, who: str) -> Running:
        lender = self.processes.start("open", who, "--socks", "127.0.0.1:0", "--path", "tunnel")
        lender.event("bound")
        return lender

    def accept(self) -> socket.socket:
        """A connection at the service."""
        wire, _address = self.listener.accept()
        wire.settimeout(PATIENCE)
        return wire

    def run(self, target: str, who: str = "laptop", more: dict[str, str] | None = None, **pipes: Any) -> Any:
        words = ["-m", "ssbfast", "connect", "--stdio", target]
        return self.python(words, who, more, **pipes)

    def python(self, words: list[str], who: str, more: dict[str, str] | None = None, **pipes: Any) -> Any:
        env = {**os.environ, "SSBFAST_PEER_DATA": str(self.processes.path(who)), **(more or {})}
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **pipes}
        return subprocess.Popen([sys.executable, *words], env=env, **pipes)


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with room_processes(tmp_path_factory.mktemp("lending")) as at, socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(PATIENCE)
        at.room()
        for who in ("laptop", "phone"):
            befriend(at.data, who, "home", at.address())
        port = listener.getsockname()[1]
        home = at.start("share", "home", f"ssh={port}", "--room", at.address(), "--path", "tunnel", "--no-ticket")
        home.event("announced")
        yield Scene(at, listener)


def echo(wire: socket.socket) -> None:
    """Send back what comes, up to its end."""
    with wire:
        while data := wire.recv(65536):
            wire.sendall(data)


NO_PATHS = b"through the room only: direct connections need Python 3.11"
"""What a command says by itself on an older Python."""


def ended(process: Any, data: bytes | None = None) -> tuple[bytes, bytes, int]:
    out, errors = process.communicate(data, PATIENCE)
    return out, b"".join(line for line in errors.splitlines(True) if NO_PATHS not in line), process.returncode


def close(process: Any) -> None:
    for pipe in (process.stdin, process.stdout, process.stderr):
        if pipe is not None:
            pipe.close()


def test_bytes_go_both_ways_by_one_session_that_is_kept(scene: Scene) -> None:
    data = os.urandom(3_000_000)
    for _ in range(2):
        process = scene.run("home.ssb")
        threading.Thread(target=echo, args=(scene.accept(),), daemon=True).start()
        assert ended(process, data) == (data, b"", 0)
    told = scene.processes.path("laptop"), "--json"
    words = ["-m", "ssbfast", "status", "--data", str(told[0]), told[1]]
    (process,) = json.loads(ended(scene.python(words, "laptop"))[0])["processes"]
    assert len(process["sessions"]) == 1 and process["command"] == "open"


def test_nothing_heavy_is_loaded_for_it(scene: Scene) -> None:
    code = f"""if True:
        import sys
        sys.argv[1:] = ["connect", "--stdio", "home.ssb"]
        from ssbfast.cli.main import main
        before = set(sys.modules)
        try:
            main()
        finally:
            loaded = set(sys.modules) - before
            print([name for name in {HEAVY!r} if name in loaded], "json" in loaded, file=sys.stderr)
    """
    process = scene.python(["-c", code], "laptop")
    threading.Thread(target=echo, args=(scene.accept(),), daemon=True).start()
    assert ended(process, b"hello") == (b"hello", b"[] True\n", 0)


def test_direct_paths_are_not_loaded_before_the_first_bytes(scene: Scene) -> None:
    code = """if True:
        import sys
        from ssbfast import limits
        limits.DIRECT_AFTER_SECONDS = 3600.0
        sys.argv[1:] = ["connect", "--stdio", "home.ssb"]
        from ssbfast.cli.main import main
        try:
            main()
        finally:
            print("aioquic" in sys.modules, "ssbfast.client.direct_paths" in sys.modules, file=sys.stderr)
    """
    process = scene.python(["-c", code], "laptop", COLD)
    threading.Thread(target=echo, args=(scene.accept(),), daemon=True).start()
    assert ended(process, b"hello") == (b"hello", b"False False\n", 0)


def test_the_service_may_end_first(scene: Scene) -> None:
    process = scene.run("home/ssh")
    with scene.accept() as wire:
        wire.sendall(b"bye")
        wire.shutdown(socket.SHUT_WR)
        assert process.stdout.read() == b"bye"
        process.stdin.write(b"after")
        process.stdin.close()
        assert wire.recv(100) == b"after" and wire.recv(100) == b""
    assert process.wait(PATIENCE) == 0 and process.stderr.read() == b""
    close(process)


def test_errors_are_those_of_a_command_by_itself(scene: Scene) -> None:
    said = []
    for more in ({}, COLD):
        out, errors, code = ended(scene.run("nothing.home.ssb", more=more))
        assert (out, code) == (b"", 1)
        said.append(re.sub(r"^\d\d:\d\d:\d\d ", "", errors.decode()))
    assert said[0] == said[1] and said[0].count("\n") == 2 and "no such service" in said[0]


def test_a_reset_is_told(scene: Scene) -> None:
    process = scene.run("home.ssb")
    wire = scene.accept()
    wire.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    wire.close()
    out, errors, code = ended(process)
    assert (out, code) == (b"", 1) and errors.endswith(b"ssbfast: the connection was cut\n")


@pytest.mark.parametrize("end", ["reader", "disk", "SIGTERM", "SIGHUP", "SIGINT", "SIGKILL"])
def test_the_connection_ends_with_the_command(scene: Scene, end: str) -> None:
    """Also when nothing is on its way, and when the command has no time to say anything."""
    with contextlib.ExitStack() as stack:
        pipes = {"stdout": stack.enter_context(open("/dev/full", "wb"))} if end == "disk" else {}
        process = scene.run("home.ssb", **pipes)
        wire = stack.enter_context(scene.accept())
        if end == "reader":
            process.stdout.close()
        if end.startswith("SIG"):
            process.stdin.write(b"hello")
            process.stdin.flush()
            assert wire.recv(100) == b"hello"
            process.send_signal(getattr(signal, end))
        else:
            wire.sendall(b"for nobody")
        code = process.wait(PATIENCE)
        with contextlib.suppress(ConnectionResetError):
            assert wire.recv(100) == b""
        said = process.stderr.read()
        close(process)
    if end == "disk":
        assert (code, said) == (1, b"ssbfast: the output cannot be written: no space left on device\n")
    else:
        assert (code, said) == (-signal.SIGKILL if end == "SIGKILL" else 0, b"")


def test_nothing_is_left_in_the_process_that_lends(scene: Scene) -> None:
    def descriptors() -> int:
        return psutil.Process(scene.lender.process.pid).num_fds()

    def use_it() -> None:
        process = scene.run("home.ssb")
        with scene.accept():
            process.kill()
            process.wait()
            close(process)
        asked = socket_of(scene.processes.path("laptop"))
        for target in ("nobody.ssb", 3, None, "", "home/NO"):
            asked.sendall(json.dumps({"ask": "lend", "target": target}).encode() + b"\n")
            answer, got, *_ = socket.recv_fds(asked, 4096, 8)
            assert set(json.loads(answer)) == {"error"} and not got
        asked.close()

    use_it()
    asyncio.run(eventually(lambda: not is_lent(scene)))
    before = descriptors()
    for _ in range(5):
        use_it()
    asyncio.run(eventually(lambda: descriptors() <= before))


def test_share_lends_as_well(scene: Scene) -> None:
    with socket_of(scene.processes.path("home")) as asked:
        asked.sendall(b'{"ask": "lend", "target": "nobody.ssb"}\n')
        assert b"no contact in a room" in asked.recv(4096)


def socket_of(data: Path, pid: int | None = None) -> socket.socket:
    (path,) = data.glob("*.socket" if pid is None else f"peer-{pid}-*.socket")
    sock = socket.socket(socket.AF_UNIX)
    sock.settimeout(PATIENCE)
    sock.connect(str(path))
    return sock


def is_lent(scene: Scene) -> bool:
    with socket_of(scene.processes.path("laptop")) as asked:
        asked.sendall(b'{"ask": "status"}\n')
        answer = json.loads(asked.makefile("rb").readline())["answer"]
    return any(session["connections"] for session in answer["sessions"])


def test_a_process_that_dies_takes_the_connection_with_it(scene: Scene) -> None:
    lender = scene.lend("phone")
    process = scene.run("home.ssb", "phone")
    with scene.accept() as wire:
        wire.sendall(b"hello")
        assert process.stdout.read(5) == b"hello"
        lender.signal(signal.SIGKILL)
        lender.wait()
        out, errors, code = ended(process)
        assert (out, errors, code) == (b"", b"ssbfast: the process that carried the connection has ended\n", 1)
    # Its socket is still there, and leads nowhere. What goes by itself then lends nothing: it ends with its connection.
    process = scene.run("home.ssb", "phone")
    wire = scene.accept()
    with socket_of(scene.processes.path("phone"), process.pid) as asked:
        asked.sendall(b'{"ask": "lend", "target": "home.ssb"}\n')
        assert b"does not know" in asked.recv(4096)
    threading.Thread(target=echo, args=(wire,), daemon=True).start()
    assert ended(process, b"by itself") == (b"by itself", b"", 0)


# ---------------------------------------------------------------- the command alone


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        (("connect", "--stdio", "home.ssb"), ("home.ssb", "/peer")),
        (("connect", "home.ssb", "--stdio"), ("home.ssb", "/peer")),
        (("connect", "--data", "/other", "--stdio", "home.ssb"), ("home.ssb", "/other")),
        (("connect", "--stdio"), None),
        (("connect", "--stdio", "home", "git"), None),
        (("connect", "--stdio", "--stdio", "home"), None),
        (("connect", "--stdio", "home", "--data", ""), None),
        (("connect", "--stdio", "home", "--data"), None),
        (("connect", "--stdio", "home", "--path", "tunnel"), None),
        (("connect", "--stdio", "--", "home"), None),
        (("connect", "home"), None),
        (("open", "--stdio", "home"), None),
        ((), None),
    ],
)
def test_what_is_plain(
    arguments: tuple[str, ...], wanted: tuple[str, str] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSBFAST_PEER_DATA", "/peer")
    monkeypatch.delenv("SSBFAST_NETWORK_KEY", raising=False)
    assert borrowing._read(list(arguments)) == wanted
    monkeypatch.setenv("SSBFAST_NETWORK_KEY", "any")
    assert borrowing._read(list(arguments)) is None


@pytest.mark.parametrize("number", range(3))
def test_without_stdio_it_is_not_done(tmp_path: Path, number: int) -> None:
    """A file that is opened next would be taken for stdin or stdout."""
    code = f"import os; os.close({number}); from ssbfast.cli import borrowing; os._exit(not borrowing._has_stdio())"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 1


def test_its_figures_are_those_of_all(monkeypatch: pytest.MonkeyPatch) -> None:
    assert borrowing._SECONDS > limits.LENDING_SECONDS
    assert borrowing._SHORT == limits.SOCKET_PATH and stdio_pipes.PIECE == limits.FORWARD_READ


@contextlib.contextmanager
def answering(path: Path, *answers: Callable[[socket.socket], None]) -> Iterator[list[bytes]]:
    """A process that answers at a socket as it likes, a client each; what it was asked."""
    asked: list[bytes] = []
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen()

        def serve() -> None:
            for answer in answers:
                client, _address = server.accept()
                with client:
                    asked.append(client.makefile("rb").readline())
                    answer(client)

        thread = threading.Thread(target=serve)
        thread.start()
        yield asked
        thread.join(PATIENCE)
        assert not thread.is_alive()


def say(text: bytes, sockets: int = 0) -> Callable[[socket.socket], None]:
    def answer(client: socket.socket) -> None:
        with contextlib.ExitStack() as stack:
            ends = [stack.enter_context(end) for end in socket.socketpair()][:sockets]
            if ends:
                socket.send_fds(client, [text], [end.fileno() for end in ends])
            else:
                client.sendall(text)
            client.settimeout(PATIENCE)
            with contextlib.suppress(OSError):
                client.recv(1)

    return answer


@pytest.mark.parametrize(
    ("line", "sockets"),
    [
        (b'{"error": "this process does not know that question"}\n', 0),  # an old one
        (b'{"error": "no"}\n', 1),
        (b'{"answer": {}}\n', 0),
        (b'{"answer": {}}\n', 2),
        (b"7\n", 1),
        (b"[]\n", 0),
        (b"nonsense\n", 1),
        (b"\xff\n", 1),
        (b"[" * 20_000 + b"\n", 1),
        (b"x" * 70_000, 1),
        (b"", 0),  # and nothing more
    ],
)
def test_what_does_not_lend_is_passed_by(
    tmp_path: Path, line: bytes, sockets: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(borrowing, "_SECONDS", 0.2 if not line else PATIENCE)
    monkeypatch.delenv("SSBFAST_NETWORK_KEY", raising=False)
    before = psutil.Process().num_fds()
    with answering(tmp_path / "listen.socket", say(line, sockets)) as asked:
        assert borrowing.borrow(["connect", "--stdio", "home.ssb", "--data", str(tmp_path)]) is None
    assert psutil.Process().num_fds() == before
    assert json.loads(asked[0]) == {"ask": "lend", "target": "home.ssb"}


def test_the_next_process_is_asked(tmp_path: Path) -> None:
    (tmp_path / "peer-1-00000000.socket").write_text("no socket")
    answer = b'{"answer": {}}\n{"answer"'
    with (
        answering(tmp_path / "listen.socket", say(b'{"error": "no"}\n')),
        answering(tmp_path / "peer-2-00000000.socket", say(answer, 1)),
        answering(tmp_path / "peer-3-00000000.socket"),
    ):
        found = borrowing._ask("home.ssb", str(tmp_path))
        assert found is not None
        control, lent, said = found
        assert said in (b"", b'{"answer"')
        control.close()
        lent.close()
    for path in tmp_path.iterdir():
        path.unlink()
    assert borrowing._ask("home.ssb", str(tmp_path)) is None
    assert borrowing._ask("home.ssb", str(tmp_path / "none")) is None


@pytest.mark.parametrize("what", ["link", "folder", "owner"])
def test_what_another_user_may_have_put_there_is_not_asked(
    tmp_path: Path, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "peer"
    folder.mkdir()
    with socket.socket(socket.AF_UNIX) as other:
        place = tmp_path / "other" if what == "link" else folder / "listen.socket"
        other.bind(str(place))
        other.listen()
        other.setblocking(False)
        if what == "link":
            (folder / "listen.socket").symlink_to(place)
        elif what == "folder":
            folder.chmod(0o777)
        else:
            uid = os.geteuid() + 1
            monkeypatch.setattr(os, "geteuid", lambda: uid)
            if not uid - 1:
                os.chown(place, 65_534, -1)
        assert borrowing._ask("home.ssb", str(folder)) is None
        with pytest.raises(BlockingIOError):
            other.accept()


def test_the_name_of_a_socket_may_be_long(tmp_path: Path) -> None:
    folder = tmp_path / ("f" * 90)
    folder.mkdir()
    here = os.getcwd()
    os.chdir(folder)
    try:
        with answering(Path("listen.socket"), say(b'{"answer": {}}\n', 1)):
            found = borrowing._ask("home.ssb", str(folder))
            assert found is not None
            for sock in found[:2]:
                sock.close()
    finally:
        os.chdir(here)


@pytest.mark.parametrize(
    ("line", "code", "said"),
    [
        (b'{"answer": {"lines": [], "error": null}}\n', 0, ""),
        (b'{"answer": {"lines": ["one", "two"], "error": "why"}}\n', 1, "one\ntwo\nssbfast: why\n"),
        *(
            (line, 1, "ssbfast: the process that carried the connection has ended\n")
            for line in (b"", b"{", b"{}\n", b"[]\n", b'{"error": "x"}\n', b'{"answer": {"lines": 3, "error": 1}}\n')
        ),
    ],
)
def test_outcomes(line: bytes, code: int, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert borrowing._outcome(line) == code
    assert capsys.readouterr().err == said


# ---------------------------------------------------------------- the side that lends


@asynccontextmanager
async def lender(data: Path) -> AsyncIterator[tuple[Lender, RecordingClient, RoomWithClients, socket.socket]]:
    """What lends sessions of `laptop`, which is in no room yet, with `home` and `work`, which have a service."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        async with room_with_clients() as at:

            async def trust_of(who: str) -> Trust:
                trust = Trust(StoreGraph(data / who))
                at._stack.push_async_callback(trust.close)
                await trust.judge(load_secret(data / who / "secret").id)  # its file is open from now on
                return trust

            for who in ("home", "work"):
                befriend(data, "laptop", who, at.address)
                client = await at.client(load_secret(data / who / "secret"), trust=await trust_of(who))
                server = ServiceServer([Service(Endpoint(*listener.getsockname()), "ssh")])
                await at._stack.enter_async_context(server)
                server.register(client._api)
            trust = await trust_of("laptop")
            me = load_secret(data / "laptop" / "secret")
            client = RecordingClient(me, trust=trust)
            names = Nicknames(data / "laptop")
            names.contacts()  # its file is open from now on
            async with nothing_left(), client:
                with names:
                    lends = Lender(client, names)
                    yield lends, client, at, listener
                    await lends.close()


async def lent(lends: Lender, target: str = "home.ssb") -> tuple[Any, socket.socket]:
    """A connection that is lent, and what tells its end."""
    answers = lends.lend({"target": target})
    first = await answers.__anext__()
    assert isinstance(first, WithSockets) and first.answer == {}
    return answers, first.sockets[0].dup()


async def refused(lends: Lender, target: object = "home.ssb") -> SSBError:
    with pytest.raises(SSBError) as caught:
        await lends.lend({"target": target}).__anext__()
    return caught.value


async def test_sessions_are_shared_and_kept_for_a_while(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with lender(tmp_path) as (lends, client, _at, _listener):
        both = await asyncio.gather(lent(lends), lent(lends))
        assert len(client.named("connected")) == 1 and len(client.rooms) == 1
        monkeypatch.setattr(limits, "LENT_KEEP_SECONDS", 0.0)
        for answers, sock in both:
            assert client.session_with(load_secret(tmp_path / "home" / "secret").id) is not None
            sock.close()
            await answers.aclose()
        await client.told("closed")
        await eventually(lambda: not client.rooms)  # it was in the room for this alone
        assert not lends._friends


async def test_a_session_that_does_not_answer_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with lender(tmp_path) as (lends, client, _at, _listener):
        answers, sock = await lent(lends)
        monkeypatch.setattr("ssbfast.cli.lending._answers", lambda _peer: asyncio.sleep(0, False))
        assert "busy" in str(await refused(lends))  # what is there may still be of use to the other one
        sock.close()
        await answers.aclose()
        answers, sock = await lent(lends)
        await client.told("connected", 2)
        await client.told("closed")  # which nothing used any more
        sock.close()
        await answers.aclose()


async def test_only_so_many_are_lent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "LENT_STREAMS", 1)
    monkeypatch.setattr(limits, "LENT_FRIENDS", 1)
    async with lender(tmp_path) as (lends, client, _at, _listener):
        answers, sock = await lent(lends)
        assert isinstance(await refused(lends), LimitError)
        monkeypatch.setattr(limits, "LENT_STREAMS", 2)
        assert isinstance(await refused(lends, "work.ssb"), LimitError)
        sock.close()
        await answers.aclose()
        answers, sock = await lent(lends, "work.ssb")  # and costs the session that was idle
        await client.told("closed")
        await lends.close()
        assert (await answers.__anext__())["error"] == "the connection was cut"
        sock.close()
        await answers.aclose()
        assert isinstance(await refused(lends), LimitError)


async def test_who_is_no_contact_is_not_dialled(tmp_path: Path) -> None:
    async with lender(tmp_path) as (lends, client, at, _listener):
        with Store(tmp_path / "laptop") as store:
            store.follow(load_secret(tmp_path / "stranger", create=True).id, "stranger")
        for target in ("stranger.ssb", "nobody.ssb", at.address, "", 7, None, ["home.ssb"]):
            assert isinstance(await refused(lends, target), BadInputError)
        with Store(tmp_path / "laptop") as store:
            store.unfollow(load_secret(tmp_path / "home" / "secret").id)
        assert "follow" in str(await refused(lends))
        assert not client.named("connected")


@pytest.mark.parametrize(
    ("options", "is_lent"),
    [
        ({}, True),
        ({"paths": Paths(PathChoice.TUNNEL, (), False, 600.0)}, True),
        ({"paths": Paths(PathChoice.DIRECT, (), False, 600.0)}, False),
        ({"trust": TrustOptions(Policy.EVERYONE, (), None)}, False),
        ({"network": NetworkId(bytes(32))}, False),
        ({"anyway": True}, False),
    ],
)
async def test_only_sessions_of_a_plain_process_are_lent(
    tmp_path: Path, options: dict[str, Any], is_lent: bool
) -> None:
    plain = {
        "network": MAIN_NETWORK,
        "trust": TrustOptions(Policy.FOLLOWS, (), None),
        "paths": Paths(PathChoice.AUTO, (), False, 600.0),
    }
    async with contextlib.AsyncExitStack() as stack:
        found = lending(stack, RecordingClient(), tmp_path, **{**plain, **options})
        assert (found is not None) == is_lent


async def test_one_that_is_not_there_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with lender(tmp_path) as (lends, client, at, _listener):
        monkeypatch.setattr(limits, "LENDING_SECONDS", 0.05)
        monkeypatch.setattr(client, "reach", lambda *_: asyncio.sleep(PATIENCE))
        assert "in time" in str(await refused(lends))
        monkeypatch.undo()
        befriend(tmp_path, "laptop", "away", at.address)
        assert "could not connect" in str(await refused(lends, "away.ssb"))


async def test_it_is_asked_at_the_control_socket(tmp_path: Path) -> None:
    """Up to the end: the connection is one, and the end of the client is that of the connection."""
    async with (
        lender(tmp_path) as (lends, client, _at, listener),
        ControlSocket.beside(tmp_path, "open") as control_socket,
    ):
        control_socket.serve(client, lend=lends.lend)
        found = await asyncio.to_thread(borrowing._ask, "home.ssb", str(tmp_path))
        assert found is not None
        control, lent, said = found
        assert said == b""
        loop = asyncio.get_running_loop()
        wire, _address = await loop.sock_accept(listener)
        lent.sendall(b"hello")
        assert await loop.sock_recv(wire, 100) == b"hello"
        control.close()
        with contextlib.suppress(ConnectionResetError):
            assert await loop.sock_recv(wire, 100) == b""
        wire.close()
        lent.close()
        await eventually(lambda: not lends._listeners)
        assert lends._lent == 0
        for _ in range(10):  # and when it does not wait for the answer
            with socket_of(tmp_path) as asked:
                asked.sendall(b'{"ask": "lend", "target": "home.ssb"}\n')
        with socket_of(tmp_path) as asked:  # which has its answer when all before have been taken
            asked.sendall(b'{"ask": "who"}\n')
            assert await asyncio.to_thread(asked.recv, 100)
        await eventually(lambda: not lends._lent)
