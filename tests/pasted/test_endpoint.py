"""HOST:PORT as people write it, for services, rooms, and STUN servers."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from ssbfast.errors import BadInputError
from ssbfast.net.endpoints import Endpoint, UdpEndpoint, show_place
from ssbfast.pasted.endpoint import read_listen, read_name, read_place, read_reflector, read_service
from tests.helpers.commands import assert_unusable
from tests.helpers.namespaces import built, ip
from tests.helpers.processes import run

Reader = Callable[[str], Endpoint]


@pytest.mark.parametrize(
    ("read", "text", "host", "port"),
    [
        (read_service, "8080", "127.0.0.1", 8080),
        (read_service, ":8080", "127.0.0.1", 8080),
        (read_service, " 8080\u00a0", "127.0.0.1", 8080),
        (read_service, "0", "127.0.0.1", 0),
        (read_service, "http://127.0.0.1:8000", "127.0.0.1", 8000),
        (read_service, "http://127.0.0.1:8000/", "127.0.0.1", 8000),
        (read_service, "<HTTP://localhost>", "localhost", 80),
        (read_service, "https://[::1]", "::1", 443),
        (read_service, "tcp://[::1]:1", "::1", 1),
        (read_service, "tcp:127.0.0.1:8000", "127.0.0.1", 8000),
        (read_service, "net:127.0.0.1:8000", "127.0.0.1", 8000),
        (read_service, "\u201clocalhost:80\u201d", "localhost", 80),
        (read_service, "[::1]:80", "::1", 80),
        (read_service, "2001:db8:1:2:3:4:5:6:8008", "2001:db8:1:2:3:4:5:6", 8008),
        (read_service, "::1:54321", "::1", 54321),
        (read_service, "m\u00fcller.example:80", "xn--mller-kva.example", 80),
        (read_service, "fe80::1%25lo:80", "fe80::1%lo", 80),
        (read_service, "[fe80::1%lo]:80", "fe80::1%lo", 80),
        (read_listen, "8008", "", 8008),
        (read_listen, "*:8008", "", 8008),
        (read_listen, "*", "", 8008),
        (read_listen, ":0", "", 0),
        (read_listen, "[::]:8008", "::", 8008),
        (read_listen, ":::8008", "::", 8008),
        (read_listen, "::1", "::1", 8008),
        (read_listen, "127.0.0.1", "127.0.0.1", 8008),
        (read_listen, "[fe80::77%v0]:8008", "fe80::77%v0", 8008),
        (read_listen, "fe80::77%25v0:8008", "fe80::77%v0", 8008),
        (read_name, "room.example", "room.example", 0),
        (read_name, "`room.example:99`", "room.example", 99),
        (read_name, "::1", "::1", 0),
        (read_name, "[::1]:8008", "::1", 8008),
        (read_reflector, "stun.example:1", "stun.example", 1),
        (read_reflector, "stun:stun.example", "stun.example", 3478),
        (read_reflector, "stun:stun.example:1", "stun.example", 1),
        (read_reflector, "[::1]:3478", "::1", 3478),
    ],
)
def test_what_is_certain_is_read(read: Reader, text: str, host: str, port: int) -> None:
    assert read(text) == Endpoint(host, port)


@pytest.mark.parametrize(
    ("read", "text", "words"),
    [
        (read_service, "", "nothing was given"),
        (read_service, "localhost", "the port of 'localhost' is missing"),
        (read_service, "::1", "the port of '::1' is missing"),
        (read_service, "::1:8080", "[::1]:8080 or as [::1:8080]"),
        (read_service, "*:8080", "0.0.0.0:PORT or [::]:PORT"),
        (read_service, "8080:80", "'8080'"),
        (read_service, "8080:localhost:80", "HOST:PORT"),
        (read_service, "127.0.0.1:http", "not a port: 'http'"),
        (read_service, "70000", "not a port: '70000'"),
        (read_service, "-1", "HOST:PORT"),
        (read_service, "a b:1", "HOST:PORT"),
        (read_service, "http://127.0.0.1:8000/app", "without user, path or query"),
        (read_service, "ssh://me@127.0.0.1", "without user"),
        (read_service, "udp://127.0.0.1:1", "udp"),
        (read_service, "127.1:80", "127.0.0.1"),
        (read_service, "010.0.0.1:80", "10.0.0.1 or as 8.0.0.1"),
        (read_listen, "::1:9301", "[::1]:9301 or as [::1:9301]"),
        (read_listen, "2001:db8::1:8008", "[2001:db8::1]:8008 or as [2001:db8::1:8008]"),
        (read_listen, "99999", "not a port: '99999'"),
        (read_listen, "http://0.0.0.0:8008", "that is a URL"),
        (read_name, "8008", "room.example:8008"),
        (read_name, "https://room.example", "that is a URL"),
        (read_reflector, "3478", "stun.example:3478"),
        (read_reflector, "stun.example", "stun.example:3478"),
        (read_reflector, "turn:a:1", "HOST:PORT"),
    ],
)
def test_the_rest_is_refused_with_the_form_that_is_expected(read: Reader, text: str, words: str) -> None:
    with pytest.raises(BadInputError) as caught:
        read(text)
    message = str(caught.value)
    assert words in message
    assert "at character" not in message
    assert "reads" in message or "say " in message, "an example"


@pytest.mark.slow
def test_the_commands_read_them_so(tmp_path: Path) -> None:
    data = ("--data", str(tmp_path))
    assert_unusable(run("room", *data, "--listen", "::1:9301"), "--listen", "[::1]:9301 or")
    assert_unusable(run("room", *data, "--udp", "::1:9301"), "--udp", "[::1]:9301 or")
    assert_unusable(run("room", *data, "--host", "https://room.example"), "--host", "that is a URL")
    address = "net:127.0.0.1:9~shs:" + "A" * 43 + "="
    assert_unusable(run("listen", *data, "--room", address, "--forward", "0"), "port 0")
    assert_unusable(run("listen", *data, "--room", address, "--forward", "http://h/x"), "--forward", "path")
    assert_unusable(run("connect", "x", *data, "--room", address, "--bind", "localhost"), "--bind", "missing")
    assert_unusable(run("doctor", *data, "--room", address, "--stun", "3478"), "--stun", "stun.example:3478")


# ---------------------------------------------------------------- zones


class Link:
    """A namespace with one interface, v0, that has the link-local address fe80::77."""

    name = f"ssbf-zone-{os.getpid()}"

    def build(self) -> None:
        ip("netns", "add", self.name)
        ip("-n", self.name, "link", "add", "v0", "type", "veth", "peer", "name", "v1")
        ip("-n", self.name, "link", "set", "v0", "up")
        ip("-n", self.name, "link", "set", "v1", "up")
        ip("-n", self.name, "-6", "addr", "add", "fe80::77/64", "dev", "v0", "nodad")

    def remove(self) -> None:
        subprocess.run(("ip", "netns", "del", self.name), check=False, capture_output=True)


BIND = """
import asyncio
from ssbfast.net.endpoints import Endpoint, beside, bind, bind_udp, publish, shown
from ssbfast.errors import BadInputError
from ssbfast.ids import FeedId
from ssbfast.net.forward.tcp_listener import ForwardListener

