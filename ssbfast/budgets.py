"""Budgets for what one stranger may hold and spend: arithmetic only, without I/O, clock or hidden randomness.

    rings     an address as the networks it lies in: /32 for IPv4; /48, /56 and /64 for IPv6
    Rates     token buckets: what a session, a key and an address may spend a second (calls, lists, opens, …)
    Places    quotas: how many of a thing (connections, sessions, tunnels) an address and all together may hold, and
              which one goes when a newcomer needs a place
    Penalties which networks are refused for a while, because their connections fail again and again
    Turns     whose work is next: a fair queue over addresses and, inside each, over sessions
    Tally     which limit was reached how often, for events

Three rules hold for all of them. A peer that holds or spends less than others in its place never loses to them: the
greediest address loses first, in it the greediest key. No peer is refused for what a neighbour does while there is
something of the neighbour's to take back. And nothing here remembers more than what is alive, plus `BUDGET_ENTRIES`.

Models: OpenSSH's MaxStartups and PerSourcePenalties, DERP's queues per client, start-time fair queueing (Goyal, Vin and
Cheng, 1996), eviction by looking at a few as in Redis. All limits are in `ssbfast.limits`.
"""

from __future__ import annotations

import ipaddress
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from heapq import heappop, heappush
from itertools import islice
from typing import Any, Final, Generic, TypeVar

from ssbfast import limits
from ssbfast.errors import LocalProtocolError
from ssbfast.tables import compact

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
    """A leaky bucket: the units spent, less those that time has forgiven."""

    __slots__ = ("_at", "_level")

    def __init__(self, now: float) -> None:
        self._level = 0.0
        self._at = now

    def level(self, rate: float, now: float) -> float:
        """Return the units still spent at `now`. rate: units forgiven a second."""
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
    """A rate and its burst. rate: units a second. burst: units that may be spent at once."""

    rate: float
    burst: float

    def wait(self, level: float) -> float:
        """Return the seconds until a bucket at `level` is within the burst again."""
        return max(0.0, (level - self.burst) / self.rate)


@dataclass(frozen=True, slots=True)
class Allowance:
    """The budget for one kind of spending.

    key: by all sessions of one key; None: another kind counts that. address: by all sessions of each of an address's
    networks. own: by each session, whatever its neighbours at the same address have spent.
    """

    key: Rate | None
    address: Rate
    own: Rate


@dataclass(frozen=True, slots=True)
class Delay:
    """For how long a session has to spend nothing more, and the limit that says so; 0 and "" if none was reached."""

    seconds: float = 0.0
    limit: str = ""


NO_DELAY: Final = Delay()


