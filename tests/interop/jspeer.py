"""Drives JavaScript peers: one Node process each, JSON lines in and out (tests/interop/js/peer.js).

    peer = await JSPeer.start("rooms-1", network=network, seed=seed)
    await peer.join(portal_address)
    await peer.event("joined", id=other)
    await peer.tunnel(portal_id, other)
    assert await peer.call(other, "test.add", 1, 2) == 3
    await peer.close()

Nothing here decides by timing: `DEADLINE` only turns what would hang into an error that shows what was seen.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import json
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, Protocol

from tests.interop.js_modules import JS_DIR

DEADLINE: Final = 30.0
"""Seconds after which a test that waits for something gives up."""
LINE_LIMIT: Final = 64 * 1024 * 1024
"""Bytes of one answer line: a snapshot of many attendants, or items handed back."""

Kind = Literal[
    "room-client-2/stack6",
    "room-client-2/stack8",
    "room-client-2/ws",
    "room-client-2/web",
    "rooms-1",
    "tunnel-2018",
    "portal",
    "portal-2018",
]
How = Literal["disconnect", "destroy", "close"]
JSON = Any


class JSError(Exception):
    """An operation failed in the JavaScript peer: `name` and `message` exactly as it saw them."""

    def __init__(self, name: str, message: str) -> None:
        super().__init__(f"{name}: {message}")
        self.name = name
        self.message = message


class HarnessError(Exception):
    """The harness itself gave up: the peer died, or something never came."""


@dataclass(frozen=True, slots=True)
class Event:
    """Something the peer told by itself.

    connected, closed        peer, address, incoming, tunnel: a muxrpc session, also those inside a tunnel
    state, joined, left      portal, ids or id: the list as this client generation sees it
    answer                   peer, name, value, error: of the calls which the client plugin makes by itself
    list-ended               peer, name, error: its attendants or endpoints stream ended
    announced                portal: 2018 only
    sunk                     count, bytes, sha256, error: somebody's `test.sink` ended
    uncaught, rejection      name, message, stack: the process dies of the first
    """

    name: str
    fields: Mapping[str, JSON]

    def matches(self, name: str, wanted: Mapping[str, JSON]) -> bool:
        return self.name == name and all(self.fields.get(key) == value for key, value in wanted.items())


@dataclass(frozen=True, slots=True)
class Measured:
    """What came out of a source or duplex: `sha256` (hex) runs over all items that were bytes."""

    count: int
    bytes: int
    sha256: str
    items: tuple[JSON, ...]


def content(size: int) -> bytes:
    """Return the first `size` bytes of what `test.bytes` sends."""
    return hashlib.shake_128(b"ssbfast interop").digest(size)


def key_of(feed: str) -> str:
    """Return the base64 key inside the feed id `feed`."""
    return feed.removeprefix("@").removesuffix(".ed25519")


def id_of(address: str) -> str:
    """Return the feed id of the peer at the end of the multiserver address `address`."""
    return "@" + address.rsplit("~shs:", 1)[1].split(":", 1)[0] + ".ed25519"


class JSPeer:
    """One JavaScript peer. Made by `start`; `close` it, whatever happens to it in between."""

    def __init__(self, kind: Kind, process: asyncio.subprocess.Process, directory: str) -> None:
        self.kind = kind
        self.id = ""
        self.address: str | None = None
        self.events: list[Event] = []
        self.attendants: dict[str, set[str]] = {}
        self._process = process
        self._directory = directory
        self._news = asyncio.Condition()
        self._answers: dict[int, asyncio.Future[JSON]] = {}
        self._requests = 0
        self._stderr: list[str] = []
        self._ended = False
        self._readers = [asyncio.create_task(self._read()), asyncio.create_task(self._read_stderr())]

    @classmethod
    async def start(
        cls, kind: Kind, *, network: bytes, seed: bytes, host: str = "127.0.0.1", port: int = 0, **options: JSON
    ) -> JSPeer:
        """Start a peer with the 32-byte `network` key and identity `seed`, and wait until it is ready.

        port: where a portal listens (0 = any free one). options: `listen=True` makes a client listen on TCP too;
        `timers={"handshake": ms, "inactivity": ms}`.
        """
        directory = tempfile.mkdtemp(prefix="ssbfast-js-")
        settings = {
            "kind": kind,
            "network": base64.b64encode(network).decode(),
            "seed": base64.b64encode(seed).decode(),
            "host": host,
            "port": port,
            "path": directory,
            **options,
        }
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(
            "node", "peer.js", json.dumps(settings), cwd=JS_DIR, stdin=pipe, stdout=pipe, stderr=pipe, limit=LINE_LIMIT
        )
        peer = cls(kind, process, directory)
        try:
            ready = await peer.event("ready")
        except BaseException:
            await peer.close()
            raise
        peer.id = ready.fields["id"]
        peer.address = ready.fields["address"]
        return peer

    # ---- the protocol ----

    async def request(self, cmd: str, *, timeout: float = 15.0, **fields: JSON) -> JSON:
        """Send one command and return its result; `timeout` in seconds. Raises JSError, HarnessError."""
        if self._ended or self._process.stdin is None:
            raise HarnessError(f"{self} has ended\n{self.report()}")
        self._requests += 1
        number = self._requests
        answer: asyncio.Future[JSON] = asyncio.get_running_loop().create_future()
        self._answers[number] = answer
        line = json.dumps({"n": number, "cmd": cmd, "timeout": int(timeout * 1000), **fields})
        self._process.stdin.write(line.encode() + b"\n")
        with contextlib.suppress(ConnectionError):
            await self._process.stdin.drain()
        return await self._within(timeout + DEADLINE, answer, f"the answer to {cmd}")

    async def event(self, name: str, *, after: int = 0, **wanted: JSON) -> Event:
        """Return the first event of that name and those fields, seen already or still to come.

        after: how many of `events` to pass over (`mark()` tells how many there are by now).
        """
        found: Event = await self._within(DEADLINE, self._find(name, after, wanted), f"{name} {wanted}")
        return found

    def mark(self) -> int:
        """Return how many events there are, for `event(…, after=…)`."""
        return len(self.events)

    def seen(self, name: str, *, after: int = 0, **wanted: JSON) -> list[Event]:
        """Return all events of that name and those fields up to now."""
        return [event for event in self.events[after:] if event.matches(name, wanted)]

    async def until(self, condition: Callable[[], bool], what: str) -> None:
        """Wait until `condition()` holds; it is asked after every event."""

        async def wait() -> None:
            async with self._news:
                await self._news.wait_for(lambda: condition() or self._ended)
            if not condition():
                raise HarnessError(f"{self} ended before: {what}\n{self.report()}")

        await self._within(DEADLINE, wait(), what)

    # ---- what a peer does ----

    async def join(self, address: str, *, announce: bool = True) -> str:
        """Dial the portal at `address`; return its id once this peer stands in its list (as far as it can know).

        announce=False matters to 2018 peers only: room clients are listed by asking for the list.
        """
        mark = self.mark()
        portal: str = await self.request("connect", address=address, announce=announce)
        if self.kind != "tunnel-2018":
            await self.event("state", after=mark, portal=portal)
        elif announce:
            await self.event("announced", after=mark, portal=portal)
        return portal

    async def connect(self, address: str) -> str:
        """Dial any multiserver address and return the id at its end."""
        result: str = await self.request("connect", address=address, announce=False)
        return result

    async def tunnel(self, portal: str, target: str, *, key: str | None = None, instance: int | None = None) -> str:
        """Open a tunnel through the session with `portal`; `key` (base64) is whom to expect, else the target."""
        result: str = await self.request("tunnel", portal=portal, target=target, key=key, **_given(instance=instance))
        return result

    async def call(self, peer: str, name: str, *args: JSON, **fields: JSON) -> JSON:
        """Call the async method `name` ("test.add") of `peer`, an id with which there is a session."""
        return await self.request("call", peer=peer, name=name.split("."), args=list(args), **fields)

    async def plugin(self, section: str, name: str, *args: JSON) -> JSON:
        """Call an async method of one of the peer's own plugins."""
        return await self.request("plugin", section=section, name=name, args=list(args))

    async def source(self, peer: str, name: str, *args: JSON, **fields: JSON) -> Measured:
        """Read a source to its end. keep: how many items to hand back; take: abort after so many."""
        return _measured(await self.request("source", peer=peer, name=name.split("."), args=list(args), **fields))

    async def duplex(self, peer: str, name: str, *args: JSON, **fields: JSON) -> Measured:
        """Send `sizes` (byte items of so many bytes) or `items` (JSON; {"base64": …} is bytes), end, read to the end.

        hold=True: never end; wait for the other side to.
        """
        return _measured(await self.request("duplex", peer=peer, name=name.split("."), args=list(args), **fields))

    async def sink(self, peer: str, name: str, *args: JSON, **fields: JSON) -> None:
        """Send `size` bytes (in items of `chunk`), `sizes` or `items` into a sink, and end it."""
        await self.request("sink", peer=peer, name=name.split("."), args=list(args), **fields)

    async def hang_up(self, peer: str, how: How = "disconnect") -> None:
        """End the session with `peer`: as applications do, by rpc.close(true), or by a polite rpc.close(cb).

        The polite one waits for every stream to end; `gossip.ping` never does where ssb-conn has opened it.
        """
        await self.request("close", peer=peer, how=how)

    # ---- the end ----

    async def exit(self) -> None:
        """Have the process exit at once, without a goodbye to anybody."""
        with contextlib.suppress(HarnessError):
            await self.request("exit")
        await self._process.wait()

    async def kill(self) -> None:
        """Kill the process: the system closes its sockets."""
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        await self._process.wait()

    async def close(self) -> None:
        """End the process: politely by closing its stdin, else by force. May be called again."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            await asyncio.wait_for(self._process.wait(), DEADLINE)
        except asyncio.TimeoutError:
            await self.kill()
        await asyncio.gather(*self._readers, return_exceptions=True)
        shutil.rmtree(self._directory, ignore_errors=True)

    @property
    def pid(self) -> int:
        return self._process.pid

    def report(self) -> str:
        """Return everything seen so far, for the message of a failed test."""
        lines = [f"  {event.name} {dict(event.fields)}" for event in self.events]
        return "\n".join([f"{self} saw:", *lines, "  stderr:", *("    " + line for line in self._stderr[-40:])])

    def __repr__(self) -> str:
        return f"<JSPeer {self.kind} {self.id[:9]}>"

    # ---- inside ----

    async def _within(self, seconds: float, awaitable: Any, what: str) -> Any:
        try:
            return await asyncio.wait_for(awaitable, seconds)
        except asyncio.TimeoutError:
            raise HarnessError(f"{self} never saw {what}\n{self.report()}") from None

    async def _find(self, name: str, after: int, wanted: Mapping[str, JSON]) -> Event:
        found: list[Event] = []

        def look() -> bool:
            found[:] = self.seen(name, after=after, **wanted)[:1]
            return bool(found)

        async with self._news:
            await self._news.wait_for(lambda: look() or self._ended)
        if not found:
            raise HarnessError(f"{self} ended without {name} {wanted}\n{self.report()}")
        return found[0]

    async def _lines(self, stream: asyncio.StreamReader | None) -> AsyncIterator[str]:
        while stream is not None and (line := await stream.readline()):
            yield line.decode(errors="replace").rstrip("\n")

    async def _read(self) -> None:
        try:
            async for line in self._lines(self._process.stdout):
                await self._take(json.loads(line))
        finally:
            self._ended = True
            for answer in self._answers.values():
                if not answer.done():
                    answer.set_exception(HarnessError(f"{self} ended without an answer\n{self.report()}"))
                    answer.exception()
            async with self._news:
                self._news.notify_all()

    async def _read_stderr(self) -> None:
        async for line in self._lines(self._process.stderr):
            self._stderr.append(line)

    async def _take(self, line: dict[str, JSON]) -> None:
        if "event" not in line:
            self._answered(line)
            return
        event = Event(line.pop("event"), line)
        self._count(event)
        async with self._news:
            self.events.append(event)
            self._news.notify_all()

    def _answered(self, line: dict[str, JSON]) -> None:
        answer = self._answers.pop(line["n"])
        if answer.done():
            return
        if line["ok"]:
            answer.set_result(line["result"])
        else:
            answer.set_exception(JSError(line["error"]["name"], line["error"]["message"]))

    def _count(self, event: Event) -> None:
        if event.name == "state":
            self.attendants[event.fields["portal"]] = set(event.fields["ids"])
        elif event.name == "joined":
            self.attendants.setdefault(event.fields["portal"], set()).add(event.fields["id"])
        elif event.name == "left":
            self.attendants.setdefault(event.fields["portal"], set()).discard(event.fields["id"])


class StartPeer(Protocol):
    """The `peers` fixture: starts a peer with an identity of its own and ends it with the test."""

    async def __call__(self, kind: Kind, **options: JSON) -> JSPeer: ...


def _given(**fields: JSON) -> dict[str, JSON]:
    return {key: value for key, value in fields.items() if value is not None}


def _measured(result: dict[str, JSON]) -> Measured:
    return Measured(result["count"], result["bytes"], result["sha256"], tuple(result["items"]))
