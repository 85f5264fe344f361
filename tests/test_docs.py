"""What the pages show runs: commands with their options, lines to change; tests/test_examples.py has the programs."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import click
import pytest

from ssbfast.cli.group import group
from ssbfast.compat.secret_handshake import boxstream, network
from ssbfast.compat.ssb import packet_stream
from tests.helpers.processes import Running
from tests.helpers.room_processes import post, room_processes, web_server

ROOT = Path(__file__).parent.parent
PYTHON, TUNNEL, NEWCOMERS = (
    f"docs/howto/{name}.md" for name in ("use-from-python", "tunnel-a-service", "come-from-pyssb")
)
PAGES = ["README.md", *sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").rglob("*.md"))]


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", (ROOT / page).read_text(encoding="utf-8"), re.DOTALL)


def commands(page: str) -> list[list[str]]:
    lines = (line for block in blocks(page, "sh") for line in block.splitlines())
    return [shlex.split(line, comments=True)[1:] for line in lines if line.startswith("ssbfast ")]


def test_what_the_python_page_imports_exists() -> None:
    found = blocks(PYTHON, "python")
    assert len(found) >= 5
    for block in found:
        compile(block, PYTHON, "exec")
        for line in re.findall(r"^from .*$", block, re.MULTILINE):
            exec(line, {})


def test_the_lines_and_switches_of_the_page_for_newcomers() -> None:
    lines = [line for block in blocks(NEWCOMERS, "python") for line in block.splitlines() if "ssbfast" in line]
    assert len(lines) == 3
    for line in lines:
        subprocess.run([sys.executable, "-W", "error", "-c", line], check=True)
    text = (ROOT / NEWCOMERS).read_text(encoding="utf-8")
    switches = re.findall(r"^\| `(\w+)\.(\w+) = ", text, re.MULTILINE)
    assert len(switches) == 4
    for name, switch in switches:
        module = next(module for module in (boxstream, network, packet_stream) if hasattr(module, name))
        assert hasattr(getattr(module, name), switch), (name, switch)


def test_the_commands_of_the_tunnel_page(tmp_path: Path) -> None:
    follow_carol, follow_alice, listen, connect = commands(TUNNEL)[:4]
    with room_processes(tmp_path) as place, web_server() as web:
        place.room()
        alice, carol = str(place.id("a")), str(place.id("c"))

        def filled_in(command: list[str], address: str = "") -> tuple[str, ...]:
            words = {"@ALICE": alice, "@CAROL": carol, "ROOM": place.address(), "TUNNEL_ADDRESS": address}
            ports = {"127.0.0.1:8000": f"127.0.0.1:{web}", "127.0.0.1:8080": "127.0.0.1:0"}
            return tuple({**words, **ports}.get(word, word) for word in command)

        for name, command in (("a", follow_carol), ("c", follow_alice)):
            with Running(*filled_in(command), "--data", str(place.path(name))) as following:
                assert following.wait() == 0
        with Running(*filled_in(listen), "--data", str(place.path("a")), "--json") as listening:
            address = listening.event("announced")["address"]
            with Running(*filled_in(connect, address), "--data", str(place.path("c")), "--json") as connecting:
                port = int(connecting.event("bound")["bind"].rpartition(":")[2])
                assert post(port, b"hello") == b"hello"


@pytest.mark.parametrize("page", PAGES)
def test_commands_and_options_exist(page: str) -> None:
    context = click.Context(group)
    for words in commands(page):
        command: click.Command | None = group
        options: set[str] = set()
        for word in words:
            if not isinstance(command, click.Group) or (found := command.get_command(context, word)) is None:
                break
            command = found
            options |= {name for parameter in command.params for name in parameter.opts}
        assert command is not group, words
        assert {word for word in words if word.startswith("--")} <= options, words


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    for link in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", (ROOT / page).read_text(encoding="utf-8")):
        assert link.startswith("https://") or (ROOT / page).parent.joinpath(link).exists(), link
