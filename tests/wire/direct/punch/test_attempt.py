"""Punching through NATs of every kind on virtual time, and what liars can make of it."""

from __future__ import annotations

import ipaddress
import itertools
import random
from collections import Counter
from collections.abc import Sequence

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ssbfast import limits
from ssbfast.ids import FeedId
from ssbfast.wire.direct.keys import DirectKeys, Role
from ssbfast.wire.direct.punch.attempt import Failed, Nominated, Proven, Punch, PunchEffect, PunchState, SendProbe
from ssbfast.wire.direct.punch.birthday import GuessPorts, OpenSockets, Searches, plan
from ssbfast.wire.direct.punch.budgets import Unanswered
from ssbfast.wire.direct.punch.candidates import PORTS, Address, Candidate, Candidates, Kind, NatMapping, Surroundings
from ssbfast.wire.direct.punch.pace import ProbePace
from ssbfast.wire.direct.punch.probes import ProbeKind, Probes
from tests.helpers.natsim import EXPORT_KEY, NatKind, PunchEnd, SimulatedInternet, SimulatedNat, meet

KINDS = [kind for kind in NatKind if kind is not NatKind.BLOCKED]
SHUT = {NatKind.PORT, NatKind.PORT_OPEN, NatKind.SYMMETRIC}
CASES = [
    *itertools.product(KINDS, KINDS),
    (NatKind.PUBLIC, NatKind.BLOCKED),
    (NatKind.BLOCKED, NatKind.PUBLIC),
]
IMPOSSIBLE = [
    (one, two)
    for one, two in CASES
    if NatKind.BLOCKED in (one, two) or (NatKind.SYMMETRIC in (one, two) and {one, two} <= SHUT)
]
POSSIBLE = [case for case in CASES if case not in IMPOSSIBLE]
SEARCHED = [case for case in IMPOSSIBLE if NatKind.SYMMETRIC in case and case[0] is not case[1]]
BOTH_WAYS = [False, True]


def label(value: object) -> str:
    return value.value if isinstance(value, NatKind) else str(value)


def test_the_matrix() -> None:
    assert (len(CASES), len(POSSIBLE), len(IMPOSSIBLE), len(SEARCHED)) == (38, 31, 7, 4)


@pytest.mark.parametrize(("one", "two"), POSSIBLE, ids=label)
def test_what_can_be_punched(one: NatKind, two: NatKind) -> None:
    result = meet(one, two, delay=0.01)
    caller = result.caller
    assert result.attempts == 1
    assert caller.found is not None and caller.found - caller.start <= 1.5 * 0.02 + 1e-9, "1.5 round trips"
    assert not result.target.net.strays, "nothing goes to reflectors or third parties"


@pytest.mark.parametrize(("one", "two"), IMPOSSIBLE, ids=label)
def test_what_cannot_be_is_given_up_in_time(one: NatKind, two: NatKind) -> None:
    result = meet(one, two)
    assert result.attempts == 0
    assert result.caller.epoch == limits.PUNCH_ATTEMPTS
    assert result.seconds <= 15
    assert result.caller.punch is not None and result.caller.punch.timer() is None


@pytest.mark.parametrize(("one", "two"), POSSIBLE, ids=label)
@pytest.mark.parametrize("loss", [0.1, 0.3])
def test_loss(one: NatKind, two: NatKind, loss: float) -> None:
    results = [meet(one, two, loss=loss, seed=seed, attempts=1) for seed in range(10)]
    assert all(result.attempts == 1 for result in results)


@pytest.mark.parametrize("missed", [-0.015, 0.015], ids=["caller early", "caller late"])
@pytest.mark.parametrize("epochs", [1, 2])
def test_a_mistimed_attempt_recovers_with_fresh_sockets(missed: float, epochs: int) -> None:
    """Both NATs remember packets that come early, so that the ports of the first attempt are spoilt."""
    result = meet(NatKind.PORT_OPEN, NatKind.PORT_OPEN, late=(missed,), attempts=epochs)
    assert result.attempts == (0 if epochs == 1 else 2)