bound = bind([Endpoint("fe80::77%v0", 0)])
port = bound[0].getsockname()[1]
assert shown(bound) == [f"[fe80::77%v0]:{port}"]
assert beside(bound) == (Endpoint("fe80::77%v0", port),)
assert shown(bind_udp(beside(bound))) == shown(bound)
assert str(publish(bound, FeedId(bytes(32)), None)[0]).startswith(f"net:fe80!:!:77%v0:{port}~shs:")
for host, words in ("fe80::77%v0", f"[fe80::77%v0]:{port}: the port"), ("fe80::77", "its interface: [fe80::77%eth0]"):
    try:
        bind([Endpoint(host, port)])
    except BadInputError as error:
        assert words in str(error), error
    else:
        raise AssertionError(host)

async def listen():
    async with ForwardListener("fe80::77%v0", 0) as listener:
        return listener.address

host, port = asyncio.run(listen())
assert (host, port > 0) == ("fe80::77%v0", True)
"""


def test_an_address_of_one_link_keeps_its_zone() -> None:
    """The system tells the zone apart from the address: without it nobody can dial what is printed."""
    with built(Link()) as link:
        command = ("ip", "netns", "exec", link.name, sys.executable, "-c", BIND)
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("text", "shown"),
    [("udp:51820", "127.0.0.1:51820"), ("udp:[::1]:53", "[::1]:53"), (" udp:wg.example:1 ", "wg.example:1")],
)
def test_a_udp_place(text: str, shown: str) -> None:
    found = read_place(text)
    assert isinstance(found, UdpEndpoint) and show_place(found) == f"udp:{shown}"
    assert found != read_place(text.strip().removeprefix("udp:")), "a TCP service at the same port is another place"


@pytest.mark.parametrize("text", ["udp:", "udp:host", "udp:unix:/x"])
def test_what_is_no_udp_place(text: str) -> None:
    with pytest.raises(BadInputError):
        read_place(text)
