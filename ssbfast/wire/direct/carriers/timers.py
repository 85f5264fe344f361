"""The timers of a session's carriers: pings and the loss of a direct path, pauses between attempts.

No clock: `now` and all other times are seconds of the caller's monotonic clock.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from ssbfast import limits
from ssbfast.backoff import Backoff

_SLEPT: Final = 0.5
"""A timer that is run so many seconds late says more about our own process than about the path."""


class Pulse:
    """The signs of life of a direct path.

    It is lost when nothing authentic comes for 1.5 s while bytes are unacknowledged or a PING is out. A peer whose
    reader stands still acknowledges nothing for minutes, and is alive: so while bytes wait, PINGs go out every second.
    """

    __slots__ = ("_heard", "_ping_out", "_pinged")

    def __init__(self, now: float) -> None:
        self._heard = now
        self._pinged = now
        self._ping_out: float | None = None

    @property
    def last(self) -> float:
        """Return the time of the last authentic sign of life."""
        return self._heard

    def received(self, now: float) -> None:
        """Note that something authentic came."""
        self._heard = now
        self._ping_out = None

    def ping_at(self, moved: float, unacked: float | None) -> float:
        """Return when the next PING is due.

        moved: when the session moved last. unacked: since when bytes wait for an ACK, or None.
        """
        soon = self._pinged + limits.DIRECT_PING_BUSY
        busy = unacked is not None or moved + limits.DIRECT_BUSY > soon
        return soon if busy else self._pinged + limits.DIRECT_PING_IDLE

    def pinged(self, now: float) -> None:
        """Note that a PING went out."""
        self._pinged = now
        if self._ping_out is None:
            self._ping_out = now

    def lost_at(self, unacked: float | None) -> float | None:
        """Return when the path is lost if nothing comes; None while nothing is awaited."""
        waits = [since for since in (unacked, self._ping_out) if since is not None]
        return max(self._heard, min(waits)) + limits.DIRECT_LOST_SECONDS if waits else None

    def lost(self, now: float, unacked: float | None) -> bool:
        """Return whether the path is lost. After a sleep of our own process it gets another chance."""
        at = self.lost_at(unacked)
        if at is None or now < at:
            return False
        if now < at + _SLEPT:
            return True
        self._heard = now
        return False


class Progress:
    """The progress of the bytes that are sent on a direct path.

    Signs of life do not tell: when the path's MTU has shrunk, pings and acknowledgements still pass, and what fills a
    datagram never does. So each stream's oldest byte that QUIC has sent and seen no acknowledgement of is looked at now
    and then; one that stays the same for too long is stuck.
    """

    __slots__ = ("_looked", "_oldest")

    def __init__(self) -> None:
        self._oldest: dict[int, tuple[int, float]] = {}  # by stream: its offset, and since when it is that one
        self._looked: float | None = None  # None: the owner of the path does not look

    def look(self, oldest: Mapping[int, int], now: float) -> None:
        """Take the offset of each stream's oldest byte that waits. After a sleep of our own process all begin anew."""
        slept = self._looked is not None and now - self._looked > limits.DIRECT_LOOK_SECONDS + _SLEPT
        before = {} if slept else self._oldest
        self._oldest = {
            stream: (offset, now) if stream not in before or before[stream][0] != offset else before[stream]
            for stream, offset in oldest.items()
        }
        self._looked = now

    def look_at(self, moved: float) -> float | None:
        """Return when to look next; None: not before something else happens.

        moved: when the session or a connection moved last.
        """
        if self._looked is None or not (self._oldest or moved + limits.DIRECT_BUSY > self._looked):
            return None
        return self._looked + limits.DIRECT_LOOK_SECONDS

    def stuck(self, now: float, heard: float, rtt: float, *, silent: bool) -> bool:
        """Return whether a byte waits that signs of life have overtaken, the last of which was `heard`.

        rtt: the path's round trip in seconds, 0 if not known. silent: the path is lost anyway: no patience.
        """
        patience = 0.0 if silent else max(limits.DIRECT_STUCK_SECONDS, limits.DIRECT_STUCK_RTTS * rtt)
        overtaken = limits.DIRECT_LOOK_SECONDS + 2 * rtt
        return any(now - since >= patience and heard - since > overtaken for _, since in self._oldest.values())


