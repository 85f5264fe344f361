"""A peer's store: what is kept, and who may use it at the same time."""

from __future__ import annotations

import os
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from ssbfast import limits
from ssbfast.errors import BadInputError, StoreError
from ssbfast.room.denials import Denial
from ssbfast.room.tunnel_auth import Reason, Relation
from ssbfast.store.peer_store import FILE, Contact, DenialCount, Store
from ssbfast.store.peer_tickets import Pairing
from tests.helpers.rooms import feed
from tests.helpers.stores import RANDBELOW, batch, go, line, other_process, posix_only, raw, refusal

# ---------------------------------------------------------------- contacts


def test_contacts(tmp_path: Path) -> None:
    clock = iter(range(1, 100))
    with Store(tmp_path / "a" / "b", now=lambda: float(next(clock))) as store:
        assert store.contacts() == [] and store.relation(feed(1)) == Relation()
        assert store.follow(feed(2)) and not store.follow(feed(2))
        assert store.block(feed(1)) and not store.block(feed(1))
        assert store.follow(feed(1))
        assert store.relations([feed(1), feed(2), feed(3)]) == {
            feed(1): Relation(True, True),
            feed(2): Relation(True, False),
            feed(3): Relation(),
        }
        assert store.contacts() == [
            Contact(feed(1), Relation(True, True), 3.0),
            Contact(feed(2), Relation(True), 1.0),
        ]
    with Store(tmp_path / "a" / "b") as store:
        assert store.unblock(feed(1)) and not store.unblock(feed(1))
        assert store.relation(feed(1)) == Relation(True)
        assert store.unfollow(feed(1)) and store.unfollow(feed(2)) and not store.unfollow(feed(3))
        assert store.contacts() == []


def test_the_stamp_tells_changes(tmp_path: Path) -> None:
    with Store(tmp_path) as one, Store(tmp_path) as two:
        stamps = [one.stamp(), two.stamp()]
        one.contacts(), two.relation(feed(1))
        assert [one.stamp(), two.stamp()] == stamps
        one.follow(feed(1))
        assert one.stamp() != stamps[0] and two.stamp() != stamps[1]


@posix_only
def test_only_its_owner_can_read_it(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        with Store(tmp_path / "data") as store:
            store.follow(feed(1))
            modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "data").iterdir()}
            assert modes == {name: 0o600 for name in (FILE, f"{FILE}-wal", f"{FILE}-shm")}
            assert stat.S_IMODE((tmp_path / "data").stat().st_mode) == 0o700
    finally:
        os.umask(before)
    (tmp_path / "data" / FILE).chmod(0o644)
    Store(tmp_path / "data").close()
    assert stat.S_IMODE((tmp_path / "data" / FILE).stat().st_mode) == 0o600


def test_closed(tmp_path: Path) -> None:
    store = Store(tmp_path)
    assert repr(store) == f"<Store {tmp_path / FILE}>"
    store.close()
    store.close()
    calls: list[Callable[[], object]] = [
        store.contacts,
        store.stamp,
        store.denials,
        store.denial_counts,
        lambda: store.denial(1),
        lambda: store.follow(feed(1)),
        lambda: store.relation(feed(1)),
        lambda: store.record(batch(refusal(1)), RANDBELOW),
    ]
    for call in calls:
        with pytest.raises(StoreError):
            call()


# ---------------------------------------------------------------- denials


