"""Bytes a second that sessions may send: of a key, of a tunnel, in all. One that sent more is not read for a while.

Who sends pays: a session that is not read makes no other session wait. Each limit is a leaky bucket with a burst of one
second. When all together have sent too much, only those wait that sent more than an equal share: of the whole for an
address, and of that for each of its keys. What is not used by some is left to the others.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from ssbfast import limits
from ssbfast.budgets import Bucket, Rate
from ssbfast.ids import FeedId
from ssbfast.net.relayed_tunnel import RelayedTunnel
from ssbfast.server.limit_table import RoomCaps
from ssbfast.server.session import RoomSession

KEY: Final = "bytes_per_key"
TUNNEL: Final = "bytes_per_tunnel"
WHOLE: Final = "bytes"


class _Sender:
    """A key that has sent something within the last second, or waits."""

    __slots__ = ("network", "own", "share", "until")

    def __init__(self, network: str, now: float) -> None:
        self.network = network
        self.own = Bucket(now)
        self.share = Bucket(now)
        self.until = now


class Flow:
    """One direction of a tunnel. seen: its bytes when it was looked at last."""

    __slots__ = ("bucket", "seen")

    def __init__(self, seen: int, now: float) -> None:
        self.bucket = Bucket(now)
        self.seen = seen


class Meter:
    """The bytes that the sessions of one room send.

    Args:
        caps: What the limits are set to; one that is 0 is none.
        now: A clock that does not jump, in seconds.
        reached: Told the name of a limit each time it makes a session wait.

    Attributes:
        piece: The bytes that are read of a session at a time.
    """

    def __init__(self, caps: RoomCaps, now: Callable[[], float], reached: Callable[[str], None]) -> None:
        self._now = now
        self._reached = reached
        self._key, self._tunnel, self._whole = (Rate(caps[name], caps[name]) for name in (KEY, TUNNEL, WHOLE))
        slowest = min(rate.rate for rate in (self._key, self._tunnel, self._whole) if rate.rate)
        self.piece = int(min(max(slowest / limits.METER_PIECES, limits.METER_OWN), limits.RECEIVE_BUFFER))
        self._all = Bucket(now())
        self._senders: dict[FeedId, _Sender] = {}  # the one that sent last is the last
        self._keys_of: dict[str, int] = {}  # senders, by network

    @staticmethod
    def is_needed(caps: RoomCaps) -> bool:
        """Return whether any limit on bytes is set."""
        return any(caps[name] for name in (KEY, TUNNEL, WHOLE))

    def sent(self, key: FeedId, network: str, n: int) -> float:
        """Charge bytes to a key; return the seconds for which it is not to be read."""
        now = self._now()
        sender = self._sender(key, network, now)
        wait, limit = 0.0, ""
        if self._key.rate:
            wait, limit = self._key.wait(sender.own.spend(n, self._key.rate, now)), KEY
        if self._whole.rate:
            level = self._all.spend(n, self._whole.rate, now)
            rate = self._whole.rate / len(self._keys_of) / self._keys_of[sender.network]
            share = Rate(rate, max(rate, limits.METER_OWN))
            longer = min(self._whole.wait(level), share.wait(sender.share.spend(n, rate, now)))
            if longer > wait:
                wait, limit = longer, WHOLE
        sender.until = now + wait
        return self._told(wait, limit)

    def _told(self, wait: float, limit: str) -> float:
        if wait > 0:
            self._reached(limit)
        return min(wait, limits.PAUSE_SECONDS)

    def _sender(self, key: FeedId, network: str, now: float) -> _Sender:
        while self._senders:
            oldest = next(iter(self._senders))
            if self._senders[oldest].until + limits.METER_SECONDS >= now:
                break
            self._forget(self._senders.pop(oldest))
        sender = self._senders.pop(key, None)
        if sender is None:
            sender = _Sender(network, now)
            self._keys_of[network] = self._keys_of.get(network, 0) + 1
        self._senders[key] = sender
        return sender

    def _forget(self, sender: _Sender) -> None:
        left = self._keys_of.pop(sender.network) - 1
        if left:
            self._keys_of[sender.network] = left

    # ------------------------------------------------------------ tunnels

    def is_due(self, session: RoomSession, unseen: int) -> bool:
        """Return whether the tunnels of a session are to be looked at, which sent so many bytes since the last time."""
        return bool(self._tunnel.rate) and unseen >= len(session.splices) * limits.METER_LOOK

    def look(self, session: RoomSession, flows: Mapping[int, Flow]) -> tuple[dict[int, Flow], float]:
        """Charge the tunnels of a session with what it sent into each since the last time.

        Args:
            flows: What the last time returned.

        Returns:
            Their flows, by the number that the peer writes; the seconds for which the session is not to be read.
        """
        now, wait = self._now(), 0.0
        found: dict[int, Flow] = {}
        for req, tunnel in session.splices.items():
            put = _sent_into(tunnel, session, req)
            flow = found[req] = flows.get(req) or Flow(0, now)
            wait = max(wait, self._tunnel.wait(flow.bucket.spend(put - flow.seen, self._tunnel.rate, now)))
            flow.seen = put
        return found, self._told(wait, TUNNEL)


def _sent_into(tunnel: RelayedTunnel, session: RoomSession, req: int) -> int:
    return tunnel.moved[1] if tunnel.is_caller(session.link, req) else tunnel.moved[0]
