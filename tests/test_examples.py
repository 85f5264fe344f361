"""Each program of docs/examples runs against a real room on this machine, and the pages show it as it stands."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.helpers import commands
from tests.helpers.processes import PATIENCE
from tests.helpers.room_processes import RoomProcesses, free_port, post, room_processes, web_server

ROOT = Path(__file__).parent.parent
EXAMPLES = ROOT / "docs" / "examples"
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


@contextmanager
def running(example: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Run an example that stays until it is stopped."""
    words = [sys.executable, str(EXAMPLES / example), *arguments]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def line(process: subprocess.Popen[str]) -> str:
    """Return the next line that an example prints."""
    assert process.stdout is not None
    return process.stdout.readline().strip()


def run(example: str, *arguments: str) -> str:
    """Run an example that ends by itself; return its output. It prints no warning."""
    words = [sys.executable, str(EXAMPLES / example), *arguments]
    done = subprocess.run(words, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


@pytest.fixture
def place(tmp_path: Path) -> Iterator[RoomProcesses]:
    with room_processes(tmp_path) as place:
        place.room()
        yield place


def test_room_and_two_peers() -> None:
    assert run("room_and_two_peers.py") == "True\nhello Carol\n"


def test_methods(place: RoomProcesses) -> None:
    secrets = {name: str(place.path(name) / "secret") for name in ("a", "c")}
    carol = str(place.id("c"))
    with running("offer_method.py", secrets["a"], place.address(), carol) as offering:
        address = line(offering)
        assert run("call_method.py", secrets["c"], place.address(), address) == f"hello Carol, you are {carol}\n"
        assert line(offering) == f"let in {carol}"


def test_streams(place: RoomProcesses) -> None:
    assert run("streams.py", place.address()).splitlines() == [
        *("sum 5", "counted 0", "counted 1", "counted 2"),
        *("collected one item", "echoed {'text': 'hello'}"),
    ]


def test_a_service(place: RoomProcesses) -> None:
    place.follow("a", "c")
    data = {name: str(place.path(name)) for name in ("a", "c")}
    with web_server() as web, running("offer_service.py", data["a"], place.address(), str(web)) as offering:
        place.id("c")
        with running("use_service.py", data["c"], place.address(), line(offering)) as using:
            port = int(line(using).rpartition(":")[2])
            assert post(port, b"hello") == b"hello"


def test_a_ticket(place: RoomProcesses) -> None:
    with running("make_ticket.py", str(place.path("a")), place.address()) as waiting:
        done = commands.run_here("pair", line(waiting), "--data", str(place.path("c")))
        assert done.stdout.startswith(f"Paired with home ({place.id('a').short})")
        assert line(waiting) == f"paired with {place.id('c')}"


@pytest.mark.skipif(sys.version_info < (3, 11), reason="direct paths need Python 3.11")
def test_direct_path(place: RoomProcesses) -> None:
    pytest.importorskip("aioquic")
    assert run("direct_path.py", place.address()) == "begins on: tunnel\nnow on: direct\nTrue True\n"


def test_watch_room(place: RoomProcesses) -> None:
    with running("watch_room.py", str(place.path("other") / "secret"), str(free_port())) as room:
        listening = json.loads(line(room))
        assert listening["event"] == "listening"
        run("streams.py", listening["address"])
        events = [json.loads(line(room)) for _ in range(4)]
    assert [event["event"] for event in events] == ["joined", "tunnel_opened", "tunnel_closed", "left"]


def shown() -> list[tuple[Path, str]]:
    """Return the Python programs that pages show as wholes: those that say `asyncio.run`."""
    found = []
    for page in PAGES:
        blocks = re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
        found += [(page, block) for block in blocks if "asyncio.run(" in block]
    return found


def test_pages_show_the_examples_as_they_are() -> None:
    programs = {path.read_text(encoding="utf-8").partition('"""\n\n')[2] for path in EXAMPLES.glob("*.py")}
    blocks = shown()
    assert len(blocks) >= 6
    assert [(page.name, block) for page, block in blocks if block not in programs] == []


@pytest.mark.parametrize("example", sorted(path.name for path in EXAMPLES.glob("*.py")))
def test_examples_import_public_names_only(example: str) -> None:
    text = (EXAMPLES / example).read_text(encoding="utf-8")
    assert re.findall(r"^(?:from|import) (ssbfast\S*)", text, re.MULTILINE) == ["ssbfast"]
    assert f'"{example}"' in Path(__file__).read_text(encoding="utf-8"), "no test runs it"
