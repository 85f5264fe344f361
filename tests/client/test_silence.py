"""A friend's line goes silent: no FIN, no RST, no ICMP. Those who wait for him are told, and find him again.

::

    this namespace ── room, connect ── veth ── middle ── veth ── listen and its service ── far namespace
                                               stops and begins to forward
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.namespaces import built, ip
from tests.helpers.processes import Running
from tests.helpers.room_processes import RoomProcesses, room_processes

REPORT_SECONDS = 60.0
RECOVER_SECONDS = 30.0
_ECHO = """
import socketserver, sys
class Echo(socketserver.BaseRequestHandler):
    def handle(self):
        while data := self.request.recv(4096):
            self.request.sendall(data)
socketserver.ThreadingTCPServer.allow_reuse_address = True
socketserver.ThreadingTCPServer(("127.0.0.1", int(sys.argv[1])), Echo).serve_forever()
"""
SERVICE = 9009


class Line:
    """A far namespace behind a middle one. here: our address on the way there."""

    def __init__(self) -> None:
        number = os.getpid() % 251
        self.middle, self.far = f"ssbm{os.getpid()}", f"ssbx{os.getpid()}"
        self.cable = f"sm{os.getpid()}"
        self.here, self.near = f"10.214.{number}.1", f"10.214.{number}.2"
        self.inner, self.there = f"10.215.{number}.1", f"10.215.{number}.2"

    def build(self) -> None:
        for name in (self.middle, self.far):
            ip("netns", "add", name)
        ip("link", "add", self.cable, "type", "veth", "peer", "name", "up0", "netns", self.middle)
        ip("-n", self.middle, "link", "add", "down0", "type", "veth", "peer", "name", "up0", "netns", self.far)
        for where, address, device in (
            ((), self.here, self.cable),
            (("-n", self.middle), self.near, "up0"),
            (("-n", self.middle), self.inner, "down0"),
            (("-n", self.far), self.there, "up0"),
        ):
            ip(*where, "address", "add", f"{address}/30", "dev", device)
            ip(*where, "link", "set", device, "up")
        ip("-n", self.far, "link", "set", "lo", "up")
        ip("-n", self.far, "route", "add", "default", "via", self.inner)
        ip("route", "add", f"{self.there}/32", "via", self.near)
        self.forward(True)

    def forward(self, on: bool) -> None:
        """Whether the middle passes packets on; when not, it drops them and tells nobody."""
        switch = f"echo {int(on)} > /proc/sys/net/ipv4/ip_forward"
        ip("netns", "exec", self.middle, "sh", "-c", switch)

    def remove(self) -> None:
        for words in (("link", "delete", self.cable), ("netns", "delete", self.middle), ("netns", "delete", self.far)):
            subprocess.run(("ip", *words), check=False, capture_output=True)


@pytest.fixture
def line() -> Iterator[Line]:
    with built(Line()) as line:
        yield line


@pytest.fixture
def service(line: Line) -> Iterator[None]:
    """An echo service in the far namespace."""
    command = ("ip", "netns", "exec", line.far, sys.executable, "-c", _ECHO, str(SERVICE))
    with subprocess.Popen(command) as process:
        yield
        process.kill()


def until(process: Running, name: str, seconds: float) -> None:
    """The event comes within so many seconds."""
    began = time.monotonic()
    process.event(name)
    assert time.monotonic() - began < seconds, name


def echoed(port: int) -> bool:
    """Whether a connection to the bound port reaches the service and comes back."""
    try:
        with socket.create_connection(("127.0.0.1", port), 10) as sock:
            sock.sendall(b"there and back")
            return sock.recv(100) == b"there and back"
    except OSError:
        return False


@pytest.mark.slow
@pytest.mark.nat
@pytest.mark.timeout(240)
def test_a_silent_line_is_reported_and_recovers(line: Line, service: None, tmp_path: Path) -> None:
    with room_processes(tmp_path) as here:
        here.friends("a", "c")
        room = here.start("room", "room", "--listen", f"{line.here}:0")
        address = str(room.event("listening")["address"])
        offer = in_namespace(here, line, address)
        offer.event("announced")
        caller, port = here.connect("c", str(here.id("a")), "--room", address)
        caller.event("connected")
        assert echoed(port)

        line.forward(False)
        until(caller, "closed", REPORT_SECONDS)
        until(room, "left", REPORT_SECONDS)
        until(offer, "reconnecting", REPORT_SECONDS)
        assert not echoed(port)

        line.forward(True)
        until(offer, "announced", RECOVER_SECONDS)
        until(caller, "connected", RECOVER_SECONDS)
        assert echoed(port)


def in_namespace(here: RoomProcesses, line: Line, address: str) -> Running:
    arguments = ("--room", address, "--forward", f"127.0.0.1:{SERVICE}", "--path", "tunnel", "--json")
    prefix = ("ip", "netns", "exec", line.far)
    return here.keep(Running("listen", "--data", str(here.path("a")), *arguments, prefix=prefix))