class Rates:
    """The units spent of each kind, by session, key and network."""

    def __init__(self, allowances: Mapping[str, Allowance]) -> None:
        self._allowances = allowances
        self._kinds = {kind: number for number, kind in enumerate(allowances, 1)}
        self._own_rates = [allowance.own.rate for allowance in allowances.values()]
        self._buckets: dict[tuple[str, Hashable], Bucket] = {}  # by kind and account; the one used last is the last
        self._own: dict[Hashable, list[float]] = {}  # by session: when it was looked at, what is spent of each kind

    def __len__(self) -> int:
        return len(self._buckets) + len(self._own)

    def compact(self) -> None:
        """Give back the memory that a crowd has left behind."""
        compact(self._buckets, self._own)

    def spend(self, kind: str, session: Hashable, key: Hashable, networks: Rings, now: float) -> Delay:
        """Charge one unit; return for how long the session has to spend nothing more.

        kind: a name of the allowances. session, key: any names. networks: what `rings` says of its address.

        A session spends its own allowance first, then that of its key and its networks. What is spent is never refused:
        the caller carries it out and then makes the session wait, which bounds the rate and loses nothing. A
        neighbour's spending makes a session wait no longer than its own does.
        """
        allowance = self._allowances[kind]
        own = allowance.own.wait(self._spend_own(self._kinds[kind], session, now))
        if own <= 0:
            return NO_DELAY
        wait, limit = 0.0, kind
        if allowance.key is not None:
            wait = self._spend(kind, ("key", key), allowance.key, now)
        for network in networks:
            shared = min(own, self._spend(kind, ("network", network), allowance.address, now))
            if shared > wait:
                wait, limit = shared, f"{kind}_per_address"
        return Delay(wait, limit) if wait > 0 else NO_DELAY

    def take(self, kind: str, key: Hashable, networks: Rings, now: float) -> bool:
        """Charge one unit to a key and its networks, if all of them have it; return whether they had.

        Nothing is charged otherwise: a refusal costs nothing, and lengthens no wait.
        """
        allowance = self._allowances[kind]
        accounts: list[tuple[Hashable, Rate]] = [] if allowance.key is None else [(("key", key), allowance.key)]
        accounts += [(("network", network), allowance.address) for network in networks]
        for account, rate in accounts:
            bucket = self._buckets.get((kind, account))
            if bucket is not None and rate.wait(bucket.level(rate.rate, now) + 1.0) > 0:
                return False
        for account, rate in accounts:
            self._spend(kind, account, rate, now)
        return True

    def _spend(self, kind: str, account: Hashable, rate: Rate, now: float) -> float:
        bucket = self._buckets.pop((kind, account), None)
        if bucket is None:
            while len(self._buckets) >= limits.BUDGET_ENTRIES:
                del self._buckets[next(iter(self._buckets))]
            bucket = Bucket(now)
        self._buckets[kind, account] = bucket
        return rate.wait(bucket.spend(1.0, rate.rate, now))

    def _spend_own(self, kind: int, session: Hashable, now: float) -> float:
        """Charge a session itself; return the units it has spent.

        All its kinds are in one list: thousands of sessions have one.
        """
        spent = self._own.pop(session, None)
        if spent is None:
            while len(self._own) >= limits.BUDGET_ENTRIES:
                del self._own[next(iter(self._own))]
            spent = [now] + [0.0] * len(self._own_rates)
        else:
            self._forgive(spent, now)
        self._own[session] = spent
        spent[kind] += 1.0
        return spent[kind]

    def _forgive(self, spent: list[float], now: float) -> None:
        passed, spent[0] = max(0.0, now - spent[0]), max(now, spent[0])
        for kind, rate in enumerate(self._own_rates, 1):
            if spent[kind]:
                spent[kind] = max(0.0, spent[kind] - passed * rate)

    def sweep(self, now: float, most: int) -> None:
        """Forget, of the `most` accounts that were used longest ago, those that time has forgiven."""
        for account in list(islice(self._buckets, most)):
            bucket = self._buckets.pop(account)
            if bucket.level(self._slowest(account[0]), now) > 0:
                self._buckets[account] = bucket
        for session in list(islice(self._own, most)):
            spent = self._own.pop(session)
            self._forgive(spent, now)
            if any(spent[1:]):
                self._own[session] = spent
        if not self:  # a table that has been large stays so
            self._buckets, self._own = {}, {}

    def _slowest(self, kind: str) -> float:
        allowance = self._allowances[kind]
        rates = (allowance.key, allowance.address, allowance.own)
        return min(rate.rate for rate in rates if rate is not None)


# ---------------------------------------------------------------- quotas

Item = TypeVar("Item", bound=Hashable)


@dataclass(frozen=True, slots=True)
class Caps:
    """The number of places. whole: for all; address: for a /32 or /64; wider networks get twice as many each."""

    whole: int
    address: int

    def of(self, networks: Rings) -> Iterable[tuple[str, int]]:
        """Yield each network with its cap."""
        for at, network in enumerate(networks):
            yield network, self.address << (len(networks) - 1 - at)


@dataclass(frozen=True, slots=True)
class Verdict(Generic[Item]):
    """The decision whether a newcomer gets a place, and which holder has to leave for it.

    reason: the limit that was reached, "" if none.
    """

    enters: bool
    leaves: Item | None = None
    reason: str = ""


