"""The engine beside the kernel's TCP CUBIC at one bottleneck: bytes behind it, by kind, as the internet counts them."""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

if sys.version_info < (3, 11):
    pytest.skip("aioquic needs Python 3.11: there are no direct paths", allow_module_level=True)
pytest.importorskip("ssbfast.native.core", reason="the C core is not built")

from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from benchmarks.quic.programs import ROOT, command
from ssbfast.direct import certificates
from ssbfast.direct.certificates import Credentials
from tests.helpers.require import require
from tests.nat.lab import ROOM, NatLab, nat_lab

pytestmark = [pytest.mark.nat, pytest.mark.timeout(120)]

RATE = "6mbit"
"""Of the bottleneck: far below what a busy machine moves, and some thirty losses of each are in one test."""
QUEUE = 37_500
"""Bytes: 50 ms."""
BYTES = 40_000_000
"""More than pass in a test."""
APART, SETTLING, MEASURED = 2.0, 6.0, 18.0
"""Seconds: between the beginnings of the two, until the shares are looked at, and how long."""


@pytest.fixture
def lab() -> Iterator[NatLab]:
    with nat_lab("public", "public") as made:
        narrow = ["tc", "qdisc", "add", "dev", "wan", "root", "tbf"]
        done = made.run("NA", [*narrow, "rate", RATE, "burst", "3000", "limit", str(QUEUE)], check=False)
        require("nat", done.returncode == 0, f"the kernel has no tbf: {done.stderr.strip()}")
        yield made


def engines(lab: NatLab, folder: Path, stack: ExitStack) -> None:
    """Let an engine in A send to one in S."""
    credentials = Credentials.make()
    key = credentials.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (folder / "certificate").write_bytes(certificates.pem(credentials.certificate))
    (folder / "key").write_bytes(key)
    common = ["-certificate", str(folder / "certificate"), "-bytes", str(BYTES), "-suite", "chacha20"]
    begun = [*command("ssbfast"), "serve", "receive", "-address", f"{ROOM[0]}:0", "-key", str(folder / "key"), *common]
    server = lab.popen("S", begun, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    stack.callback(server.stdout.close)
    port = json.loads(server.stdout.readline())["port"]
    begun = [*command("ssbfast"), "dial", "send", "-address", f"{ROOM[0]}:{port}", *common]
    client = lab.popen("A", begun, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    stack.callback(client.stdout.close)
    assert json.loads(client.stdout.readline())["event"] == "ready"


@contextmanager
def tcp(lab: NatLab) -> Iterator[None]:
    """Let TCP CUBIC in A send to S as long as it may."""
    with ExitStack() as stack:
        waits = stack.enter_context(lab.socket("S", kind=socket.SOCK_STREAM))
        sends = stack.enter_context(lab.socket("A", kind=socket.SOCK_STREAM))
        sends.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, b"cubic")
        waits.bind((ROOM[0], 0))
        waits.listen()
        sends.connect(waits.getsockname())
        takes = stack.enter_context(waits.accept()[0])

        def pour() -> None:
            with contextlib.suppress(OSError):
                while True:
                    sends.sendall(bytes(65_536))

        def drain() -> None:
            with contextlib.suppress(OSError):
                while takes.recv(1 << 20):
                    pass

        threads = [threading.Thread(target=pour), threading.Thread(target=drain)]
        for thread in threads:
            thread.start()
        yield
        for sock in (sends, takes):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        for thread in threads:
            thread.join()


def passed(lab: NatLab, between: float) -> tuple[int, int]:
    """Return the bytes of UDP and TCP that passed the bottleneck in so many seconds."""
    before = lab.counts()["A", "S"]
    time.sleep(between)
    after = lab.counts()["A", "S"]
    return after.udp_bytes - before.udp_bytes, after.other_bytes - before.other_bytes


def test_beside_tcp_cubic(lab: NatLab, tmp_path: Path) -> None:
    with ExitStack() as stack:
        engines(lab, tmp_path, stack)
        time.sleep(APART)
        stack.enter_context(tcp(lab))
        time.sleep(SETTLING)
        ours, theirs = passed(lab, MEASURED)
    assert ours + theirs > 0.8 * 750_000 * MEASURED, "the bottleneck was not full"
    assert theirs / 2 < ours < theirs * 2, (ours, theirs)
