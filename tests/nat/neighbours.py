"""ssbfast as its users run it, in the lab: a room in S, `listen` behind one NAT and `connect` behind the other.

    with lab_programs(tmp_path, a="symmetric", b="symmetric") as lab:
        lab.room()
        listener = lab.listen("A")                   # offers lab.service("A"), which echoes and hands out blobs
        caller, port = lab.connect("B", "A")         # where B's own programs find it
        caller.event("connected", path="tunnel")
        lab.echo("B", port, b"hello")
        lab.fetch("B", port, Blob(200_000_000), on_bytes=…)

What a program has said is in its `events`; `event` returns the next one that fits, and raises when the program ends
first or says nothing more for `PATIENCE` seconds. Services and clients of forwards are threads of the test itself with
sockets in the lab's namespaces.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import queue
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

from ssbfast import FeedId, load_secret
from ssbfast.store.peer_store import Store
from tests.helpers.processes import PATIENCE, Running
from tests.nat.kinds import Kind
from tests.nat.lab import ROOM6, NatLab, nat_lab
from tests.nat.mixes import Mix

Side = Literal["A", "B"]
PORT: Final = 8008
SECOND_PORT: Final = 8009
_BLOCK: Final = 256 * 1024


class Program(Running):
    """A running `ssbfast … --json`. events: all that it has said, as far as anybody has waited for it."""

    def __init__(self, *arguments: str, prefix: tuple[str, ...], env: dict[str, str] | None = None) -> None:
        super().__init__(*arguments, prefix=prefix, env=env)
        self.events: list[dict[str, Any]] = []

    def event(self, name: str, **members: Any) -> dict[str, Any]:
        """The next event of that name with these members."""
        while (line := self.line()) is not None:
            event = self._keep(line)
            if event["event"] == name and all(event.get(key) == value for key, value in members.items()):
                return event
        raise EOFError(f"ended before {name!r}: {self.stderr}")

    def said(self, name: str) -> list[dict[str, Any]]:
        """All events of that name up to now; nothing is waited for."""
        with contextlib.suppress(queue.Empty):
            while (line := self._lines.get_nowait()) is not None:
                self._keep(line)
        return [event for event in self.events if event["event"] == name]

    def _keep(self, line: str) -> dict[str, Any]:
        event: dict[str, Any] = json.loads(line)
        self.events.append(event)
        return event


@dataclass(frozen=True, slots=True)
class Blob:
    """Bytes that are easy to make and hard to get wrong: each block has its number in front."""

    size: int

    def blocks(self) -> Iterator[bytes]:
        body = bytes(range(251)) * (_BLOCK // 251 + 1)
        for start in range(0, self.size, _BLOCK):
            yield (struct.pack("!Q", start) + body)[: min(_BLOCK, self.size - start)]

    @property
    def digest(self) -> str:
        sha = hashlib.sha256()
        for block in self.blocks():
            sha.update(block)
        return sha.hexdigest()


class Moved(NamedTuple):
    """What came of a transfer. gap: the longest time without a byte, seconds."""

    bytes: int
    digest: str
    seconds: float
    gap: float


class LabPrograms:
    """The lab and what runs in it. data: each program's directory is below it, by the name of its place.

    mix: engines of A and B; None: what SSBFAST_DIRECT says here.
    """

    def __init__(self, lab: NatLab, data: Path, stack: contextlib.ExitStack, mix: Mix | None = None) -> None:
        self.lab, self.data = lab, data
        self._engines = {} if mix is None else dict(zip("AB", mix, strict=True))
        self._stack = stack
        self._services: dict[str, int] = {}

    # ------------------------------------------------------------ programs

    def path(self, place: str) -> Path:
        return self.data / place

    def id(self, place: str) -> FeedId:
        """Whose directory that is; an identity is made if there is none."""
        return load_secret(self.path(place) / "secret", create=True).id

    def follow(self, who: Side, whom: Side) -> None:
        with Store(self.path(who)) as store:
            store.follow(self.id(whom))

    def start(self, place: str, command: str, *arguments: str) -> Program:
        """Any command there, with the directory of that place; it ends with the street."""
        words = (command, "--data", str(self.path(place)), "--json", *arguments)
        engine = self._engines.get(place)
        env = {**os.environ, "SSBFAST_DIRECT": engine} if engine else None
        program = Program(*words, prefix=self.lab.prefix(place), env=env)
        self._stack.enter_context(program)
        return program

    def room(self, *arguments: str, as_it_comes: bool = False) -> Program:
        """A room at all addresses of S, with reflectors at two ports; returns when it listens.

        It can be killed and started again: it is the same room then. as_it_comes: nothing is said about reflectors.
        """
        ports = () if as_it_comes or "--no-udp" in arguments else ("--udp", f":{PORT}", "--udp", f":{SECOND_PORT}")
        room = self.start("S", "room", "--listen", f":{PORT}", "--host", self.lab.address("S"), *ports, *arguments)
        room.event("listening")
        return room

    def address(self, which: Literal[0, 1, 6] = 0) -> str:
        """The room's, at S's first or second address, or in IPv6; known before it runs."""
        host = ROOM6 if which == 6 else self.lab.room_addresses[which]
        return f"net:{host}:{PORT}~shs:{str(self.id('S'))[1:-8]}"

    def listen(self, side: Side, *arguments: str) -> Program:
        """Offer that side's service to the other side; returns when it is listed in the room."""
        self.follow(side, other(side))
        rooms = () if "--room" in arguments else ("--room", self.address())
        program = self.start(side, "listen", "--forward", f"127.0.0.1:{self.service(side)}", *rooms, *arguments)
        program.event("announced")
        return program

    def connect(self, side: Side, *arguments: str) -> tuple[Program, int]:
        """Reach the other side's service; returns it and the port at which it has bound."""
        target = other(side)
        self.follow(side, target)
        rooms = () if "--room" in arguments else ("--room", self.address())
        program = self.start(side, "connect", str(self.id(target)), "--bind", "127.0.0.1:0", *rooms, *arguments)
        return program, int(program.event("bound")["bind"].rpartition(":")[2])

    # ------------------------------------------------------------ what travels

    def relayed(self) -> int:
        """Bytes that the two sides have sent to the room by TCP, headers included."""
        counts = self.lab.counts()
        return sum(count.other_bytes for (_, to), count in counts.items() if to == "S")

    def direct(self) -> int:
        """Bytes that the two sides have sent to each other by UDP, headers included; nothing is known on one LAN."""
        counts = self.lab.counts()
        return sum(count.udp_bytes for (sender, to), count in counts.items() if "S" not in (sender, to))

    def until_path(self, program: Program, side: Side, port: int) -> dict[str, Any]:
        """Use a forward until its program, `connect` on that side, has told of a path; returns what it told."""
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until:
            self.echo(side, port, b"usable")
            if told := program.said("path"):
                return told[-1]
            time.sleep(0.05)
        raise TimeoutError("no path is told of")

    def service(self, side: Side) -> int:
        """The port of a service in that namespace, started at the first call.

        A client writes one line first: `echo`, and gets back whatever follows; `get N`, and gets Blob(N); or `put`,
        followed by anything and an end, and gets its SHA-256, and the longest time between two reads of it in seconds.
        """
        if side not in self._services:
            server = self.lab.socket(side, kind=socket.SOCK_STREAM)
            self._stack.callback(server.close)
            server.bind(("127.0.0.1", 0))
            server.listen(64)
            self._services[side] = int(server.getsockname()[1])
            threading.Thread(target=_serve, args=(server,), daemon=True).start()
        return self._services[side]

    def dial(self, side: Side, port: int) -> socket.socket:
        """A TCP connection to a forward's port, within that side's namespace."""
        sock = self.lab.socket(side, kind=socket.SOCK_STREAM)
        self._stack.callback(sock.close)
        sock.settimeout(PATIENCE)
        sock.connect(("127.0.0.1", port))
        return sock

    def echo(self, side: Side, port: int, data: bytes) -> float:
        """Have it sent back; returns the seconds that took. Raises ValueError when something else comes."""
        with self.dial(side, port) as sock:
            began = time.monotonic()
            sock.sendall(b"echo\n" + data)
            got = b""
            while len(got) < len(data) and (more := sock.recv(65_536)):
                got += more
            if got != data:
                raise ValueError(f"{len(got)} bytes came back for {len(data)}, or others")
            return time.monotonic() - began

    def fetch(self, side: Side, port: int, blob: Blob, on_bytes: Callable[[int], None] = lambda total: None) -> Moved:
        """Get a blob through a forward. on_bytes: called with the total after each read: the place for accidents."""
        with self.dial(side, port) as sock:
            sock.sendall(b"get %d\n" % blob.size)
            sha, total, began = hashlib.sha256(), 0, time.monotonic()
            last, gap = began, 0.0
            while data := sock.recv(_BLOCK):
                now = time.monotonic()
                last, gap = now, max(gap, now - last)
                sha.update(data)
                total += len(data)
                on_bytes(total)
            return Moved(total, sha.hexdigest(), time.monotonic() - began, gap)

    def put(self, side: Side, port: int, blob: Blob, on_bytes: Callable[[int], None] = lambda total: None) -> Moved:
        """Send a blob; `digest` is what the service says to have got, `gap` the longest that it was without a byte."""
        with self.dial(side, port) as sock:
            began, total = time.monotonic(), 0
            sock.sendall(b"put\n")
            for block in blob.blocks():
                sock.sendall(block)
                total += len(block)
                on_bytes(total)
            sock.shutdown(socket.SHUT_WR)
            answer = b""
            while data := sock.recv(100):
                answer += data
            digest, gap = answer.decode().split()
            return Moved(total, digest, time.monotonic() - began, float(gap))