class Places(Generic[Item]):
    """The places of one kind, counted by network.

    name: what is counted, for the names of limits ("sessions": "sessions", "sessions_per_address").
    worth: tells how much an item deserves its place; among those that are looked at the one with the least goes. None:
        it may not be sent away at all.
    """

    def __init__(self, name: str, caps: Caps, worth: Callable[[Item], Any | None]) -> None:
        self.caps = caps
        self._name = name
        self._worth = worth
        self._all: dict[Item, Rings] = {}
        self._of: dict[str, dict[Item, None]] = {}

    def __len__(self) -> int:
        return len(self._all)

    def __contains__(self, item: object) -> bool:
        return item in self._all

    def __iter__(self) -> Iterator[Item]:
        return iter(list(self._all))

    def held(self, network: str) -> int:
        """Return the number of places that a network holds."""
        return len(self._of.get(network, ()))

    def some(self, network: str) -> list[Item]:
        """Return a few holders of a network, those that came first or were looked at longest ago."""
        return list(islice(self._of.get(network, ()), limits.EVICTION_SAMPLE))

    def ask(self, networks: Rings) -> Verdict[Item]:
        """Return whether a newcomer of these networks gets a place. No holder loses one by asking.

        A full network takes the place of one of its own. When all places are taken, one of the network that holds the
        most, among those that are looked at, goes; a newcomer whose own network holds as many takes the place of one of
        its own.
        """
        for network, cap in reversed(list(self.caps.of(networks))):  # a place in a narrow one is one in a wide one
            if self.held(network) >= cap:
                return self._replace(network, f"{self._name}_per_address")
        if len(self._all) < self.caps.whole:
            return Verdict(True)
        return self._replace(self._greediest(networks[0]), self._name)

    def least(self, network: str) -> Item | None:
        """Return the least deserving holder of a network, of those looked at; None when none may be sent away."""
        bag = self._of.get(network, {})
        able = [(worth, item) for item in self._some(bag) if (worth := self._worth(item)) is not None]
        return min(able, key=lambda pair: pair[0])[1] if able else None

    def add(self, item: Item, networks: Rings) -> None:
        """Give a place to a holder. Do nothing when it has one."""
        if item in self._all:
            return
        self._all[item] = networks
        for network in networks:
            self._of.setdefault(network, {})[item] = None

    def remove(self, item: Item) -> None:
        """Take a place back. Do nothing when the holder has none."""
        for network in self._all.pop(item, ()):
            bag = self._of[network]
            del bag[item]
            if not bag:
                del self._of[network]

    def compact(self) -> None:
        """Give back the memory that a crowd has left behind."""
        compact(self._all, *self._of.values())

    def _replace(self, network: str, reason: str) -> Verdict[Item]:
        least = self.least(network)
        return Verdict(least is not None, least, reason)

    def _greediest(self, own: str) -> str:
        """Return the widest network that holds most, of those looked at; the newcomer's own if none holds more.

        Of several, the one that was looked at longest ago: what has just come is about to say something.
        """
        found = dict.fromkeys(self._all[item][0] for item in self._some(self._all))
        most = max(found, key=self.held)
        return own if self.held(own) >= self.held(most) else most

    @staticmethod
    def _some(bag: dict[Item, Any]) -> list[Item]:
        """Return some holders, in turns: those looked at longest ago, which move to the end."""
        found = list(islice(bag, limits.EVICTION_SAMPLE))
        for item in found:
            bag[item] = bag.pop(item)
        return found


# ---------------------------------------------------------------- penalties


class _Failing:
    """A network that has failed lately."""

    __slots__ = ("failures", "seconds", "trials", "until")

    def __init__(self, now: float) -> None:
        self.failures = Bucket(now)
        self.trials = Bucket(now)
        self.seconds = 0.0  # of its last penalty
        self.until = now  # end of that


