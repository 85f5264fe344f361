"""Sockets from another process: which are taken for which address, and how they come."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing

import pytest

from ssbfast.errors import BadInputError
from ssbfast.net.endpoints import Endpoint, bind, bind_udp
from ssbfast.net.inherited_sockets import InheritedSockets, from_service_manager, receive, send

pytestmark = pytest.mark.skipif(os.name == "nt", reason="Windows passes no sockets")

HERE = Endpoint("127.0.0.1", 0)


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    here, there = socket.socketpair(socket.AF_UNIX)
    with here, there:
        yield here, there


def port_of(sock: socket.socket) -> int:
    return int(sock.getsockname()[1])


def test_each_is_taken_once_by_its_own_address_and_kind() -> None:
    tcp, other = bind([HERE])[0], bind([HERE])[0]
    udp = bind_udp([Endpoint("127.0.0.1", port_of(tcp))])[0]
    waiting = InheritedSockets([udp, other, tcp])
    with closing(waiting), tcp, other, udp:
        assert bind([Endpoint("127.0.0.1", port_of(tcp))], waiting) == [tcp]
        assert bind_udp([Endpoint("127.0.0.1", port_of(tcp))], waiting) == [udp]
        assert len(waiting) == 1
        with pytest.raises(BadInputError, match="taken"):
            bind([Endpoint("127.0.0.1", port_of(tcp))], waiting)
        assert bind([HERE], waiting) == [other]
        with bind([HERE], waiting)[0] as fresh:
            assert fresh.fileno() not in (tcp.fileno(), other.fileno())


def test_both_families_of_the_wildcard_take_their_own() -> None:
    with ExitStack() as stack:
        sockets = [stack.enter_context(sock) for sock in bind([Endpoint("", 0)])]
        assert bind([Endpoint("", port_of(sockets[0]))], InheritedSockets(sockets)) == sockets


def test_a_socket_of_both_families_serves_the_whole_wildcard() -> None:
    """As systemd makes it for `ListenStream=8008`."""
    if not socket.has_dualstack_ipv6():
        pytest.skip("this machine has no sockets of both families")
    with socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True) as both:
        assert bind([Endpoint("", port_of(both))], InheritedSockets([both])) == [both]


def test_what_nothing_took_is_closed() -> None:
    left = bind([HERE])[0]
    InheritedSockets([left]).close()
    assert left.fileno() == -1


def test_they_pass_through_a_unix_socket(pair: tuple[socket.socket, socket.socket]) -> None:
    here, there = pair
    with bind([HERE])[0] as tcp, bind_udp([HERE])[0] as udp:
        send(here, b'{"answer": 1}\n', [tcp, udp])
        line, got = receive(there, 1000)
        assert (line, len(got)) == (b'{"answer": 1}\n', 2)
        port = port_of(tcp)
    with bind([Endpoint("127.0.0.1", port)], got)[0] as copy, socket.create_connection(("127.0.0.1", port)):
        copy.setblocking(True)
        copy.accept()[0].close()
    got.close()


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="counts open files in /proc")
@pytest.mark.parametrize("text", [b"no line", b"x" * 2000 + b"\n"], ids=["cut", "long"])
def test_nothing_stays_open_when_the_line_is_none(text: bytes, pair: tuple[socket.socket, socket.socket]) -> None:
    here, there = pair
    with bind([HERE])[0] as tcp:
        before = open_files()
        send(here, text, [tcp])
        here.shutdown(socket.SHUT_WR)
        with pytest.raises(OSError, match="no whole line"):
            receive(there, 1000)
        assert open_files() == before


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="counts open files in /proc")
def test_what_is_no_socket_of_ip_is_closed(pair: tuple[socket.socket, socket.socket]) -> None:
    here, there = pair
    before = open_files()
    with open(os.devnull, "rb") as file:
        socket.send_fds(here, [b"x\n"], [file.fileno(), there.fileno()])
    assert len(receive(there, 1000)[1]) == 0
    assert open_files() == before


def test_those_of_the_service_manager_come_by_number() -> None:
    code = (
        "import os, sys; from ssbfast.net.inherited_sockets import from_service_manager as f\n"
        "os.dup2(int(sys.argv[1]), 3)\n"
        "for pid in ('1', str(os.getpid())):\n"
        "    e = {'LISTEN_PID': pid, 'LISTEN_FDS': '1', 'LISTEN_FDNAMES': 'x'}\n"
        "    print(len(f(e)), e)\n"
    )
    with bind([HERE])[0] as tcp:
        argv = [sys.executable, "-c", code, str(tcp.fileno())]
        done = subprocess.run(argv, pass_fds=[tcp.fileno()], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "0 {}\n1 {}\n"
    assert len(from_service_manager({})) == 0
    assert len(from_service_manager({"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "x"})) == 0