@contextlib.contextmanager
def lab_programs(
    data: Path, a: Kind = "port", b: Kind = "port", *, mix: Mix | None = None, **how: Any
) -> Iterator[LabPrograms]:
    """A street in a lab of its own; mix: as for LabPrograms, how: as for NatLab.

    Skips, or fails if it must not, where there can be no lab.
    """
    with nat_lab(a, b, **how) as lab, contextlib.ExitStack() as stack:
        yield LabPrograms(lab, data, stack, mix)


def other(side: Side) -> Side:
    """The one across the street."""
    return "B" if side == "A" else "A"


def _serve(server: socket.socket) -> None:
    with contextlib.suppress(OSError):  # closed: the street is over
        while True:
            client = server.accept()[0]
            threading.Thread(target=_answer, args=(client,), daemon=True).start()


def _answer(client: socket.socket) -> None:
    with client, contextlib.suppress(OSError):  # whoever leaves early has his reasons
        reader = client.makefile("rb")
        words = reader.readline().split()
        if words[:1] == [b"get"]:
            for block in Blob(int(words[1])).blocks():
                client.sendall(block)
        elif words == [b"put"]:
            sha, gap, last = hashlib.sha256(), 0.0, time.monotonic()
            while data := reader.read1(_BLOCK):
                now = time.monotonic()
                last, gap = now, max(gap, now - last)
                sha.update(data)
            client.sendall(f"{sha.hexdigest()} {gap:.3f}".encode())
        elif words == [b"echo"]:
            while data := reader.read1(_BLOCK):
                client.sendall(data)
