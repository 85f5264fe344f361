"""What JavaScript peers do with each other through a portal, whoever the portal is.

Every scenario takes the portal's address and the `peers` fixture (a function that starts a peer of a kind), brings its
own peers and leaves them to the fixture. Expectations which differ between portals are in `Portal`.
"""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import dataclass

import pytest

from tests.interop.jspeer import How, JSError, JSPeer, Kind, Measured, StartPeer, content, id_of, key_of

MEGABYTES_20 = 20 * 1024 * 1024
ECHO_SIZES = (1, 2, 33, 4095, 4096, 4097, 65535, 65536, 200_000)
CLIENT_KINDS: tuple[Kind, ...] = ("room-client-2/stack6", "room-client-2/stack8", "rooms-1")


@dataclass(frozen=True, slots=True)
class Portal:
    """A portal under test.

    address: dialable multiserver address with `~shs:`.
    lists: it tells who attends (every room; not a 2018 portal).
    """

    address: str
    lists: bool = True

    @property
    def id(self) -> str:
        return id_of(self.address)


@dataclass(frozen=True, slots=True)
class Pair:
    """Two peers which both stand at the portal."""

    portal: Portal
    caller: JSPeer
    target: JSPeer

    async def open(self) -> None:
        """Open a tunnel from caller to target and wait until the target has accepted it."""
        marks = self.caller.mark(), self.target.mark()
        assert await self.caller.tunnel(self.portal.id, self.target.id) == self.target.id
        await self.caller.event("connected", after=marks[0], peer=self.target.id, incoming=False, tunnel=True)
        await self.target.event("connected", after=marks[1], peer=self.caller.id, incoming=True, tunnel=True)


async def join(portal: Portal, peers: StartPeer, caller: Kind, target: Kind) -> Pair:
    """Start both peers and bring them to the portal, the target first."""
    one, other = await asyncio.gather(peers(caller), peers(target))
    assert await other.join(portal.address) == portal.id
    assert await one.join(portal.address, announce=False) == portal.id
    return Pair(portal, one, other)


async def join_and_list(portal: Portal, peers: StartPeer, caller: Kind, target: Kind) -> None:
    """Each sees the other come and go; a `left` and a `joined` come once per change."""
    pair = await join(portal, peers, caller, target)
    me, you = pair.caller, pair.target
    assert {me.id, you.id} <= me.attendants[portal.id]
    await you.event("joined", portal=portal.id, id=me.id)
    assert you.attendants[portal.id] == {me.id, you.id}
    await you.close()
    await me.event("left", portal=portal.id, id=you.id)
    third = await peers(target)
    mark = me.mark()
    await third.join(portal.address)
    await me.event("joined", after=mark, portal=portal.id, id=third.id)
    await me.until(lambda: me.attendants[portal.id] == {me.id, third.id}, "a list of the two who are there")
    assert len(me.seen("left", id=you.id)) == 1
    assert len(me.seen("joined", id=third.id)) == 1
    assert len(you.seen("joined", id=me.id)) == 1


async def call_kinds(portal: Portal, peers: StartPeer, caller: Kind, target: Kind) -> None:
    """Every kind of muxrpc call, in both directions of one tunnel."""
    pair = await join(portal, peers, caller, target)
    await pair.open()
    await use_tunnel(pair.caller, pair.target)
    await use_tunnel(pair.target, pair.caller)


async def use_tunnel(me: JSPeer, you: JSPeer) -> None:
    """Call every kind of method on `you` over a session which is there already."""
    assert await me.call(you.id, "test.add", 20, 22) == 42
    with pytest.raises(JSError, match=r"^Error: on purpose$"):
        await me.call(you.id, "test.fail", "on purpose")
    with pytest.raises(JSError, match=r"not in list of allowed methods$"):
        await me.call(you.id, "test.nothing")
    counted = await me.source(you.id, "test.count", 300, keep=300)
    assert counted.items == tuple(range(300))
    with pytest.raises(JSError, match=r"^Error: half way$"):
        await me.source(you.id, "test.failAfter", 3, "half way")
    cut = await me.source(you.id, "test.count", 1000, take=5, keep=9)
    assert cut.items == (0, 1, 2, 3, 4)
    check(await me.source(you.id, "test.bytes", 300_000, 1000), 300_000)
    await echo(me, you)
    mark = you.mark()
    await me.sink(you.id, "test.sink", size=100_000)
    await you.event("sunk", after=mark, bytes=100_000, sha256=digest(100_000), error=None)


async def echo(me: JSPeer, you: JSPeer) -> None:
    """Bytes of many sizes and JSON items come back as they went."""
    echoed = await me.duplex(you.id, "test.echo", sizes=ECHO_SIZES)
    expected = hashlib.sha256(b"".join(content(size) for size in ECHO_SIZES)).hexdigest()
    assert (echoed.count, echoed.bytes, echoed.sha256) == (len(ECHO_SIZES), sum(ECHO_SIZES), expected)
    items = (1, "text", None, {"a": [1, 2]}, {"base64": "AAEC"}, False)
    assert (await me.duplex(you.id, "test.echo", items=items, keep=9)).items == items


