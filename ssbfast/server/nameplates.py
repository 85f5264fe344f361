"""The nameplates of pairing: which session has which, and how often a peer may ask (docs/protocol/pairing.md)."""

from __future__ import annotations

from collections.abc import Callable

from ssbfast import limits
from ssbfast.budgets import Caps, Places, Rates
from ssbfast.room.effects import AnnounceNameplate, FindNameplate
from ssbfast.server.session import RoomSession
from ssbfast.wire.words import NOT_THERE, TAKEN

TOO_OFTEN = "too many nameplates: try again later"

_KIND = "nameplates"


def _worth(session: RoomSession) -> int:
    """Rank holders: the newest goes first."""
    return -session.number


class Nameplates:
    """The nameplates of a room.

    rates: has a kind `nameplates`. now: a clock that does not jump, in seconds. reached: told the name of a limit each
    time it is reached.
    """

    def __init__(self, rates: Rates, now: Callable[[], float], reached: Callable[[str], None]) -> None:
        self._now = now
        self._reached = reached
        self.rates = rates
        self._holders: dict[str, RoomSession] = {}
        self._held: dict[RoomSession, str] = {}
        caps = Caps(limits.NAMEPLATES, limits.NAMEPLATES_PER_ADDRESS)
        self._places: Places[RoomSession] = Places("nameplates_kept", caps, _worth)

    def __len__(self) -> int:
        return len(self._holders)

    def announce(self, session: RoomSession, effect: AnnounceNameplate) -> None:
        """Give a session a nameplate in place of its last one, and answer."""
        problem = None if effect.nameplate is None else self._problem(session, effect.nameplate)
        if problem is not None:
            session.refuse(effect.req, problem)
            return
        self.forget(session)
        if effect.nameplate is not None:
            self._places.add(session, session.networks)
            self._holders[effect.nameplate] = session
            self._held[session] = effect.nameplate
        session.answer(effect.req, True)

    def find(self, session: RoomSession, effect: FindNameplate) -> None:
        """Answer with the id of the peer that has a nameplate."""
        if not self._may_ask(session):
            session.refuse(effect.req, TOO_OFTEN)
            return
        holder = self._holders.get(effect.nameplate)
        if holder is None:
            session.refuse(effect.req, NOT_THERE)
        else:
            session.answer(effect.req, str(holder.link.remote))

    def forget(self, session: RoomSession) -> None:
        """Take a session's nameplate back. Harmless when it has none."""
        nameplate = self._held.pop(session, None)
        if nameplate is not None:
            del self._holders[nameplate]
            self._places.remove(session)

    def _problem(self, session: RoomSession, nameplate: str) -> str | None:
        """Return why a session does not get a nameplate; otherwise make a place for it, and return None."""
        if not self._may_ask(session):
            return TOO_OFTEN
        holder = self._holders.get(nameplate)
        if holder is not None and holder.link.remote != session.link.remote:
            return TAKEN
        if holder is not None:
            self.forget(holder)  # it came back before its old session was seen to end
        if session in self._places:
            return None
        verdict = self._places.ask(session.networks)
        if verdict.reason:
            self._reached(verdict.reason)
        if verdict.leaves is not None:
            self.forget(verdict.leaves)
        return None  # a newcomer always finds one to take the place of

    def _may_ask(self, session: RoomSession) -> bool:
        if self.rates.take(_KIND, session.link.remote, session.networks, self._now()):
            return True
        self._reached(_KIND)
        return False