class Kept:
    """Sessions that are kept although nothing has carried them for `CARRIER_SECONDS`: `SLEEP_KEPT` at a time."""

    __slots__ = ("_sessions",)

    def __init__(self) -> None:
        self._sessions: set[object] = set()

    def __contains__(self, session: object) -> bool:
        return session in self._sessions

    def take(self, session: object) -> bool:
        """Take a place; return False when there is none."""
        if len(self._sessions) >= limits.SLEEP_KEPT:
            return False
        self._sessions.add(session)
        return True

    def release(self, session: object) -> None:
        """Free the session's place: it has a carrier again, or is over. Harmless when it had no place."""
        self._sessions.discard(session)


class Upgrades:
    """The time at which the next direct path is to be made.

    10 s after the last attempt at the earliest, and twice as long after each that failed or did not last for the pause
    before it.
    """

    __slots__ = ("_at", "_pause", "_running", "_shortened", "_started", "wanted")

    def __init__(self) -> None:
        self._shortened = False
        self.wanted = False
        self._running = False
        self._started = 0.0
        self._at = float("-inf")  # not before
        self._pause = limits.UPGRADE_SECONDS

    @property
    def at(self) -> float | None:
        """Return the time to begin, maybe in the past; None while that is not wanted or under way."""
        return self._at if self.wanted and not self._running else None

    def begin(self, now: float, *, asked: bool = False) -> None:
        """Note that an attempt begins. asked: by the other end, at our request; there is nothing to wait for."""
        self._started = now
        self._at = now + limits.UPGRADE_SECONDS
        self._running = not asked
        self.wanted = not asked

    def hurry(self, now: float) -> None:
        """Begin at once, and with the shortest pause after a failure."""
        self._at = now
        self._pause = limits.UPGRADE_SECONDS

    def asked(self, now: float) -> None:
        """Begin as soon as `UPGRADE_SECONDS` have passed since the last attempt began."""
        self._at = min(self._at, max(now, self._started + limits.UPGRADE_SECONDS))

    def failed(self, now: float) -> None:
        """Note that the attempt failed."""
        self._running = False
        self._at = now + self._pause
        self._pause = min(2 * self._pause, limits.UPGRADE_MAX)

    def up(self, now: float) -> None:
        """Note that the attempt succeeded."""
        self._running = False
        self._started = now

    def lost(self, now: float) -> None:
        """Note that the path that `up` reported is gone."""
        held = now - self._started >= self._pause
        self._pause = limits.UPGRADE_SECONDS if held else min(2 * self._pause, limits.UPGRADE_MAX)
        self._at = self._started + self._pause

    def shorten(self, now: float) -> None:
        """Skip the next pause, the first time, behind `lost`: shorter datagrams may pass."""
        if not self._shortened:
            self._shortened = True
            self._at = now


class Dials:
    """The times at which standby tunnels are dialled: at once, then after pauses that double."""

    __slots__ = ("_backoff", "_up", "at", "running")

    def __init__(self, chance: Callable[[], float]) -> None:
        self._backoff = Backoff(most=limits.STANDBY_RETRY_MAX, chance=chance, useful=limits.STANDBY_PING)
        self._up: float | None = None
        self.at = float("-inf")
        self.running = False

    def begin(self) -> None:
        """Note that a dial begins."""
        self.running = True

    def up(self, now: float) -> None:
        """Note that the standby is there."""
        self.running = False
        self._up = now

    def lost(self, now: float, urgent: bool) -> None:
        """Note that a dial failed, or that the standby ended. urgent: the session has no carrier."""
        self.running = False
        if self._up is not None:
            self._backoff.lasted(now - self._up)
        self._up = None
        self.at = now + self._backoff.next(limits.RECONNECT_MAX if urgent else None)

    def hurry(self, now: float) -> None:
        """Dial at once, also after failures: the session has lost its carrier."""
        self._backoff.reset()
        self.at = now
