"""One attempt to open a direct path: when each probe leaves, and which path is chosen. Bytes in, effects out; no clock.

::

    WAITING    before the start that both sides agreed upon; nothing is sent
      at the start, or when an authentic check comes: the other side has begun
    CHECKING   checks to all addresses, all of them at once and then at growing pauses; checks are answered
      caller: one of them was answered (and no better one within 10 ms)     → Nominated
      target: the caller's QUIC has come (`choose`)                          → Nominated
    DONE       checks are still answered: the other side may be later than we are
      at the deadline                                                        → Failed
    FAILED     silence

**Early packets are poison.** A probe that comes to a NAT from an address to which no host inside has sent may spoil the
port that it was meant for. So nothing is sent before the start but to where an authentic check came from: its sender
has opened its NAT for our answer, and it has passed ours. Such a check also says that the other side has begun, and
with it we begin. What a mistimed attempt has spoilt stays so: the next one needs fresh sockets.

**Both sides answer a check and send one of their own at once** ("triggered"): behind a NAT that lets in only what was
asked for, the check that came first is the proof that now both ways are open.

**What others can cause is bounded.** An inauthentic datagram costs one HMAC and leaves nothing behind. Checks come
from at most 4 addresses that the peer did not name, and such as we may send to (`candidates.may_send`). An address that
answers nothing gets few checks (`budgets.Unanswered`). A check is answered once, so that replays get nothing, and of
each address few are. Probes leave one at a time, when `pace.ProbePace` gives the attempt its turn: `due` says when the
next one wants to, `send` lets it go.
"""

from __future__ import annotations

import enum
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from ssbfast import limits
from ssbfast.wire.direct.keys import DirectKeys, Role
from ssbfast.wire.direct.punch.birthday import Search
from ssbfast.wire.direct.punch.budgets import Unanswered
from ssbfast.wire.direct.punch.candidates import Address, Candidate, Kind, Surroundings, is_private, may_send
from ssbfast.wire.direct.punch.pace import NOTHING, Due
from ssbfast.wire.direct.punch.probes import TOKEN, ProbeKind, Probes


class PunchState(enum.Enum):
    """The progress of an attempt."""

    WAITING = enum.auto()
    CHECKING = enum.auto()
    DONE = enum.auto()
    FAILED = enum.auto()


@dataclass(frozen=True, slots=True)
class SendProbe:
    """A datagram to send. socket: its index; one that is not there yet is to be opened for it (IPv4)."""

    socket: int
    address: Address = field(repr=False)
    data: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Proven:
    """The first authentic probe of the peer from an address: QUIC from there may be listened to."""

    socket: int
    address: Address = field(repr=False)


@dataclass(frozen=True, slots=True)
class Nominated:
    """The path that was found. rtt: seconds, as far as the target knows it."""

    socket: int
    address: Address = field(repr=False)
    rtt: float | None


@dataclass(frozen=True, slots=True)
class Failed:
    """The end of an attempt without a path."""

    reason: str


PunchEffect: TypeAlias = SendProbe | Proven | Nominated | Failed


@dataclass(slots=True)
class _Pair:
    """One of our sockets and one address of the peer. rank: the lower, the better."""

    socket: int
    address: Address = field(repr=False)
    rank: int
    due: float
    pause: float = limits.CHECK_FIRST
    proven: bool = False
    rtt: float | None = None
    spent: bool = False  # it has had all the checks that it gets unanswered
    asked: dict[bytes, float] = field(default_factory=dict, repr=False)  # token of each check → when it left
    checks: set[bytes] = field(default_factory=set, repr=False)  # tokens of those that came


