"""Mappings by UPnP at a gateway that is a part of the test; `tests/nat/test_mappings.py` has miniupnpd."""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import AsyncIterator

import pytest

if sys.version_info < (3, 11):
    pytest.skip("async-upnp-client needs Python 3.11", allow_module_level=True)
pytest.importorskip("async_upnp_client", reason="async-upnp-client is not available: pip install 'ssbfast[upnp]'")

from ssbfast import limits
from ssbfast.direct import port_mapper, upnp_client, upnp_mapping
from ssbfast.direct.port_mapper import PortMapper, PortMapping
from ssbfast.errors import MissingExtraError
from ssbfast.wire.direct.port_mapping import Protocol
from tests.helpers.igd import FakeIgd, fake_igd
from tests.helpers.rawpeer import eventually

PORT = 40_001


def unused_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@pytest.fixture
async def igd(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[FakeIgd]:
    async with fake_igd() as found:
        monkeypatch.setattr(upnp_client, "SEARCH_PORT", found.search_port)
        monkeypatch.setattr(port_mapper, "SERVER_PORT", unused_port())
        monkeypatch.setattr(port_mapper, "gateway_of", lambda hosts: ("127.0.0.1", "127.0.0.1"))
        yield found


async def mapped() -> PortMapping:
    mapping = PortMapper().map(PORT, [])
    assert mapping is not None
    await mapping.settled(60.0)
    return mapping


async def ended(mapping: PortMapping) -> None:
    await eventually(lambda: mapping._router._sock is None)


async def test_a_port_is_mapped_and_given_back(igd: FakeIgd) -> None:
    mapping = await mapped()
    assert mapping.address == (igd.host, PORT)
    assert mapping.protocol is Protocol.UPNP and mapping.is_prompt
    assert igd.leases == [limits.MAPPING_SECONDS]
    mapping.close()
    mapping.close()
    assert mapping.address is None
    await ended(mapping)
    assert igd.calls == [("AddPortMapping", PORT), ("GetExternalIPAddress", 0), ("DeletePortMapping", PORT)]


async def test_the_next_one_needs_no_search(igd: FakeIgd) -> None:
    mapper = PortMapper()
    mapper.greet([])
    for port in (PORT, PORT + 1):
        mapping = mapper.map(port, [])
        assert mapping is not None
        await mapping.settled(60.0)
        assert mapping.address == (igd.host, port)
        mapping.close()
    await ended(mapping)
    mapper.close()
    assert igd.searches == 1


async def test_it_is_renewed_and_a_port_of_another_machine_is_left_alone(
    igd: FakeIgd, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "MAPPING_SECONDS", 0)
    igd.taken = {PORT}
    mapping = await mapped()
    assert mapping.address is not None
    outer = mapping.address[1]
    assert outer != PORT
    await eventually(lambda: igd.calls.count(("AddPortMapping", outer)) >= 3)
    mapping.close()
    await ended(mapping)
    assert igd.calls.count(("AddPortMapping", PORT)) == 1 and igd.calls[-1] == ("DeletePortMapping", outer)


async def test_the_end_of_the_event_loop_leaves_no_mapping(igd: FakeIgd) -> None:
    mapping = await mapped()
    igd.is_slow = True
    mapping.close()
    upnp = mapping._upnp
    assert upnp is not None
    await eventually(lambda: len(igd.calls) == 3)
    upnp._task.cancel()  # as asyncio.run does with all that is left
    await ended(mapping)
    assert igd.calls[2:] == [("DeletePortMapping", PORT)] * 2


async def test_without_the_extra_nothing_is_asked(igd: FakeIgd, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upnp_mapping, "has_upnp", lambda: False)
    mapping = await mapped()
    assert mapping.address is mapping.protocol is None and igd.searches == 0
    await ended(mapping)


async def test_a_gateway_without_it_is_left_alone_for_a_while(igd: FakeIgd) -> None:
    igd.lies = {"/description": b"HTTP/1.1 404 x\r\nContent-Length: 0\r\n\r\n"}
    mapper = PortMapper()
    for _ in range(2):
        mapping = mapper.map(PORT, [])
        assert mapping is not None
        await mapping.settled(60.0)
        assert mapping.address is mapping.protocol is None
        await ended(mapping)
    assert igd.searches == 1


def answer(body: bytes, head: str = "200 OK") -> bytes:
    return f"HTTP/1.1 {head}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


@pytest.mark.parametrize(
    "lies",
    [
        {"/description": answer(b"", "302 x\r\nLocation: /elsewhere")},
        {"/description": answer(b"<root" + bytes(1000))},
        {"/description": answer(b"<root>" * 4_000)},
        {"/description": answer(b'<!DOCTYPE r [<!ENTITY a "b"><!ENTITY c "&a;&a;">]><r>&c;</r>')},
        {"/description": b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 100_000},
        {"/description": b"\xff" * 100},
        {"/scpd": answer(b"<scpd/>")},
        {"/scpd": answer(b"\0")},
        {"/control": answer(b"<x/>")},
        {"/control": b""},
    ],
)
async def test_whatever_a_gateway_sends_is_no_mapping(lies: dict[str, bytes], igd: FakeIgd) -> None:
    igd.lies = lies
    mapping = await mapped()
    assert mapping.address is None
    mapping.close()
    await ended(mapping)


@pytest.mark.parametrize("host", ["192.168.7.1", "127.0.0.1", "", "2001:db8::1", "x"])
async def test_an_address_of_no_use_is_no_mapping(host: str, igd: FakeIgd) -> None:
    igd.host = host
    mapping = await mapped()
    assert mapping.address is None
    await ended(mapping)
    assert igd.calls[-1] == ("DeletePortMapping", PORT)


@pytest.mark.parametrize("what", ["location", "control"])
async def test_no_other_machine_is_asked(what: str, igd: FakeIgd) -> None:
    async with fake_igd() as other:
        place = other.location.replace("127.0.0.1", "localhost")
        setattr(igd, what, place if what == "location" else place.replace("description", "control"))
        mapping = await mapped()
        assert mapping.address is None and other.requests == 0
        mapping.close()
        await ended(mapping)


async def test_an_answer_that_is_too_long_is_no_mapping(igd: FakeIgd) -> None:
    igd.padding = limits.UPNP_ANSWER
    mapping = await mapped()
    assert mapping.address is None
    await ended(mapping)


async def test_a_router_that_answers_otherwise_is_not_asked_by_upnp(igd: FakeIgd) -> None:
    mapper = PortMapper()
    mapping = mapper.map(PORT, [])
    assert mapping is not None and mapper._router is not None
    mapper._router.has_answered = True
    await mapping.settled(60.0)
    await asyncio.sleep(0)
    assert mapping.address is None and igd.searches == 0


async def test_a_library_that_cannot_be_loaded_is_as_good_as_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where aiohttp is broken, for example: whatever looks at the router would raise."""

    def load(_name: str) -> None:
        raise MissingExtraError("no aiohttp")

    monkeypatch.setattr(upnp_mapping.importlib, "import_module", load)
    gateway = upnp_mapping.UpnpGateway("127.0.0.1", "127.0.0.1")
    assert await gateway.found() is None
    assert not gateway.may_map
