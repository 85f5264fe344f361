"""What one stranger may hold and spend: the arithmetic of all budgets, without I/O, clock or hidden randomness.

    rings     an address as the networks it lies in: /32 for IPv4; /48, /56 and /64 for IPv6
    Rates     token buckets: what a session, a key and an address may spend a second (calls, lists, opens, …)
    Places    quotas: how many of a thing (connections, sessions, tunnels) an address and all together may hold, and
              which one goes when a newcomer needs a place
    Turns     whose work is next: a fair queue over addresses and, inside each, over sessions
    Tally     which limit was reached how often, for events

Three rules hold for all of them. Whoever holds or spends less than others in the same place never loses to them: the
greediest address loses first, in it the greediest key. Nobody is refused for what a neighbour does while there is
something of the neighbour's to take back. And nothing here remembers more than what is alive, plus `BUDGET_ENTRIES`.

Models: OpenSSH's MaxStartups and PerSourcePenalties, DERP's queues per client, start-time fair queueing (Goyal, Vin and
Cheng, 1996), eviction by sampling as in Redis. All limits are in `ssbfast.limits`.
"""

from __future__ import annotations

import ipaddress
import random
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from heapq import heappop, heappush
from itertools import islice
from typing import Any, Final, Generic, TypeVar

from ssbfast import limits
from ssbfast.errors import LocalProtocolError

Rings = tuple[str, ...]
"""The networks that an address lies in, widest first."""

_PREFIXES: Final = (48, 56, 64)


@lru_cache(maxsize=limits.BUDGET_ENTRIES)
def rings(host: str) -> Rings:
    """Return the networks to which `host` is charged, widest first.

    host: an IP literal, with or without a zone; anything else is a network of its own.

    An IPv4 address is one network, also when it is mapped into IPv6. An IPv6 address lies in three: a provider gives
    a household a /64, a /56 or a /48.
    """
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return (host,)
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is None:
            return tuple(str(ipaddress.ip_network((address, prefix), strict=False)) for prefix in _PREFIXES)
        address = address.ipv4_mapped
    return (str(address),)


# ---------------------------------------------------------------- rates


class Bucket:
    """A leaky bucket: what was spent, less what time has forgiven."""

    __slots__ = ("_at", "_level")

    def __init__(self, now: float) -> None:
        self._level = 0.0
        self._at = now

    def level(self, rate: float, now: float) -> float:
        """Return what is still spent at `now`. rate: units forgiven a second."""
        if now > self._at:
            self._level = max(0.0, self._level - (now - self._at) * rate)
            self._at = now
        return self._level

    def spend(self, n: float, rate: float, now: float) -> float:
        """Add `n` units; return the new level."""
        self._level = self.level(rate, now) + n
        return self._level


@dataclass(frozen=True, slots=True)
class Rate:
    """A rate and what may be spent at once. rate: units a second. burst: units."""

    rate: float
    burst: float

    def wait(self, level: float) -> float:
        """Return the seconds until a bucket at `level` is within the burst again."""
        return max(0.0, (level - self.burst) / self.rate)


@dataclass(frozen=True, slots=True)
class Allowance:
    """What may be spent of one kind.

    key: by all sessions of one key. address: by all sessions of each of an address's networks. own: by each session,
    whatever its neighbours at the same address have spent.
    """

    key: Rate
    address: Rate
    own: Rate


ALLOWANCES: Final[Mapping[str, Allowance]] = {
    "calls": Allowance(
        Rate(limits.CALLS_PER_KEY, limits.CALLS_BURST),
        Rate(limits.CALLS_PER_ADDRESS, limits.CALLS_ADDRESS_BURST),
        Rate(limits.CALLS_OWN, limits.CALLS_OWN_BURST),
    ),
    "announcements": Allowance(
        Rate(limits.ANNOUNCEMENTS_PER_KEY, limits.ANNOUNCEMENTS_BURST),
        Rate(limits.ANNOUNCEMENTS_PER_ADDRESS, limits.ANNOUNCEMENTS_ADDRESS_BURST),
        Rate(limits.ANNOUNCEMENTS_OWN, limits.ANNOUNCEMENTS_OWN_BURST),
    ),
    "lists": Allowance(
        Rate(limits.LISTS_PER_KEY, limits.LISTS_BURST),
        Rate(limits.LISTS_PER_ADDRESS, limits.LISTS_ADDRESS_BURST),
        Rate(limits.LISTS_OWN, limits.LISTS_OWN_BURST),
    ),
    "opens": Allowance(
        Rate(limits.OPENS_PER_KEY, limits.OPENS_BURST),
        Rate(limits.OPENS_PER_ADDRESS, limits.OPENS_ADDRESS_BURST),
        Rate(limits.OPENS_OWN, limits.OPENS_OWN_BURST),
    ),
    "visits": Allowance(
        Rate(limits.OPENS_PER_KEY, limits.OPENS_BURST),
        Rate(limits.VISITS_PER_ADDRESS, limits.VISITS_ADDRESS_BURST),
        Rate(limits.OPENS_OWN, limits.OPENS_OWN_BURST),
    ),
}
"""Calls, and what of them costs others: announcements, lists, tunnels that are opened, and those to one target."""


