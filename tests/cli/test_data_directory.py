"""A data directory that others may write: they could put another identity in place of ours."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import click
import pytest

from ssbfast.cli import data_directory
from ssbfast.cli.data_directory import check_rights
from ssbfast.cli.options import read_secret
from ssbfast.keys import load_secret
from tests.helpers.commands import run_here
from tests.helpers.stores import posix_only

pytestmark = posix_only


@pytest.fixture
def data(tmp_path: Path) -> Path:
    place = tmp_path / "my data"
    load_secret(place / "secret", create=True)
    return place


@pytest.fixture
def shared(monkeypatch: pytest.MonkeyPatch) -> None:
    """The group of our files has another member."""
    monkeypatch.setattr(data_directory, "_is_private", lambda _group, _owner: False)


@pytest.mark.parametrize("mode", [0o777, 0o757, 0o702])
def test_one_that_every_user_may_write_is_refused(data: Path, mode: int) -> None:
    data.chmod(mode)
    done = run_here("keys", "show", "--data", str(data))
    assert done.returncode == 2 and not done.stdout
    assert done.stderr.count("\n") == 1 and done.stderr.endswith(f"first: chmod go-w '{data}'\n")


@pytest.mark.usefixtures("shared")
def test_one_that_a_group_may_write_is_told_once_a_command(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data.chmod(0o775)
    other = load_secret(data.parent / "other" / "secret", create=True).id
    done = run_here("follow", str(other), "--data", str(data))
    assert not done.returncode
    assert done.stderr.count("\n") == 1 and "can be written by its group" in done.stderr
    with click.Context(click.Command("share")):
        for _ in range(2):
            read_secret(data / "secret")
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize("mode", [0o700, 0o755, 0o1777, 0o1775])
@pytest.mark.usefixtures("shared")
def test_others_cannot_exchange_what_is_in_it(data: Path, mode: int, capsys: pytest.CaptureFixture[str]) -> None:
    data.chmod(mode)
    check_rights(data)
    assert not capsys.readouterr().err


def test_one_of_another_user_is_told_since_only_that_user_can_change_it(
    data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A volume of Kubernetes has the mode 0777 and is root's."""
    data.chmod(0o777)
    monkeypatch.setattr(os, "geteuid", lambda: data.stat().st_uid + 1)
    check_rights(data)
    assert "can be written by every user" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("group", "members", "private"),
    [("me", [], True), ("me", ["me"], True), ("me", ["me", "you"], False), ("staff", [], False)],
)
def test_a_group_of_ones_own_is_no_other(
    data: Path, group: str, members: list[str], private: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the umask is 002 each user has a group."""
    import grp
    import pwd

    found: Any = SimpleNamespace(gr_name=group, gr_mem=members)
    monkeypatch.setattr(pwd, "getpwuid", lambda _uid: SimpleNamespace(pw_name="me"))
    monkeypatch.setattr(grp, "getgrgid", lambda _gid: found)
    data.chmod(stat.S_IRWXU | stat.S_IRWXG)
    done = run_here("keys", "show", "--data", str(data))
    assert not done.returncode and (not done.stderr) is private