@pytest.mark.parametrize(("one", "two"), POSSIBLE, ids=label)
@pytest.mark.parametrize("missed", [-0.015, 0.015, -0.3, 0.3])
def test_mistimed_everywhere(one: NatKind, two: NatKind, missed: float) -> None:
    assert meet(one, two, late=(missed,)).attempts in (1, 2)


# ---------------------------------------------------------------- birthday


@pytest.mark.slow
@pytest.mark.parametrize(("one", "two"), SEARCHED, ids=label)
def test_birthday(one: NatKind, two: NatKind) -> None:
    results = [meet(one, two, seed=seed, birthday=True, attempts=1) for seed in range(20)]
    met = [result for result in results if result.attempts and result.seconds <= 10]
    assert len(met) >= 19
    for result in results:
        hard, easy = result.caller, result.target
        if hard.nat.kind is not NatKind.SYMMETRIC:
            hard, easy = easy, hard
        assert len(hard.ports) <= 1 + limits.BIRTHDAY_SOCKETS and len(easy.ports) == 1
        assert len(easy.sent) <= limits.BIRTHDAY_PROBES
        assert max(hard.busiest_second(), easy.busiest_second()) <= limits.PROBES_PER_SECOND
        assert {address[0] for _, address, _ in easy.sent} == {hard.nat.outer}
        assert not result.caller.net.strays


@pytest.mark.parametrize(("one", "two"), SEARCHED[:1], ids=label)
def test_birthday_with_loss(one: NatKind, two: NatKind) -> None:
    results = [meet(one, two, seed=seed, birthday=True, attempts=1, loss=0.2) for seed in range(10)]
    assert sum(result.attempts for result in results) >= 9


def test_a_search_that_finds_nobody_ends() -> None:
    """The hard side has said that it takes part, and does nothing."""
    net = SimulatedInternet(1)
    a, b = (SimulatedNat(kind, f"203.0.113.{kind is NatKind.PORT:d}", "192.168.1.5", net.rng) for kind in SEARCHED[0])
    net.nats = {nat.outer: nat for nat in (a, b)}
    easy, hard = PunchEnd(net, a, Role.CALLER, 1), PunchEnd(net, b, Role.TARGET, 1)
    if a.kind is NatKind.SYMMETRIC:
        easy, hard = PunchEnd(net, b, Role.CALLER, 1), PunchEnd(net, a, Role.TARGET, 1)
    theirs = hard.gather(birthday=True)
    easy.gather(birthday=True)
    easy.begin(theirs, net.now)
    net.run(60)
    assert easy.failed is not None
    assert limits.BIRTHDAY_SECONDS - 1 <= easy.sent[-1][0] <= limits.BIRTHDAY_SECONDS
    assert len(easy.sent) <= limits.BIRTHDAY_PROBES
    assert easy.busiest_second() <= limits.PROBES_PER_SECOND


SEEN = Candidate("198.51.100.1", 5000, Kind.REFLEXIVE)
SEEN_V6 = Candidate("2600::1", 5000, Kind.REFLEXIVE)
SEEN_INSIDE = Candidate("192.168.1.1", 5000, Kind.REFLEXIVE)
NAMED = Candidate("198.51.100.1", 5000, Kind.HOST)
EASY, HARD, UNKNOWN = NatMapping.EASY, NatMapping.HARD, NatMapping.UNKNOWN


