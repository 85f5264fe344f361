"""Names are looked up in threads that nobody waits for."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from ssbfast import limits
from ssbfast.net import name_lookup
from ssbfast.net.name_lookup import interleaved, resolve
from tests.helpers.processes import PATIENCE
from tests.helpers.rawpeer import eventually


class Server:
    """Stands for the name server: answers when it is allowed to."""

    def __init__(self) -> None:
        self.asked: list[Any] = []
        self.answers = threading.Event()
        self.real = socket.getaddrinfo

    def __call__(self, host: Any, port: Any, family: int = 0, type: int = 0, proto: int = 0, flags: int = 0) -> Any:
        if flags & socket.AI_NUMERICHOST:
            return self.real(host, port, family, type, proto, flags)
        self.asked.append(host)
        self.answers.wait(PATIENCE)
        if host.startswith("no"):
            raise socket.gaierror(socket.EAI_NONAME, "no such name")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    server = Server()
    monkeypatch.setattr(socket, "getaddrinfo", server)
    yield server
    server.answers.set()
    while any(thread.name == "ssbfast-resolver" for thread in threading.enumerate()):
        for thread in threading.enumerate():
            if thread.name == "ssbfast-resolver":
                thread.join()
    assert name_lookup._RESOLVER._threads == 0 and not name_lookup._RESOLVER._asking


async def test_an_address_needs_no_thread(server: Server) -> None:
    for host in ("127.0.0.1", "::1"):
        assert (await resolve(host, 80))[0][4][:2] == (host, 80)
    assert server.asked == []


async def test_names_are_found_or_not(server: Server) -> None:
    server.answers.set()
    assert (await resolve("room.example", 80))[0][4] == ("127.0.0.1", 80)
    with pytest.raises(socket.gaierror):
        await resolve("no.such.example", 80)
    with pytest.raises(UnicodeError):
        await resolve("x" * 70 + ".example", 80)


async def test_who_asks_the_same_waits_for_the_same_answer(server: Server) -> None:
    asking = [asyncio.ensure_future(resolve("room.example", 80)) for _ in range(50)]
    await eventually(lambda: server.asked)
    server.answers.set()
    assert len({str(found) for found in await asyncio.gather(*asking)}) == 1
    assert server.asked == ["room.example"]


async def test_threads_are_few_and_what_nobody_waits_for_is_not_asked(server: Server) -> None:
    asking = [asyncio.ensure_future(resolve(f"{number}.example", 80)) for number in range(40)]
    await eventually(lambda: len(server.asked) == limits.RESOLVER_THREADS)
    assert name_lookup._RESOLVER._threads == limits.RESOLVER_THREADS
    for one in asking[20:]:
        one.cancel()
    await asyncio.wait(asking[20:])
    server.answers.set()
    await asyncio.gather(*asking[:20])
    assert sorted(server.asked) == sorted(f"{number}.example" for number in range(20))


async def test_without_threads_it_is_an_error(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(_self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", none)
    with pytest.raises(OSError, match="no thread"):
        await resolve("room.example", 80)


def test_families_take_turns() -> None:
    def found(*hosts: str) -> Any:
        return [(socket.AF_INET6 if ":" in host else socket.AF_INET, 1, 6, "", (host, 80)) for host in hosts]

    order = interleaved(found("::1", "::2", "::3", "127.0.0.1", "127.0.0.2"))
    assert [one[4][0] for one in order] == ["::1", "127.0.0.1", "::2", "127.0.0.2", "::3"]
    assert interleaved([]) == []


SILENT = """
import asyncio, os, socket, sys, time
real = socket.getaddrinfo
def silent(host, port, family=0, type=0, proto=0, flags=0):
    if flags & socket.AI_NUMERICHOST:
        return real(host, port, family, type, proto, flags)
    os.write(1, b"asked\\n")  # print would hold stdout's lock in a thread that nobody waits for
    time.sleep(1000)
socket.getaddrinfo = silent
from ssbfast.cli.main import main
sys.argv = ["ssbfast", *sys.argv[1:]]
sys.exit(main())
"""


@pytest.mark.parametrize("command", ["listen", "connect", "attendants"])
def test_a_signal_ends_a_program_whose_name_server_is_silent(command: str, tmp_path: Any) -> None:
    key = "E5j2LG0aRXxRumpLXz29L2n8qTIWIY3ImX5Ba9F9k8o="
    room = f"net:room.example:8008~shs:{key}"
    more = {
        "listen": ["--forward", "127.0.0.1:9", "--path", "tunnel"],
        "connect": [f"@{key}.ed25519", "--bind", "127.0.0.1:0", "--path", "tunnel"],
        "attendants": ["--watch"],
    }[command]
    arguments = [command, *more, "--room", room, "--data", str(tmp_path), "--json"]
    with subprocess.Popen(
        [sys.executable, "-c", SILENT, *arguments], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as program:
        assert program.stdout is not None
        while program.stdout.readline() != "asked\n":
            assert program.poll() is None
        program.terminate()
        program.stdout.read()
        assert program.wait(PATIENCE / 2) == 0
