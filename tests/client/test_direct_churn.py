"""Connections that come and go quickly on a direct path, and while it is lost: their streams and places come back."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import pytest

if sys.version_info < (3, 11):
    pytest.skip("aioquic needs Python 3.11: there are no direct paths", allow_module_level=True)

from ssbfast import limits
from ssbfast.direct.forwarded_stream import ContinuedTransport, DirectStream
from ssbfast.wire.direct.carriers.streams import CarriedStream
from tests.helpers.forwards import TcpEnd
from tests.helpers.meeting import meeting
from tests.helpers.rawpeer import eventually, settle


@pytest.mark.parametrize("engine", ["aioquic", "auto"])
async def test_connections_beyond_the_credit_of_a_path_go_in_the_session(
    engine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """QUIC gives credit later than a connection is over: a stream without, that is reset, would end the path."""
    monkeypatch.setenv("SSBFAST_DIRECT", engine)
    monkeypatch.setattr(limits, "FORWARDS_PER_PEER", 3)
    async with meeting() as met:
        await met.path("direct")
        forwards: Any = met.peer.forwards
        await eventually(lambda: forwards.is_up)
        for _ in range(3):
            wires = [TcpEnd(*await asyncio.open_connection(*met.listener.address)) for _ in range(8)]
            await eventually(lambda: met.listener.traffic().open == 8)
            assert forwards.connections == 3
            for wire in wires:
                wire.reset()
            await eventually(lambda: not met.listener.traffic().open and not met.server.traffic().open)
            await eventually(lambda: forwards.is_up)
        while not met.service.connections.empty():
            await (await met.service.accept()).close()
        pairs = [await met.dial() for _ in range(5)]
        assert forwards.connections == 3
        for client, service in pairs:
            await client.send(b"there")
            assert await service.read(5) == b"there"
        assert met.paths(met.caller) == met.paths(met.target) == ["direct"]


@pytest.fixture
def brief(monkeypatch: pytest.MonkeyPatch) -> None:
    """A silent path is lost soon, and what it carried is waited for without end."""
    for name, seconds in {
        "DOWN_SECONDS": 0.05, "DIRECT_LOST_SECONDS": 0.2, "DIRECT_PING_BUSY": 0.05, "CARRIER_SECONDS": 600.0,
    }.items():  # fmt: skip
        monkeypatch.setattr(limits, name, seconds)


async def test_a_connection_that_was_over_but_for_its_records_ends_behind_the_path(
    brief: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both programs have closed it; only the last acknowledgements were lost with the path."""
    async with meeting() as met:
        await met.path("direct")
        await met.has_standby()
        client, service = await met.dial()
        await client.send(b"there")
        assert await service.read(5) == b"there"
        monkeypatch.setattr(DirectStream, "_tick", lambda _stream: None)
        monkeypatch.setattr(CarriedStream, "handle_timer", lambda _carried, _now: b"")
        for end, other in ((client, service), (service, client)):
            end.finish()
            assert await other.rest() == b""
        await client.close()
        await service.close()
        await settle(50)
        assert met.listener.traffic().open == met.server.traffic().open == 1
        met.silence()
        await eventually(lambda: not met.listener.traffic().open and not met.server.traffic().open)
        assert met.peer.path == "tunnel" and met.peer.forwards is not None and met.peer.forwards.is_idle


async def test_a_connection_that_is_reset_before_it_goes_on_is_reset_at_the_service(
    brief: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The path is lost, and the other end has yet to say where it goes on."""
    async with meeting() as met:
        await met.path("direct")
        await met.has_standby()
        client, service = await met.dial()
        await client.send(b"there")
        assert await service.read(5) == b"there"
        held: list[Any] = []
        monkeypatch.setattr(ContinuedTransport, "item", lambda *call: held.append(call))
        met.silence()
        await eventually(lambda: held)
        client.reset()
        with pytest.raises(ConnectionError):
            await asyncio.wait_for(service.rest(), 20)
        await eventually(lambda: not met.listener.traffic().open and not met.server.traffic().open)


@pytest.mark.parametrize("engine", ["aioquic", "auto"])
@pytest.mark.parametrize("how", ["reset", "end"])
async def test_the_other_end_is_told_of_what_was_over_before_the_path_was_lost(
    how: str, engine: str, brief: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else it would wait for that to go on, and a place with it."""
    monkeypatch.setenv("SSBFAST_DIRECT", engine)
    async with meeting() as met:
        await met.path("direct")
        await met.has_standby()
        await eventually(lambda: met.peer.forwards and met.peer.forwards.is_up)
        client, service = await met.dial()
        await client.send(b"there")
        assert await service.read(5) == b"there"
        assert met.peer.forwards is not None and not met.peer.forwards.is_idle
        if how == "reset":
            met.silence()
            client.reset()
        else:
            client.finish()
            assert await service.rest() == b""
            path: Any = met.negotiation(met.caller)._path
            monkeypatch.setattr(path.path, "send_records", lambda _data: None)  # the last acknowledgement
            await service.send(b"back")
            service.finish()
            assert await client.rest() == b"back"
            await client.close()
        await eventually(lambda: not met.listener.traffic().open)
        assert met.server.traffic().open == 1 and met.peer.path == "direct"
        met.silence()
        await eventually(lambda: not met.server.traffic().open)
        await met.is_usable()
        assert met.peer.forwards.is_idle and met.there.forwards is not None and met.there.forwards.is_idle


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["aioquic", "auto"])
async def test_connections_that_come_and_go_leave_nothing_on_a_path(
    engine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """256 at once, and many in a row: no stream, no memory of one, and no place."""
    monkeypatch.setenv("SSBFAST_DIRECT", engine)
    async with meeting() as met:
        await met.path("direct")
        await eventually(lambda: met.peer.forwards and met.peer.forwards.is_up)
        for number in range(2):
            pairs = [await met.dial() for _ in range(limits.FORWARDS_PER_PEER)]
            for client, service in pairs:
                if number % 2:
                    client.reset()
                    service.reset()
                else:
                    await client.send(b"there")
                    await client.close()
                    await service.close()
            await eventually(lambda: not met.listener.traffic().open and not met.server.traffic().open)
        for number in range(200):
            client, service = await met.dial()
            client.finish()
            assert await service.rest() == b""
            if number % 10:
                await service.close()
                assert await client.rest() == b""
                await client.close()
            else:
                client.reset()
                await service.close()
        await eventually(lambda: not met.listener.traffic().open and not met.server.traffic().open)
        for end in (met.caller, met.target):
            path: Any = met.negotiation(end)._path.path  # type: ignore[union-attr]
            await eventually(lambda path=path: not any(map(path._quic.is_open, range(4, 4 * 800))))
            if hasattr(path._quic, "_engine"):  # of what is read, the records have a page
                assert path._quic._engine.figures()["pages"] == 1
                await eventually(lambda path=path: not path._quic._engine._lent)
                assert not path._quic._over
        assert met.peer.forwards is not None and met.peer.forwards.is_idle
        assert met.paths(met.caller) == met.paths(met.target) == ["direct"]
