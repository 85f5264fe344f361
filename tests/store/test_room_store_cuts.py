"""A process that is killed in the middle of an action has done all of it, or nothing."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import pytest

from ssbfast.room.records import Member, Notice, Settings
from ssbfast.room.roles import Mode, Role
from ssbfast.store.room_store import Contents, RoomStore
from tests.helpers.room_stores import SIGNATURE, dump, hash_number
from tests.helpers.rooms import feed
from tests.helpers.stores import posix_only

pytestmark = posix_only

ACTIONS: dict[str, Callable[[RoomStore], Any]] = {
    "add": lambda store: store.add_member(feed(9), Role.ADMIN, by=feed(1)),
    "role": lambda store: store.set_role(feed(2), Role.ADMIN, by=feed(1)),
    "remove": lambda store: store.remove_member(feed(2), by=feed(1)),
    "block": lambda store: store.block(feed(2), "spam", by=feed(1)),
    "unblock": lambda store: store.unblock(feed(3), by=feed(1)),
    "settings": lambda store: store.change_settings(by=None, mode=Mode.COMMUNITY, name="x", members=[feed(9)]),
    "invite": lambda store: store.create_invite(hash_number(9), by=feed(2)),
    "claim": lambda store: store.claim_invite(hash_number(1), feed(9), 5.0),
    "revoke invite": lambda store: store.revoke_invite(1, by=feed(2)),
    "alias": lambda store: store.register_alias("new", feed(9), SIGNATURE, most=8, now=5.0),
    "free": lambda store: store.revoke_alias("alice", by=None),
    "link": lambda store: store.add_link(hash_number(9), feed(2), "login", 1e12, by=None),
    "use link": lambda store: store.take_link(hash_number(4), 5.0),
    "admin link": lambda store: store.take_admin_link(hash_number(5), feed(9), 5.0),
    "admin link of a member": lambda store: store.take_admin_link(hash_number(5), feed(2), 5.0),
    "password": lambda store: store.set_password(feed(2), b"other", by=None),
    "notice": lambda store: store.write_notice(Notice("news", "en", "", "x", 5.0), by=None),
    "session": lambda store: store.add_web_session(hash_number(9), feed(2), "Firefox", 5.0),
    "sweep": lambda store: store.sweep(1e12),
}
FILLING: dict[str, Callable[[RoomStore], Any]] = {
    "fill": lambda store: store.fill(
        Contents(Settings(Mode.COMMUNITY), [Member(feed(n), Role.MEMBER, 5.0) for n in range(1, 4)])
    ),
}


def furnish(store: RoomStore) -> None:
    store.add_member(feed(1), Role.ADMIN, by=None)
    store.add_member(feed(2), Role.MODERATOR, by=feed(1))
    store.block(feed(3), "", by=None)
    store.create_invite(hash_number(1), by=feed(2))
    store.register_alias("alice", feed(2), SIGNATURE, most=8, now=5.0)
    store.add_web_session(hash_number(3), feed(2), "Firefox", 5.0)
    store.add_link(hash_number(4), feed(2), "login", 1e12, by=None)
    store.add_link(hash_number(5), None, "admin", 1e12, by=None)
    store.set_password(feed(2), b"stored", by=None)


def killed_at_each_statement(work: Path, name: str) -> list[dict[str, list[Any]]]:
    """Run an action in processes that end themselves by SIGKILL before their n-th statement, for every n."""
    done = subprocess.run(
        [sys.executable, "-c", "from tests.store import test_room_store_cuts as here; here.fork_all()", work, name],
        cwd=Path(__file__).parent.parent.parent,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    *killed, last = json.loads(done.stdout)
    assert set(killed) == {-signal.SIGKILL} and last == 0
    found = []
    for n in range(1, len(killed) + 2):
        with RoomStore(work / str(n)) as store:
            store.check()
        found.append(dump(work / str(n)))
    return found


def fork_all() -> None:
    """Fork a process for each statement, until one lives to see the last; print how each ended."""
    work, name = Path(sys.argv[1]), sys.argv[2]
    endings: list[int] = []
    while not endings or endings[-1]:
        here = work / str(len(endings) + 1)
        shutil.copytree(work / "before", here)
        process = os.fork()
        if not process:
            _act(here, name, len(endings) + 1)
        endings.append(os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]))
    print(json.dumps(endings), flush=True)


def _act(data: Path, name: str, last: int) -> NoReturn:
    """Do it, up to the statement that this process does not live to see."""
    code = 1
    try:
        store = RoomStore(data, now=lambda: 1_000_000.0)
        seen = itertools.count(1)
        store._connection.set_trace_callback(
            lambda _statement: os.kill(os.getpid(), signal.SIGKILL) if next(seen) == last else None
        )
        {**ACTIONS, **FILLING}[name](store)
        code = 0
    finally:
        os._exit(code)


def check(work: Path, name: str) -> None:
    before = dump(work / "before")
    found = killed_at_each_statement(work, name)
    after = found[-1]
    assert after != before
    assert len(found) > 3
    for n, rows in enumerate(found, start=1):
        assert rows in (before, after), f"half of it after statement {n}"
    assert found[0] == before and found[-2] == before  # COMMIT is the last statement


@pytest.mark.slow
@pytest.mark.parametrize("name", ACTIONS)
def test_all_or_nothing(tmp_path: Path, name: str) -> None:
    with RoomStore(tmp_path / "before", now=lambda: 1_000.0) as store:
        furnish(store)
    check(tmp_path, name)


@pytest.mark.slow
def test_an_import_is_all_or_nothing(tmp_path: Path) -> None:
    RoomStore(tmp_path / "before").close()
    check(tmp_path, "fill")
