"""What the trial of the wheel names is there."""

from __future__ import annotations

from tests.wheel.making import ROOT
from tests.wheel.trying import FALLBACK_TESTS, LEFT_OUT, SMOKE


def test_what_is_left_out_or_chosen_exists() -> None:
    assert [name for name in (*LEFT_OUT, *SMOKE, *FALLBACK_TESTS) if not (ROOT / name).exists()] == []


def test_the_smoke_test_is_of_each_floor() -> None:
    assert {name.split("/")[1] for name in SMOKE} >= {"wire", "net", "server", "cli", "compat"}
