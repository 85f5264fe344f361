"""JavaScript peers of every generation through our room, unchanged."""
from __future__ import annotations
import pytest, pytest_asyncio
from ssbfast.keys import Keypair
from ssbfast.app.room_server import RoomServer
from ssbfast.app.listening import Endpoint
from tests.interop import scenarios
from tests.interop.conftest import *
from tests.interop.scenarios import CLIENT_KINDS, Portal
from tests.interop.test_js_baseline import RING
pytestmark = [pytest.mark.timeout(180)]
from tests.interop.jspeer import *
@pytest_asyncio.fixture
async def room(network):
    import inspect
    from ssbfast.ids import NetworkId
    async with RoomServer(Keypair.generate(), network=NetworkId(network), listen=[Endpoint("127.0.0.1",0)], on_event=print) as s:
        yield Portal(s.address)

@pytest.mark.parametrize(("caller", "target"), RING)
async def test_join_and_list(room, peers, caller, target):
    await scenarios.join_and_list(room, peers, caller, target)
KINDS=CLIENT_KINDS+("tunnel-2018",)
@pytest.mark.parametrize("target", KINDS)
@pytest.mark.parametrize("caller", KINDS)
async def test_call_kinds(room, peers, caller, target):
    await scenarios.call_kinds(room, peers, caller, target)
@pytest.mark.parametrize("caller", CLIENT_KINDS)
async def test_absent_target(room, peers, caller):
    assert (await scenarios.absent_target(room, peers, caller)).startswith("could not connect to: @")
@pytest.mark.parametrize(("caller", "target"), RING)
async def test_wrong_key(room, peers, caller, target):
    await scenarios.wrong_key(room, peers, caller, target)
@pytest.mark.parametrize("victim", ["caller", "target"])
@pytest.mark.parametrize(("caller", "target"), RING)
async def test_killed_peer(room, peers, caller, target, victim):
    await scenarios.killed_peer(room, peers, caller, target, victim=victim)
@pytest.mark.parametrize("how", ["disconnect", "destroy"])
@pytest.mark.parametrize("first", ["caller", "target"])
@pytest.mark.parametrize(("caller", "target"), RING)
async def test_goodbye(room, peers, caller, target, first, how):
    await scenarios.goodbye(room, peers, caller, target, first=first, how=how)
@pytest.mark.parametrize(("caller", "target"), RING)
async def test_bulk(room, peers, caller, target):
    await scenarios.bulk(room, peers, caller, target)
async def test_many_tunnels(room, peers):
    await scenarios.many_tunnels(room, peers, CLIENT_KINDS)