class Penalties:
    """Networks that failed again and again. They are refused for a while, twice as long each time.

    Few connections are let in all the same, so that an honest peer of the network comes in once the others rest; what
    fails among them makes the penalty longer.

    failures: the failures that a /32 or /64 may have; wider networks twice as many each. trials: the connections that
    it may try in a penalty. longest: seconds of a penalty; it is forgotten so long after its end.
    """

    def __init__(self, failures: Rate, trials: Rate, longest: float) -> None:
        self._failures = failures
        self._trials = trials
        self._longest = longest
        self._of: dict[str, _Failing] = {}  # the one that failed last is the last

    def __len__(self) -> int:
        return len(self._of)

    def compact(self) -> None:
        """Give back the memory that a crowd has left behind."""
        compact(self._of)

    def fail(self, networks: Rings, now: float) -> bool:
        """Note a failure; return whether a penalty begins with it."""
        begins = False
        for at, network in enumerate(networks):
            failing = self._of.pop(network, None)
            if failing is None:
                while len(self._of) >= limits.PENALTY_ENTRIES:
                    del self._of[next(iter(self._of))]
                failing = _Failing(now)
            self._of[network] = failing
            wider = 1 << (len(networks) - 1 - at)
            if failing.failures.spend(1.0, self._failures.rate * wider, now) > self._failures.burst * wider:
                failing.failures = Bucket(now)
                failing.seconds = min(max(2 * failing.seconds, limits.PENALTY_FIRST_SECONDS), self._longest)
                failing.until = now + failing.seconds
                begins = True
        return begins

    def is_penalised(self, networks: Rings, now: float) -> bool:
        """Return whether one of these networks has a penalty."""
        return any((failing := self._of.get(network)) is not None and failing.until > now for network in networks)

    def may_try(self, networks: Rings, now: float) -> bool:
        """Charge a trial to those of the networks that have a penalty; return whether all of them had one left."""
        found = True
        for network in networks:
            failing = self._of.get(network)
            if failing is not None and failing.until > now:
                if failing.trials.level(self._trials.rate, now) + 1.0 > self._trials.burst:
                    found = False
                else:
                    failing.trials.spend(1.0, self._trials.rate, now)
        return found

    def sweep(self, now: float, most: int) -> None:
        """Forget, of the `most` networks that failed longest ago, those whose failures are past."""
        for network in list(islice(self._of, most)):
            failing = self._of[network]
            is_past = failing.until + (self._longest if failing.seconds else 0.0) <= now
            if is_past and not failing.failures.level(self._failures.rate, now):
                del self._of[network]


# ---------------------------------------------------------------- turns

Work = Callable[[], None]


class _Node:
    """One member of a queue that takes turns: an address's network."""

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
        self.bucket = Bucket(0.0)  # time used lately


class Share:
    """One session's share of the loop's time. `Turns.share` makes it; thousands of them idle, so it holds little."""

    __slots__ = ("parent", "pending", "tag", "waits", "works")

    def __init__(self, parent: _Node) -> None:
        self.parent: _Node = parent
        self.tag: float = parent.now
        self.pending = 0
        self.waits = False
        self.works: deque[Work] | Work | None = None  # mostly one

    @property
    def network(self) -> str:
        """Return the widest network that the share is charged to, "" for our own."""
        node = self.parent
        while node.parent is not None and node.parent.parent is not None:
            node = node.parent
        return node.name


class Turns:
    """A fair queue of work. Addresses take turns; within an address its sessions do, each by the time it has used.

    Time used beside the queue counts as well (`spent`), so that a busy session that now has to wait comes behind those
    that did little. Its lead is at most `TURN_LEAD` seconds: no share waits for longer because of what it did before.
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
        """Forget a share, once; its queued work is still done."""
        node = share.parent
        node.members -= 1
        while node.parent is not None and not node.members:
            del node.parent.children[node.name]
            node = node.parent
            node.members -= 1

    def queue(self, share: Share, work: Work) -> None:
        """Queue work behind the other work of a share."""
        works = share.works
        if works is None:
            share.works = work
        elif isinstance(works, deque):
            works.append(work)
        else:
            share.works = deque((works, work))
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
        """Take the work whose turn it is. Tell `spent` how long it took before taking the next one."""
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
        if not isinstance(works, deque):
            node.works = None
            return node, works
        work = works.popleft()
        if not works:
            node.works = None
        return node, work

    def spent(self, share: Share, seconds: float, now: float) -> None:
        """Charge time to a share and to its networks. now: seconds of a clock that does not jump."""
        node: _Node | Share = share
        while (parent := node.parent) is not None:
            node.tag = min(max(node.tag, parent.now) + seconds, parent.now + limits.TURN_LEAD)
            if isinstance(node, _Node):
                node.bucket.spend(seconds, limits.LIGHT_SHARE, now)
            node = parent

    def is_light(self, share: Share, now: float) -> bool:
        """Return whether the networks of a share have used so little that it need not wait for a turn.

        What is our own has no network, and is light.
        """
        node = share.parent
        while node.parent is not None:
            if node.bucket.level(limits.LIGHT_SHARE, now) > limits.LIGHT_SECONDS:
                return False
            node = node.parent
        return True

    def _put(self, parent: _Node, node: _Node | Share) -> None:
        node.waits = True
        self._order += 1
        heappush(parent.queue, (node.tag, self._order, node))

    def _first(self, node: _Node) -> _Node | Share:
        """Take the member whose turn it is off a node's queue. With more work it comes back behind its equals."""
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
    """Counts of how often each limit was reached, reported at most once in `TALLY_SECONDS`."""

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
