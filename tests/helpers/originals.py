"""A pytest plugin under which the originals' own test files run on our packages: `-p tests.helpers.originals`.

It stands for the tools of their time: `asynctest`, which does not import on Python 3.11, and pytest-asyncio's
`event_loop`, which has gone.
"""

from __future__ import annotations

import asyncio
import sys
import unittest.mock
from collections.abc import Iterator
from types import ModuleType

import pytest

import ssbfast


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "client_app_key(key): a network for the client of a handshake")
    asynctest = ModuleType("asynctest")
    vars(asynctest).update({name: getattr(unittest.mock, name) for name in unittest.mock.__all__})
    sys.modules.setdefault("asynctest", asynctest)
    ssbfast.install()


@pytest.fixture
def event_loop() -> Iterator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    yield loop
    loop.close()
