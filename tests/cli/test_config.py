"""The file of options of `ssbfast share`: what it may say, its mistakes, the environment, and what is shown."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from ssbfast.cli.config_file import read_config
from ssbfast.cli.group import run
from ssbfast.cli.share import planned, share
from ssbfast.errors import BadInputError
from ssbfast.keys import Keypair
from ssbfast.store.peer_store import Store
from tests.helpers.commands import assert_unusable, failed, run_here, succeed

ROOM = f"net:room.example:8008~shs:{str(Keypair.generate().id)[1:-8]}"
PAGE = Path(__file__).parents[2] / "docs" / "howto" / "share-for-good.md"
LAPTOP = Keypair.generate().id
TEXT = f"""room = "{ROOM}"
name = "home"
path = "tunnel"

[services]
ssh = 22
db = "192.0.2.1:5432"

[for]
ssh = "laptop"
db = ["laptop", "{Keypair.generate().id}"]
"""


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's folders, with one contact."""
    for name in ("XDG_CONFIG_HOME", "APPDATA"):
        monkeypatch.setenv(name, str(tmp_path / "config"))
    for name in ("XDG_DATA_HOME", "LOCALAPPDATA"):
        monkeypatch.setenv(name, str(tmp_path / "share"))
    with Store(tmp_path / "share" / "ssbfast" / "peer") as store:
        store.rename(LAPTOP, "laptop")
    return tmp_path


@pytest.fixture
def file(home: Path) -> Path:
    """The file, right."""
    path = home / "config" / "ssbfast" / "peer.toml"
    path.parent.mkdir(parents=True)
    path.write_text(TEXT, encoding="utf-8")
    return path


def shown(*arguments: str) -> dict[str, tuple[Any, str]]:
    events = [json.loads(line) for line in succeed("config", "show", "--json", *arguments).splitlines()]
    return {event["option"]: (event["value"], event["where"]) for event in events}


def test_what_is_right_is_counted(file: Path) -> None:
    assert succeed("config", "check") == f"{file}: 5 options, no mistakes\n"
    file.write_text("name = 'home'", encoding="utf-8")
    assert "1 option, no mistakes" in succeed("config", "check", str(file)), "services may be on the command line"


@pytest.mark.parametrize(
    ("wrong", "right", "said"),
    [
        ("ssh = 22", "ssh = 0", ":6:7: services: port 0 cannot be dialled"),
        ("ssh = 22", "ssh = true", ":6:7: services: a number, or text in quotes, is needed here"),
        ("ssh = 22", "ssh = [22]", ":6:7: services: a number, or text in quotes, is needed here"),
        ('ssh = "laptop"', "ssh = [1]", ":10:7: for: a list of friends in quotes, by nickname or id, is needed here"),
        ("ssh = 22", 'Ssh = "22"', ":6:7: services: it reads NAME=HOST:PORT or NAME=PORT"),
        ("[services]", "[service]", ":5:2: there is no table [service]; is it 'services'?"),
        ("path =", "paths =", ":3:1: there is no option 'paths'; is it 'path'?"),
        ('"tunnel"', '"tunel"', ":3:8: path: "),
        ('name = "home"', 'name = "My home"', ":2:8: name: a name has"),
        ('db = ["laptop"', 'db = ["laptp"', ":11:6: for: that is a name, and no contact is called laptp; did you mean"),
        ('db = ["laptop"', 'bd = ["laptop"', ":11:6: for: no service is called 'bd'"),
        ('path = "tunnel"', "birthday = true\npath = 'tunnel'", "--path tunnel makes none"),
        ("[for]", "xyzzy", "there is no option 'xyzzy'; the options: ssbfast share --help"),
    ],
)
def test_mistakes_have_their_place_and_nothing_runs(wrong: str, right: str, said: str, file: Path, home: Path) -> None:
    text = TEXT.replace(wrong, right) if wrong != "[for]" else "xyzzy = 1\n"
    assert text != TEXT
    file.write_text(text, encoding="utf-8")
    commands = [("config", "check"), ("service", "install", "--dry-run")]
    for command in commands if "laptp" in right else [*commands, ("share",)]:
        assert_unusable(run_here(*command), said)
    assert not (home / "share" / "ssbfast" / "peer" / "secret").exists()