class Punch:
    """One attempt of one side.

    keys: of this session, side and attempt. families: 4 or 6 of each socket; probes refer to them by index.
    remote: where to send to (`candidates.admit`). start: when; `now` of all calls is by the same clock, in seconds.
    random: n → n random bytes. unanswered: of the whole process. around: what decides over addresses that checks come
    from. search: our side of a birthday search. seconds: how long to try without a search.
    """

    def __init__(
        self,
        keys: DirectKeys,
        *,
        families: Sequence[int],
        remote: Sequence[Candidate],
        start: float,
        random: Callable[[int], bytes],
        unanswered: Unanswered,
        around: Surroundings,
        search: Search | None = None,
        seconds: float = limits.PUNCH_SECONDS,
    ) -> None:
        self._role = keys.role
        self._probes = Probes(keys)
        self._random = random
        self._search = search
        self._unanswered = unanswered
        self._around = around
        self._seconds = seconds if search is None else limits.BIRTHDAY_SECONDS
        self._state = PunchState.WAITING
        self._start = start
        self._prefer_until = float("inf")
        self._answers: deque[tuple[float, _Pair, bytes]] = deque()  # since when it waits, its pair, its token
        self._answered_last = False
        self._unnamed = 0  # pairs that the peer did not name
        self._effects: list[PunchEffect] = []
        self._pairs: dict[tuple[int, Address], _Pair] = {}
        for item in remote[: limits.CANDIDATES]:
            for socket, family in enumerate(families):
                if item.is_v6 == (family == 6):
                    self._add(socket, item)

    @property
    def state(self) -> PunchState:
        return self._state

    def effects(self) -> list[PunchEffect]:
        """Return what is to be done, in order. Call it after each other call; nothing is returned twice."""
        out, self._effects = self._effects, []
        return out

    def timer(self) -> float | None:
        """Return when `handle_timer` has something to do next."""
        if self._state is PunchState.WAITING:
            return self._start
        if self._state is not PunchState.CHECKING:
            return None
        return min(self._deadline(), self._prefer_until)

    def handle_timer(self, now: float) -> None:
        """Do what is due; harmless when nothing is."""
        if self._state is PunchState.WAITING and now >= self._start:
            self._begin(now)
        if self._state is not PunchState.CHECKING:
            return
        self._nominate(now)
        if self._state is PunchState.CHECKING and now >= self._deadline():
            self._state = PunchState.FAILED
            self._answers.clear()
            heard = any(pair.proven for pair in self._pairs.values())
            self._effects.append(Failed("the way back stayed shut" if heard else "nothing came through"))

    def due(self) -> Due:
        """Return when the next probe wants to leave. Call it after each other call."""
        checks = min((pair.due for pair in self._unchecked()), default=NOTHING.probe)
        answers = self._answers[0][0] if self._answers else NOTHING.probe
        return Due(min(answers, checks), self._search_due())

    def send(self, now: float) -> None:
        """Make one `SendProbe`, of the most urgent probe that is due.

        Answers and checks take turns: neither has to wait for all of the others. A search gets what they leave.
        """
        if self._answers and not self._answered_last:
            self._send_answer()
            return
        self._answered_last = False
        if self._send_check(now):
            return
        if self._answers:
            self._send_answer()
        elif self._search is not None and self._search_due() <= now:
            guess = self._search.take()
            self._effects.append(SendProbe(guess.socket, guess.address, self._probes.check(self._random(TOKEN))))

    def receive(self, socket: int, data: bytes, source: Address, now: float) -> None:
        """Take a datagram that came to one of our sockets. Anything not authentic is ignored."""
        if self._state is PunchState.FAILED:
            return
        probe = self._probes.open(data)
        if probe is None:
            return
        if probe.kind is ProbeKind.CHECK:
            self._checked(socket, probe.token, source, now)
        else:
            self._answered(socket, probe.token, source, now)
        self.handle_timer(now)

    def choose(self, socket: int, address: Address) -> bool:
        """Target: note that the caller's QUIC has come to this pair; return whether it may.

        An authentic probe must have come before.
        """
        pair = self._pairs.get((socket, address))
        if self._state is not PunchState.CHECKING or pair is None or not pair.proven:
            return False
        self._done(pair)
        return True

    # ---------------------------------------------------------------- what comes

    def _checked(self, socket: int, token: bytes, source: Address, now: float) -> None:
        pair = self._pairs.get((socket, source)) or self._add_unnamed(socket, source)
        if pair is None or token in pair.checks or len(pair.checks) >= limits.ANSWERS_PER_ADDRESS:
            return
        pair.checks.add(token)
        self._heard(pair, now)
        self._answers.append((now, pair, token))
        if self._state is PunchState.WAITING:
            self._begin(now)

    def _answered(self, socket: int, token: bytes, source: Address, now: float) -> None:
        pair = self._pairs.get((socket, source))
        left = pair.asked.pop(token, None) if pair is not None else None
        if pair is None or left is None:
            return
        self._unanswered.answered(source)
        self._heard(pair, now)
        if pair.rtt is None:
            pair.rtt = max(now - left, 0.0)
            if self._role is Role.CALLER:
                self._prefer_until = min(self._prefer_until, now + limits.PREFER_SECONDS)

    def _heard(self, pair: _Pair, now: float) -> None:
        if pair.proven:
            return
        pair.proven = True
        # The triggered check, and quick ones behind it: what was lost before may have been lost on a shut NAT.
        pair.due, pair.pause, pair.spent = now, limits.CHECK_FIRST, False
        self._effects.append(Proven(pair.socket, pair.address))

    def _add_unnamed(self, socket: int, source: Address) -> _Pair | None:
        """Add a peer's address that it did not name, from an authentic check: its NAT gave it another port."""
        host, port = source
        if self._unnamed >= limits.PEER_REFLEXIVE or not may_send(source, self._around):
            return None
        self._unnamed += 1
        return self._add(socket, Candidate(host, port, Kind.PEER_REFLEXIVE))

    def _add(self, socket: int, item: Candidate) -> _Pair:
        pair = _Pair(socket, item.address, _rank(item), self._start)
        return self._pairs.setdefault((socket, item.address), pair)

    # ---------------------------------------------------------------- what leaves

    def _begin(self, now: float) -> None:
        self._state = PunchState.CHECKING
        self._start = now
        for pair in self._pairs.values():
            pair.due = min(pair.due, now)

    def _unchecked(self) -> Iterator[_Pair]:
        """Return the pairs that get checks, now or later."""
        if self._state is PunchState.CHECKING:
            yield from (pair for pair in self._pairs.values() if pair.rtt is None and not pair.spent)

    def _send_check(self, now: float) -> bool:
        """Send the most urgent check that is due; return False when there is none.

        Pairs that were heard go first, and the best of those.
        """
        due = [pair for pair in self._unchecked() if pair.due <= now]
        for pair in sorted(due, key=lambda item: (not item.proven, item.due, item.rank)):
            if not self._unanswered.take(pair.address, now, heard=pair.proven):
                pair.spent = True
                continue
            token = self._random(TOKEN)
            pair.asked[token] = now
            pair.due = now + pair.pause
            pair.pause = min(pair.pause * limits.CHECK_FACTOR, limits.CHECK_PAUSE)
            self._effects.append(SendProbe(pair.socket, pair.address, self._probes.check(token)))
            return True
        return False

    def _send_answer(self) -> None:
        _, pair, token = self._answers.popleft()
        self._effects.append(SendProbe(pair.socket, pair.address, self._probes.answer(token)))
        self._answered_last = True

    def _search_due(self) -> float:
        """Return when the search has something to send; infinity for never."""
        due = self._search.due() if self._search is not None and self._state is PunchState.CHECKING else None
        return NOTHING.guess if due is None else self._start + due

    # ---------------------------------------------------------------- how it ends

    def _deadline(self) -> float:
        return self._start + self._seconds + (limits.PUNCH_GRACE if self._role is Role.TARGET else 0.0)

    def _nominate(self, now: float) -> None:
        """Choose, as the caller, the best path that works, unless a better one has not had its time."""
        if self._role is not Role.CALLER:
            return
        pairs = self._pairs.values()
        best = min((pair for pair in pairs if pair.rtt is not None), key=_merit, default=None)
        if best is None:
            return
        hoped_for = any(pair.rank < best.rank and pair.rtt is None for pair in pairs)
        if not hoped_for or now >= self._prefer_until:
            self._done(best)

    def _done(self, pair: _Pair) -> None:
        self._state = PunchState.DONE
        self._effects.append(Nominated(pair.socket, pair.address, pair.rtt))


def _merit(pair: _Pair) -> tuple[int, float]:
    return pair.rank, pair.rtt or 0.0


def _rank(item: Candidate) -> int:
    """Rank a pair: the same network first, then IPv6 (never translated), then IPv4 without and with translation."""
    if is_private(item.host):
        return 0
    if item.is_v6:
        return 1
    return 2 if item.kind is Kind.HOST else 3