class Rates:
    """What is spent of each kind, by session, key and network."""

    def __init__(self, allowances: Mapping[str, Allowance] = ALLOWANCES) -> None:
        self._allowances = allowances
        self._buckets: dict[tuple[str, Hashable], Bucket] = {}

    def __len__(self) -> int:
        return len(self._buckets)

    def spend(self, kind: str, session: Hashable, key: Hashable, networks: Rings, now: float, n: float = 1.0) -> float:
        """Charge `n` units; return for how many seconds the session has to spend nothing more.

        kind: a name of `ALLOWANCES`. session, key: any names. networks: what `rings` says of its address.

        What is spent is never refused: the caller carries it out and then makes the session wait, which bounds the
        rate and loses nothing. A neighbour's spending makes a session wait only above its own allowance.
        """
        allowance = self._allowances[kind]
        own = self._level(kind, ("session", session), allowance.own, n, now)
        wait = self._level(kind, ("key", key), allowance.key, n, now)
        for network in networks:
            shared = self._level(kind, ("network", network), allowance.address, n, now)
            wait = max(wait, min(shared, own))
        return wait

    def _level(self, kind: str, account: Hashable, rate: Rate, n: float, now: float) -> float:
        bucket = self._buckets.pop((kind, account), None)
        if bucket is None:
            while len(self._buckets) >= limits.BUDGET_ENTRIES:
                del self._buckets[next(iter(self._buckets))]
            bucket = Bucket(now)
        self._buckets[kind, account] = bucket  # the one that was used last is the last
        return rate.wait(bucket.spend(n, rate.rate, now))

    def sweep(self, now: float, most: int) -> None:
        """Forget, of the `most` accounts that were used longest ago, those that time has forgiven."""
        oldest = list(islice(self._buckets, most))
        for account in oldest:
            bucket = self._buckets.pop(account)
            if bucket.level(self._slowest(account[0]), now) > 0:
                self._buckets[account] = bucket

    def _slowest(self, kind: str) -> float:
        allowance = self._allowances[kind]
        return min(allowance.key.rate, allowance.address.rate, allowance.own.rate)


# ---------------------------------------------------------------- quotas

Item = TypeVar("Item", bound=Hashable)


class _Bag(Generic[Item]):
    """A set from which one can be drawn at random."""

    __slots__ = ("_at", "_items")

    def __init__(self) -> None:
        self._items: list[Item] = []
        self._at: dict[Item, int] = {}

    def __len__(self) -> int:
        return len(self._items)

    def add(self, item: Item) -> None:
        self._at[item] = len(self._items)
        self._items.append(item)

    def remove(self, item: Item) -> None:
        at, last = self._at.pop(item), self._items.pop()
        if at < len(self._items):
            self._items[at] = last
            self._at[last] = at

    def sample(self, n: int, rng: random.Random) -> list[Item]:
        """Return `n` of them, or all if there are fewer."""
        return list(self._items) if len(self._items) <= n else rng.sample(self._items, n)


@dataclass(frozen=True, slots=True)
class Caps:
    """How many places there are. whole: for all; address: for a /32 or /64; wider networks get twice as many each."""

    whole: int
    address: int

    def of(self, networks: Rings) -> Iterable[tuple[str, int]]:
        """Yield each network with its cap."""
        for at, network in enumerate(networks):
            yield network, self.address << (len(networks) - 1 - at)


@dataclass(frozen=True, slots=True)
class Verdict(Generic[Item]):
    """Whether a newcomer gets a place, and who has to leave for that.

    reason: the limit that was reached, "" if none.
    """

    enters: bool
    leaves: Item | None = None
    reason: str = ""


