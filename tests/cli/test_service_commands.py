"""`ssbfast service`: what is written and run, what is left alone, and what is said where it cannot be."""

from __future__ import annotations

import getpass
import json
import os
import plistlib
import re
import shlex
import sys
from pathlib import Path

import pytest

from ssbfast.cli.service import command, systemd
from ssbfast.cli.service.launchd import Launchd
from ssbfast.cli.service.manager import MARK, NAME, name_of
from ssbfast.cli.service.systemd import Systemd
from ssbfast.errors import BadInputError
from ssbfast.keys import Keypair
from tests.helpers.commands import assert_unusable, events, failed, run_here, succeed
from tests.packaging.test_systemd import analyze

pytestmark = pytest.mark.skipif(os.name == "nt", reason="no such services")

ROOM = f"net:room.example:8008~shs:{str(Keypair.generate().id)[1:-8]}"
UNIT = "ssbfast-share.service"
FAKE = """#!/bin/sh
echo "${0##*/} $*" >> "$CALLS"
[ ! -e "$CALLS.fail" ] || case "$*" in $(cat "$CALLS.fail")) echo "Job failed: no." >&2; exit 1;; esac
case "$*" in *Version*) ;; *" show "*) echo "$SHOWN";; print*) printf "$SHOWN";; esac
"""


