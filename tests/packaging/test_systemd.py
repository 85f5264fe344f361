"""The units, as systemd reads them, and the example of a room's options."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ssbfast import limits
from ssbfast.cli.config_file import key_of, read_config
from ssbfast.cli.room.run import run
from tests.helpers.commands import succeed
from tests.helpers.require import require

PACKAGING = Path(__file__).parents[2] / "packaging"
UNITS = PACKAGING / "systemd"
SERVICE = UNITS / "ssbfast-room.service"
SOCKET = UNITS / "ssbfast-room.socket"
EXAMPLE = PACKAGING / "room.toml"
MOST_EXPOSED = 2.5
OLDEST = 250
"""The version of systemd from which on files are analyzed."""


def analyze(*words: str | Path) -> str:
    """What systemd-analyze says; it has to find nothing wrong."""
    there = shutil.which("systemd-analyze") is not None
    version = subprocess.check_output(["systemd-analyze", "--version"], text=True).split()[1] if there else "0"
    require("systemd-analyze", int(version) >= OLDEST, f"systemd {OLDEST}")
    done = subprocess.run(["systemd-analyze", *words], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, ""), done
    return done.stdout


@pytest.fixture
def units(tmp_path: Path) -> Path:
    """The units, with a program that there is."""
    for unit in (SERVICE, SOCKET):
        text = unit.read_text(encoding="utf-8").replace("=/usr/bin/ssbfast ", f"={sys.executable} ")
        (tmp_path / unit.name).write_text(text, encoding="utf-8")
    return tmp_path


def test_systemd_can_read_the_units(units: Path) -> None:
    assert analyze("verify", "--man=no", units / SERVICE.name, units / SOCKET.name) == ""


def test_the_service_is_hardened(units: Path) -> None:
    said = analyze("security", "--offline=true", "--no-pager", units / SERVICE.name)
    (exposed,) = re.findall(r"exposure level for \S+: ([0-9.]+)", said)
    assert float(exposed) <= MOST_EXPOSED, said


def test_the_service_has_time_to_drain() -> None:
    seconds = dict(re.findall(r"^(Timeout\w+Sec)=(\d+)$", SERVICE.read_text(encoding="utf-8"), re.M))
    assert int(seconds["TimeoutStopSec"]) > limits.DRAIN_SECONDS + limits.DRAIN_SPREAD
    assert int(seconds["TimeoutStartSec"]) > limits.HANDOVER_SECONDS, "a reload has it, too"


# ---------------------------------------------------------------- the example of options


def test_the_example_is_right_as_it_is() -> None:
    assert "1 option, no mistakes" in succeed("room", "config", "check", str(EXAMPLE))


def test_the_example_shows_every_option(tmp_path: Path) -> None:
    text = re.sub(r"^#(?=[\w[])", "", EXAMPLE.read_text(encoding="utf-8"), flags=re.M)
    (tmp_path / "room.toml").write_text(text, encoding="utf-8")
    found = read_config(tmp_path / "room.toml", run)
    assert found.mistakes == []
    shown = {key_of(setting.option) for setting in found.settings.values()}
    options = {key_of(option) for option in run.params if option.name not in ("config", "take_over")}  # type: ignore[arg-type]
    assert shown == options
