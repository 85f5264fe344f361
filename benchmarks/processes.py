"""Processes that are measured: rooms (ours, and ssb-room 1.3 on Node) and the target of tunnels."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import importlib.util
import json
import os
import queue
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import psutil

from benchmarks.children import NETWORK
from ssbfast.ids import FeedId
from ssbfast.wire.address import NetAddress, parse_address
from tests.interop.js_modules import JS_DIR, ensure_modules, have_node

ROOT: Final = Path(__file__).resolve().parent.parent
_END_SECONDS: Final = 15.0


class Child:
    """A process that says in one line of JSON when it is ready, and ends when its input ends."""

    def __init__(self, command: list[str], cwd: Path, env: Mapping[str, str] | None = None) -> None:
        whole_env = {**os.environ, **(env or {})}
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(command, cwd=cwd, stdin=pipe, stdout=pipe, text=True, env=whole_env)
        self.ready = self._wait_ready()
        self.pid = int(self.ready.get("pid", self._process.pid))
        """Of what is measured: its own, or that of a server which it has started."""
        self._meter = psutil.Process(self.pid)
        # What it says later is read at once, lest the pipe fills and it stops.
        self._later: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        threading.Thread(target=self._listen, daemon=True).start()

    def cpu(self) -> float:
        """CPU-seconds, user and system, of all its threads so far; in nanoseconds where Linux counts them."""
        try:
            threads = list(Path(f"/proc/{self.pid}/task").iterdir())
            return sum(int((thread / "schedstat").read_text(encoding="ascii").split()[0]) for thread in threads) / 1e9
        except OSError:
            times = self._meter.cpu_times()
            return float(times.user + times.system)

    def memory(self) -> int:
        """Resident bytes."""
        return int(self._meter.memory_info().rss)

    def asked(self, order: dict[str, Any]) -> dict[str, Any]:
        """Give an order, as a line of JSON, and take the answer. Raises queue.Empty when there is none."""
        if self._process.stdin is not None:
            self._process.stdin.write(json.dumps(order) + "\n")
            self._process.stdin.flush()
        return self.said()

    def said(self, timeout: float = 120.0) -> dict[str, Any]:
        """The next thing it says. Raises queue.Empty when it does not."""
        return self._later.get(timeout=timeout)

    def close(self) -> None:
        """End it, by force if it does not go by itself."""
        if self._process.stdin is not None:
            with contextlib.suppress(OSError):
                self._process.stdin.close()
        try:
            self._process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _wait_ready(self) -> dict[str, Any]:
        for line in self._process.stdout or ():
            said: dict[str, Any] = json.loads(line)
            if said.get("event") == "ready":
                return said
        raise RuntimeError(f"a process did not start: exit code {self._process.wait()}")

    def _listen(self) -> None:
        for line in self._process.stdout or ():
            self._later.put(json.loads(line))


@dataclass(frozen=True, slots=True)
class Room:
    """A room that runs, or what only shakes hands like one. kind: see `room`."""

    kind: str
    process: Child
    address: str

    @property
    def endpoint(self) -> tuple[str, int, FeedId]:
        """Host, port, key."""
        found = parse_address(self.address)[0]
        if not isinstance(found.transport, NetAddress) or found.shs is None:
            raise ValueError("a room of the benchmarks listens on TCP")
        return found.transport.host, found.transport.port, found.shs


@dataclass(frozen=True, slots=True)
class Target:
    """A peer in a room. port: where it can be dialled directly, on this machine."""

    process: Child
    port: int


ROOMS: Final = ("ssbfast", "ssb-room")
GO_ROOM: Final = "SSBFAST_PEER_GO_ROOM"
"""Names the server binary of go-ssb-room."""

_ON_NODE: Final = ("ssb-room", "js-handshakes")


def why_not(kind: str) -> str | None:
    """Why a kind of room cannot be started here, or None."""
    if kind == "go-ssb-room":
        if not (program := os.environ.get(GO_ROOM)):
            return f"{GO_ROOM} does not name its server binary"
        return None if os.access(program, os.X_OK) else f"{GO_ROOM} names something that cannot be run"
    if kind.endswith("-web"):
        return None if importlib.util.find_spec("uvicorn") else "the extra web is not installed"
    if kind.endswith("-uvloop"):
        return None if importlib.util.find_spec("uvloop") else "uvloop is not installed"
    if kind not in _ON_NODE:
        return None
    if not have_node():
        return "Node and npm are needed"
    return ensure_modules()


@contextlib.contextmanager
def room(kind: str) -> Iterator[Room]:
    """Run a room in a process of its own, on a port of its own choice.

    kind: "ssbfast"; "ssbfast-PATH" for another backend, "ssbfast-uvloop" for another event loop, "ssbfast-web" with its
    web site; "ssb-room"; "go-ssb-room". "handshakes" (and so on) and "js-handshakes" are servers that shake hands and
    do nothing else.
    """
    with tempfile.TemporaryDirectory(prefix="ssbfast-bench-") as directory:
        process = _started(kind, directory)
        try:
            yield Room(kind, process, str(process.ready["address"]))
        finally:
            process.close()


def _started(kind: str, directory: str) -> Child:
    if kind == "ssb-room":
        return Child(["node", "peer.js", json.dumps(_js_settings(directory))], JS_DIR)
    if kind == "js-handshakes":
        env = {"NODE_PATH": str(JS_DIR / "node_modules"), "NODE_NO_WARNINGS": "1"}
        return Child(["node", "benchmarks/handshakes.js", json.dumps(_js_settings(directory))], ROOT, env)
    if kind == "go-ssb-room":
        return Child([sys.executable, "-m", "benchmarks.go_room", os.environ[GO_ROOM], directory], ROOT)
    program, _, path = kind.partition("-")
    command = ["room" if program == "ssbfast" else program]
    if path == "web":
        return _python([path])
    if path == "uvloop":
        return _python([*command, path])
    return _python(command, {"SSBFAST_BACKEND": path} if path else {})


@contextlib.contextmanager
def target(where: Room, path: str = "tunnel") -> Iterator[Target]:
    """Run a peer that is announced in a room. path: "direct" has its sessions leave it."""
    process = _python(["target", where.address, path])
    try:
        yield Target(process, int(process.ready["port"]))
    finally:
        process.close()


def _python(args: list[str], env: Mapping[str, str] | None = None) -> Child:
    return Child([sys.executable, "-m", "benchmarks.children", *args], ROOT, env)


def _js_settings(directory: str) -> dict[str, Any]:
    return {
        "kind": "portal",
        "network": base64.b64encode(NETWORK.key).decode(),
        "seed": base64.b64encode(hashlib.sha256(b"ssbfast benchmark js room").digest()).decode(),
        "host": "127.0.0.1",
        "port": 0,
        "path": directory,
    }