class Places(Generic[Item]):
    """The places of one kind, counted by network.

    name: what is counted, for the names of limits ("sessions": "sessions", "sessions_per_address").
    worth: tells how much an item deserves its place; among those drawn the one with the least goes. None: it may not be
        sent away at all.
    """

    def __init__(
        self, name: str, caps: Caps, worth: Callable[[Item], Any | None], rng: random.Random | None = None
    ) -> None:
        self.caps = caps
        self._name = name
        self._worth = worth
        self._rng = rng or random.Random()
        self._of: dict[str, _Bag[Item]] = {}
        self._all: _Bag[Item] = _Bag()
        self._networks: dict[Item, Rings] = {}

    def __len__(self) -> int:
        return len(self._all)

    def __contains__(self, item: object) -> bool:
        return item in self._networks

    def __iter__(self) -> Iterator[Item]:
        return iter(list(self._networks))

    def held(self, network: str) -> int:
        """Return how many places a network holds."""
        return len(self._of.get(network, ()))

    def ask(self, networks: Rings) -> Verdict[Item]:
        """Tell whether a newcomer of these networks gets a place. Nothing is changed.

        A full network takes the place of one of its own. When all places are taken, one of the network that holds the
        most, among those drawn, goes; a newcomer whose own network holds as many takes the place of one of its own.
        """
        for network, cap in self.caps.of(networks):
            if self.held(network) >= cap:
                return self._replace(self._of[network], f"{self._name}_per_address")
        if len(self._all) < self.caps.whole:
            return Verdict(True)
        return self._replace(self._greediest(networks), self._name)

    def least(self, network: str) -> Item | None:
        """Return the least deserving of a network, judged by a sample; None when nobody may be sent away."""
        bag = self._of.get(network)
        return None if bag is None else self._draw(bag)

    def add(self, item: Item, networks: Rings) -> None:
        """Give a place. Harmless for one who has it."""
        if item in self._networks:
            return
        self._networks[item] = networks
        self._all.add(item)
        for network in networks:
            self._of.setdefault(network, _Bag()).add(item)

    def remove(self, item: Item) -> None:
        """Take the place back. Harmless for one who has none."""
        networks = self._networks.pop(item, None)
        if networks is None:
            return
        self._all.remove(item)
        for network in networks:
            bag = self._of[network]
            bag.remove(item)
            if not len(bag):
                del self._of[network]

    def _replace(self, bag: _Bag[Item], reason: str) -> Verdict[Item]:
        least = self._draw(bag)
        return Verdict(least is not None, least, reason)

    def _draw(self, bag: _Bag[Item]) -> Item | None:
        drawn = [(self._worth(item), item) for item in bag.sample(limits.EVICTION_SAMPLE, self._rng)]
        able = [(worth, item) for worth, item in drawn if worth is not None]
        return min(able, key=lambda pair: pair[0])[1] if able else None

    def _greediest(self, networks: Rings) -> _Bag[Item]:
        """The places of the widest network that holds the most, judged by a sample."""
        drawn = self._all.sample(limits.EVICTION_SAMPLE, self._rng)
        bags = [self._of[self._networks[item][0]] for item in drawn]
        own = self._of.get(networks[0])
        most = max(bags, key=len)
        return own if own is not None and len(own) >= len(most) else most


# ---------------------------------------------------------------- turns

Work = Callable[[], None]


class _Node:
    """Something that gets turns among its likes: an address's network."""

    __slots__ = ("bucket", "children", "members", "name", "now", "parent", "pending", "queue", "tag", "waits")

    def __init__(self, parent: _Node | None, name: str) -> None:
        self.parent = parent
        self.name = name
        self.tag: float = 0.0 if parent is None else parent.now  # when its next turn is due, in parent.now's time
        self.now: float = 0.0  # its own virtual time: the tag of the one inside whose turn was last
        self.pending = 0  # pieces of work in it
        self.waits = False  # is in its parent's queue
        self.queue: list[tuple[float, int, _Node | Share]] = []  # those inside with work
        self.children: dict[str, _Node] = {}  # networks inside
        self.members = 0  # networks and shares inside
        self.bucket: Bucket | None = None


