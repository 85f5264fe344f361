"""Fixtures for tests with live JavaScript peers."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.helpers.require import require
from tests.interop.js_modules import ensure_modules, have_node
from tests.interop.jspeer import JSON, JSPeer, Kind, StartPeer

pytest.register_assert_rewrite("tests.interop.scenarios")


@pytest.fixture(scope="session")
def js_modules() -> None:
    """Node and the locked npm packages; without them the test is skipped, or fails if SSBFAST_REQUIRE has `node`."""
    require("node", have_node())
    require("node", (why := ensure_modules()) is None, why or "")


@pytest.fixture(scope="session")
def network() -> bytes:
    """A 32-byte network key of the tests' own."""
    return hashlib.sha256(b"ssbfast interop network").digest()


@pytest_asyncio.fixture
async def peers(js_modules: None, network: bytes) -> AsyncIterator[StartPeer]:
    """Starts peers by kind, each with another identity (the same ones in each test); all end with the test."""
    started: list[JSPeer] = []
    numbers = itertools.count()

    async def start(kind: Kind, **options: JSON) -> JSPeer:
        seed = hashlib.sha256(b"ssbfast interop peer %d" % next(numbers)).digest()
        peer = await JSPeer.start(kind, network=network, seed=seed, **options)
        started.append(peer)
        return peer

    yield start
    await asyncio.gather(*(peer.close() for peer in started))