@pytest.mark.parametrize(
    ("ours", "theirs", "wanted", "families", "admitted", "part"),
    [
        (EASY, HARD, (True, True), [4, 6], [SEEN], GuessPorts),
        (HARD, EASY, (True, True), [4, 6], [SEEN], OpenSockets),
        (HARD, EASY, (True, True), [6, 4], [NAMED, SEEN], OpenSockets),
        (HARD, EASY, (True, False), [4, 6], [SEEN], None),
        (EASY, HARD, (False, True), [4, 6], [SEEN], None),
        (HARD, HARD, (True, True), [4, 6], [SEEN], None),
        (EASY, EASY, (True, True), [4, 6], [SEEN], None),
        (UNKNOWN, HARD, (True, True), [4, 6], [SEEN], None),
        (HARD, UNKNOWN, (True, True), [4, 6], [SEEN], None),
        (EASY, HARD, (True, True), [6], [SEEN], None),
        (EASY, HARD, (True, True), [4], [], None),
        (EASY, HARD, (True, True), [4], [SEEN_V6], None),
        (EASY, HARD, (True, True), [4], [NAMED], None),
        (EASY, HARD, (True, True), [4], [SEEN_INSIDE], None),
        (HARD, EASY, (True, True), [4], [SEEN_INSIDE], None),
        (EASY, HARD, (True, True), [4], [SEEN_INSIDE, SEEN], GuessPorts),
    ],
)
def test_who_searches(
    ours: NatMapping,
    theirs: NatMapping,
    wanted: tuple[bool, bool],
    families: Sequence[int],
    admitted: Sequence[Candidate],
    part: type | None,
) -> None:
    search = plan(
        Candidates((), ours, wanted[0]), Candidates((), theirs, wanted[1]), admitted, families, random.randrange
    )
    assert type(search) is (part or type(None))


@given(st.randoms(use_true_random=False))
def test_no_port_is_guessed_twice(rng: random.Random) -> None:
    guesses = GuessPorts(0, "198.51.100.1", rng.randrange)
    ports = []
    while guesses.due() is not None:
        ports.append(guesses.take().address[1])
    assert len(ports) == len(set(ports)) == limits.BIRTHDAY_PROBES
    assert all(port in PORTS for port in ports)


def test_sockets_are_opened_after_many_guesses() -> None:
    search = OpenSockets(2, ("198.51.100.1", 5000))
    sockets = []
    while (due := search.due()) is not None:
        assert limits.BIRTHDAY_DELAY < due == limits.BIRTHDAY_OPENING < limits.BIRTHDAY_SECONDS
        sockets.append(search.take().socket)
    assert sockets == list(range(2, 2 + limits.BIRTHDAY_SOCKETS))


def test_one_search_a_peer_in_ten_minutes() -> None:
    searches = Searches()
    one, two = FeedId(bytes([1]) * 32), FeedId(bytes([2]) * 32)
    searches.begins(one, 0.0)
    assert not searches.may(one, 599.9) and searches.may(two, 1.0)
    assert searches.may(one, 600.0)


def test_searches_are_bounded() -> None:
    searches = Searches()
    for number in range(limits.BIRTHDAY_PEERS):
        peer = FeedId(number.to_bytes(32, "big"))
        assert searches.may(peer, float(number) / 1000)
        searches.begins(peer, float(number) / 1000)
    assert not searches.may(FeedId(bytes([9]) * 32), 10.0)
    assert searches.may(FeedId(bytes([9]) * 32), 600.0)


# ---------------------------------------------------------------- one side alone

PEER = ("198.51.100.1", 5000)
ELSEWHERE = ("198.51.100.66", 6666)
START = 100.0


class Alone:
    """One side that has the whole pace to itself. Probes leave as they are due."""

    def __init__(self, punch: Punch) -> None:
        self.punch = punch
        self._pace = ProbePace()
        self._turn = self._pace.enter(b"peer", self._send)

    @property
    def state(self) -> PunchState:
        return self.punch.state

    def handle_timer(self, now: float) -> None:
        self.punch.handle_timer(now)
        self._run(now)

    def receive(self, socket: int, data: bytes, source: Address, now: float) -> None:
        self.punch.receive(socket, data, source, now)
        self._run(now)

    def choose(self, socket: int, address: Address) -> bool:
        return self.punch.choose(socket, address)

    def effects(self) -> list[PunchEffect]:
        return self.punch.effects()

    def timer(self) -> float | None:
        return min((at for at in (self.punch.timer(), self._pace.timer()) if at is not None), default=None)

    def _run(self, now: float) -> None:
        self._turn.due = self.punch.due()
        self._pace.run(now)

    def _send(self, now: float) -> None:
        self.punch.send(now)
        self._turn.due = self.punch.due()