class Home:
    """A user's folders, and programs that only write down that they were called."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.options = path / "config" / "ssbfast" / "peer.toml"
        self.options.parent.mkdir(parents=True)
        self.options.write_text(f'room = "{ROOM}"\n[services]\nssh = 22\n', encoding="utf-8")
        self.unit = path / "config" / "systemd" / "user" / UNIT
        self.log = path / "calls"
        for name in ("systemctl", "journalctl", "launchctl", "tail"):
            fake = path / "bin" / name
            fake.parent.mkdir(exist_ok=True)
            fake.write_text(FAKE)
            fake.chmod(0o755)

    def calls(self) -> list[str]:
        """What was called since this was asked last."""
        found = self.log.read_text().splitlines() if self.log.exists() else []
        self.log.unlink(missing_ok=True)
        return found

    def fail(self, pattern: str) -> None:
        """Let calls fail whose words are so."""
        self.log.with_suffix(".fail").write_text(pattern)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    made = Home(tmp_path)
    for name in [name for name in os.environ if name.startswith("SSBFAST_PEER_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "share"))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("CALLS", str(made.log))
    monkeypatch.setenv(
        "SHOWN", "ActiveState=active\nSubState=running\nMainPID=4711\nUnitFileState=enabled\nStatusText=fine"
    )
    monkeypatch.setattr(systemd, "BOOTED", tmp_path)
    monkeypatch.setattr(systemd, "LINGERING", tmp_path / "linger")
    monkeypatch.setattr(command, "find_manager", Systemd)
    return made


@pytest.fixture
def mac(home: Home, monkeypatch: pytest.MonkeyPatch) -> Home:
    monkeypatch.setattr(command, "find_manager", Launchd)
    return home


START = ["systemctl --user show --property=Version", "systemctl --user daemon-reload"]


def test_install_status_logs_uninstall(home: Home) -> None:
    said = succeed("service", "install")
    assert f"Wrote {home.unit}\nIt runs now, and from each login on." in said
    assert "loginctl enable-linger" in said
    assert f"systemctl --user reload {UNIT}" in said
    assert f"ssbfast ticket --room {shlex.quote(ROOM)}" in said
    assert home.calls() == [*START, f"systemctl --user enable --now {UNIT}"]
    text = home.unit.read_text(encoding="utf-8")
    assert f"share --config {home.options} --data {home.path}/share/ssbfast/peer --no-ticket\n" in text
    (told,) = events("service", "status")
    assert told == {
        "event": "service_state",
        "installed": True,
        "active": True,
        "state": "active (running), enabled: fine",
        "pid": 4711,
    }
    assert run_here("service", "logs", "--lines", "5").returncode == 0
    assert run_here("service", "logs", "--follow").returncode == 0
    shown = [one for one in home.calls() if one.startswith("journalctl")]
    assert shown == [
        f"journalctl --user-unit={UNIT} --lines=5 --no-pager",
        f"journalctl --user-unit={UNIT} --lines=100 --follow",
    ]
    (home.unit.parent / f"{UNIT}.d").mkdir()
    assert f"Removed {home.unit}" in succeed("service", "uninstall")
    assert home.calls() == [START[0], f"systemctl --user disable --now {UNIT}", START[1]]
    assert [one.name for one in home.unit.parent.iterdir()] == [f"{UNIT}.d"], "what the user made stays"
    assert home.options.exists()
    assert succeed("service", "uninstall") == "There is no service.\n"
    done = run_here("service", "status")
    assert (done.returncode, done.stdout) == (1, "Not installed. Next: ssbfast service install\n")
    assert_unusable(run_here("service", "logs"), "there is no")
    assert home.calls() == []


def test_one_that_is_there_stays_unless_it_is_the_same(home: Home) -> None:
    succeed("service", "install")
    home.calls()
    assert f"As it was: {home.unit}" in succeed("service", "install")
    assert home.calls() == [*START, f"systemctl --user enable --now {UNIT}"]
    home.unit.write_text("[Service]\nExecStart=/bin/true\n", encoding="utf-8")
    failed(run_here("service", "install", "--json"), 2, "input", "there is another", "--force replaces it")
    assert_unusable(run_here("service", "uninstall"), "was not written by", "it stays")
    assert home.unit.read_text(encoding="utf-8").endswith("/bin/true\n") and home.calls() == []
    succeed("service", "install", "--force")
    assert home.calls() == [*START, f"systemctl --user enable --now {UNIT}", f"systemctl --user restart {UNIT}"]
    assert MARK in home.unit.read_text(encoding="utf-8")


def test_a_dry_run_changes_nothing(home: Home) -> None:
    said = succeed("service", "install", "--dry-run")
    assert said.startswith(f"# {home.unit}\n# {MARK}\n")
    assert said.endswith(f"systemctl --user daemon-reload\nsystemctl --user enable --now {UNIT}\n")
    assert not home.unit.exists()
    succeed("service", "install")
    home.calls()
    said = succeed("service", "uninstall", "--dry-run")
    assert said == f"systemctl --user disable --now {UNIT}\nrm {home.unit}\nsystemctl --user daemon-reload\n"
    assert home.unit.exists() and home.calls() == []


def test_each_data_directory_has_a_service_of_its_own(home: Home) -> None:
    succeed("service", "install")
    data = ("--data", str(home.path / "my git"))
    name = name_of(home.path / "my git", home.path)
    unit = home.unit.with_name(f"{name}.service")
    assert re.fullmatch("ssbfast-share-my-git-[0-9a-f]{6}", name)
    home.calls()
    assert f"reload {name}.service\n" in succeed("service", "install", *data)
    assert home.calls() == [*START, f"systemctl --user enable --now {name}.service"]
    assert f"systemctl --user edit {name}\n" in unit.read_text(encoding="utf-8")
    assert succeed("service", "status", *data).endswith(f"\n{unit}\n")
    assert run_here("service", "logs", *data).returncode == 0
    assert any(f"--user-unit={name}.service" in one for one in home.calls())
    assert succeed("service", "uninstall", *data) == f"Removed {unit}\n"
    assert f"systemctl --user disable --now {name}.service" in home.calls()
    assert home.unit.exists() and not unit.exists()
    done = run_here("service", "status", *data)
    assert done.stdout == f"Not installed. Next: ssbfast service install --data '{home.path}/my git'\n"
    assert_unusable(run_here("service", "logs", *data), f"--data '{home.path}/my git'")
    default = str(home.path / "share" / "ssbfast" / "peer")
    assert succeed("service", "status", "--data", default).endswith(f"\n{home.unit}\n")


def test_names_of_services_differ_and_are_plain(tmp_path: Path) -> None:
    names = {name_of(tmp_path / one, tmp_path) for one in ("a/git", "b/git", "ü", "%n $x", "x" * 200)}
    assert len(names) == 5 and all(re.fullmatch(r"ssbfast-share-[\w-]{1,40}-[0-9a-f]{6}", name, re.A) for name in names)
    assert name_of(tmp_path, tmp_path) == name_of(tmp_path / "a" / "..", tmp_path) == NAME


def test_its_identity_is_named_unless_the_file_does(home: Home) -> None:
    text = succeed("service", "install", "--dry-run", "--data", str(home.path / "my git"))
    assert f' --data "{home.path}/my git" --no-ticket\n' in text
    home.options.write_text(f'data = "/srv/peer"\n{home.options.read_text()}', encoding="utf-8")
    assert "--data" not in succeed("service", "install", "--dry-run")
    assert "ssbfast ticket --room" in (said := succeed("service", "install")) and said.endswith(" --data /srv/peer\n")
    assert "--data /srv/other" in succeed("service", "install", "--dry-run", "--force", "--data", "/srv/other")


def test_what_cannot_be_shared_is_not_installed(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    other = home.path / "other.toml"
    assert_unusable(run_here("service", "install", "--config", str(other)), f"there is no {other}")
    other.write_text("nam = 1", encoding="utf-8")
    assert_unusable(run_here("service", "install", "--config", str(other)), f"{other}:1:1: there is no option 'nam'")
    other.write_text("name = 'home'", encoding="utf-8")
    assert_unusable(run_here("service", "install", "--config", str(other)), "no service is given")
    other.write_text('room = "https://room.example/join?invite=abc"\n[services]\nssh = 22\n', encoding="utf-8")
    assert_unusable(run_here("service", "install", "--config", str(other)), "an invite is used up at the first start")
    monkeypatch.setenv("SSBFAST_PEER_ROOM", ROOM)
    assert_unusable(run_here("service", "install"), "would not see SSBFAST_PEER_ROOM")
    assert not home.unit.exists() and home.calls() == []


def test_where_systemd_does_not_run_one_line_says_so(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    home.fail("*Version*")
    assert_unusable(run_here("service", "install"), "log in as this user, not by su", "Job failed: no.")
    monkeypatch.setattr(systemd, "BOOTED", home.path / "no")
    assert_unusable(run_here("service", "install"), "systemd does not run here")
    assert not home.unit.exists()


def test_a_service_that_does_not_start_is_an_error(home: Home) -> None:
    home.fail("*enable*")
    failed(run_here("service", "install", "--json"), 1, "failed", f"enable --now {UNIT}: Job failed: no.; see: ")
    home.fail("*disable*")
    done = run_here("service", "uninstall")
    assert done.returncode == 0 and "Job failed: no." in done.stderr and not home.unit.exists()


def test_one_that_does_not_run_has_another_exit_code(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    succeed("service", "install")
    monkeypatch.setenv("SHOWN", "ActiveState=failed\nSubState=failed\nMainPID=0\nUnitFileState=")
    done = run_here("service", "status")
    assert (done.returncode, done.stdout) == (1, f"failed (failed), not enabled\n{home.unit}\n")


def test_lingering_needs_no_advice(home: Home) -> None:
    (home.path / "linger").mkdir()
    (home.path / "linger" / getpass.getuser()).touch()
    said = succeed("service", "install")
    assert "from the machine's start on" in said and "loginctl" not in said


# ---------------------------------------------------------------- the files


def test_systemd_can_read_the_unit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    odd = tmp_path / 'a "b" $HOME %h \\ ü'
    odd.mkdir()
    program = odd.parent / "ssbfast"
    program.symlink_to(sys.executable)
    unit = tmp_path / UNIT
    unit.write_text(Systemd(NAME).text([str(program), "share", "--config", str(odd / "peer.toml")]), encoding="utf-8")
    assert analyze("verify", "--user", "--man=no", unit) == ""
    assert f'--config "{tmp_path}/a \\"b\\" $$HOME %%h \\\\ ü/peer.toml"\n' in unit.read_text(encoding="utf-8")


@pytest.mark.parametrize("manager", [Systemd, Launchd])
def test_no_word_ends_its_line(manager: type[Systemd | Launchd]) -> None:
    with pytest.raises(BadInputError, match="cannot be written into a service"):
        manager(NAME).text(["ssbfast", "share", "--config", "/tmp/a\nExecStartPre=/bin/evil"])


def test_on_macos(mac: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    agents = mac.path / "Library" / "LaunchAgents"
    domain = f"gui/{os.getuid()}"
    label = "io.github.ssbfast.share"
    assert f"launchctl kill HUP {domain}/{label}" in succeed("service", "install")
    (file,) = agents.iterdir()
    assert mac.calls() == [f"launchctl bootstrap {domain} {file}"]
    agent = plistlib.loads(file.read_bytes())
    assert MARK in file.read_text(encoding="utf-8")
    assert agent["ProgramArguments"][-6:] == [
        *("share", "--config", str(mac.options)),
        *("--data", str(mac.path / "share" / "ssbfast" / "peer"), "--no-ticket"),
    ]
    log = str(mac.path / "Library" / "Logs" / "ssbfast-share.log")
    assert (agent["Label"], agent["RunAtLoad"], agent["KeepAlive"]) == (label, True, {"SuccessfulExit": False})
    assert (agent["StandardOutPath"], agent["StandardErrorPath"], agent["Umask"]) == (log, log, 0o077)
    mac.fail("bootout*")
    succeed("service", "install")
    assert mac.calls() == [f"launchctl bootout {domain}/{label}", f"launchctl bootstrap {domain} {file}"]
    monkeypatch.setenv("SHOWN", "gui/501/x = {\n\tstate = running\n\tpid = 7\n\tsub = {\n\t\tstate = active\n\t}\n}\n")
    assert json.loads(succeed("service", "status", "--json"))["pid"] == 7
    assert run_here("service", "logs", "--lines", "3").returncode == 0
    assert mac.calls()[-1] == f"tail -n 3 {log}"
    mac.fail("")
    other = ("--data", str(mac.path / "git"))
    name = name_of(mac.path / "git", mac.path)
    assert f"{domain}/io.github.{name.replace('ssbfast-', 'ssbfast.', 1)}\n" in succeed("service", "install", *other)
    assert len(list(agents.iterdir())) == 2
    succeed("service", "uninstall", *other)
    mac.calls()
    succeed("service", "uninstall")
    assert mac.calls() == [f"launchctl bootout {domain}/{label}"] and not file.exists()


def test_which_manager_and_none_on_windows() -> None:
    assert isinstance(command.find_manager(NAME, "linux"), Systemd)
    assert isinstance(command.find_manager(NAME, "darwin"), Launchd)
    with pytest.raises(BadInputError, match="schtasks /Create /SC ONLOGON") as caught:
        command.find_manager(NAME, "win32")
    assert "\n" not in str(caught.value)
