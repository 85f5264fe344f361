"""The challenges of sign-ins: who may solve them, who may use them, and how many there are."""

from __future__ import annotations

import pytest

from ssbfast import limits
from ssbfast.budgets import rings
from ssbfast.ids import FeedId
from ssbfast.keys import Keypair
from ssbfast.room.sign_in import SignIn, SignIns, SignInState
from ssbfast.wire.http_auth import new_nonce, solve

ROOM = Keypair.generate().id
ME = Keypair.generate()
FIREFOX, CHROME = bytes(32), b"\1" * 32
HERE, THERE = ("192.0.2.1",), ("192.0.2.2",)
NOW = 1000.0


class Ins(SignIns):
    """Sign-ins of a room of which everyone is a member, but those in `strangers`."""

    def __init__(self) -> None:
        self.strangers: set[FeedId] = set()
        self.settled: list[SignIn] = []
        super().__init__(ROOM, lambda feed: feed not in self.strangers, self.settled.append)

    def solved(self, sign_in: SignIn, me: Keypair = ME, now: float = NOW) -> bool:
        cc = new_nonce()
        return self.solve(me.id, sign_in.sc, cc, solve(me, ROOM, sign_in.sc, cc), now)


@pytest.fixture
def ins() -> Ins:
    return Ins()


def test_a_solved_challenge_is_used_once_by_its_browser(ins: Ins) -> None:
    one = ins.begin(FIREFOX, HERE, NOW)
    assert len(one.sc) == 44 and len(one.code) == 4
    assert ins.finish(FIREFOX, NOW) is None
    assert ins.solved(one)
    assert ins.settled == [one]
    assert ins.finish(CHROME, NOW) is None
    assert ins.finish(FIREFOX, NOW) is one
    assert (one.feed, one.state) == (ME.id, SignInState.USED)
    assert ins.finish(FIREFOX, NOW) is None
    assert ins.find(one.sc, NOW) is None
    assert len(ins) == 0


def test_a_solution_is_taken_once(ins: Ins) -> None:
    one, cc = ins.begin(FIREFOX, HERE, NOW), new_nonce()
    solution = solve(ME, ROOM, one.sc, cc)
    assert ins.solve(ME.id, one.sc, cc, solution, NOW)
    assert not ins.solve(ME.id, one.sc, cc, solution, NOW)
    assert ins.finish(FIREFOX, NOW) is one


@pytest.mark.parametrize("wrong", ["key", "room", "sc", "cc", "short cc", "text", "type", "stranger"])
def test_a_wrong_solution_fails_the_challenge(ins: Ins, wrong: str) -> None:
    one, cc, other = ins.begin(FIREFOX, HERE, NOW), new_nonce(), Keypair.generate()
    solution: object = solve(ME, ROOM, one.sc, cc)
    feed = ME.id
    if wrong == "key":
        feed = other.id
    elif wrong == "room":
        solution = solve(ME, other.id, one.sc, cc)
    elif wrong == "sc":
        solution = solve(ME, ROOM, new_nonce(), cc)
    elif wrong == "cc":
        cc = new_nonce()
    elif wrong == "short cc":
        cc = cc[:42]
        solution = solve(ME, ROOM, one.sc, cc)
    elif wrong == "text":
        solution = "x.sig.ed25519"
    elif wrong == "type":
        solution = 7
    else:
        ins.strangers.add(feed)
    assert ins.solve(feed, one.sc, cc, solution, NOW) is False
    assert one.state is SignInState.FAILED
    assert not ins.solved(one)  # no second try
    assert ins.finish(FIREFOX, NOW) is None


@pytest.mark.parametrize("sc", ["", "abc", "A" * 43 + "=", None, 7, ["x"]])
def test_unknown_challenges_are_not_solved(ins: Ins, sc: object) -> None:
    assert ins.solve(ME.id, sc, new_nonce(), "x", NOW) is False


def test_a_challenge_waits_for_three_minutes(ins: Ins) -> None:
    one = ins.begin(FIREFOX, HERE, NOW)
    late = NOW + limits.SIGN_IN_SECONDS
    assert ins.find(one.sc, late - 1) is one and ins.find(one.sc, late) is None
    assert not ins.solved(one, now=late)
    two = ins.begin(CHROME, HERE, late)
    assert ins.solved(two, now=late + 100)
    assert ins.finish(CHROME, late + 100 + limits.SIGN_IN_SECONDS) is None
    assert one.state is SignInState.FAILED and ins.settled == [one, two]


def test_a_browser_has_one_challenge(ins: Ins) -> None:
    one = ins.begin(FIREFOX, HERE, NOW)
    assert ins.begin(FIREFOX, HERE, NOW + 1) is one
    again = ins.begin(FIREFOX, HERE, NOW + limits.SIGN_IN_SECONDS - 1)
    assert again is not one and ins.settled == [one]
    with_link = ins.begin(FIREFOX, HERE, NOW + limits.SIGN_IN_SECONDS, link=bytes(32))
    assert with_link is not again and len(ins) == 1


def test_a_solved_one_is_not_handed_out_again(ins: Ins) -> None:
    one = ins.begin(FIREFOX, HERE, NOW)
    assert ins.solved(one)
    assert ins.begin(FIREFOX, HERE, NOW) is not one
    assert ins.finish(FIREFOX, NOW) is None


def test_the_oldest_of_a_full_address_gives_way(ins: Ins) -> None:
    other = ins.begin(CHROME, THERE, NOW)
    mine = [ins.begin(bytes(31) + bytes([n]), HERE, NOW) for n in range(limits.SIGN_INS_PER_ADDRESS + 1)]
    assert [one.state for one in mine[:2]] == [SignInState.FAILED, SignInState.OPEN]
    assert other.state is SignInState.OPEN
    assert len(ins) == limits.SIGN_INS_PER_ADDRESS + 1


def test_there_are_so_many_in_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "SIGN_INS", 5)
    ins = Ins()
    for n in range(9):
        ins.begin(bytes(31) + bytes([n]), (f"192.0.2.{n}",), NOW)
    assert len(ins) == 5


def test_a_thousand_addresses_of_a_stranger_have_the_challenges_of_a_household(ins: Ins) -> None:
    other = ins.begin(CHROME, THERE, NOW)
    for n in range(1_000):
        ins.begin(n.to_bytes(32, "big"), rings(f"2001:db8:7:{n:x}::1"), NOW)
    assert len(ins) == limits.SIGN_INS_PER_ADDRESS * 4 + 1 and other.state is SignInState.OPEN


def test_a_stranger_that_has_all_loses_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "SIGN_INS", 500)
    ins = Ins()
    other = ins.begin(CHROME, THERE, NOW)
    for n in range(3_000):
        ins.begin(n.to_bytes(32, "big"), (f"198.51.100.{n % 100}",), NOW)
    assert len(ins) == 500 and other.state is SignInState.OPEN
    assert ins.solved(other) and ins.finish(CHROME, NOW) is other


def test_a_link_lets_strangers_solve(ins: Ins) -> None:
    ins.strangers.add(ME.id)
    assert ins.solved(ins.begin(FIREFOX, HERE, NOW, link=bytes(32)))


def test_who_loses_its_role_signs_nobody_in(ins: Ins) -> None:
    one = ins.begin(FIREFOX, HERE, NOW)
    assert ins.solved(one)
    ins.forget(ME.id)
    assert ins.finish(FIREFOX, NOW) is None
