"""A direct path whose MTU shrinks in mid-session: the session goes on, by shorter datagrams or through the room.

The engine in C makes its datagrams shorter on the path as it is; aioquic's path is lost, and the next one has them.
"""

from __future__ import annotations

import asyncio
import os
from typing import Any

import pytest

from ssbfast import limits
from ssbfast.limits import KiB
from tests.helpers.clients import RecordingClient
from tests.helpers.meeting import MeetingClients, meeting
from tests.helpers.rawpeer import eventually

STUCK = "long datagrams do not pass on the direct path"
LOST = {STUCK, "the direct path went silent"}
"""What is told when datagrams that are too long vanish: QUIC may have put its pings into them."""
LENGTH = 300 * KiB


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Attempts that fail do so soon, and are repeated soon."""
    monkeypatch.setattr(limits, "UPGRADE_SECONDS", 0.5)
    monkeypatch.setattr(limits, "PUNCH_SECONDS", 0.5)
    monkeypatch.setattr(limits, "DIRECT_FAREWELL_SECONDS", 0.1)


@pytest.fixture
def by_aioquic(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSBFAST_DIRECT", "aioquic")


async def shrink(met: MeetingClients, longest: int) -> None:
    """From now on nothing longer passes."""
    await met.path("direct")
    await met.has_standby()
    met.net.longest = longest


async def calls_pass(met: MeetingClients, by: str) -> None:
    """Bytes of the session itself; the echo goes the other way, too, but only when they have come."""
    caller = met.peer if by == "caller" else met.there
    stream = caller.duplex("echo")
    sent = [os.urandom(8 * KiB) for _ in range(LENGTH // (8 * KiB))]
    for piece in sent:
        await stream.send(piece)
    assert [await asyncio.wait_for(anext(stream), 20) for _ in sent] == sent
    await stream.end()


async def connections_pass(met: MeetingClients, by: str) -> None:
    """Bytes of a forwarded connection that was opened before."""
    wires = met._wires if by == "caller" else met._wires[::-1]
    sent = os.urandom(LENGTH)
    sending = asyncio.ensure_future(wires[0].send(sent))
    assert await asyncio.wait_for(wires[1].read(LENGTH), 20) == sent
    await sending


def reasons(client: RecordingClient) -> list[str]:
    return [event["reason"] for event in client.named("path") if event["path"] == "tunnel"]


@pytest.mark.parametrize("by", ["caller", "target"])
@pytest.mark.parametrize("passing", [calls_pass, connections_pass])
@pytest.mark.slow
async def test_the_engine_s_path_goes_on_with_shorter_datagrams(
    passing: Any, by: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSBFAST_DIRECT", "native")
    async with meeting() as met:
        await met.path("direct")
        await met.dial()
        await shrink(met, 1300)
        await passing(met, by)
        before = len(met.net.sent)
        await passing(met, by)
        assert max(len(data) for _, data in met.net.sent[before:]) <= 1300
        assert met.paths(met.caller) == met.paths(met.target) == ["direct"]


@pytest.mark.parametrize("by", ["caller", "target"])
@pytest.mark.parametrize("passing", [calls_pass, connections_pass])
@pytest.mark.slow
@pytest.mark.usefixtures("by_aioquic")
async def test_shorter_datagrams_are_tried_and_people_are_told(passing: Any, by: str) -> None:
    async with meeting() as met:
        await met.path("direct")
        await met.dial()
        await shrink(met, 1300)
        await passing(met, by)
        assert LOST & set(reasons(met.caller if by == "caller" else met.target))
        await met.path("direct", 2)
        before = len(met.net.sent)
        await passing(met, by)
        assert max(len(data) for _, data in met.net.sent[before:]) <= limits.DIRECT_DATAGRAM_LEAST
        met.net.longest = 2048  # and it grows again
        await passing(met, by)
        assert met.paths(met.caller).count("tunnel") == 1


@pytest.mark.usefixtures("by_aioquic")
async def test_only_one_direction_shrinks_and_the_other_end_hears_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the target sends is too long; the caller's own datagrams would pass."""
    from ssbfast.direct.quic_path import DirectPath  # not above: it is not there on Python 3.10

    targets: list[Any] = []
    start = DirectPath.start

    def started(path: DirectPath, udp: Any, remote: Any = None, **more: Any) -> None:
        if remote is None:
            targets.append(udp)
        start(path, udp, remote, **more)

    monkeypatch.setattr(DirectPath, "start", started)
    async with meeting() as met:
        await met.path("direct")
        await met.has_standby()
        send = met.net.send
        monkeypatch.setattr(
            met.net, "send", lambda udp, data, to: (udp in targets and len(data) > 1300) or send(udp, data, to)
        )
        await calls_pass(met, "target")
        assert LOST & set(reasons(met.target))
        await met.path("direct", 2)
        await calls_pass(met, "target")
        await calls_pass(met, "caller")
        assert met.paths(met.target).count("tunnel") == 1


@pytest.mark.parametrize("by", ["caller", "target"])
@pytest.mark.slow
async def test_where_not_even_the_shortest_pass_it_stays_in_the_room(by: str) -> None:
    async with meeting() as met:
        await shrink(met, 600)
        await calls_pass(met, by)
        await eventually(lambda: any("no direct path" in reason for reason in reasons(met.caller)))
        await calls_pass(met, by)
        assert met.paths(met.caller).count("direct") == 1
