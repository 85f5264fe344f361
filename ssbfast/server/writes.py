"""Calls that change a room's records: bounded, carried out one after the other in a thread, answered later."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol

from ssbfast import limits
from ssbfast.budgets import Allowance, Caps, Places, Rates
from ssbfast.errors import SessionEndedError, StoreError
from ssbfast.ids import FeedId
from ssbfast.room import alias_rules
from ssbfast.room.effects import EndWebSessions, RegisterAlias, RevokeAlias, Write
from ssbfast.room.records import Outcome
from ssbfast.room.registry import Registry
from ssbfast.room.roles import Action
from ssbfast.server.keeper import Keeper
from ssbfast.server.presence import WebPresence
from ssbfast.server.session import RoomSession

BUSY = "the room is busy: try again later"
TOO_OFTEN = "too many changes: try again later"
NO_STORE = "the room cannot keep this now"


class WritingRoom(Protocol):
    """The room as far as writing needs it."""

    @property
    def registry(self) -> Registry:
        """Return what the room knows of keys."""

    @property
    def web(self) -> WebPresence:
        """Return what the room knows of its web site."""

    def limit_reached(self, limit: str) -> None:
        """Take note that a limit was reached."""


class Writes:
    """The changes that the peers of one room ask for.

    now: a clock that does not jump, in seconds. allowances: how often, by kind.
    """

    def __init__(
        self, room: WritingRoom, keeper: Keeper, now: Callable[[], float], allowances: Mapping[str, Allowance]
    ) -> None:
        self._room = room
        self._keeper = keeper
        self._now = now
        self.rates = Rates(allowances)
        self._tasks: dict[asyncio.Task[None], RoomSession] = {}
        caps = Caps(limits.WRITES_WAITING, limits.WRITES_WAITING_PER_ADDRESS)
        self._places: Places[object] = Places("writes", caps, lambda _task: None)

    async def close(self) -> None:
        """Wait until all that was begun is done."""
        while self._tasks:
            await asyncio.wait(list(self._tasks))

    def begin(self, session: RoomSession, effect: Write) -> None:
        """Carry out an effect; the session is answered when it is done, or told why it is not."""
        problem = self._problem(session, effect)
        if problem is not None:
            session.refuse(effect.req, problem)
            return
        task = asyncio.get_running_loop().create_task(self._run(session, effect))
        self._tasks[task] = session
        self._places.add(task, session.networks)
        task.add_done_callback(self._on_done)

    def _problem(self, session: RoomSession, effect: Write) -> str | None:
        kind = "registrations" if isinstance(effect, RegisterAlias) else "writes"
        waiting = sum(other is session for other in self._tasks.values())
        if waiting >= limits.WRITES_WAITING_PER_SESSION or not self._places.ask(session.networks).enters:
            self._room.limit_reached("writes_waiting")
            return BUSY
        if not self.rates.take(kind, effect.feed, session.networks, self._now()):
            self._room.limit_reached(kind)
            return TOO_OFTEN
        if isinstance(effect, RegisterAlias) and not alias_rules.is_signed(self._room.registry.me, effect):
            return alias_rules.BAD_SIGNATURE
        return None

    def _on_done(self, task: asyncio.Task[None]) -> None:
        self._tasks.pop(task, None)
        self._places.remove(task)

    async def _run(self, session: RoomSession, effect: Write) -> None:
        try:
            problem, value = await self._carry_out(effect)
        except StoreError:
            problem, value = NO_STORE, None
        if not session.link.is_open:
            return
        try:
            if problem is None:
                session.answer(effect.req, value)
            else:
                session.refuse(effect.req, problem)
        except SessionEndedError:
            return

    def _carry_out(self, effect: Write) -> Awaitable[tuple[str | None, Any]]:
        if isinstance(effect, RegisterAlias):
            return self._register(effect)
        if isinstance(effect, RevokeAlias):
            return self._revoke(effect)
        return self._end_web_sessions(effect)

    async def _register(self, effect: RegisterAlias) -> tuple[str | None, Any]:
        registry, run = self._room.registry, self._keeper.run
        if not registry.may(effect.feed, Action.REGISTER_ALIAS):
            return alias_rules.MEMBERS_ONLY, None
        outcome: Outcome = await run(
            self._keeper.records.register_alias,
            effect.name,
            effect.feed,
            effect.signature,
            most=limits.ALIASES_PER_KEY,
            now=time.time(),
        )
        if outcome not in (Outcome.DONE, Outcome.UNCHANGED):
            return alias_rules.REFUSALS.get(outcome, NO_STORE), None
        return None, self._room.web.alias_url(effect.name)

    async def _revoke(self, effect: RevokeAlias) -> tuple[str | None, Any]:
        feed: FeedId = effect.feed
        outcome = await self._keeper.run(self._keeper.records.revoke_alias, effect.name, by=feed, owner=feed)
        return (None, True) if outcome is Outcome.DONE else (alias_rules.UNKNOWN, None)

    async def _end_web_sessions(self, effect: EndWebSessions) -> tuple[str | None, Any]:
        if self._room.web.sign_ins is not None:
            self._room.web.sign_ins.forget(effect.feed)
        await self._keeper.run(self._keeper.records.end_web_sessions, effect.feed)
        return None, True
