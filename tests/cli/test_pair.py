"""`ssbfast pair`: a ticket makes two peers follow each other; what goes wrong is said in one line."""

from __future__ import annotations

import asyncio
import contextlib
import io
import sqlite3
import subprocess
import time
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ssbfast import limits
from ssbfast.cli import pair
from ssbfast.cli.offering import Offer
from ssbfast.cli.peer_options import TrustOptions
from ssbfast.cli.peer_output import PeerWords, paired_event
from ssbfast.client.pairing import Paired
from ssbfast.client.room_client import RoomClient
from ssbfast.errors import DeadlineError
from ssbfast.ids import FeedId
from ssbfast.keys import Keypair, load_secret
from ssbfast.room.tunnel_auth import Policy
from ssbfast.store.peer_store import FILE, Contact, Store
from ssbfast.wire.address import parse_address
from ssbfast.wire.pairing import Ticket
from tests.client.test_pairing import Home, home
from tests.helpers.commands import assert_unusable, failed, printed, run_here
from tests.helpers.hostile import is_clean
from tests.helpers.room_processes import post, room_processes, web_server
from tests.helpers.small_disks import small_disk


@pytest.fixture(autouse=True)
def quick_refusals(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "REFUSAL_SECONDS", 1.0)  # decisions, too, have no more


