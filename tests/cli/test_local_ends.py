"""The local ends of services: what they keep of the sessions that carry them."""

from __future__ import annotations

import contextlib
import gc
import weakref
from typing import Any

from ssbfast.cli.local_ends import ListenerMaker, LocalEnds, Wanted
from ssbfast.cli.resolve_target import Target
from ssbfast.errors import SessionEndedError
from ssbfast.net.endpoints import Endpoint
from tests.helpers.rooms import feed

HERE = Endpoint("127.0.0.1", 0)


class Session:
    """A session with a peer that offers one service. is_over: it answers nothing any more."""

    path = "tunnel"
    is_open = True
    error = None

    def __init__(self, *, is_over: bool = False) -> None:
        self.is_over = is_over

    async def call(self, _name: str, **_options: Any) -> Any:
        if self.is_over:
            raise SessionEndedError("over")
        return [{"name": "ssh", "kind": "tcp"}]

    async def close(self) -> None:
        """Nothing is left to close."""


def opened(ends: LocalEnds, session: Session) -> weakref.ref[Session]:
    ends.session_opened(session)  # type: ignore[arg-type]
    return weakref.ref(session)


async def test_sessions_that_are_over_are_not_kept() -> None:
    """A friend that cuts each session, or a bad line, would fill the memory of a command that runs for weeks."""
    async with contextlib.AsyncExitStack() as stack:
        make = ListenerMaker(8, lambda _event: None, stack)
        for bind, service in ((HERE, None), (None, "ssh")):
            ends = LocalEnds([Wanted("home", Target(feed(1)), service, bind)], make, only_direct=False)
            await ends.listen()
            opened(ends, Session())
            await ends.find()
            sessions = [opened(ends, Session()) for _ in range(5)]
            gc.collect()
            assert [session() is not None for session in sessions] == [False] * 4 + [True]


async def test_the_newest_session_is_asked_for_what_its_peer_offers() -> None:
    async with contextlib.AsyncExitStack() as stack:
        told: list[Any] = []
        make = ListenerMaker(8, told.append, stack)
        ends = LocalEnds([Wanted("home/ssh", Target(feed(1)), "ssh", None)], make, only_direct=False)
        opened(ends, Session(is_over=True))
        opened(ends, Session())
        await ends.find()
        assert [event["service"] for event in told] == ["ssh"]
