"""From nothing to a friend's page, on real terminals: how much has to be typed and pasted for it."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import socket
import sys
import threading
import urllib.request
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.helpers.processes import PATIENCE
from tests.helpers.require import require

pexpect = pytest.importorskip("pexpect", reason="needs pexpect, and terminals")

PAGE = b"<h1>Films</h1>"
PROMPT = "HERE-YOU-TYPE> "


class Person:
    """A human with an empty home folder and as many terminals as wanted, each with a shell.

    commands, pastes: how many were typed, and put into them.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.commands = 0
        self.pastes = 0
        self._shells: list[pexpect.spawn] = []
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("XDG_", "SSBFAST_"))}
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        self._env = {**kept, "HOME": str(folder), "PATH": path, "PS1": PROMPT, "TERM": "dumb"}

    def terminal(self) -> pexpect.spawn:
        shell = pexpect.spawn(
            "bash", ["--norc", "--noprofile"], env=self._env, encoding="utf-8", timeout=PATIENCE, dimensions=(24, 80)
        )
        self._shells.append(shell)
        shell.expect_exact(PROMPT)
        return shell

    def type(self, shell: pexpect.spawn, command: str, paste: str = "") -> None:
        """Type a command and Enter; what is pasted stands at its end."""
        self.commands += 1
        self.pastes += bool(paste)
        shell.sendline(f"{command} {paste}".rstrip())
        shell.expect_exact("\n")  # the echo

    def close(self) -> None:
        """Press Ctrl-C everywhere, and leave. What ran there says goodbye."""
        for shell in self._shells:
            shell.sendintr()
            shell.sendline("exit")
            shell.expect(pexpect.EOF)
            shell.close()


def read(shell: pexpect.spawn, pattern: str) -> str:
    """Wait until it stands on the terminal; return the part in parentheses."""
    try:
        shell.expect(pattern)
    except (pexpect.TIMEOUT, pexpect.EOF):
        pytest.fail(f"it does not show {pattern!r} but:\n{shell.before}")
    return str(shell.match[1])


@contextlib.contextmanager
def site(folder: Path) -> Iterator[int]:
    """A web server at 127.0.0.2, as on another machine: its port at 127.0.0.1 is free. Its port."""
    folder.mkdir()
    (folder / "index.html").write_bytes(PAGE)
    handler = partial(SimpleHTTPRequestHandler, directory=str(folder))
    for port in range(8100 + os.getpid() % 800, 9000):
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            server = ThreadingHTTPServer(("127.0.0.2", port), handler)
            break
    else:
        pytest.skip("there is no free port at 127.0.0.2")
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield port
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_two_commands_and_one_paste_on_each_side(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    require("bash", shutil.which("bash") is not None)
    monkeypatch.setattr(SimpleHTTPRequestHandler, "log_message", lambda *_: None)
    with contextlib.ExitStack() as stack:
        port = stack.enter_context(site(tmp_path / "films"))
        home, laptop = Person(tmp_path / "home"), Person(tmp_path / "laptop")
        stack.callback(home.close)
        stack.callback(laptop.close)

        room = home.terminal()
        home.type(room, "ssbfast room --listen 127.0.0.1:0")
        address = read(room, r"address +(\S+)\r\n")
        sharing = home.terminal()
        home.type(sharing, f"ssbfast share films=127.0.0.2:{port} --room", paste=address)
        assert read(sharing, rf"films +127\.0\.0\.2:{port} +([^\r]+)\r\n") == "answers"
        ticket = read(sharing, r"ssbfast pair (\S+)\r\n")
        read(sharing, "(listed) ")

        calling = laptop.terminal()
        laptop.type(calling, "ssbfast pair", paste=ticket)
        assert read(calling, r"Offered: ([^\r]*)\.\r\n") == "films"
        nick = read(calling, r"Next: ssbfast open ([a-z0-9-]{1,32})/films\r\n")
        read(calling, f"({re.escape(PROMPT)})")
        laptop.type(calling, f"ssbfast open {nick}/films")
        url = read(calling, r"ready +films of .* at (\S+)\r\n")
        assert url == f"http://127.0.0.1:{port}"
        with urllib.request.urlopen(url, timeout=PATIENCE) as answer:
            assert answer.read() == PAGE

        for person in (home, laptop):
            assert person.commands <= 2 and person.pastes <= 1
