"""Connections of a web site by themselves."""

from __future__ import annotations

import pytest

pytest.importorskip("uvicorn", reason="the extra `web` is not installed")

from ssbfast.server.web.client_address import Proxies
from ssbfast.server.web.connection import ConnectionPlaces, HttpConnection, protocol_class


def connection(places: ConnectionPlaces) -> HttpConnection:
    """A connection that nothing has begun."""
    made = protocol_class(places)
    return object.__new__(made)  # type: ignore[call-overload,no-any-return]


def test_two_sites_read_into_different_memory() -> None:
    """They may run in two threads: one would find the other's cookies in what it has read."""
    places = ConnectionPlaces(Proxies()), ConnectionPlaces(Proxies())
    one, same, other = connection(places[0]), connection(places[0]), connection(places[1])
    assert one.get_buffer(-1) is same.get_buffer(-1)
    other.get_buffer(-1)[:6] = b"cookie"
    assert bytes(one.get_buffer(-1)[:6]) == bytes(6)
