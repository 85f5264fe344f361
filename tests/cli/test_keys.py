"""`ssbfast keys`: identities are made once, shown without their secret, and never overwritten."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from ssbfast.cli.options import data_home
from ssbfast.keys import load_secret
from tests.helpers.commands import assert_unusable, events, succeed
from tests.helpers.processes import run
from tests.helpers.stores import posix_only, snapshot


def test_new_makes_an_identity_that_show_shows(tmp_path: Path) -> None:
    data = str(tmp_path / "peer")
    (made,) = events("keys", "new", "--data", data)
    (shown,) = events("keys", "show", "--data", data)
    file = tmp_path / "peer" / "secret"
    assert made == {"event": "keys", "id": str(load_secret(file).id), "file": str(file), "created": True}
    assert shown == {**made, "created": False}


def test_people_see_the_id_first_and_never_the_secret(tmp_path: Path) -> None:
    first, *rest = succeed("keys", "new", "--data", str(tmp_path)).splitlines()
    me = load_secret(tmp_path / "secret")
    assert first == str(me.id)
    assert f"ssbfast follow {me.id}" in rest[-1]
    text = succeed("keys", "show", "--data", str(tmp_path))
    private = next(line for line in (tmp_path / "secret").read_text().splitlines() if '"private"' in line)
    assert private.split('"')[3] not in text + "\n".join(rest)


@posix_only
def test_the_secret_is_for_its_owner_only(tmp_path: Path) -> None:
    succeed("keys", "new", "--data", str(tmp_path))
    assert stat.S_IMODE((tmp_path / "secret").stat().st_mode) == 0o600


def test_an_identity_is_never_overwritten(tmp_path: Path) -> None:
    succeed("keys", "new", "--data", str(tmp_path))
    before = snapshot(tmp_path)
    assert_unusable(run("keys", "new", "--data", str(tmp_path)), "not overwritten")
    assert snapshot(tmp_path) == before


def test_not_even_a_link_that_leads_nowhere(tmp_path: Path) -> None:
    (tmp_path / "secret").symlink_to(tmp_path / "elsewhere")
    assert_unusable(run("keys", "new", "--data", str(tmp_path)), "not overwritten")
    assert not (tmp_path / "elsewhere").exists()


def test_show_makes_nothing(tmp_path: Path) -> None:
    assert_unusable(run("keys", "show", "--data", str(tmp_path / "peer")), "ssbfast keys new")
    assert not (tmp_path / "peer").exists()


@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b"\xff\xfe", b"#" * 20_000, b'{"curve": "ed25519"}'])
def test_a_file_that_is_no_secret(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "secret").write_bytes(content)
    (tmp_path / "secret").chmod(0o600)
    before = snapshot(tmp_path)
    assert_unusable(run("keys", "show", "--data", str(tmp_path)), str(tmp_path / "secret"))
    assert snapshot(tmp_path) == before


@posix_only
def test_a_secret_that_others_can_read(tmp_path: Path) -> None:
    succeed("keys", "new", "--data", str(tmp_path))
    (tmp_path / "secret").chmod(0o640)
    assert_unusable(run("keys", "show", "--data", str(tmp_path)), "chmod 600")


@posix_only
@pytest.mark.slow
def test_a_secret_that_its_group_can_read_is_taken_when_we_say_so_aloud(tmp_path: Path) -> None:
    """Kubernetes mounts secrets with mode 0440."""
    data = ("--data", str(tmp_path))
    me = succeed("keys", "new", *data).splitlines()[0]
    (tmp_path / "secret").chmod(0o440)
    room = ("--room", f"net:127.0.0.1:9~shs:{me[1:-8]}")
    for command in (
        ("keys", "show", *data),
        ("attendants", *room, *data),
        ("doctor", *room, *data),
        ("connect", me, *room, "--bind", "0", *data),
        ("room", "--listen", "192.0.2.1:0", *data),
        ("listen", *room, "--forward", "9", "--private-for", me, *data),
    ):
        assert_unusable(run(*command), "--allow-group-read")
        allowed = run(*command, "--allow-group-read")
        assert allowed.stderr.startswith("ssbfast: --allow-group-read: every member of the group"), command
        assert "chmod" not in allowed.stderr
    (tmp_path / "secret").chmod(0o444)
    assert_unusable(run("keys", "show", *data, "--allow-group-read"), "chmod 600")


@pytest.mark.parametrize("arguments", [("keys",), ("keys", "nope"), ("keys", "show", "extra"), ("keys", "new", "--x")])
def test_wrong_usage(arguments: tuple[str, ...]) -> None:
    assert_unusable(run(*arguments))


@pytest.mark.parametrize("command", ["new", "show"])
def test_help(command: str) -> None:
    text = succeed("keys", command, "--help")
    assert all(option in text for option in ("--data", "--network-key", "--json"))


def test_an_empty_directory_name_is_no_directory(tmp_path: Path) -> None:
    assert_unusable(run("keys", "new", "--data", ""), "--data")


def test_the_default_directory_is_not_the_rooms(tmp_path: Path) -> None:
    done = run("keys", "new", env={**os.environ, "XDG_DATA_HOME": str(tmp_path), "LOCALAPPDATA": str(tmp_path)})
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "ssbfast" / "peer" / "secret").exists()
    assert data_home("room").name == "room"
