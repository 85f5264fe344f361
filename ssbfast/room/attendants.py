"""Reports of peers that come and go, to the subscribers of room.attendants and tunnel.endpoints.

- room.attendants: one `state` with all attendants, then exactly one `joined` or `left` per change, without a gap.
- tunnel.endpoints: the whole list; after changes again, at most once in limits.ENDPOINTS_SECONDS.
- An event is encoded once. So many subscribers are told at a time (limits.ATTENDANCE_STEP), the others each
  limits.ATTENDANCE_PAUSE later, round by round; a late one gets several events at once. One that
  has missed events that are forgotten by then gets a fresh state.
- While a session's backlog is too long nothing is added to it. What its subscribers missed becomes one fresh `state`
  (clients clear and refill their list on any `state`), or one list, once the backlog has drained.

Source: SIP 7, "Attendants"; ssb-room-client 2.0.2 for the meaning of a second `state`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from heapq import heappop, heappush
from itertools import count

from ssbfast import limits
from ssbfast.ids import FeedId
from ssbfast.room.effects import Change, Joined, StreamItem
from ssbfast.room.event_log import News
from ssbfast.tables import compact
from ssbfast.wire.muxrpc import encode_json


@dataclass(slots=True, eq=False)
class _Reader:
    session: int
    req: int
    lists: bool  # tunnel.endpoints rather than room.attendants
    paused: bool = False
    stale: bool = False  # something has changed that it was not told, and will not be
    told: int = 0  # number of the first of the news that it does not know
    last: float = float("-inf")  # when it got a list
    queued: bool = False  # is in the heap
    gone: bool = False


class Attendance:
    """The subscribers of one room. present: the feed ids announced at the beginning."""

    def __init__(self, present: Iterable[FeedId] = ()) -> None:
        self._ids = {feed: encode_json(str(feed)) for feed in present}
        self._of: dict[int, tuple[_Reader, ...]] = {}  # by session; few each, and most have one
        self._readers: dict[_Reader, None] = {}  # of room.attendants
        self._listers: dict[_Reader, None] = {}  # of tunnel.endpoints
        self._paused: set[int] = set()
        self._due: list[tuple[float, int, _Reader]] = []
        self._tie = count()
        self._all: bytes | None = None
        self._news = News()
        self._round: deque[_Reader] = deque()  # those not yet told in this round
        self._round_news = 0  # what there was when the round began: at its end all subscribers know it
        self._since: float | None = None  # since when some have not been told all

    def compact(self) -> None:
        """Give back the memory that a crowd has left behind."""
        compact(self._ids, self._of, self._readers, self._listers)

    @property
    def next_tick(self) -> float | None:
        """Return the time when tick() has something to do."""
        due = self._due[0][0] if self._due else None
        return due if self._since is None else self._since if due is None else min(due, self._since)

    def count(self, session: int) -> int:
        """Return the number of open subscriptions of a session."""
        return len(self._of.get(session, ()))

    def requests(self, session: int) -> tuple[int, ...]:
        """Return the numbers of the open subscriptions of a session."""
        return tuple(reader.req for reader in self._of.get(session, ()))

    def subscribe(self, session: int, req: int, *, lists: bool, now: float) -> list[StreamItem]:
        """Add a subscriber; its first item lists all attendants (itself included, if announced before)."""
        reader = _Reader(session, req, lists, paused=session in self._paused, stale=True)
        self._of[session] = (*self._of.get(session, ()), reader)
        (self._listers if lists else self._readers)[reader] = None
        return self._refresh(reader, now)

    def unsubscribe(self, session: int, req: int) -> None:
        """Remove a subscriber whose stream is over. Idempotent."""
        readers = self._of.get(session, ())
        reader = next((reader for reader in readers if reader.req == req), None)
        if reader is None:
            return
        reader.gone = True
        (self._listers if reader.lists else self._readers).pop(reader, None)
        left = tuple(other for other in readers if other is not reader)
        if left:
            self._of[session] = left
        else:
            del self._of[session]

    def session_closed(self, session: int) -> None:
        """Remove all subscribers of a session: its streams are over."""
        for reader in self._of.get(session, ()):
            self.unsubscribe(session, reader.req)
        self._paused.discard(session)

    def publish(self, changes: Iterable[Change], now: float) -> list[StreamItem]:
        """Tell all subscribers about changes of the directory."""
        changed = False
        for change in changes:
            changed = True
            self._all = None
            if isinstance(change, Joined):
                self._ids[change.id] = text = encode_json(str(change.id))
                self._news.add(b'{"type":"joined","id":%b}' % text)
            else:
                self._news.add(b'{"type":"left","id":%b}' % self._ids.pop(change.id))
        if not changed:
            return []
        items = self._tell(now) if self._since is None else []
        at_once = limits.ATTENDANCE_STEP
        for lister in self._listers:
            lister.stale = True
            if lister.queued or lister.paused:
                continue
            if at_once > 0:
                refreshed = self._refresh(lister, now)
                at_once -= len(refreshed)
                items += refreshed
            else:
                self._queue(lister, max(now, lister.last + limits.ENDPOINTS_SECONDS))
        return items

    def _queue(self, lister: _Reader, due: float) -> None:
        lister.queued = True
        heappush(self._due, (due, next(self._tie), lister))

    def _tell(self, now: float) -> list[StreamItem]:
        """Go on with the round, or begin one, as far as one step goes."""
        items: list[StreamItem] = []
        news = self._news
        while len(items) < limits.ATTENDANCE_STEP:
            if not self._round:
                news.forget(self._round_news)
                if self._round_news == news.next:
                    self._since = None
                    return items
                self._round_news = news.next
                self._round.extend(self._readers)
                continue
            items += self._catch_up(self._round.popleft(), now)
        self._since = now + limits.ATTENDANCE_PAUSE
        return items

    def _catch_up(self, reader: _Reader, now: float) -> list[StreamItem]:
        if reader.gone:
            return []
        if reader.paused:
            reader.stale = reader.stale or reader.told < self._news.next
            return []
        bodies = self._news.since(reader.told)
        if bodies is None:
            return self._refresh(reader, now)
        reader.told = self._news.next
        return [StreamItem(reader.session, reader.req, body) for body in bodies]

    def backlog_passed(self, session: int, *, lost: bool) -> None:
        """Add nothing more to a session's streams. lost: items were dropped, so that a fresh state is needed."""
        self._paused.add(session)
        for reader in self._of.get(session, ()):
            reader.paused = True
            reader.stale = reader.stale or lost

    def drained(self, session: int, now: float) -> list[StreamItem]:
        """Send a session that takes items again one fresh state, in place of those it missed."""
        self._paused.discard(session)
        items: list[StreamItem] = []
        for reader in self._of.get(session, ()):
            reader.paused = False
            if reader.stale:
                items += self._refresh(reader, now)
        return items

    def tick(self, now: float) -> list[StreamItem]:
        """Send the items that some subscribers still miss, and the lists whose time has come."""
        items = [] if self._since is None else self._tell(now)
        lists = 0
        while self._due and self._due[0][0] <= now and lists < limits.ATTENDANCE_STEP:
            lists += 1
            reader = heappop(self._due)[2]
            reader.queued = False
            if reader.stale and not reader.gone:
                items += self._refresh(reader, now)
        return items

    def _refresh(self, reader: _Reader, now: float) -> list[StreamItem]:
        """Send the whole list to a stale reader, unless it has to wait: for its backlog, or its next list."""
        if reader.paused or reader.queued:
            return []
        due = reader.last + limits.ENDPOINTS_SECONDS
        if reader.lists and now < due:
            self._queue(reader, due)
            return []
        reader.stale = False
        reader.told = self._news.next
        reader.last = now
        body = self._list() if reader.lists else b'{"type":"state","ids":%b}' % self._list()
        return [StreamItem(reader.session, reader.req, body, snapshot=True)]

    def _list(self) -> bytes:
        if self._all is None:
            self._all = b"[%b]" % b",".join(self._ids.values())
        return self._all
