"""The calls that a room makes on its peers and whose answers somebody waits for: httpAuth.requestSolution."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from ssbfast import limits
from ssbfast.errors import (
    DeadlineError,
    LimitError,
    RefusedError,
    RemoteError,
    SessionEndedError,
)
from ssbfast.ids import FeedId
from ssbfast.room.directory import Portal
from ssbfast.server.session import RoomSession
from ssbfast.wire.muxrpc import Answered, CallKind, Failed

_ASK = ("httpAuth", "requestSolution")


class OwnCalls:
    """The open calls of a room, by session."""

    def __init__(self, portal: Portal, sessions: Mapping[int, RoomSession]) -> None:
        self._portal = portal
        self._sessions = sessions
        self._waiting: dict[RoomSession, dict[int, asyncio.Future[Any]]] = {}

    async def request_solution(self, feed: FeedId, sc: str, cc: str) -> str:
        """Ask the newest session of a key to solve the challenge of a sign-in.

        Args:
            feed: The key that wants to sign in.
            sc: Our nonce.
            cc: The peer's nonce.

        Returns:
            What it says is the solution; whether it is one is for the caller to find out.

        Raises:
            RefusedError: The key has no session, or too many challenges wait there.
            RemoteError: The peer does not want to, or answers no text.
            DeadlineError: It does not answer in time.
        """
        numbers = self._portal.sessions(feed)
        session = self._sessions.get(numbers[0]) if numbers else None
        if session is None or not session.link.is_open:
            raise RefusedError("the peer is not here")
        waiting = self._waiting.setdefault(session, {})
        try:
            if len(waiting) >= limits.SOLUTIONS_PER_SESSION:
                raise LimitError("too many challenges wait for this session")
            req, packet = session.mux.call(CallKind.ASYNC, _ASK, [sc, cc])
            session.link.control(*packet)
        except (LimitError, SessionEndedError) as error:
            self._tidy(session)
            raise RefusedError("the peer cannot be asked now") from error
        answer = waiting[req] = asyncio.get_running_loop().create_future()
        try:
            value = await asyncio.wait_for(answer, limits.SOLUTION_SECONDS)
        except asyncio.TimeoutError:
            raise DeadlineError("the peer has not answered in time") from None
        finally:
            waiting.pop(req, None)
            session.mux.end(req)  # a late answer is dropped
            self._tidy(session)
        if not isinstance(value, str):
            raise RemoteError("the answer is no text")
        return value

    def take(self, session: RoomSession, event: Answered | Failed) -> None:
        """Take the answer to a call."""
        answer = self._waiting.get(session, {}).get(event.req)
        if answer is None or answer.done():
            return
        if isinstance(event, Answered):
            answer.set_result(event.value)
        else:
            answer.set_exception(event.error)

    def session_lost(self, session: RoomSession) -> None:
        """Fail all calls on a session that is over."""
        for answer in self._waiting.pop(session, {}).values():
            if not answer.done():
                answer.set_exception(RefusedError("the peer has left"))

    def _tidy(self, session: RoomSession) -> None:
        if not self._waiting.get(session, True):
            del self._waiting[session]
