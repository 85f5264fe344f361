"""JavaScript peers of every generation through our room, as they are."""

from __future__ import annotations

import base64
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.processes import Running
from tests.interop import scenarios
from tests.interop.jspeer import Kind, StartPeer
from tests.interop.scenarios import CLIENT_KINDS, Portal
from tests.interop.test_js_baseline import RING

pytestmark = [pytest.mark.interop, pytest.mark.timeout(180)]

MEETINGS: tuple[tuple[Kind, Kind], ...] = (
    *RING,
    ("room-client-2/stack8", "room-client-2/stack8"),
    ("tunnel-2018", "room-client-2/stack8"),
    ("rooms-1", "tunnel-2018"),
    ("tunnel-2018", "tunnel-2018"),
)
"""Each generation as caller and as target, of its like and of others."""


@pytest.fixture
def room(network: bytes, tmp_path: Path) -> Iterator[Portal]:
    """`ssbfast room` in a process of its own."""
    key = base64.b64encode(network).decode()
    arguments = ("room", "--data", str(tmp_path / "room"), "--listen", "127.0.0.1:0", "--network-key", key, "--json")
    with Running(*arguments) as command:
        yield Portal(command.event("listening")["address"])
        command.signal(signal.SIGTERM)
        assert command.wait() == 0, command.stderr


@pytest.mark.parametrize(("caller", "target"), RING)
async def test_join_and_list(room: Portal, peers: StartPeer, caller: Kind, target: Kind) -> None:
    await scenarios.join_and_list(room, peers, caller, target)


@pytest.mark.parametrize(("caller", "target"), MEETINGS)
async def test_call_kinds(room: Portal, peers: StartPeer, caller: Kind, target: Kind) -> None:
    """Any generation to any: what one does not say (`portal`, `instance`), the room says."""
    await scenarios.call_kinds(room, peers, caller, target)


@pytest.mark.parametrize("caller", CLIENT_KINDS)
async def test_absent_target(room: Portal, peers: StartPeer, caller: Kind) -> None:
    assert (await scenarios.absent_target(room, peers, caller)).startswith("could not connect to: @")


@pytest.mark.parametrize(("caller", "target"), RING)
async def test_wrong_key(room: Portal, peers: StartPeer, caller: Kind, target: Kind) -> None:
    await scenarios.wrong_key(room, peers, caller, target)


@pytest.mark.parametrize("victim", ["caller", "target"])
@pytest.mark.parametrize(("caller", "target"), RING)
async def test_killed_peer(room: Portal, peers: StartPeer, caller: Kind, target: Kind, victim: str) -> None:
    await scenarios.killed_peer(room, peers, caller, target, victim=victim)


@pytest.mark.parametrize(("first", "how"), [("caller", "disconnect"), ("target", "destroy")])
@pytest.mark.parametrize(("caller", "target"), RING)
async def test_goodbye(room: Portal, peers: StartPeer, caller: Kind, target: Kind, first: str, how: str) -> None:
    await scenarios.goodbye(room, peers, caller, target, first=first, how=how)


@pytest.mark.parametrize("first", ["caller", "target"])
async def test_goodbye_2018(room: Portal, peers: StartPeer, first: str) -> None:
    await scenarios.goodbye(room, peers, "tunnel-2018", "tunnel-2018", first=first, how="disconnect")


@pytest.mark.parametrize(("caller", "target"), RING[:1])
async def test_bulk(room: Portal, peers: StartPeer, caller: Kind, target: Kind) -> None:
    await scenarios.bulk(room, peers, caller, target)


async def test_bulk_2018(room: Portal, peers: StartPeer) -> None:
    await scenarios.bulk(room, peers, "tunnel-2018", "tunnel-2018")


async def test_many_tunnels(room: Portal, peers: StartPeer) -> None:
    await scenarios.many_tunnels(room, peers, CLIENT_KINDS)
