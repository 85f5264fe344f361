"""Pebble, the certificate authority that Let's Encrypt makes for tests, on this machine; and a DNS for it.

Built by `go install github.com/letsencrypt/pebble/v2/cmd/pebble@latest`; SSBFAST_PEBBLE names it, or it is on the PATH.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import socketserver
import ssl
import struct
import subprocess
import threading
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ssbfast.server.web.acme_order import Authority
from tests.helpers import tls
from tests.helpers.require import require

PATIENCE = 30.0


@dataclass(frozen=True)
class Pebble:
    """authority: how a room finds it. http_port: where it comes with its challenges, instead of port 80."""

    authority: Authority
    http_port: int
    management: str

    def trusting(self) -> ssl.SSLContext:
        """What trusts the certificates that it gives."""
        with urllib.request.urlopen(f"{self.management}/roots/0", context=tls.trusting()) as answer:
            return ssl.create_default_context(cadata=answer.read().decode())


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


class _Names(socketserver.StreamRequestHandler):
    """A DNS over TCP, as Pebble asks it: each name has the address 127.0.0.1, and no other."""

    def handle(self) -> None:
        query = self.rfile.read(int.from_bytes(self.rfile.read(2), "big"))
        end = query.index(b"\0", 12) + 5
        is_ipv4 = query[end - 4 : end - 2] == b"\0\1"
        answer = b"\xc0\x0c\0\1\0\1\0\0\0\1\0\4\x7f\0\0\1" if is_ipv4 else b""
        told = query[:2] + struct.pack(">HHHHH", 0x8180, 1, is_ipv4, 0, 0) + query[12:end] + answer
        self.wfile.write(struct.pack(">H", len(told)) + told)


@contextlib.contextmanager
def serving(server: socketserver.BaseServer) -> Iterator[int]:
    """Let a server run in a thread; its port."""
    with server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield int(server.server_address[1])
        finally:
            server.shutdown()
            thread.join()


@contextlib.contextmanager
def pebble(folder: Path) -> Iterator[Pebble]:
    """Run it; without it the tests are skipped."""
    program = os.environ.get("SSBFAST_PEBBLE") or shutil.which("pebble")
    require("pebble", program is not None, "go install github.com/letsencrypt/pebble/v2/cmd/pebble@latest builds it")
    own = folder / "pebble.pem"
    own.write_bytes(tls.certificate("localhost"))
    roots = folder / "ca.pem"
    roots.write_bytes(own.read_bytes()[own.read_bytes().index(b"-----BEGIN CERTIFICATE") :])
    port, management, http_port = free_port(), free_port(), free_port()
    config = {
        "listenAddress": f"127.0.0.1:{port}",
        "managementListenAddress": f"127.0.0.1:{management}",
        "certificate": str(own),
        "privateKey": str(own),
        "httpPort": http_port,
        "tlsPort": free_port(),
        "retryAfter": {"authz": 1, "order": 1},
        "profiles": {"default": {"description": "the only one", "validityPeriod": 7_776_000}},
    }
    (folder / "pebble.json").write_text(json.dumps({"pebble": config}))
    environment = {"PEBBLE_VA_NOSLEEP": "1", "PEBBLE_AUTHZREUSE": "0", "PEBBLE_WFE_NONCEREJECT": "20"}
    with serving(socketserver.ThreadingTCPServer(("127.0.0.1", 0), _Names)) as names:
        process = subprocess.Popen(
            [str(program), "-config", str(folder / "pebble.json"), "-dnsserver", f"127.0.0.1:{names}"],
            env={**os.environ, **environment},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            _wait_for(process, port)
            authority = Authority(f"https://localhost:{port}/dir", "", str(roots))
            yield Pebble(authority, http_port, f"https://localhost:{management}")
        finally:
            process.kill()
            process.wait()


def _wait_for(process: subprocess.Popen[bytes], port: int) -> None:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        assert process.poll() is None, "pebble has ended"
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.05)
    raise TimeoutError("pebble does not listen")
