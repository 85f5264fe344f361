"""`ssbfast bench`: what counts as an answer, what a ratio is, and the command. Nothing looks at how fast it was."""

from __future__ import annotations

import itertools
import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from ssbfast import native
from ssbfast.cli.bench import box_stream, handshake, muxrpc, plot, relay, runner
from ssbfast.cli.bench.contest import Contender, Contest, WrongAnswerError
from ssbfast.cli.bench.runner import QUICK, BenchResult, RoundPlan, figures, hold
from ssbfast.errors import MissingExtraError
from tests.helpers.commands import assert_unusable
from tests.helpers.processes import Running, run
from tests.helpers.require import require

SMALL = 4096
GROUPS = {
    *(f"{verb}, {how}" for verb in ("seal", "open") for how in ("many boxes a call", "one box a call")),
    *("handshake", "relay engine", "calls over TCP"),
}
FIGURE = {"per_cpu_second", "cpu_seconds", "wall_seconds", "ratio", "ratio_low", "ratio_high"}


def small_contests() -> Iterable[Contest]:
    return itertools.chain(box_stream.contests(SMALL), handshake.contests(), relay.contests(SMALL), muxrpc.contests())


def contest(**answers: bool) -> tuple[Contest, list[str]]:
    """Contenders by name, each right or not; and who has worked."""
    worked: list[str] = []

    def contender(name: str, is_right: bool) -> Contender:
        return Contender(lambda: is_right, lambda: worked.append(name))

    some = {name: contender(name, is_right) for name, is_right in answers.items()}
    return Contest("things", "7", "things", 3.0, "base", some), worked


# ---------------------------------------------------------------- answers


def test_every_answer_of_every_contender_is_right() -> None:
    groups = set()
    for each in small_contests():
        groups.add(each.group)
        assert each.contenders
        for name, contender in each.contenders.items():
            assert contender.is_right(), (each.group, each.case, name)
    assert groups == GROUPS


def test_every_path_of_this_machine_takes_part() -> None:
    paths = {name for name in native.available() if name != "pure"}
    boxes = [*box_stream.contests(SMALL), *relay.contests(SMALL)]
    assert all(set(each.contenders) == {*paths, "pynacl", "pure"} for each in boxes)
    assert all(set(each.contenders) == (paths or {"pure"}) for each in muxrpc.contests())


def test_a_contest_leaves_the_path_as_it_was() -> None:
    sealed = native.Sealer(box_stream.KEY, box_stream.NONCE).seal(b"text")
    for each in box_stream.contests(SMALL):
        for contender in each.contenders.values():
            contender.work()
    assert native.Sealer(box_stream.KEY, box_stream.NONCE).seal(b"text") == sealed


def _lies(work: Callable[..., Any]) -> Callable[..., Any]:
    """The same work with the last byte of its result changed."""

    def lie(*arguments: Any) -> Any:
        found = work(*arguments)
        last = found[-1] if isinstance(found, list) else found
        wrong = last[:-1] + bytes([last[-1] ^ 1])
        return [*found[:-1], wrong] if isinstance(found, list) else wrong

    return lie


@pytest.mark.parametrize("name", ["_seal_many", "_seal_each", "_open_many", "_open_each"])
def test_one_wrong_bit_is_a_wrong_answer(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(box_stream, name, _lies(getattr(box_stream, name)))
    how = {"many": "many boxes a call", "each": "one box a call"}[name.rpartition("_")[2]]
    wrong = f"{name.split('_')[1]}, {how}"
    found = {each.group: [one.is_right() for one in each.contenders.values()] for each in box_stream.contests(SMALL)}
    assert not any(found.pop(wrong))
    assert all(itertools.chain(*found.values()))


def test_a_relay_that_changes_its_payload_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay, "REQ_OUT", 5)  # what the right answer is compared with, after the relays were made
    kept = relay.PlainRelay

    class Renumbers(kept):  # type: ignore[misc, valid-type]
        def __init__(self, req: int) -> None:
            super().__init__(req + 1)

    monkeypatch.setattr(relay, "PlainRelay", Renumbers)
    each = next(iter(relay.contests(SMALL)))
    assert not each.contenders["pynacl"].is_right()
    assert each.contenders["pure"].is_right()