def side(
    role: Role = Role.CALLER,
    remote: Sequence[Candidate] = (SEEN,),
    families: Sequence[int] = (4, 6),
    *,
    unanswered: Unanswered | None = None,
    around: Surroundings | None = None,
) -> Alone:
    return Alone(
        Punch(
            DirectKeys.derive(EXPORT_KEY, role, 1),
            families=families,
            remote=remote,
            start=START,
            random=random.Random(1).randbytes,
            unanswered=unanswered or Unanswered(),
            around=around or Surroundings(),
        )
    )


def probes(role: Role) -> Probes:
    return Probes(DirectKeys.derive(EXPORT_KEY, role, 1))


def sent(punch: Alone) -> list[SendProbe]:
    return [effect for effect in punch.effects() if isinstance(effect, SendProbe)]


def kind_of(effect: SendProbe) -> int:
    return effect.data[0]


def answer_to(check: SendProbe) -> bytes:
    return probes(Role.TARGET).answer(check.data[1:13])


def run_out(punch: Alone) -> list[SendProbe]:
    """Let all timers pass."""
    out = sent(punch)
    while (at := punch.timer()) is not None:
        punch.handle_timer(at)
        out += sent(punch)
    return out


@pytest.mark.parametrize("role", list(Role))
def test_nothing_leaves_before_the_start(role: Role) -> None:
    punch = side(role)
    punch.handle_timer(START - 0.001)
    assert punch.effects() == [] and punch.timer() == START
    punch.handle_timer(START)
    assert [effect.address for effect in sent(punch)] == [PEER]


@pytest.mark.parametrize("role", list(Role))
def test_an_authentic_check_begins_it(role: Role) -> None:
    """The other side has begun: its NAT is open for what we send, and ours has let this pass."""
    punch = side(role)
    punch.receive(0, probes(role.other).check(bytes(12)), PEER, START - 1)
    assert [kind_of(effect) for effect in sent(punch)] == [ProbeKind.ANSWER, ProbeKind.CHECK]
    assert punch.state is PunchState.CHECKING


@pytest.mark.parametrize("role", list(Role))
def test_a_check_is_answered_and_triggers_one(role: Role) -> None:
    punch = side(role)
    punch.handle_timer(START)
    sent(punch)
    token = bytes(range(12))
    punch.receive(0, probes(role.other).check(token), ELSEWHERE, START + 0.001)
    proven, answer, check = punch.effects()
    assert proven == Proven(0, ELSEWHERE)
    assert answer == SendProbe(0, ELSEWHERE, probes(role).answer(token))
    assert isinstance(check, SendProbe) and check.address == ELSEWHERE and kind_of(check) == ProbeKind.CHECK
    punch.receive(0, probes(role.other).check(bytes(12)), ELSEWHERE, START + 0.002)
    assert [kind_of(effect) for effect in sent(punch)] == [ProbeKind.ANSWER], "triggered once"
    punch.receive(0, probes(role.other).check(token), ELSEWHERE, START + 0.003)
    assert sent(punch) == [], "answered once"


def test_the_caller_takes_what_is_answered() -> None:
    punch = side()
    punch.handle_timer(START)
    (check,) = sent(punch)
    punch.receive(0, answer_to(check), PEER, START + 0.5)
    assert punch.effects() == [Proven(0, PEER), Nominated(0, PEER, pytest.approx(0.5))]
    assert punch.timer() is None
    punch.receive(0, probes(Role.TARGET).check(bytes(12)), PEER, START + 1)
    assert [kind_of(effect) for effect in sent(punch)] == [ProbeKind.ANSWER], "the target may be later"


