"""Tickets in words on the command line: `share --words`, `ticket --words`, `pair WORDS --room ADDRESS`."""

from __future__ import annotations

import asyncio
import subprocess
from pathlib import Path

import pytest

from ssbfast import limits
from ssbfast.cli.peer_output import PeerWords
from ssbfast.wire import words as words_module
from tests.cli.test_share import ROOM, House, house
from tests.client.test_words import HAS_WORDS
from tests.helpers.commands import assert_unusable, printed, run_here
from tests.helpers.require import require

WORDS = "maple-ocean-violin"


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
        [line] = [text for text in home.texts if "pair" in text]
        assert line.startswith(f"Let someone in (once, within the hour):   ssbfast pair {words} --room ")
        assert "ticket" not in [one["event"] for one in home.events]
        # Wrong ones first: they cost the words nothing but a guess.
        first, *_others = words.split("-")
        done = await pair(at, f"{first} zone zoo")
        assert said(done) == "the words are wrong, or hold no more: ask for new ones"
        done = await pair(at, words.replace("-", " ").upper(), "--name", "laptop")
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
        words = done.stdout.partition("ssbfast pair ")[2].split()[0]
        assert (await pair(at, words)).returncode == 0
        assert said(await ticket("--room", ROOM)) == "the running process is not in that room now"
        assert "a minute to 7 days" in said(await ticket("--hours", "0"))


def test_what_does_not_go_together(tmp_path: Path) -> None:
    data = ("--data", str(tmp_path))
    assert_unusable(run_here("pair", WORDS, *data), "words do not say which room it is: --room ADDRESS")
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