async def run_pair(data: Path, ticket: Ticket | str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command beside this loop, which answers it."""
    return await asyncio.to_thread(run_here, "pair", str(ticket), "--data", str(data), *arguments)


def contact(data: Path, who: FeedId) -> Contact | None:
    with Store(data) as store:
        return next((one for one in store.contacts() if one.id == who), None)


def the_contact(data: Path, who: FeedId) -> Contact:
    found = contact(data, who)
    assert found is not None
    return found


async def test_both_follow_each_other(tmp_path: Path) -> None:
    async with home(tmp_path / "a") as a:
        done = await run_pair(tmp_path / "c", await a.ticket(), "--name", "laptop")
        assert (done.returncode, done.stderr) == (0, "")
        first, second = done.stdout.splitlines()
        assert first == f"Paired with home ({a.me.id.short}). You follow each other. Offered: ssh, web."
        assert second.startswith("Next: ssbfast open home/ssh --data ")
        found = the_contact(tmp_path / "c", a.me.id)
        assert (found.relation.follows, found.nickname, found.room) == (True, "home", a.at.address)
        assert a.contacts == {load_secret(tmp_path / "c" / "secret").id: "laptop"}


async def test_a_ticket_from_stdin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with home(tmp_path / "a") as a:
        monkeypatch.setattr("sys.stdin", io.StringIO(f"  {await a.ticket()}\nmore"))
        done = await run_pair(tmp_path / "c", "-")
        assert done.returncode == 0 and done.stdout.startswith("Paired with home")
    for stdin in (io.StringIO(""), None):
        monkeypatch.setattr("sys.stdin", stdin)
        assert_unusable(await run_pair(tmp_path / "d", "-"), "ticket")


async def test_as_an_event(tmp_path: Path) -> None:
    async with home(tmp_path / "a") as a:
        done = await run_pair(tmp_path / "c", await a.ticket(), "--as", "server", "--json")
        assert printed(done) == [
            {
                "event": "paired",
                "peer": str(a.me.id),
                "nickname": "server",
                "portal": str(a.at.id),
                "address": a.at.address,
                "services": ["ssh", "web"],
            }
        ]
        assert the_contact(tmp_path / "c", a.me.id).nickname == "server"


async def test_a_lost_answer_is_asked_for_again(tmp_path: Path) -> None:
    async with home(tmp_path / "a") as a:
        ticket = await a.ticket()
        for _ in range(2):
            done = await run_pair(tmp_path / "c", ticket)
            assert done.stdout.startswith("Paired with home (")


async def test_a_nickname_that_it_had_stays_unless_another_is_given(tmp_path: Path) -> None:
    async with home(tmp_path / "a") as a:
        with Store(tmp_path / "c") as store:
            store.rename(a.me.id, "old")
        ticket = await a.ticket()
        assert (await run_pair(tmp_path / "c", ticket)).stdout.startswith("Paired with old (")
        assert (await run_pair(tmp_path / "c", ticket, "--as", "new")).stdout.startswith("Paired with new (")
        assert the_contact(tmp_path / "c", a.me.id).nickname == "new"


@pytest.mark.parametrize(
    "name", ["\x1b[2Jhome", "\u202ehome", "h" * 10_000, "Home!", None, {"a": 1}], ids=lambda name: ascii(name)[:20]
)
async def test_a_hostile_name_is_neither_shown_nor_kept(tmp_path: Path, name: Any) -> None:
    async with home(tmp_path / "a") as a:
        a.tickets._name = name
        a.tickets._services = lambda _who: (name, "ssh")
        done = await run_pair(tmp_path / "c", await a.ticket())
        assert done.stdout.startswith(f"Paired with friend ({a.me.id.short}). You follow each other. Offered: ssh.\n")
        assert all(map(is_clean, done.stdout.splitlines()))
        assert the_contact(tmp_path / "c", a.me.id).nickname == "friend"


async def test_nothing_is_offered_yet(tmp_path: Path) -> None:
    async with home(tmp_path / "a") as a:
        a.tickets._services = lambda _who: ()
        done = await run_pair(tmp_path / "c", await a.ticket())
        assert "Offered" not in done.stdout
        assert "Next: ssbfast connect home --bind 127.0.0.1:8080 --data " in done.stdout


# ---------------------------------------------------------------- what goes wrong


async def _refused(a: Home, data: Path, ticket: Ticket, *words: str, kind: str = "refused", code: int = 1) -> None:
    done = await run_pair(data, ticket, "--json")
    failed(done, code, kind, *words)
    assert done.stderr.count("\n") == 1
    assert contact(data, a.me.id) is None


async def test_used_by_another_one(tmp_path: Path) -> None:
    async with home(tmp_path / "a") as a:
        ticket = await a.ticket()
        await run_pair(tmp_path / "thief", ticket)
        await _refused(a, tmp_path / "c", ticket, "has been used", "tell your friend")


async def test_expired(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with home(tmp_path / "a") as a:
        old = Ticket.new(a.me.id, (await a.ticket()).room, time.time() - 3600)
        await _refused(a, tmp_path / "c", old, "expired at", "this machine's clock")
        assert not (tmp_path / "c" / "secret").exists()
        ticket = await a.ticket()
        a.time += 7200  # there it has expired
        await _refused(a, tmp_path / "c", ticket, "it expired there, or was cancelled")


async def test_cancelled(tmp_path: Path) -> None:
    async with home(tmp_path / "a") as a:
        ticket = await a.ticket()
        with Store(a.data) as store:
            store.cancel_tickets()
        await _refused(a, tmp_path / "c", ticket, "cancelled")


async def test_its_peer_is_not_there(tmp_path: Path) -> None:
    async with home(tmp_path / "a") as a:
        ticket = await a.ticket()
        await a.client.close()
        await _refused(a, tmp_path / "c", ticket, "is not in room", "`ssbfast share`", "has to run there")


async def test_the_room_is_not_there(tmp_path: Path) -> None:
    async with home(tmp_path / "a") as a:
        ticket = await a.ticket()
    await _refused(a, tmp_path / "c", ticket, "room @", kind="unreachable")


async def test_a_session_that_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def pair(*_: Any) -> None:
        raise DeadlineError("there was no answer")

    async with home(tmp_path / "a") as a:
        monkeypatch.setattr("ssbfast.client.room_client.RoomClient.pair", pair)
        ticket = await a.ticket()
        await _refused(a, tmp_path / "c", ticket, "room @", "there was no answer", kind="deadline")


async def test_refused_by_the_other_peer(tmp_path: Path) -> None:
    async with home(tmp_path / "a") as a:
        me = load_secret(tmp_path / "c" / "secret", create=True).id
        with Store(a.data) as store:
            store.block(me)
        await _refused(a, tmp_path / "c", await a.ticket(), "does not accept it from you")


async def test_what_is_known_before_anything_is_dialled(tmp_path: Path) -> None:
    c = tmp_path / "c"
    me = load_secret(c / "secret", create=True)
    target = Keypair.generate()
    room = Ticket.parse(_ticket(target)).room
    with Store(c) as store:
        store.block(target.id)
        store.follow(Keypair.generate().id, "home")
    own = str(Ticket.new(me.id, room, time.time() + 3600))
    assert_unusable(await run_pair(c, own), "your own ticket")
    assert_unusable(await run_pair(c, _ticket(target)), "a peer that you block", f"ssbfast unblock {target.id}")
    assert_unusable(await run_pair(c, _ticket(Keypair.generate()), "--as", "home"), "called home already")


@pytest.mark.parametrize("text", ["", "pair-", "laptop", "@x.ed25519", "pair-x" * 10_000])
async def test_what_is_no_ticket(tmp_path: Path, text: str) -> None:
    done = await run_pair(tmp_path / "c", text)
    assert_unusable(done, "ticket")
    assert len(done.stderr) < 300
    assert not (tmp_path / "c").exists()


async def test_one_that_was_cut_off(tmp_path: Path) -> None:
    text = _ticket(Keypair.generate())
    assert_unusable(await run_pair(tmp_path / "c", text[:-7]), "cut off, or mistyped")
    assert not (tmp_path / "c").exists()


def test_what_a_paste_brings_along() -> None:
    text = _ticket(Keypair.generate())
    context: Any = None
    (parameter,) = [one for one in pair.pair.params if one.name == "ticket"]
    assert parameter.callback is not None
    assert str(parameter.callback(context, parameter, f' "{text[:70]}\r\n{text[70:]}". ')) == text


def _ticket(target: Keypair) -> str:
    room = parse_address(f"net:127.0.0.1:9~shs:{str(Keypair.from_seed(b'r' * 32).id)[1:-8]}")[0]
    return str(Ticket.new(target.id, room, time.time() + 3600))


# ---------------------------------------------------------------- neither side believes it alone


def says(done: subprocess.CompletedProcess[str], *words: str) -> None:
    """A command has failed, in one line."""
    assert done.returncode > 0 and done.stdout == "" and done.stderr.count("\n") == 1, done
    for word in words:
        assert word in done.stderr


def is_half(a: Home, data: Path) -> bool:
    """Whether the friend follows us and we do not follow it."""
    with Store(data, reading=True) as store:
        return list(a.contacts) == [load_secret(data / "secret").id] and not store.contacts()


async def test_a_store_that_cannot_be_written_is_noticed_before_the_ticket_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(Store.__init__.__kwdefaults__, "busy", 0.5)
    async with home(tmp_path / "a") as a:
        with small_disk(tmp_path / "disk") as disk:
            c = disk.path / "c"
            load_secret(c / "secret", create=True)
            ticket = await a.ticket()
            with Store(c):  # another command runs: opening it once more takes no room
                disk.fill()
                says(await run_pair(c, ticket), "the disk is full")
            says(await run_pair(c, ticket), "the disk is full")
            disk.free()
            with closing(sqlite3.connect(c / FILE, isolation_level=None)) as other:
                other.execute("BEGIN IMMEDIATE")
                says(await run_pair(c, ticket), "another process keeps it locked")
            disk.protect()
            says(await run_pair(c, ticket), "read-only")
            assert a.contacts == {} and not a.tickets._attempts, "nothing was asked"


async def test_a_disk_that_fills_up_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with home(tmp_path / "a") as a:
        with small_disk(tmp_path / "disk") as disk:
            c = disk.path / "c"
            monkeypatch.setattr(a.tickets, "_on_paired", lambda paired: (a.paired.append(paired), disk.fill()))
            ticket = await a.ticket()
            told = "your friend may follow you already: the same command finishes it"
            says(await run_pair(c, ticket), "the disk is full", told)
            disk.free()
            assert is_half(a, c)
            assert (await run_pair(c, ticket)).stdout.startswith("Paired with home (")
            assert len(a.paired) == 1


@pytest.mark.parametrize("where", ["the answer comes", "it is written down"])
async def test_ctrl_c_when_the_friend_has_taken_note(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    befriend, pair_ = Store.befriend, RoomClient.pair

    async def pair_then(*arguments: Any) -> None:
        await pair_(*arguments)
        raise KeyboardInterrupt

    def befriend_or(store: Store, who: FeedId, *arguments: Any, **options: Any) -> Any:
        if who != a.me.id:  # it is the friend's
            return befriend(store, who, *arguments, **options)
        raise KeyboardInterrupt

    async with home(tmp_path / "a") as a:
        ticket = await a.ticket()
        with monkeypatch.context() as patch:
            if where == "the answer comes":
                patch.setattr(RoomClient, "pair", pair_then)
            else:
                patch.setattr(Store, "befriend", befriend_or)
            told = "interrupted; your friend may follow you already: the same command finishes it"
            says(await run_pair(tmp_path / "c", ticket), told)
            assert is_half(a, tmp_path / "c")
        assert (await run_pair(tmp_path / "c", ticket)).stdout.startswith("Paired with home (")


async def test_a_friend_whose_disk_is_full(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk") as disk:
        async with home(disk.path / "a") as a:
            told: list[str] = []
            a.tickets._on_failed = told.append
            ticket = await a.ticket()
            disk.fill()
            await _refused(a, tmp_path / "c", ticket, "your friend's machine cannot write it down now", kind="remote")
            assert told == ["the store cannot be used: the disk is full"]
            disk.free()
            assert (await run_pair(tmp_path / "c", ticket)).stdout.startswith("Paired with home (")


async def test_a_friend_that_has_stopped_following_does_not_say_that_it_follows(tmp_path: Path) -> None:
    async with home(tmp_path / "a") as a:
        ticket = await a.ticket()
        await run_pair(tmp_path / "c", ticket)
        with Store(a.data) as store:
            store.forget(load_secret(tmp_path / "c" / "secret").id)
        done = await run_pair(tmp_path / "c", ticket, "--json")
        failed(done, 1, "refused", "does not accept it from you")
        assert a.contacts == {}


# ---------------------------------------------------------------- with a running `listen`


def test_with_listen(tmp_path: Path) -> None:
    """From nothing to a service: a ticket of a running `listen`, made beside it, and the nickname as the target."""
    with room_processes(tmp_path) as place, web_server() as web:
        place.room()
        listen = place.listen("a", web, "--name", "home")
        listen.event("announced")
        made = run_here("ticket", "--room", place.address(), "--data", str(place.path("a"))).stdout
        assert made.count("\n") == 1  # nothing but the ticket: `listen` waits for it
        done = run_here("pair", made.split()[-1], "--name", "laptop", "--data", str(place.path("c")))
        assert done.stdout.startswith(f"Paired with home ({place.id('a').short})")
        told = listen.event("paired")
        assert (told["peer"], told["nickname"], told["portal"]) == (str(place.id("c")), "laptop", str(place.id("room")))
        connecting = place.start("connect", "c", "home", "--bind", "127.0.0.1:0", "--path", "tunnel")
        assert post(int(connecting.event("bound")["bind"].rpartition(":")[2]), b"hello") == b"hello"


@pytest.mark.parametrize(
    ("policy", "server", "takes"),
    [
        (Policy.FOLLOWS, None, True),
        (Policy.EVERYONE, None, True),
        (Policy.ALLOW, None, False),
        (Policy.FOLLOWS, "net:…", False),
    ],
)
async def test_tickets_are_taken_tickets_where_our_contacts_decide(
    tmp_path: Path, policy: Policy, server: str | None, takes: bool
) -> None:
    trust = TrustOptions(policy, (), server)
    server_of_none: Any = SimpleNamespace(names_for=lambda _who: ())
    offer: Any = SimpleNamespace(me=Keypair.generate(), data=tmp_path, name=None, trust=trust)
    async with contextlib.AsyncExitStack() as stack:
        assert (Offer._tickets(offer, stack, print, server_of_none) is not None) is takes


def test_the_event_of_a_taker() -> None:
    me = Keypair.generate().id
    event = paired_event(Paired(me, "laptop", None))
    assert event == {"event": "paired", "peer": str(me), "nickname": "laptop", "portal": None}
    assert PeerWords()(event) == f"paired  {me} took your ticket; you follow each other"