@pytest.mark.parametrize("socket", [0, 1, 7])
@pytest.mark.parametrize("source", [PEER, ELSEWHERE])
@pytest.mark.parametrize("fresh", BOTH_WAYS)
def test_answers_that_count_for_nothing(socket: int, source: Address, fresh: bool) -> None:
    """Only the answer to our check, from where it went, to the socket that it left from."""
    punch = side()
    punch.handle_timer(START)
    (check,) = sent(punch)
    answer = answer_to(check) if fresh else probes(Role.TARGET).answer(bytes(12))
    punch.receive(socket, answer, source, START + 0.01)
    assert (punch.state is PunchState.DONE) == (fresh and socket == 0 and source == PEER)
    if punch.state is not PunchState.DONE:
        assert not any(isinstance(effect, Proven) for effect in punch.effects())


LAN = Candidate("192.168.1.9", 5000, Kind.HOST)
V6 = Candidate("2600::9", 5000, Kind.HOST)
PLAIN = Candidate("198.51.100.9", 5000, Kind.HOST)


@pytest.mark.parametrize(("better", "worse"), list(itertools.combinations([LAN, V6, PLAIN, SEEN], 2)))
@pytest.mark.parametrize("wait", [0.005, 0.02])
def test_better_paths_have_a_moment(better: Candidate, worse: Candidate, wait: float) -> None:
    punch = side(remote=[worse, better])
    punch.handle_timer(START)
    checks = {check.address: check for check in sent(punch)}
    now = START + 0.02
    socket = {item.address: int(item.is_v6) for item in (better, worse)}
    punch.receive(socket[worse.address], answer_to(checks[worse.address]), worse.address, now)
    assert punch.state is PunchState.CHECKING
    while (at := punch.timer()) is not None and at <= now + wait:
        punch.handle_timer(at)
    punch.receive(socket[better.address], answer_to(checks[better.address]), better.address, now + wait)
    chosen = [effect.address for effect in punch.effects() if isinstance(effect, Nominated)]
    assert chosen == [better.address if wait < limits.PREFER_SECONDS else worse.address]


def test_the_best_path_is_taken_at_once() -> None:
    punch = side(remote=[SEEN, LAN])
    punch.handle_timer(START)
    check = next(check for check in sent(punch) if check.address == LAN.address)
    punch.receive(0, answer_to(check), LAN.address, START)
    assert Nominated(0, LAN.address, 0.0) in punch.effects()


def test_the_target_lets_the_caller_choose() -> None:
    punch = side(Role.TARGET)
    assert not punch.choose(0, PEER)
    punch.handle_timer(START)
    (check,) = sent(punch)
    punch.receive(0, probes(Role.CALLER).answer(check.data[1:13]), PEER, START + 0.02)
    assert punch.state is PunchState.CHECKING and not punch.choose(0, ELSEWHERE) and not punch.choose(1, PEER)
    assert punch.timer() is not None
    assert punch.choose(0, PEER) and not punch.choose(0, PEER)
    assert punch.effects()[-1] == Nominated(0, PEER, pytest.approx(0.02))


def test_the_target_waits_longer_than_the_caller_searches() -> None:
    ends = {}
    for role in Role:
        punch = side(role)
        while (at := punch.timer()) is not None:
            ends[role] = at
            punch.handle_timer(at)
        assert punch.effects()[-1] == Failed("nothing came through")
    assert ends[Role.CALLER] == START + limits.PUNCH_SECONDS
    assert ends[Role.TARGET] == ends[Role.CALLER] + limits.PUNCH_GRACE


def test_after_a_failure_silence() -> None:
    punch = side()
    run_out(punch)
    punch.receive(0, probes(Role.TARGET).check(bytes(12)), PEER, START + 9)
    assert punch.effects() == [] and punch.timer() is None


def test_a_way_back_that_stays_shut() -> None:
    punch = side()
    punch.receive(0, probes(Role.TARGET).check(bytes(12)), PEER, START)
    while (at := punch.timer()) is not None:
        punch.handle_timer(at)
    assert punch.effects()[-1] == Failed("the way back stayed shut")


# ---------------------------------------------------------------- liars


def test_a_thousand_candidates() -> None:
    many = [Candidate(f"198.51.{number // 250}.{number % 250}", 5000, Kind.HOST) for number in range(1000)]
    punch = side(remote=many)
    everything = run_out(punch)
    assert len({check.address for check in everything}) == limits.CANDIDATES
    assert len(everything) == limits.UNANSWERED_CHECKS * limits.CANDIDATES