async def absent_target(portal: Portal, peers: StartPeer, caller: Kind) -> str:
    """Ask for somebody who is not there; return the portal's own refusal. The caller's session lives on."""
    me, nobody = await asyncio.gather(peers(caller), peers(caller))
    await me.join(portal.address, announce=False)
    with pytest.raises(JSError, match="expecting server to accept challenge"):
        await me.tunnel(portal.id, nobody.id)
    arguments = {"portal": portal.id, "target": nobody.id}
    with pytest.raises(JSError, match="could not connect to") as refusal:
        await me.duplex(portal.id, "tunnel.connect", arguments, sizes=[64], hold=True)
    assert isinstance(await me.call(portal.id, "tunnel.ping"), int)
    return refusal.value.message


async def wrong_key(portal: Portal, peers: StartPeer, caller: Kind, target: Kind) -> None:
    """Expect another key than the target's: the inner handshake fails, nothing else does."""
    pair = await join(portal, peers, caller, target)
    me, you = pair.caller, pair.target
    with pytest.raises(JSError, match=r"shs\.client"):
        await me.tunnel(portal.id, you.id, key=key_of(me.id))
    assert not you.seen("connected", peer=me.id)
    await pair.open()
    assert await me.call(you.id, "test.add", 1, 1) == 2


async def killed_peer(portal: Portal, peers: StartPeer, caller: Kind, target: Kind, *, victim: str) -> None:
    """One end dies with calls under way: the other is told of each of them, and of the session's end."""
    pair = await join(portal, peers, caller, target)
    await pair.open()
    dies, lives = (pair.target, pair.caller) if victim == "target" else (pair.caller, pair.target)
    mark = lives.mark()
    asked = asyncio.create_task(lives.call(dies.id, "test.hang", timeout=25))
    read = asyncio.create_task(lives.source(dies.id, "test.stall", timeout=25))
    assert await lives.call(dies.id, "test.add", 1, 1) == 2
    listed = portal.lists and lives.kind != "tunnel-2018"
    if listed:  # lists come at most once a second: who comes and goes in between is never seen
        await lives.until(lambda: dies.id in lives.attendants[portal.id], "the other end in the list")
    await dies.kill()
    for task in (asked, read):
        with pytest.raises(JSError) as error:
            await task
        assert not error.value.name.startswith("Harness"), error.value
    await lives.event("closed", after=mark, peer=dies.id, tunnel=True)
    if listed:
        await lives.event("left", after=mark, portal=portal.id, id=dies.id)
    assert isinstance(await lives.call(portal.id, "tunnel.ping"), int)


async def goodbye(portal: Portal, peers: StartPeer, caller: Kind, target: Kind, *, first: str, how: How) -> None:
    """One end closes the tunnel in good order; the other sees it close; the tunnel can be opened again."""
    pair = await join(portal, peers, caller, target)
    for _ in range(2):
        await pair.open()
        ends, hears = (pair.target, pair.caller) if first == "target" else (pair.caller, pair.target)
        marks = ends.mark(), hears.mark()
        assert await ends.call(hears.id, "test.add", 1, 1) == 2
        await ends.hang_up(hears.id, how)
        await hears.event("closed", after=marks[1], peer=ends.id, tunnel=True)
        await ends.event("closed", after=marks[0], peer=hears.id, tunnel=True)
    assert isinstance(await pair.caller.call(portal.id, "tunnel.ping"), int)
    assert isinstance(await pair.target.call(portal.id, "tunnel.ping"), int)


async def bulk(portal: Portal, peers: StartPeer, caller: Kind, target: Kind, *, size: int = MEGABYTES_20) -> None:
    """`size` bytes each way through one tunnel, compared by SHA-256."""
    pair = await join(portal, peers, caller, target)
    me, you = pair.caller, pair.target
    await pair.open()
    check(await me.source(you.id, "test.bytes", size, timeout=120), size)
    check(await you.source(me.id, "test.bytes", size, timeout=120), size)
    mark = you.mark()
    await me.sink(you.id, "test.sink", size=size, timeout=120)
    await you.event("sunk", after=mark, bytes=size, sha256=digest(size), error=None)


async def many_tunnels(portal: Portal, peers: StartPeer, kinds: tuple[Kind, ...]) -> None:
    """Every peer to every other at the same time; what each sends is its own."""
    all_peers = await asyncio.gather(*(peers(kind) for kind in kinds))
    for peer in all_peers:
        await peer.join(portal.address)
    pairs = [(a, b) for a in all_peers for b in all_peers if a.id < b.id]
    await asyncio.gather(*(a.tunnel(portal.id, b.id) for a, b in pairs))
    sizes = [100_000 + 1000 * n for n in range(len(pairs))]
    results = await asyncio.gather(
        *(a.source(b.id, "test.bytes", size, timeout=60) for (a, b), size in zip(pairs, sizes, strict=True))
    )
    for result, size in zip(results, sizes, strict=True):
        check(result, size)


def digest(size: int) -> str:
    return hashlib.sha256(content(size)).hexdigest()


def check(measured: Measured, size: int) -> None:
    assert (measured.bytes, measured.sha256) == (size, digest(size))
