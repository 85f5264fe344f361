"""Tickets in words on the command line: `share --words`, `ticket --words`, `pair WORDS@ROOM`."""

from __future__ import annotations

import asyncio
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest

from ssbfast import limits
from ssbfast.cli.peer_output import PeerWords
from ssbfast.ids import encode_key
from ssbfast.keys import load_secret
from ssbfast.room.roles import Mode
from ssbfast.store.peer_store import Store
from ssbfast.wire import words as words_module
from ssbfast.wire.words import CONFIRM
from tests.cli.test_share import ROOM, House, house
from tests.client.test_words import HAS_WORDS
from tests.client.test_words import home as words_home
from tests.helpers.commands import assert_unusable, printed, run_here
from tests.helpers.commands_here import CommandHere
from tests.helpers.require import require
from tests.helpers.web_pages import web_room

WORDS = "maple-ocean-violin"


@pytest.fixture(autouse=True)
def no_peer_toml(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let none of this user's be read; return where one would be."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return tmp_path / "config" / "ssbfast" / "peer.toml"


@pytest.fixture(autouse=True)
def quick_refusals(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if "missing" not in request.node.name:
        require("words", HAS_WORDS, "pip install 'ssbfast[words]'")
    monkeypatch.setattr(limits, "REFUSAL_SECONDS", 1.0)  # decisions, too, have no more


def said(done: subprocess.CompletedProcess[str]) -> str:
    """The one line with which a command has failed."""
    assert done.returncode != 0, done
    [line] = done.stderr.splitlines()
    return line.removeprefix("ssbfast: ")


async def pair(at: House, words: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    data = str(at.data / "laptop")
    return await asyncio.to_thread(run_here, "pair", words, "--room", at.address, "--data", data, *arguments)


async def test_words_that_share_prints(tmp_path: Path) -> None:
    async with house(tmp_path) as at:
        home = await at.share(await at.service("web"), "--words")
        event = await home.event("words")
        words = event["words"]
        assert event["address"] == at.address
        assert event["room"] is None, "no web site tells its name"
        [line] = [text for text in home.texts if "ssbfast pair" in text]
        said_there, _, command = line.rpartition("   ")
        assert said_there == "Let someone in (once, within the hour):"
        assert "ticket" not in [one["event"] for one in home.events]
        # Wrong ones first: they cost the words nothing but a guess.
        first, *_others = words.split("-")
        done = await pair(at, f"{first} zone zoo")
        assert said(done) == "the words are wrong, or hold no more: ask for new ones"
        _program, *arguments = shlex.split(command)
        assert arguments == ["pair", f"{words}@{at.address}"], "one paste is enough"
        arguments[1] = f" {words.replace('-', ' ').upper()} @ {at.address}\n"
        done = await asyncio.to_thread(run_here, *arguments, "--data", str(tmp_path / "laptop"), "--name", "laptop")
        assert done.stdout.startswith("Paired with home (") and "Offered: web." in done.stdout
        assert (await home.event("paired"))["nickname"] == "laptop"
        done = await pair(at, words)
        assert said(done).endswith("waits for these words: the first is wrong, or they hold no more")


async def test_words_of_a_running_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "WORDS_GUESSES", 1)
    async with house(tmp_path) as at:
        home = await at.share(await at.service("web"), "--no-ticket")
        await home.event("announced")

        async def ticket(*arguments: str) -> subprocess.CompletedProcess[str]:
            return await asyncio.to_thread(run_here, "ticket", "--words", "--data", str(tmp_path / "home"), *arguments)

        [event] = printed(await ticket("--json"))
        assert (event["event"], event["address"]) == ("words", at.address)
        done = await pair(at, f"{event['words'].partition('-')[0]}-zone-zoo")
        assert done.returncode == 1
        ended = await home.event("words_ended")
        assert ended["reason"] == "guessed"
        assert PeerWords()(ended).startswith("words   hold no more: wrong ones were tried too often; make new words")
        done = await ticket("--room", at.address, "--hours", "2")
        assert done.stdout.startswith("Let someone in (once, within 2 h")
        words = done.stdout.partition("ssbfast pair ")[2].partition("@")[0]
        assert (await pair(at, words)).returncode == 0
        assert said(await ticket("--room", ROOM)) == "the running process is not in that room now"
        assert "a minute to 7 days" in said(await ticket("--hours", "0"))


async def test_words_are_listed_and_cancelled(tmp_path: Path) -> None:
    async with house(tmp_path) as at:
        home = await at.share(await at.service("web"), "--words")
        words = (await home.event("words"))["words"]

        async def ticket(*arguments: str) -> subprocess.CompletedProcess[str]:
            return await asyncio.to_thread(run_here, "ticket", *arguments, "--data", str(tmp_path / "home"))

        await ticket("--room", at.address)
        assert sorted(str(one["words"]) for one in printed(await ticket("--list", "--json"))) == ["None", words]
        assert (await ticket("--list")).stdout.count(f", in words: {words}\n") == 1
        assert (await ticket("--cancel")).stdout == "2 tickets cancelled. The words hold no more.\n"
        ended = await home.event("words_ended")
        assert PeerWords()(ended).startswith("words   hold no more: they were cancelled; ")
        assert "hold no more" in said(await pair(at, words))
        assert (await ticket("--list")).stdout.startswith("There are no tickets")
        assert printed(await ticket("--cancel", "--json")) == [{"event": "tickets_cancelled", "n": 0, "words": False}]


async def test_what_goes_wrong_behind_the_words_leaves_a_ticket(tmp_path: Path) -> None:
    async with house(tmp_path) as at:
        home = await at.share(await at.service("web"), "--words")
        words = (await home.event("words"))["words"]
        with Store(tmp_path / "laptop") as store:
            store.block(load_secret(tmp_path / "home" / "secret").id)
        reason = said(await pair(at, words))
        assert "first: ssbfast unblock @" in reason
        assert "; the words are used up, so go on with `ssbfast pair pair-" in reason
        with Store(tmp_path / "laptop") as store:
            store.unblock(load_secret(tmp_path / "home" / "secret").id)
        _program, *command = shlex.split(reason.split("`")[-2])
        done = await asyncio.to_thread(run_here, *command)
        assert done.stdout.startswith("Paired with home ("), done


async def test_words_that_get_no_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def silent(*_: Any) -> None:
        await asyncio.sleep(60)

    async with words_home(tmp_path / "home") as a:
        words = await a.words()
        given = f"{words}@{a.at.address}"
        open_words = a.tickets._words
        assert open_words is not None
        with monkeypatch.context() as patch:
            patch.setattr(limits, "PAIRING_SESSIONS", 0)
            told = said(await asyncio.to_thread(run_here, "pair", given, "--data", str(tmp_path / "laptop")))
            assert told == "the words are wrong, or hold no more: ask for new ones"
        monkeypatch.setattr(limits, "CALL_SECONDS", 1.0)
        open_words._api.call(CONFIRM)(silent)
        told = said(await asyncio.to_thread(run_here, "pair", given, "--data", str(tmp_path / "laptop")))
        assert told.endswith("no answer to pair.confirm; if the words were right, they hold no more: ask for new ones")


async def test_the_room_of_words_by_its_name(tmp_path: Path) -> None:
    """Where the room has a web site, words and its name are all that is read out."""
    async with web_room(tmp_path / "room") as place:
        await place.mode(Mode.OPEN)
        name = f"127.0.0.1:{place.port}"
        room = f"ws://{name}~shs:{encode_key(place.room.me.id.key)}"
        data = ("--data", str(tmp_path / "home"))
        async with CommandHere("share", "web=9", "--words", "--room", room, "--path", "tunnel", *data) as home:
            event = await home.event("words")
            assert (event["room"], event["address"]) == (name, room)
            [line] = [text for text in home.texts if "ssbfast pair" in text]
            assert line.endswith(f"   ssbfast pair {event['words']}@{name}")
            done = await asyncio.to_thread(run_here, *line.split()[-2:], "--data", str(tmp_path / "laptop"))
            assert done.stdout.startswith("Paired with "), done


async def test_the_room_of_words_that_is_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_peer_toml: Path
) -> None:
    async with house(tmp_path) as at:
        home = await at.share(await at.service("web"), "--words")
        words = (await home.event("words"))["words"]

        async def take(who: str, text: str) -> subprocess.CompletedProcess[str]:
            return await asyncio.to_thread(run_here, "pair", text, "--data", str(tmp_path / who))

        name = at.address.partition("~")[0].removeprefix("net:")
        assert "no room called" in said(await take("laptop", f"{words}@{name}"))
        monkeypatch.setenv("SSBFAST_PEER_ROOM", f"{at.address} {ROOM}")
        assert "peer.toml has several rooms" in said(await take("laptop", words))
        assert "several rooms are called 127.0.0.1" in said(await take("laptop", f"{words}@127.0.0.1"))
        assert (await take("laptop", f"{words}@{name}")).returncode == 0
        monkeypatch.delenv("SSBFAST_PEER_ROOM")
        no_peer_toml.parent.mkdir(parents=True)
        no_peer_toml.write_text(f'room = ["{at.address}"]\n')
        ticket = await asyncio.to_thread(run_here, "ticket", "--words", "--json", "--data", str(tmp_path / "home"))
        [event] = printed(ticket)
        assert (await take("phone", event["words"])).returncode == 0
        no_peer_toml.write_text('rom = "x"\n')
        assert "is it 'room'?" in said(await take("phone", event["words"]))
        assert "no peer in room" in said(await take("laptop", f"{WORDS}@{at.address}"))


def test_what_does_not_go_together(tmp_path: Path) -> None:
    data = ("--data", str(tmp_path))
    assert_unusable(run_here("pair", WORDS, *data), "the words alone do not say which room it is: WORDS@ROOM")
    assert_unusable(run_here("pair", f"{WORDS}@{ROOM}", "--room", ROOM, *data), "without --room")
    assert_unusable(run_here("pair", f"{WORDS}@", *data), "nothing was given: a room's address reads")
    assert_unusable(run_here("pair", "maple-ocean-violn", "--room", ROOM, *data), "is it 'violin'?")
    assert_unusable(run_here("ticket", "--words", "--qr", *data), "one of the two")
    assert_unusable(run_here("ticket", "--words", "--list", *data), "for a new ticket")
    assert_unusable(run_here("share", "web=1", "--room", ROOM, "--words", "--no-ticket", *data), "one of the two")
    assert said(run_here("ticket", "--words", *data)).startswith("words need a running `ssbfast share`")
    assert not list(tmp_path.iterdir())


def test_a_missing_extra_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words_module.word_list.cache_clear()
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    for command in (
        ("pair", WORDS, "--room", ROOM),
        ("share", "web=1", "--room", ROOM, "--words"),
        ("ticket", "--words"),
    ):
        assert (
            said(run_here(*command, "--data", str(tmp_path)))
            == "tickets in words need an extra: pip install 'ssbfast[words]'"
        )
    assert not list(tmp_path.iterdir())