class Share:
    """What one session has of the loop's time. Made by `Turns.share`; thousands of them idle: it holds little."""

    __slots__ = ("bucket", "parent", "pending", "tag", "waits", "works")

    def __init__(self, parent: _Node) -> None:
        self.parent: _Node = parent
        self.tag: float = parent.now
        self.pending = 0
        self.waits = False
        self.works: deque[Work] | None = None
        self.bucket: Bucket | None = None

    @property
    def network(self) -> str:
        """The widest network that it is charged to, "" for what is our own."""
        node = self.parent
        while node.parent is not None and node.parent.parent is not None:
            node = node.parent
        return node.name


class Turns:
    """A fair queue of work: addresses take turns, in an address its sessions do, each by the time it has used.

    Time used beside the queue counts as well (`spent`), so that a busy session that now has to wait comes behind those
    who did little. Its lead is at most `TURN_LEAD` seconds: nobody waits for longer because of what it did before.
    """

    def __init__(self) -> None:
        self._root = _Node(None, "")
        self._order = 0

    def __len__(self) -> int:
        return self._root.pending

    def share(self, networks: Rings = ()) -> Share:
        """Return the share of a new session of these networks; without any it stands for itself."""
        node = self._root
        for network in networks:
            child = node.children.get(network)
            if child is None:
                child = node.children[network] = _Node(node, network)
                node.members += 1
            node = child
        node.members += 1
        return Share(node)

    def close(self, share: Share) -> None:
        """Forget a share, once; what it has queued is still done."""
        node = share.parent
        node.members -= 1
        while node.parent is not None and not node.members:
            del node.parent.children[node.name]
            node = node.parent
            node.members -= 1

    def queue(self, share: Share, work: Work) -> None:
        """Put work behind what a share has queued."""
        if share.works is None:
            share.works = deque()
        share.works.append(work)
        node: _Node | Share = share
        while True:
            node.pending += 1
            parent = node.parent
            if parent is None:
                return
            if not node.waits:
                node.tag = max(node.tag, parent.now)
                self._put(parent, node)
            node = parent

    def next(self) -> tuple[Share, Work] | None:
        """Take the work whose turn it is; tell `spent` how long it took before the next one."""
        node: _Node | Share = self._root
        if not node.pending:
            return None
        while not isinstance(node, Share):
            node.pending -= 1
            node = self._first(node)
        node.pending -= 1
        works = node.works
        if works is None:
            raise LocalProtocolError("a share without work has a turn")
        work = works.popleft()
        if not works:
            node.works = None
        return node, work

    def spent(self, share: Share, seconds: float, now: float) -> None:
        """Charge time to a share and to its networks. now: seconds of a clock that does not jump."""
        node: _Node | Share = share
        while (parent := node.parent) is not None:
            node.tag = min(max(node.tag, parent.now) + seconds, parent.now + limits.TURN_LEAD)
            if node.bucket is None:
                node.bucket = Bucket(now)
            node.bucket.spend(seconds, limits.LIGHT_SHARE, now)
            node = parent

    def is_light(self, share: Share, now: float) -> bool:
        """Tell whether a share and its networks have used so little that they need not wait for a turn."""
        node: _Node | Share | None = share
        while node is not None:
            if node.bucket is not None and node.bucket.level(limits.LIGHT_SHARE, now) > limits.LIGHT_SECONDS:
                return False
            node = node.parent
        return True

    def _put(self, parent: _Node, node: _Node | Share) -> None:
        node.waits = True
        self._order += 1
        heappush(parent.queue, (node.tag, self._order, node))

    def _first(self, node: _Node) -> _Node | Share:
        """Take the one whose turn it is off a node's queue; it comes back behind its equals if it has more work."""
        while True:
            tag, _, child = heappop(node.queue)
            if child.tag <= tag:
                break
            self._put(node, child)  # it has spent time since: a later turn
        node.now = max(node.now, tag)
        child.waits = False
        if child.pending > 1:
            self._put(node, child)
        return child


# ---------------------------------------------------------------- what was reached


class Tally:
    """Counts how often each limit was reached, and says so at most once in `TALLY_SECONDS`."""

    def __init__(self) -> None:
        self.total: dict[str, int] = {}
        self._new: dict[str, int] = {}

    def add(self, limit: str) -> bool:
        """Count one; return whether it is the first since the last `take`."""
        self.total[limit] = self.total.get(limit, 0) + 1
        first = not self._new
        self._new[limit] = self._new.get(limit, 0) + 1
        return first

    def take(self) -> dict[str, int]:
        """Return the counts since the last time."""
        new, self._new = self._new, {}
        return new
