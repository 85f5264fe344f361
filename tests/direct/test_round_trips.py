"""How many round trips a direct path takes until the engine is in charge, on a virtual clock."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import pytest

if sys.version_info < (3, 11):
    pytest.skip("aioquic needs Python 3.11: there are no direct paths", allow_module_level=True)

from ssbfast.direct import quic_engine
from ssbfast.direct.quic_connection import Connection
from ssbfast.direct.quic_engine import FastConnection
from ssbfast.direct.quic_path import DirectPath
from ssbfast.wire.direct.keys import Role
from tests.helpers.direct import PathPair, RecordingHandler, stay_with_aioquic
from tests.helpers.virtual_time import VirtualLoop, cable

if not quic_engine.HAS_ENGINE:
    pytest.skip("there is no engine on this machine", allow_module_level=True)

MOST = 1.5
"""Round trips from the proofs, which an end has seen, to the engine in its place."""


class Begins(RecordingHandler):
    """A caller that has records to send as soon as its path is ready, as sessions have."""

    def path_ready(self, path: DirectPath) -> None:
        super().path_ready(path)
        path.send_records(b"HOLD")


class Stamps:
    """When each end has seen the proofs, and what it went on with, and when."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.proven: dict[Role, float] = {}
        self.settled: dict[Role, float] = {}
        self.kinds: dict[Role, type[Any]] = {}
        settle, settled = DirectPath._settle, DirectPath.quic_settled

        def proofs_seen(path: DirectPath) -> None:
            self.proven[path.role] = asyncio.get_running_loop().time()
            settle(path)

        def goes_on(path: DirectPath, quic: Connection | FastConnection) -> None:
            self.settled[path.role] = asyncio.get_running_loop().time()
            self.kinds[path.role] = type(quic)
            settled(path, quic)

        monkeypatch.setattr(DirectPath, "_settle", proofs_seen)
        monkeypatch.setattr(DirectPath, "quic_settled", goes_on)


async def become_settled(delay: float, aioquic: Role | None) -> None:
    """Make a path over a cable; at its end the caller's first records have come."""
    sockets: Any = cable(delay)
    ends = PathPair(sockets=sockets)
    ends.here = ends.caller._handler = Begins()
    if aioquic is not None:
        stay_with_aioquic(ends.caller if aioquic is Role.CALLER else ends.target)
    ends.start(rtt=2 * delay)  # as probes have measured it
    while not (ends.caller.is_settled and ends.target.is_settled and ends.there.records):
        await asyncio.sleep(delay / 10)
    assert ends.there.records == b"HOLD"
    await ends.close()


@pytest.mark.parametrize("aioquic", [None, Role.CALLER, Role.TARGET], ids=["engines", "aioquic calls", "it listens"])
@pytest.mark.parametrize("delay", [0.010, 0.050, 0.250, 0.400])
def test_the_engine_is_in_charge_within_a_round_trip_and_a_half(
    delay: float, aioquic: Role | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSBFAST_DIRECT", "auto")
    stamps = Stamps(monkeypatch)
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(become_settled(delay, aioquic))
    for role in Role:
        took = (stamps.settled[role] - stamps.proven[role]) / (2 * delay)
        assert stamps.kinds[role] is (Connection if role is aioquic else FastConnection)
        assert took <= MOST, (role, took)
