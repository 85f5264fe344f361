"""The harness against itself: JavaScript peers through JavaScript portals. What must hold there is the baseline."""

from __future__ import annotations

import pytest
import pytest_asyncio

from tests.interop import scenarios
from tests.interop.jspeer import How, JSError, Kind, StartPeer
from tests.interop.scenarios import CLIENT_KINDS, Portal

pytestmark = [pytest.mark.interop, pytest.mark.timeout(180)]

RING: tuple[tuple[Kind, Kind], ...] = (
    ("room-client-2/stack6", "room-client-2/stack8"),
    ("room-client-2/stack8", "rooms-1"),
    ("rooms-1", "room-client-2/stack6"),
)
"""Each client generation once as caller and once as target."""


@pytest_asyncio.fixture
async def room(peers: StartPeer) -> Portal:
    """ssb-room 1.3."""
    portal = await peers("portal")
    assert portal.address is not None
    return Portal(portal.address)


@pytest_asyncio.fixture
async def portal_2018(peers: StartPeer) -> Portal:
    """The portal half of ssb-tunnel 2.0."""
    portal = await peers("portal-2018")
    assert portal.address is not None
    return Portal(portal.address, lists=False)


@pytest.mark.parametrize(("caller", "target"), RING)
async def test_join_and_list(room: Portal, peers: StartPeer, caller: Kind, target: Kind) -> None:
    await scenarios.join_and_list(room, peers, caller, target)


@pytest.mark.parametrize(("caller", "target"), RING[:1])
async def test_call_kinds(room: Portal, peers: StartPeer, caller: Kind, target: Kind) -> None:
    await scenarios.call_kinds(room, peers, caller, target)


async def test_call_kinds_2018(portal_2018: Portal, peers: StartPeer) -> None:
    await scenarios.call_kinds(portal_2018, peers, "tunnel-2018", "tunnel-2018")


@pytest.mark.parametrize("caller", CLIENT_KINDS)
async def test_absent_target(room: Portal, peers: StartPeer, caller: Kind) -> None:
    assert (await scenarios.absent_target(room, peers, caller)).startswith("could not connect to: @")


async def test_absent_target_2018(portal_2018: Portal, peers: StartPeer) -> None:
    assert (await scenarios.absent_target(portal_2018, peers, "tunnel-2018")).startswith("could not connect to:@")


@pytest.mark.parametrize(("caller", "target"), RING[:1])
async def test_wrong_key(room: Portal, peers: StartPeer, caller: Kind, target: Kind) -> None:
    await scenarios.wrong_key(room, peers, caller, target)


@pytest.mark.parametrize("victim", ["caller", "target"])
@pytest.mark.parametrize(("caller", "target"), RING[:1])
async def test_killed_peer(room: Portal, peers: StartPeer, caller: Kind, target: Kind, victim: str) -> None:
    await scenarios.killed_peer(room, peers, caller, target, victim=victim)


@pytest.mark.parametrize(("first", "how"), [("caller", "destroy"), ("target", "disconnect")])
@pytest.mark.parametrize(("caller", "target"), RING[:1])
async def test_goodbye(room: Portal, peers: StartPeer, caller: Kind, target: Kind, first: str, how: How) -> None:
    await scenarios.goodbye(room, peers, caller, target, first=first, how=how)


@pytest.mark.parametrize("first", ["caller", "target"])
async def test_goodbye_2018(portal_2018: Portal, peers: StartPeer, first: str) -> None:
    await scenarios.goodbye(portal_2018, peers, "tunnel-2018", "tunnel-2018", first=first, how="disconnect")


@pytest.mark.parametrize(("caller", "target"), RING[:1])
async def test_bulk(room: Portal, peers: StartPeer, caller: Kind, target: Kind) -> None:
    await scenarios.bulk(room, peers, caller, target)


async def test_many_tunnels(room: Portal, peers: StartPeer) -> None:
    await scenarios.many_tunnels(room, peers, CLIENT_KINDS)


@pytest.mark.parametrize(
    ("caller", "target", "works"),
    [
        ("tunnel-2018", "room-client-2/stack6", True),
        ("tunnel-2018", "rooms-1", False),
        ("room-client-2/stack6", "tunnel-2018", False),
        ("rooms-1", "tunnel-2018", False),
        ("tunnel-2018", "tunnel-2018", True),
    ],
)
async def test_generations_mixed_at_a_js_room(
    room: Portal, peers: StartPeer, caller: Kind, target: Kind, works: bool
) -> None:
    """ssb-room hands arguments on as they came: `portal` is missing for Rooms 1, `instance` for 2018."""
    pair = await scenarios.join(room, peers, caller, target)
    if works:
        await pair.open()
        assert await pair.caller.call(pair.target.id, "test.add", 1, 1) == 2
        return
    with pytest.raises(JSError, match="expecting server to accept challenge"):
        await pair.caller.tunnel(room.id, pair.target.id)
    arguments = {"target": pair.target.id, **({"instance": 0} if caller == "tunnel-2018" else {"portal": room.id})}
    with pytest.raises(JSError, match="could not connect to"):
        await pair.caller.duplex(room.id, "tunnel.connect", arguments, sizes=[64], hold=True)
