"""The report of the benchmarks: what counts as reached, and how it is written. Nothing is measured here."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("psutil")
pytest.importorskip("resource", reason="the benchmarks need POSIX")

from benchmarks import results, targets
from benchmarks.measured import QUICK, Measured, Plan, compared, costs, digits, ratios, seconds, spread
from benchmarks.results import MEASURES, chosen, report, section
from benchmarks.targets import ROWS, Row, Target
from ssbfast.cli.bench.runner import figures

ROOT = Path(__file__).parent.parent
ABOUT = {
    **{"cpu": "a CPU", "cores": 2, "system": "Linux x86_64", "python": "3.11.7", "ssbfast": "0.1.0", "pynacl": "1.6.2"},
    **{"backend": "avx2", "paths": ["avx2", "sse2", "pure"]},
}
ROW = Row("things", "another", "theirs ÷ ours", (Target(2.0, ("big",), ("avx2",)), Target(1.0)))


def line(case: str, who: str, ratio: float) -> Measured:
    return Measured(ROW, case, who, "1 s (1 s)", "2 s (2 s)", (ratio, ratio / 2, ratio * 2))


def test_every_row_has_a_measure() -> None:
    assert tuple(MEASURES) == ROWS
    assert len({row.name for row in ROWS}) == len(ROWS) == 17


def test_every_target_can_be_met_by_a_path_of_ours() -> None:
    for row in ROWS:
        assert row.targets
        for target in row.targets:
            assert set(target.who) <= set(targets.PATHS)
            for who in target.who:
                for case in target.cases:
                    assert row.target(case, who) is not None, (row.name, case, who)


@pytest.mark.parametrize(
    ("case", "who", "bound"),
    [
        ("big", "avx2", 2.0),
        ("big", "avx2, uvloop", 2.0),
        ("big", "sse2", 1.0),
        ("small", "avx2", 1.0),
        ("big", "go", None),
        ("big", "C and epoll, avx2", None),
    ],
)
def test_the_first_target_that_fits_counts(case: str, who: str, bound: float | None) -> None:
    target = ROW.target(case, who)
    assert (None if target is None else target.bound) == bound


def test_least_and_most() -> None:
    least, most = Target(2.0), Target(2.0, at_most=True)
    assert [least.is_met(ratio) for ratio in (1.99, 2.0, 2.01)] == [False, True, True]
    assert [most.is_met(ratio) for ratio in (1.99, 2.0, 2.01)] == [True, True, False]
    assert least.is_met(1.9951) and not least.is_met(1.9949)
    assert (str(least), str(most)) == ("≥ 2", "≤ 2")


def test_ratios_are_of_rounds() -> None:
    assert ratios([4.0, 9.0, 8.0], [2.0, 3.0, 1.0]) == (3.0, 2.0, 8.0)
    assert spread([3.0]) == (3.0, 3.0, 3.0)
    with pytest.raises(ValueError):
        ratios([1.0], [1.0, 2.0])


def test_numbers() -> None:
    assert [digits(value) for value in (0.0123, 1.0, 12.34, 123.4, 12345.0)] == ["0.0123", "1", "12.3", "123", "12345"]
    assert [seconds(value) for value in (2.5, 0.0123, 61.4e-9, 4e-6)] == ["2.5 s", "12.3 ms", "61.4 ns", "4 µs"]
    assert costs(1.0, 2.0) == "1 s (2 s)"


def test_figures_become_lines() -> None:
    taken = {"base": [(4.0, 4.0), (6.0, 8.0)], "avx2": [(2.0, 2.0), (2.0, 4.0)]}
    (one,) = compared(ROW, "big", figures(taken, "base"), "base", 2)
    assert (one.who, one.ours, one.baseline, one.ratio) == ("avx2", "1 s (1.5 s)", "2.5 s (3 s)", (2.5, 2.0, 3.0))
    assert list(compared(ROW, "big", figures(taken, "nobody"), "nobody", 2)) == []


def test_a_table_says_what_was_reached_and_what_was_missed() -> None:
    lines = section(ROW, [line("big", "avx2", 2.5), line("big", "sse2", 0.5), line("big", "go", 0.1)])
    assert lines[:3] == ["## Things", "", "Baseline: another. Ratio: theirs ÷ ours."]
    assert lines[-3:] == [
        "| big | avx2 | 1 s (1 s) | 2 s (2 s) | 2.5 (1.25–5) | ≥ 2 | reached |",
        "| big | sse2 | 1 s (1 s) | 2 s (2 s) | 0.5 (0.25–1) | ≥ 1 | **missed** |",
        "| big | go | 1 s (1 s) | 2 s (2 s) | 0.1 (0.05–0.2) |  |  |",
    ]
    columns = {text.count("|") for text in lines if text.startswith("|")}
    assert columns == {8}


def test_the_report_names_who_is_missing_and_where_it_was_made() -> None:
    found = {ROW: [line("big", "avx2", 1.5), line("small", "avx2", 1.5)]}
    plan = Plan()
    plan.absent["go-ssb-room"] = "no binary"
    text = report(found, plan, ABOUT, "commit 0123456789ab")
    assert "a CPU, 2 cores, Linux x86_64; Python 3.11.7, ssbfast 0.1.0 (commit 0123456789ab), PyNaCl 1.6.2" in text
    assert "SIMD path avx2; this machine offers avx2, sse2, pure." in text
    assert "Not there: go-ssb-room (no binary)." in text
    assert "| things | 1 of 2; missed: big avx2 |" in text


def test_rows_are_chosen_by_words() -> None:
    assert chosen("") == list(ROWS)
    assert chosen("handshakes, idle") == [targets.HANDSHAKES, targets.IDLE]
    with pytest.raises(SystemExit, match="no row is called 'nothing'"):
        chosen("idle,nothing")


def test_the_command_writes_what_was_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    plans: list[Plan] = []

    def measure(plan: Plan) -> list[Measured]:
        plans.append(plan)
        return [Measured(targets.IDLE, "to 10 KiB, announced", "avx2", "5 KiB", "10 KiB", (0.5, 0.4, 0.6))]

    monkeypatch.setitem(MEASURES, targets.IDLE, measure)
    monkeypatch.setattr(results.native, "BACKEND", "avx2")
    out = tmp_path / "R.md"
    assert results.main(["--quick", "--rows", "idle", "--out", str(out)]) == 0
    assert plans == [QUICK]
    assert "| idle attendant, resident memory | 1 of 1 |" in out.read_text(encoding="utf-8")
    monkeypatch.setattr(results.native, "BACKEND", "pure")
    with pytest.raises(SystemExit, match="C core is missing"):
        results.main(["--rows", "idle", "--out", str(out)])


@pytest.mark.skipif(sys.version_info < (3, 11), reason="aioquic needs Python 3.11: there are no direct paths")
def test_the_row_of_quic_has_all_its_cases(monkeypatch: pytest.MonkeyPatch) -> None:
    from benchmarks.quic import contest

    def measure(pairs: list[contest.Pair], rounds: int, part: float) -> dict[contest.Pair, list[contest.Cost]]:
        """Ours costs 2 and 3 ns a byte, others five times that."""
        return {pair: [contest.Cost(*((2, 3) if pair.peer == "ssbfast" else (10, 15)), 1)] for pair in pairs}

    monkeypatch.setattr(contest, "available", lambda: (list(contest.PAIRS), {}))
    monkeypatch.setattr(contest, "measure", measure)
    monkeypatch.setattr("benchmarks.rows_quic.native.BACKEND", "avx2")
    found = list(MEASURES[targets.QUIC](QUICK))
    assert {one.ratio for one in found} == {(5, 5, 5)}
    assert {case for aimed in targets.QUIC.targets for case in aimed.cases} <= {one.case for one in found}
    assert {(one.ours, one.baseline) for one in found} == {("2 ns/B", "10 ns/B"), ("3 ns/B", "15 ns/B")}
    monkeypatch.setattr(contest, "available", lambda: ([], {"quinn": "not built"}))
    plan = Plan()
    assert list(MEASURES[targets.QUIC](plan)) == [] and plan.absent == {"quinn": "not built"}


def test_what_is_in_the_repository_is_whole() -> None:
    """Every row, one machine, one commit, and no place of that machine."""
    text = (ROOT / "benchmarks" / "RESULTS.md").read_text(encoding="utf-8")
    for row in ROWS:
        assert f"| {row.name} | " in text
        assert f"\n## {row.name[0].upper()}{row.name[1:]}\n" in text
    assert re.search(r"\(commit [0-9a-f]{12}[),]", text)
    assert "SIMD path " in text
    assert not re.search(r"(?<![\w.])/(?:root|home|tmp|work|usr|opt)/", text)