def test_a_wrong_answer_stops_before_anything_is_timed() -> None:
    some, worked = contest(base=True, liar=False)
    with pytest.raises(WrongAnswerError, match="liar gives a wrong answer: things, 7"):
        hold(some, QUICK)
    assert worked == []


# ---------------------------------------------------------------- turns and figures


def test_contenders_take_turns() -> None:
    some, worked = contest(base=True, other=True)
    hold(some, RoundPlan(4, 0.0))
    rounds = [name for name, _ in itertools.groupby(worked)]
    assert rounds == ["base", "other"] * 5  # the first time is how many passes a turn needs


def test_a_pass_is_made_anew_where_it_uses_something_up() -> None:
    made: list[list[str]] = []

    def fresh() -> Callable[[], object]:
        made.append([])
        return lambda: made[-1].append("done")

    contest = Contest("things", "7", "things", 1.0, "base", {"base": Contender(lambda: True, fresh, fresh)})
    hold(contest, RoundPlan(3, 0.0))
    assert made and all(once == ["done"] for once in made)


def test_ratios_are_medians_of_the_ratios_within_rounds() -> None:
    taken = {"base": [(1.0, 2.0), (9.0, 9.0), (4.0, 4.0)], "ours": [(0.5, 1.0), (3.0, 4.0), (1.0, 1.5)]}
    found = figures(taken, "base")
    ours = found["ours"]
    assert (ours.ratio, ours.ratio_low, ours.ratio_high) == (3.0, 2.0, 4.0)  # of 2, 3 and 4; 4 ÷ 1 by medians alone
    assert (ours.cpu, ours.wall) == (1.0, 1.5)
    assert found["base"].ratio == 1.0


def test_without_the_baseline_there_are_no_ratios() -> None:
    (figure,) = figures({"ours": [(1.0, 1.0)]}, "base").values()
    assert (figure.ratio, figure.ratio_low, figure.ratio_high) == (None, None, None)


def test_rates_and_json() -> None:
    some, _ = contest(base=True, other=True)
    found = BenchResult(some, figures({"base": [(2.0, 3.0)], "other": [(1.0, 1.5)]}, "base"))
    assert found.rate("other") == 3.0
    told = json.loads(json.dumps(found.as_json()))
    assert (told["event"], told["group"], told["case"], told["baseline"], told["correct"]) == (
        *("result", "things", "7", "base", True),
    )
    assert told["contenders"]["other"] == {
        **{"per_cpu_second": 3.0, "cpu_seconds": 1.0, "wall_seconds": 1.5},
        **{"ratio": 2.0, "ratio_low": 2.0, "ratio_high": 2.0},
    }


def test_the_machine_is_told() -> None:
    about = runner.machine()
    assert about["backend"] == native.BACKEND
    assert about["paths"] == list(native.available())
    assert about["cpu"] and about["cores"] >= 1


# ---------------------------------------------------------------- the picture


def can_draw() -> bool:
    """Some platforms of our wheels have no matplotlib."""
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        return False
    return True


def drawn(tmp_path: Path, name: str) -> bytes:
    results = [hold(each, RoundPlan(1, 0.0)) for each in box_stream.contests(SMALL)]
    plot.draw(results, tmp_path / name, "a machine")
    return (tmp_path / name).read_bytes()


@pytest.mark.slow
def test_a_picture(tmp_path: Path) -> None:
    require("matplotlib", can_draw())
    assert drawn(tmp_path, "a.png").startswith(b"\x89PNG\r\n\x1a\n")
    svg = drawn(tmp_path, "a.svg").decode()
    assert "<svg" in svg