def test_bogus_datagrams_cost_an_hmac_and_nothing_else() -> None:
    rng = random.Random(7)
    punch = side(Role.TARGET)
    mirror, other = probes(Role.TARGET), Probes(DirectKeys.derive(EXPORT_KEY, Role.CALLER, 2))
    for number in range(10_000):
        data = (
            rng.randbytes(29),
            bytes([rng.choice([0x20, 0x21])]) + rng.randbytes(28),
            mirror.check(rng.randbytes(12)),
            other.check(rng.randbytes(12)),
            rng.randbytes(rng.randrange(64)),
        )[number % 5]
        punch.receive(0, data, (f"198.51.{number % 200}.{number % 250}", 2000 + number), START - 1)
    assert punch.effects() == [] and punch.state is PunchState.WAITING
    punch.handle_timer(START)
    assert [effect.address for effect in sent(punch)] == [PEER]


def test_our_own_probes_in_a_mirror() -> None:
    punch = side()
    punch.handle_timer(START)
    (check,) = sent(punch)
    punch.receive(0, check.data, PEER, START + 0.01)
    punch.receive(0, b"\x21" + check.data[1:], PEER, START + 0.01)
    assert punch.effects() == []


def test_replays_to_third_parties_are_few() -> None:
    """An observer of a check can replay it from any address: four addresses get probes, no more."""
    punch = side(Role.TARGET)
    check = probes(Role.CALLER).check(bytes(12))
    for number in range(1000):
        punch.receive(0, check, (f"198.51.77.{number % 250}", 2000 + number), START + number / 1e6)
    everything = run_out(punch)
    assert len({effect.address for effect in everything} - {PEER}) == limits.PEER_REFLEXIVE


@pytest.mark.parametrize(
    "source", [("127.0.0.1", 5000), ("224.0.0.1", 5000), ("198.51.100.9", 53), ("fe80::1%eth0", 5000)]
)
def test_sources_that_nothing_is_sent_to(source: Address) -> None:
    punch = side(Role.TARGET, remote=())
    punch.receive(0, probes(Role.CALLER).check(bytes(12)), source, START)
    punch.handle_timer(START)
    assert punch.effects() == []


def test_replays_get_no_answer_and_do_not_silence_our_own_checks() -> None:
    punch = side(Role.TARGET)
    check = probes(Role.CALLER).check(bytes(12))
    everything: list[tuple[float, SendProbe]] = []
    for number in range(20_000):
        now = START + number / 10_000
        punch.receive(0, check, ELSEWHERE, now)
        everything += [(now, effect) for effect in sent(punch)]
    times = [when for when, _ in everything]
    busiest = max(sum(1 for when in times if begin <= when < begin + 1) for begin in times)
    assert busiest <= limits.PROBES_PER_SECOND
    assert sum(kind_of(effect) == ProbeKind.ANSWER for _, effect in everything) == 1
    assert sum(kind_of(effect) == ProbeKind.CHECK and effect.address == PEER for _, effect in everything) >= 8


@given(st.lists(st.booleans(), min_size=1, max_size=8), st.integers(1, 40), st.integers(0, 1))
def test_few_checks_to_whom_nothing_comes_from(heard: list[bool], attempts: int, at: int) -> None:
    """An address gets ten checks, in one attempt or many, and ten more if checks come from it."""
    unanswered = Unanswered()
    remote = [Candidate("198.51.100.1", 5000 + number, Kind.HOST) for number in range(len(heard))]
    went: Counter[Address] = Counter()
    for number in range(attempts):
        punch = side(Role.TARGET, remote, unanswered=unanswered)
        if number == at:
            for item, came in zip(remote, heard, strict=True):
                if came:
                    punch.receive(0, probes(Role.CALLER).check(bytes(12)), item.address, START)
        went.update(effect.address for effect in run_out(punch) if kind_of(effect) == ProbeKind.CHECK)
    for item, came in zip(remote, heard, strict=True):
        assert went[item.address] <= limits.UNANSWERED_CHECKS * (2 if came else 1)
        assert went[item.address] >= limits.UNANSWERED_CHECKS


