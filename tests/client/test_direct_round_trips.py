"""How many round trips lie between the offer of a direct path and the first answer by way of it, on a virtual clock."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Iterable
from typing import Any, Final

import pytest

if sys.version_info < (3, 11):
    pytest.skip("aioquic needs Python 3.11: there are no direct paths", allow_module_level=True)

from ssbfast import limits
from ssbfast.direct.udp import Address, UdpSocket
from ssbfast.errors import SessionEndedError
from ssbfast.net.peer import Peer
from ssbfast.wire.direct import signaling
from tests.helpers.meeting import Meddler, meddling, meeting
from tests.helpers.virtual_time import VirtualLoop

DELAY: Final = 0.010
"""Seconds one way, between the ends, and between either of them and the room."""

MOST: Final = 8.5
"""Round trips, of which 8 are flights: offer and answer 2 each way through the room, SYNC and punching 2, QUIC and the
proofs 2, the session's move 1, call and answer 1. One flight more does not fit."""


class SlowRoom(Meddler):
    """What comes into a tunnel leaves it after the way to the room and the way from it."""

    def pass_on(self, number: int, to_target: bool, data: bytes) -> Iterable[bytes]:
        asyncio.get_running_loop().call_later(2 * DELAY, self._write_late, number, to_target, bytes(data))
        return ()

    def _write_late(self, number: int, to_target: bool, data: bytes) -> None:
        with contextlib.suppress(SessionEndedError):
            self.write(number, to_target, data)


async def offer_to_answer(monkeypatch: pytest.MonkeyPatch) -> float:
    """Have a session leave the room, and call by way of the path; return the round trips since the offer."""
    loop = asyncio.get_running_loop()
    offered: list[float] = []
    call = Peer.call

    async def stamped(peer: Peer, name: str, *args: Any, **more: Any) -> Any:
        if name == signaling.OFFER:
            offered.append(loop.time())
        return await call(peer, name, *args, **more)

    monkeypatch.setattr(Peer, "call", stamped)
    async with meddling(SlowRoom()), meeting() as met:
        at_once = met.net._pass

        def arrive(udp: UdpSocket, data: bytes, to: Address) -> None:
            if not udp.is_closed:
                at_once(udp, data, to)

        def late(udp: UdpSocket, data: bytes, to: Address) -> bool:
            loop.call_later(DELAY, arrive, udp, data, to)
            return True

        met.net._pass = late
        while met.peer.path != "direct":
            await asyncio.sleep(DELAY / 10)
        await met.peer.call("manifest")
        assert met.peer.path == "direct" and len(offered) == 1
        return (loop.time() - offered[0]) / (2 * DELAY)


@pytest.mark.parametrize("engine", ["native", "aioquic"])
def test_an_answer_comes_by_the_path_within_eight_round_trips_of_the_offer(
    engine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSBFAST_DIRECT", engine)
    monkeypatch.setattr(limits, "DIRECT_FAREWELL_SECONDS", 0.05)
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        assert runner.run(offer_to_answer(monkeypatch)) <= MOST