def test_curves_are_ratios_by_size() -> None:
    results = [hold(each, RoundPlan(1, 0.0)) for each in box_stream.contests(SMALL)]
    found = plot.curves(results)
    assert set(found) == {group for group in GROUPS if "a call" in group}
    for lines in found.values():
        assert "libsodium" not in lines  # the line at 1
        for points in lines.values():
            assert [case for case, _ in points] == list(box_stream.CASES)


def test_the_picture_needs_the_extra(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'ssbfast\[bench\]'"):
        plot.check(tmp_path / "a.png")


# ---------------------------------------------------------------- the command


@pytest.mark.slow
def test_json(tmp_path: Path) -> None:
    draws = can_draw()
    done = run("bench", "--quick", "--json", *(("--plot", str(tmp_path / "a.png")) if draws else ()))
    assert done.returncode == 0, done.stderr
    machine, *results = [json.loads(line) for line in done.stdout.splitlines()]
    assert machine["event"] == "machine" and machine["backend"] == native.BACKEND
    assert {each["group"] for each in results} == GROUPS
    assert len({(each["group"], each["case"]) for each in results}) == len(results)
    for each in results:
        assert each["event"] == "result" and each["correct"] is True
        assert all(set(figure) == FIGURE for figure in each["contenders"].values())
        if each["baseline"] is not None:
            assert each["contenders"][each["baseline"]]["ratio"] == 1.0
    progress = done.stderr.splitlines()
    if draws:
        assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
        assert progress.pop().endswith("a.png")
    assert progress == [f"ssbfast: {each['group']}, {each['case']}" for each in results]


@pytest.mark.slow
def test_tables() -> None:
    done = run("bench", "--quick")
    assert done.returncode == 0, done.stderr
    first = done.stdout.splitlines()[0]
    assert f"SIMD path {native.BACKEND}" in first
    for group in GROUPS:
        assert f"{group}: " in done.stdout
    assert "Traceback" not in done.stderr


def test_help() -> None:
    done = run("bench", "--help")
    assert done.returncode == 0
    assert all(option in done.stdout for option in ("--quick", "--json", "--plot FILE"))


def test_pictures_that_cannot_be_are_refused_before_anything_is_measured(tmp_path: Path) -> None:
    assert_unusable(run("bench", "--plot", str(tmp_path / "a.gif")), ".png or .svg")
    assert_unusable(run("bench", "--plot", str(tmp_path / "none" / "a.png")), "no directory")
    assert_unusable(run("bench", "--plot", str(tmp_path)), "directory")
    assert_unusable(run("bench", "--slow"), "--slow")


def test_without_the_extra_it_is_one_line(tmp_path: Path) -> None:
    hidden = tmp_path / "matplotlib.py"
    hidden.write_text("raise ImportError\n", encoding="utf-8")
    program = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); from ssbfast.cli.main import main; main()"
    words = [sys.executable, "-c", program, "bench", "--plot", str(tmp_path / "a.png")]
    assert_unusable(subprocess.run(words, capture_output=True, text=True, timeout=60, check=False), "ssbfast[bench]")


@pytest.mark.slow
@pytest.mark.parametrize("options", [("--quick",), ("--quick", "--json")])
def test_ctrl_c(options: tuple[str, ...]) -> None:
    with Running("bench", *options) as running:
        assert running.line() is not None  # it has begun
        running.signal(signal.SIGINT)
        assert running.wait() == 0
    assert "Traceback" not in running.stderr


@pytest.mark.slow
def test_a_reader_that_leaves() -> None:
    words = [sys.executable, "-m", "ssbfast", "bench", "--quick"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stderr is not None
        assert process.stdout.readline()
        process.stdout.close()
        said = process.stderr.read()
        assert process.wait(60) == 0
    assert "Traceback" not in said and "Exception" not in said
