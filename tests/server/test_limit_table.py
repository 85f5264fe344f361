"""The table of limits: what can be set, how it is read, and that what is set holds."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ssbfast import limits
from ssbfast.budgets import Rate
from ssbfast.errors import BadInputError
from ssbfast.server.limit_table import DELAYED, LIMITS, REFUSED, RoomCaps, limit_rows, read_limits
from tests.helpers.commands import run_here, succeed

PAGE = Path(__file__).parents[2] / "docs/topics/under-load.md"


@pytest.mark.parametrize("name", LIMITS)
def test_every_limit_takes_its_bounds_and_nothing_beyond(name: str) -> None:
    limit = LIMITS[name]
    assert limit.least <= limit.default <= limit.most or limit.default == 0
    for value in (limit.least, limit.default, limit.most):
        assert read_limits([f"{name}={value!r}"]) == {name: value}
    for text in (repr(limit.most + 1), repr(limit.least - 1), "", "many", "nan", "inf", "-inf", "1=2"):
        with pytest.raises(BadInputError, match=f"^{name}: "):
            read_limits([f"{name}={text}"])


def test_the_last_of_a_name_counts() -> None:
    assert read_limits(["sessions=5", " calls = 7.5 ", "sessions=6"]) == {"sessions": 6, "calls": 7.5}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("sesions=9", "there is no limit 'sesions'; is it 'sessions'?"),
        ("sessions", "NAME=VALUE is needed, not 'sessions'"),
        ("zzz=9", "there is no limit 'zzz'; the limits: ssbfast room limits"),
        ("sessions=2.5", "sessions: a whole number from 1 to 1000000 is needed, not '2.5'"),
    ],
)
def test_what_is_no_limit_is_named(text: str, said: str) -> None:
    with pytest.raises(BadInputError) as caught:
        read_limits([text])
    assert str(caught.value) == said


def test_what_is_set_is_what_a_room_allows() -> None:
    caps = RoomCaps(read_limits(["sessions=50", "sessions_per_address=7", "calls=20", "calls_at_once=90"]))
    assert (caps.places("sessions").whole, caps.places("sessions").address) == (50, 7)
    calls = caps.allowances(DELAYED)["calls"]
    assert calls.key == Rate(20, 90)
    assert calls.address == Rate(limits.CALLS_PER_ADDRESS, limits.CALLS_ADDRESS_BURST)
    assert calls.own == Rate(limits.CALLS_OWN, limits.CALLS_OWN_BURST)
    an_hour = RoomCaps(read_limits(["registrations=60"])).allowances(REFUSED)["registrations"]
    assert an_hour.key == Rate(60 / 3600, limits.REGISTRATIONS_BURST)


def test_few_files_lower_what_is_allowed() -> None:
    caps = RoomCaps().within(limits.RESERVED_FILES + 400)
    assert (caps["connections"], caps["sessions"]) == (100, 300)
    assert RoomCaps({"sessions": 5}).within(limits.RESERVED_FILES + 400)["sessions"] == 5
    assert RoomCaps().within(None) == RoomCaps()


def test_a_limit_that_cannot_be_set_is_listed_once_it_was_reached() -> None:
    rows = {row["limit"]: row for row in limit_rows(RoomCaps({"tunnels": 3}), {"files": 2, "tunnels": 1})}
    assert list(rows) == [*LIMITS, "files"]
    assert (rows["tunnels"]["value"], rows["tunnels"]["default"], rows["tunnels"]["reached"]) == (3, limits.TUNNELS, 1)
    assert (rows["files"]["value"], rows["files"]["reached"]) == (None, 2)
    assert rows["calls"]["reached"] == 0


# ---------------------------------------------------------------- as people use it


def test_without_a_room_it_lists_what_one_would_have(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "room.toml"
    file.write_text("[limit]\ncalls = 50\nsessions = 900\n")
    arguments = ("room", "--config", str(file), "--data", str(tmp_path), "limits")
    rows = {row["limit"]: row for row in map(json.loads, succeed(*arguments, "--json").splitlines())}
    assert list(rows) == list(LIMITS)
    assert (rows["calls"]["value"], rows["sessions"]["value"]) == (50, 900)
    assert (rows["tunnels"]["value"], rows["tunnels"]["reached"]) == (limits.TUNNELS, None)
    monkeypatch.setenv("SSBFAST_ROOM_LIMIT", "calls=60 tunnels=9")
    words = {line.split()[0]: line.split()[1] for line in succeed(*arguments).splitlines()}
    assert (words["calls"], words["tunnels"], words["sessions"]) == ("60*", "9*", "20000")


def test_a_mistake_in_the_file_has_its_place(tmp_path: Path) -> None:
    file = tmp_path / "room.toml"
    file.write_text("[limit]\ncalls = 50\nsesions = 900\ntunnels = 0\n")
    done = run_here("room", "config", "check", str(file))
    assert done.returncode == 2
    assert f"{file}:3:11: limit: there is no limit 'sesions'; is it 'sessions'?" in done.stderr
    assert f"{file}:4:11: limit: tunnels: a whole number from 1 to 1000000 is needed, not '0'" in done.stderr


def test_the_page_has_the_table() -> None:
    """To mend it: print the rows."""
    page = PAGE.read_text(encoding="utf-8").splitlines()
    rows = [f"| `{limit.name}` | {limit.default:,.10g} | {limit.meaning} |" for limit in LIMITS.values()]
    assert [row for row in page if row.startswith("| `")] == rows