def test_the_file_of_the_page_is_right(home: Path) -> None:
    """Once its friends are known."""
    (text,) = re.findall(r"```toml\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    with Store(home / "share" / "ssbfast" / "peer") as store:
        store.rename(Keypair.generate().id, "phone")
    (home / "page.toml").write_text(text, encoding="utf-8")
    assert succeed("config", "check", str(home / "page.toml")).endswith(": 4 options, no mistakes\n")


@pytest.mark.parametrize(
    ("services", "said"),
    [
        ('[services]\nssh = 22\n[for]\nshs = "laptop"', ":4:7: for: no service is called 'shs'"),
        ('services = ["ssh=22", "ssh=23"]', "two services have the name ssh"),
    ],
)
def test_services_and_friends_are_looked_at_together_where_the_room_is_given_elsewhere(
    services: str, said: str, file: Path
) -> None:
    file.write_text(services, encoding="utf-8")
    assert_unusable(run_here("config", "check"), said)


def test_check_as_an_object(file: Path) -> None:
    file.write_text("nam = 1\nroom = 2\n", encoding="utf-8")
    done = run_here("config", "check", "--json")
    assert (done.returncode, done.stderr.count("\n")) == (2, 2)
    assert len(json.loads(done.stdout.splitlines()[0])["mistakes"]) == 2


def test_without_a_file() -> None:
    assert_unusable(run_here("config", "check"), "there is no ", "peer.toml; say which file")
    failed(run_here("share", "--json"), 2, "input", "no service is given")
    failed(run_here("share", "ssh=22", "--json"), 2, "input", "no room is given")
    assert "Nothing is set" in succeed("config", "show")


def test_show_tells_where_each_was_set(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSBFAST_PEER_PATH", "direct")
    monkeypatch.setenv("SSBFAST_PEER_NO_TICKET", "1")
    found = shown()
    assert found["services"] == (["ssh=22", "db=192.0.2.1:5432"], f"{file}:6")
    assert found["name"] == ("home", f"{file}:2")
    assert found["path"] == ("direct", "environment")
    assert found["no-ticket"] == ("1", "environment")
    monkeypatch.setenv("SSBFAST_PEER_SERVICES", "web=8000 git=9418")
    assert shown()["services"] == (["web=8000", "git=9418"], "environment")
    (tmp_path / "other.toml").write_text('name = "other"')
    assert shown("--config", str(tmp_path / "other.toml"))["name"] == ("other", f"{tmp_path / 'other.toml'}:1")
    monkeypatch.setenv("SSBFAST_PEER_CONFIG", str(tmp_path / "other.toml"))
    assert shown()["name"] == ("other", f"{tmp_path / 'other.toml'}:1")


def test_friends_of_the_file_hold_for_services_of_the_command_line(file: Path) -> None:
    """Others of its friends are no mistake: their services are just not offered this time."""
    file.write_text(TEXT.replace("laptop", "laptp"), encoding="utf-8")
    with share.make_context("share", ["db=5432"]), pytest.raises(BadInputError, match="no contact is called laptp"):
        planned()
    file.write_text(TEXT.replace("tunnel", "auto"), encoding="utf-8")
    with share.make_context("share", ["ssh=22"]) as context:
        assert [(one.name, one.friends) for one in planned()] == [("ssh", {LAPTOP})]
        assert context.params["name"] == "home"
    with share.make_context("share", ["db=5432"]):
        (db,) = planned()
        assert db.friends is not None and LAPTOP in db.friends and len(db.friends) == 2


def test_the_directory_of_every_command_stands_in_the_environment(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSBFAST_PEER_DATA", str(home / "elsewhere"))
    assert run(["keys", "new"]) == 0
    assert (home / "elsewhere" / "secret").exists()
    assert run(["contacts", "--data", str(home / "third"), "rename", str(LAPTOP), "other"]) == 0
    assert (home / "third" / "store.sqlite").exists(), "what a group was told goes before it"


def test_every_option_can_be_in_the_file(file: Path) -> None:
    names = [max(one.opts, key=len).lstrip("-") for one in share.params if one.name != "config"]
    file.write_text("\n".join(f"{name} = 0.5" for name in names), encoding="utf-8")
    assert not [one for one in read_config(file, share).mistakes if "there is no" in one]
