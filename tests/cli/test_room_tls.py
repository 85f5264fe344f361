"""`ssbfast room --web --tls auto` as a process: a certificate from Pebble, its state, a restart; and its options."""

from __future__ import annotations

import functools
import importlib.util
import json
import socket
import ssl
import threading
from pathlib import Path
from typing import Any

import psutil
import pytest

pytest.importorskip("acme")

from ssbfast.errors import BadInputError, MissingExtraError
from ssbfast.net.endpoints import Endpoint
from ssbfast.server.web.acme_order import Authority
from tests.helpers.pebble import free_port, pebble
from tests.helpers.processes import PATIENCE, Running, run


def shown(port: int, context: ssl.SSLContext) -> bytes | None:
    """The certificate at a port, in DER."""
    with (
        socket.create_connection(("127.0.0.1", port), 30) as sock,
        context.wrap_socket(sock, server_hostname="room.test") as secure,
    ):
        return secure.getpeercert(binary_form=True)


def test_a_room_gets_its_certificate_and_is_restarted(tmp_path: Path) -> None:
    data, web = tmp_path / "room", free_port()
    with pebble(tmp_path) as authority:
        trusting = authority.trusting()
        options = (
            *("--web", f"127.0.0.1:{web}", "--http", f"127.0.0.1:{authority.http_port}", "--tls", "auto"),
            *("--acme-directory", authority.authority.directory, "--acme-ca", authority.authority.ca),
            *("--listen", "127.0.0.1:0", "--no-udp", "--drain-seconds", "1", "--host", "room.test"),
        )
        with Running("room", "--data", str(data), *options, "--json") as room:
            assert room.event("certificate_loaded")["days"] == 89
            first = shown(web, trusting)
            told = json.loads(run("room", "status", "--data", str(data), "--json").stdout)["certificate"]
            assert 89 < told.pop("days") <= 90 and told == {"problem": None, "aliases": 0}
            text = run("room", "status", "--data", str(data)).stdout
            assert "  certificate 89 days left\n" in text

            codes: list[bytes] = []
            over = threading.Event()

            def knock() -> None:
                while not over.wait(0.02):  # one address may ask 600 times a minute
                    with socket.create_connection(("127.0.0.1", authority.http_port), 30) as sock:
                        sock.sendall(b"GET / HTTP/1.1\r\nHost: room.test\r\n\r\n")
                        codes.append(sock.recv(4096)[:12])

            knocking = threading.Thread(target=knock)
            knocking.start()
            restarted = run("room", "restart", "--data", str(data), "--json")
            assert restarted.returncode == 0, restarted.stderr
            successor = psutil.Process(json.loads(restarted.stdout)["pid"])
            try:
                assert room.wait() == 0
                over.set()
                knocking.join()
                assert set(codes) == {b"HTTP/1.1 308"}, "none was refused"
                assert shown(web, trusting) == first, "it is not asked for again"
                told = json.loads(run("room", "status", "--data", str(data), "--json").stdout)["certificate"]
                assert told["problem"] is None
            finally:
                over.set()
                successor.terminate()
                psutil.wait_procs([successor], PATIENCE)


LETS_ENCRYPT = Authority("https://acme.example/directory")


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"host": None}, "--tls auto needs the name"),
        ({"host": Endpoint("192.0.2.1", 0)}, "--tls auto needs the name"),
        ({"host": Endpoint("localhost", 0)}, "--tls auto needs the name"),
        ({"authority": Authority("http://acme.example/")}, "--acme-directory: an URL"),
        ({"authority": Authority("https://acme.example/", "me,you@example.org")}, "--acme-email: one address"),
        ({"authority": Authority("https://acme.example/", "", "/dev/null")}, "--acme-ca cannot be used"),
        ({"authority": None, "http": Endpoint("", 80)}, "--http is for a site with --tls auto"),
    ],
)
def test_options_that_make_no_sense(changes: dict[str, Any], complaint: str) -> None:
    from ssbfast.cli.room.web import plan_web

    options: dict[str, Any] = {"url": None, "host": Endpoint("room.example", 0), "proxies": (), "certificate": None}
    options["authority"] = LETS_ENCRYPT
    plan = plan_web("", **options)
    assert (plan.endpoint, plan.http, plan.has_tls) == (Endpoint("", 443), Endpoint("", 80), True)
    with pytest.raises(BadInputError, match=complaint):
        plan_web("", **{**options, **changes})


def test_the_libraries_are_an_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    from ssbfast.cli.room import web

    find = importlib.util.find_spec
    for missing, extra in (("josepy", "tls"), ("segno", "web")):
        others = functools.partial(lambda no, name: find(name) if name != no else None, missing)
        monkeypatch.setattr(web.importlib.util, "find_spec", others)
        with pytest.raises(MissingExtraError, match=rf"\({missing}\): pip install 'ssbfast\[{extra}\]'"):
            web.plan_web(
                "", url=None, host=Endpoint("room.example", 0), proxies=(), certificate=None, authority=LETS_ENCRYPT
            )


def test_a_port_80_that_cannot_be_had_is_told(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        told = run(
            *("room", "--data", str(tmp_path), "--web", "127.0.0.1:0", "--http", f"127.0.0.1:{port}"),
            *("--tls", "auto", "--host", "room.test", "--listen", "127.0.0.1:0", "--no-udp"),
        )
    assert told.returncode == 2
    assert f"cannot listen on 127.0.0.1:{port}: the port is taken (--http): visitors" in told.stderr
    other = run("room", "--data", str(tmp_path), "--tls", "auto", "--host", "room.test")
    assert other.returncode == 2 and "are for a room with --web" in other.stderr.replace("\n", " ")
