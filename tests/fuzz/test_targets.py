"""The fuzz targets of the core build, and get through kept and new inputs on every path: they must not rot between
campaigns. That of the link costs what the link costs, and notices mistakes."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Final

import pytest

from tests.fuzz.__main__ import main
from tests.fuzz.core import SOURCES, TARGETS, build, find_clang, jobs
from tests.fuzz.corpora import kept
from tests.fuzz.running import Outcome, run
from tests.helpers.require import require

RUNS: Final = 300
MISTAKES: Final = (
    ("link_receive.c", "if (code == SSB_OK) code = keep_rest(l, l->_rest_n);\n    if (code == SSB_OK && n > 0)",
     "if (code == SSB_OK && n > 0)"),  # keep forgets the rest of the caller's buffer
    ("hub.c", "+ l->_plain._slabs", ""),  # what is held is not all told
    ("quic_stream_send.c", "lesser(s->written, s->send_max)", "s->written"),  # more than the peer lets a stream send
    ("quic_streams.c", "    if (joined > 0) ssbi_ranges_drop(&s->gaps, joined);\n", ""),  # a gap that was closed stays
    ("quic_send.c", "    if (path != q->path) q->path_sent += size;\n", ""),  # above 3 times what came
)  # fmt: skip


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    require("clang", find_clang() is not None)
    folder = tmp_path_factory.mktemp("fuzz")
    build(folder, TARGETS)
    return folder


@pytest.mark.parametrize("target", TARGETS)
def test_some_inputs(built: Path, target: str, tmp_path: Path) -> None:
    assert kept(target)
    for job in jobs(built, [target]):
        outcome = run(job, f"-runs={RUNS + len(kept(target))}", tmp_path / "found", tmp_path / "findings")
        assert isinstance(outcome, Outcome), outcome
        assert outcome.runs > RUNS and outcome.edges > 20 and outcome.features > 20


def test_the_link_target_neither_hashes_nor_allocates_nor_maps(built: Path) -> None:
    list_them = ["nm", "--undefined-only", built / "fuzz_link.o"]
    listed = subprocess.run(list_them, capture_output=True, text=True, check=True).stdout
    needed = {line.split()[-1] for line in listed.splitlines()}
    assert {name for name in needed if name.startswith("ssb_")}
    forbidden = re.compile(r"crypto_|sodium_|ssb_kernel|malloc|calloc|realloc|free|aligned_alloc|mmap|mprotect")
    assert sorted(filter(forbidden.match, needed)) == []


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake[0])
def test_a_target_notices(mistake: tuple[str, str, str], tmp_path: Path) -> None:
    """The kept inputs alone do: each mistake shows in one of them."""
    require("clang", find_clang() is not None)
    name, right, wrong = mistake
    sources = tmp_path / "csrc"
    shutil.copytree(SOURCES, sources)
    text = (sources / name).read_text(encoding="utf-8")
    assert right in text
    (sources / name).write_text(text.replace(right, wrong), encoding="utf-8")
    target = "quic" if name.startswith("quic") else "link"
    build(tmp_path, [target], sources)
    (job,) = jobs(tmp_path, [target])
    outcome = run(job, "-runs=0", tmp_path / "found", tmp_path / "findings")
    assert isinstance(outcome, str), "nothing was noticed"


def test_targets_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--list"]) == 0
    assert {*TARGETS, "address", "muxrpc"} <= set(capsys.readouterr().out.split())
    with pytest.raises(SystemExit):
        main(["5", "no-such-target"])
    assert "no-such-target" in capsys.readouterr().err