def test_denials_are_numbered_for_good(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        assert store.denials() == [] and store.denial_counts() == {}
        recorded = store.record(batch(refusal(1), refusal(2, known=True)), RANDBELOW)
        assert [item.number for item in recorded] == [1, 2]
        assert store.denials() == recorded
        assert store.denial(2) == recorded[1]
    raw(tmp_path, "DELETE FROM denials")
    with Store(tmp_path) as store:
        assert [store.denial(number) for number in (-1, 0, 1, 2, 3, 2**63, 2**70)] == [None] * 7
        [again] = store.record(batch(refusal(1)), RANDBELOW)
        assert again.number == 3
        assert again.address is not None and again.address.startswith("tunnel:")
        assert store.denial_counts() == {feed(1000): DenialCount(refused=3, kept=1, faults=0)}
        assert store.denial_counts()[feed(1000)].rest == 2


def test_a_flood_stays_small(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        store.record(batch(refusal(999_999, known=True)), RANDBELOW)
        for start in range(0, 20_000, 1000):
            store.record(batch(*(refusal(n) for n in range(start, start + 1000))), RANDBELOW)
        kept = store.denials()
        assert len(kept) == limits.DENIALS_PER_ROOM + 1 and kept[0].origin == feed(999_999)
        assert store.denial_counts()[feed(1000)] == DenialCount(20_001, limits.DENIALS_PER_ROOM + 1, 0)
        assert store.denial_counts()[feed(1000)].rest == 20_000 - limits.DENIALS_PER_ROOM
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) < 128 * 1024


def test_every_field_comes_back(tmp_path: Path) -> None:
    denials = [
        Denial(feed(n), feed(n + 50), reason, 1_800_000_000.25 + n, known)
        for n, (reason, known) in enumerate((reason, known) for reason in Reason for known in (False, True))
    ]
    with Store(tmp_path) as store:
        recorded = store.record(batch(*denials), RANDBELOW)
        assert store.denials() == recorded
    assert [(d.room, d.origin, d.reason, d.time, d.known, d.proven) for d in recorded] == [
        (d.room, d.origin, d.reason, d.time, d.known, True) for d in denials
    ]


# ---------------------------------------------------------------- several users


def test_threads_share_one_store(tmp_path: Path) -> None:
    with Store(tmp_path) as store:

        def work(start: int) -> None:
            for n in range(start, start + 25):
                store.follow(feed(n))
                store.contacts()

        threads = [threading.Thread(target=work, args=(start,)) for start in range(0, 100, 25)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(store.contacts()) == 100


@pytest.mark.slow
def test_several_processes_write_at_once(tmp_path: Path) -> None:
    code = "for n in range(int(sys.argv[2]), int(sys.argv[2]) + 40): store.follow(feed(n)); store.block(feed(n))\n"
    processes = [other_process(code, str(tmp_path), str(start)) for start in (0, 40, 80)]
    assert [line(process) for process in processes] == ["ready"] * 3
    for process in processes:
        go(process)
    with Store(tmp_path) as store:
        for n in range(120, 140):
            store.follow(feed(n))
        for process in processes:
            process.communicate(timeout=60)
        assert [process.returncode for process in processes] == [0, 0, 0]
        assert len(store.contacts()) == 140
        assert store.relation(feed(100)) == Relation(True, True)


def test_several_processes_make_it_at_once(tmp_path: Path) -> None:
    code = "import sys; from ssbfast.store.peer_store import Store; print(len(Store(sys.argv[1]).contacts()))"
    root = Path(__file__).parent.parent.parent
    for attempt in range(3):
        data = str(tmp_path / str(attempt))
        processes = [
            subprocess.Popen([sys.executable, "-c", code, data], cwd=root, stdout=subprocess.PIPE, text=True)
            for _ in range(4)
        ]
        assert [process.communicate(timeout=60)[0] for process in processes] == ["0\n"] * 4


def test_a_reader_does_not_wait_for_a_writer_and_a_writer_gives_up(tmp_path: Path) -> None:
    with Store(tmp_path) as store, Store(tmp_path, busy=0.05) as other:
        store.follow(feed(1))
        blocker = sqlite3.connect(tmp_path / FILE, isolation_level=None)
        blocker.execute("BEGIN IMMEDIATE")
        blocker.execute("DELETE FROM contacts")
        assert other.relation(feed(1)) == Relation(True)
        with pytest.raises(StoreError, match="locked"):
            other.follow(feed(2))
        blocker.execute("ROLLBACK")
        blocker.close()
        assert other.follow(feed(2))


@posix_only
def test_a_crash_in_mid_transaction(tmp_path: Path) -> None:
    code = (
        "store._connection.execute('PRAGMA cache_size = 10')\n"  # so that much of it has reached the disk
        "store._connection.execute('BEGIN IMMEDIATE')\n"
        "store._connection.execute('DELETE FROM contacts')\n"
        "rows = [(feed(n).key,) for n in range(1000, 6000)]\n"
        "columns = 'feed, follows, blocks, changed'\n"
        "store._connection.executemany(f'INSERT INTO contacts ({columns}) VALUES (?, 1, 1, 0)', rows)\n"
        "print('deep inside', flush=True)\n"
        "sys.stdin.readline()\n"
    )
    with Store(tmp_path) as store:
        for n in range(50):
            store.follow(feed(n))
        process = other_process(code, str(tmp_path))
        assert line(process) == "ready"
        go(process)
        assert line(process) == "deep inside"
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=60)
        assert process.returncode == -signal.SIGKILL
        assert len(store.contacts()) == 50
        assert store.follow(feed(50))  # its lock died with it
    with Store(tmp_path) as store:
        assert len(store.contacts()) == 51


@posix_only
def test_a_crash_leaves_what_was_written(tmp_path: Path) -> None:
    process = other_process("store._fold_log = lambda: os._exit(3)\nstore.block(feed(1))\n", str(tmp_path))
    assert line(process) == "ready"
    go(process)
    process.communicate(timeout=60)
    assert process.returncode == 3
    assert (tmp_path / f"{FILE}-wal").stat().st_size > 0
    with Store(tmp_path) as store:
        assert store.relation(feed(1)) == Relation(blocks=True)


def test_an_error_in_mid_transaction_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Store(tmp_path) as store:
        store.record(batch(refusal(1)), RANDBELOW)
        before = store.denials()
        monkeypatch.setattr(store, "_insert", lambda denial: 1 // 0)
        with pytest.raises(ZeroDivisionError):
            store.record(batch(*(refusal(n) for n in range(100))), RANDBELOW)
        monkeypatch.undo()
        assert store.denials() == before and store.denial_counts()[feed(1000)].refused == 1
        assert [item.number for item in store.record(batch(refusal(2)), RANDBELOW)] == [2]


# ---------------------------------------------------------------- nicknames and pairing


def test_nicknames(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        assert store.follow(feed(1), "laptop")
        assert not store.follow(feed(1), "laptop")
        assert store.rename(feed(2), "phone")
        with pytest.raises(BadInputError, match="laptop already"):
            store.follow(feed(3), "laptop")
        assert store.relation(feed(3)) == Relation()  # all or nothing
        for bad in ("", "-a", "a-", "A", "a b", "a.b", "x" * 33, "ä"):
            with pytest.raises(BadInputError):
                store.rename(feed(1), bad)
        found = store.contact("laptop")
        assert found is not None and found.id == feed(1)
        assert store.contact("tablet") is None
        # A peer keeps its nickname without a follow, and is forgotten without either.
        store.unfollow(feed(1))
        assert [(one.id, one.nickname) for one in store.contacts()] == [(feed(1), "laptop"), (feed(2), "phone")]
        assert store.rename(feed(1), None)
        assert [one.id for one in store.contacts()] == [feed(2)]
        assert not store.rename(feed(1), None)


def test_a_free_nickname(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        long = "x" * 32
        for n, wanted in enumerate(("laptop", "laptop-2", long)):
            assert store.free_nickname(wanted) == wanted
            store.follow(feed(n), wanted)
        assert store.free_nickname("laptop") == "laptop-3"
        assert store.free_nickname(long) == "x" * 30 + "-2"


def test_a_ticket_is_spent_once(tmp_path: Path) -> None:
    clock = [1000.0]
    with Store(tmp_path, now=lambda: clock[0]) as store:
        store.add_ticket(feed(9), 5000.0, "net:…")
        store.block(feed(3))
        assert store.holds(feed(9)) and not store.holds(feed(8))
        for back, holds in ((limits.CLOCK_SLACK, True), (limits.CLOCK_SLACK + 1, False)):  # the clock is set back
            clock[0] = 1000.0 - back
            assert store.holds(feed(9)) is holds
        assert store.pair(feed(9), feed(1), None) is Pairing.REFUSED
        clock[0] = 1000.0
        assert store.pair(feed(8), feed(1), None) is Pairing.REFUSED
        assert store.pair(feed(9), feed(3), None) is Pairing.REFUSED
        assert store.pair(feed(9), feed(1), "laptop") is Pairing.DONE
        assert store.pair(feed(9), feed(1), "other") is Pairing.AGAIN
        assert store.pair(feed(9), feed(2), "laptop") is Pairing.USED
        assert store.relation(feed(1)).follows and not store.relation(feed(2)).known
        assert store.nickname(feed(1)) == "laptop"
        (ticket,) = store.tickets()
        assert (ticket.taker, ticket.taken) == (feed(1), 1000.0)
        assert store.cancel_tickets() == 0
        clock[0] = 5000.0
        assert not store.holds(feed(9))
        assert store.pair(feed(9), feed(1), None) is Pairing.REFUSED


def test_befriending_keeps_what_was_said(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        assert store.befriend(feed(1), "home", "net:room:1~shs:x") == "home"
        assert store.befriend(feed(1), "other") == "home"
        (contact,) = store.contacts()
        assert (contact.room, contact.relation.follows) == ("net:room:1~shs:x", True)
        assert store.befriend(feed(2), "home") == "home-2"
        assert store.befriend(feed(3), None) is None
