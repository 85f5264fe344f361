"""A room, peers that offer and peers that call, each a process of its own; and a web server behind one of them."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import http.server
import signal
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ssbfast import FeedId, load_secret
from ssbfast.store.peer_store import Store
from tests.helpers.processes import Running, run


class RoomProcesses:
    """data: each program's directory is below it, by its name. port: the room's, the same when it comes back."""

    def __init__(self, data: Path, stack: contextlib.ExitStack) -> None:
        self.data = data
        self._stack = stack
        self.port = free_port()

    def path(self, name: str) -> Path:
        return self.data / name

    def id(self, name: str) -> FeedId:
        """Whose directory that is; an identity is made if there is none."""
        return load_secret(self.path(name) / "secret", create=True).id

    def follow(self, who: str, whom: str) -> None:
        with Store(self.path(who)) as store:
            store.follow(self.id(whom))

    def friends(self, one: str, other: str) -> None:
        self.follow(one, other)
        self.follow(other, one)

    # ------------------------------------------------------------ processes

    def start(self, command: str, name: str, *arguments: str) -> Running:
        return self.keep(Running(command, "--data", str(self.path(name)), "--json", *arguments))

    def keep(self, process: Running) -> Running:
        """Its processes end with the context."""
        return self._stack.enter_context(process)

    def room(self, name: str = "room", port: int | None = None) -> Running:
        """Returns when it listens."""
        room = self.start("room", name, "--listen", f"127.0.0.1:{port or self.port}")
        room.event("listening")
        return room

    def address(self, name: str = "room", port: int | None = None) -> str:
        """Known before the room runs."""
        return f"net:127.0.0.1:{port or self.port}~shs:{str(self.id(name))[1:-8]}"

    def listen(self, name: str, service: int, *arguments: str, path: str = "tunnel") -> Running:
        """Its sessions stay in the room, unless another path is named."""
        rooms = () if "--room" in arguments else ("--room", self.address())
        return self.start("listen", name, "--forward", f"127.0.0.1:{service}", "--path", path, *rooms, *arguments)

    def connect(self, name: str, target: str, *arguments: str, path: str = "tunnel") -> tuple[Running, int]:
        """Returns it and the port at which it has bound."""
        rooms = () if "--room" in arguments else ("--room", self.address())
        bind = () if "--bind" in arguments else ("--bind", "127.0.0.1:0")
        process = self.start("connect", name, target, "--path", path, *rooms, *bind, *arguments)
        return process, int(process.event("bound")["bind"].rpartition(":")[2])

    def denials(self, name: str, *arguments: str) -> Any:
        return run("denials", "--data", str(self.path(name)), *arguments)


@contextlib.contextmanager
def room_processes(data: Path) -> Iterator[RoomProcesses]:
    with contextlib.ExitStack() as stack:
        yield RoomProcesses(data, stack)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def kill(process: Running) -> None:
    process.signal(signal.SIGKILL)
    process.wait()


# ---------------------------------------------------------------- a web server


class EchoHandler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        """Answers with the SHA-256 of what came, and with what came."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("X-Digest", hashlib.sha256(body).hexdigest())
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Quiet."""


@contextlib.contextmanager
def web_server() -> Iterator[int]:
    """Its port."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), EchoHandler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield int(server.server_address[1])
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def post(port: int, body: bytes, timeout: float = 60.0) -> bytes:
    """Send `body`; returns what comes back, once both ends agree on it."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    try:
        connection.request("POST", "/", body)
        response = connection.getresponse()
        got = response.read()
        if response.headers["X-Digest"] != hashlib.sha256(body).hexdigest():
            raise ValueError("the server has got something else")
        return got
    finally:
        connection.close()