def test_checks_go_on_to_whom_has_answered() -> None:
    """Its answers prove that it is there; a later attempt finds its budget whole."""
    unanswered = Unanswered()
    for _ in range(3):
        punch = side(Role.CALLER, unanswered=unanswered)
        punch.handle_timer(START)
        for _ in range(limits.UNANSWERED_CHECKS - 1):
            at = punch.timer()
            assert at is not None
            punch.handle_timer(at)
        *_, last = checks = sent(punch)
        assert len(checks) == limits.UNANSWERED_CHECKS
        punch.receive(0, answer_to(last), PEER, START + 4)
        assert punch.state is PunchState.DONE


def test_the_checks_of_an_attempt_spread_over_it() -> None:
    """So the ends may begin at different times."""
    punch = side()
    times = []
    while (at := punch.timer()) is not None:
        punch.handle_timer(at)
        times += [at] * len(sent(punch))
    assert limits.PUNCH_SECONDS * 0.75 < times[-1] - times[0] < limits.PUNCH_SECONDS
    assert [round(when - times[0], 2) for when in times[:4]] == [0.0, 0.05, 0.12, 0.24]


@given(st.lists(st.integers(0, 60), max_size=400))
@example(list(range(60)))
def test_answers_to_one_address_are_few(tokens: list[int]) -> None:
    """A friend may forge its source and have us answer a third party: once each check, and not many."""
    punch = side(Role.TARGET, remote=())
    for number, token in enumerate(tokens):
        punch.receive(0, probes(Role.CALLER).check(token.to_bytes(12, "big")), ELSEWHERE, START + number / 1000)
    answers = [effect for effect in run_out(punch) if kind_of(effect) == ProbeKind.ANSWER]
    assert len(answers) == min(len(set(tokens)), limits.ANSWERS_PER_ADDRESS)


@pytest.mark.parametrize("role", list(Role))
@pytest.mark.parametrize("host", ["10.1.2.3", "192.168.9.9", "169.254.1.1", "169.254.169.254", "100.64.0.1", "fd12::1"])
def test_authentic_checks_from_where_we_do_not_send_to(role: Role, host: str) -> None:
    """A peer with the keys may forge the source, too."""
    punch = side(role, remote=())
    punch.receive(int(":" in host), probes(role.other).check(bytes(12)), (host, 5000), START)
    assert run_out(punch) == []


@pytest.mark.parametrize("role", list(Role))
def test_authentic_checks_from_our_own_subnet(role: Role) -> None:
    around = Surroundings(subnets=(ipaddress.ip_network("10.1.2.0/24"),))
    punch = side(role, remote=(), around=around)
    punch.receive(0, probes(role.other).check(bytes(12)), ("10.1.2.255", 5000), START)
    punch.receive(0, probes(role.other).check(bytes(12)), ("10.1.3.3", 5000), START)
    punch.receive(0, probes(role.other).check(bytes(12)), ("10.1.2.3", 5000), START)
    assert {effect.address for effect in run_out(punch)} == {("10.1.2.3", 5000)}


def test_checks_and_answers_take_turns() -> None:
    """A peer that has us answer does not keep us from asking, nor the other way round."""
    punch = side(Role.TARGET, remote=[Candidate("198.51.100.1", 5000 + n, Kind.HOST) for n in range(8)])
    for number in range(20):
        punch.punch.receive(0, probes(Role.CALLER).check(number.to_bytes(12, "big")), PEER, START)
    for _ in range(16):
        punch.punch.send(START)
    kinds = [kind_of(effect) for effect in sent(punch)]
    assert kinds == [ProbeKind.ANSWER, ProbeKind.CHECK] * 8


def test_repr_shows_no_address() -> None:
    punch = side()
    punch.handle_timer(START)
    assert PEER[0] not in repr(punch.effects()) and PEER[0] not in repr([Proven(0, PEER), Nominated(0, PEER, None)])
