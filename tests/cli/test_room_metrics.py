"""`ssbfast room --metrics` as a process: without a web site, and through a restart."""

from __future__ import annotations

import os
import urllib.request
from pathlib import Path

import psutil
import pytest

from tests.helpers.commands import assert_unusable, events, run_here
from tests.helpers.processes import PATIENCE, Running
from tests.helpers.room_processes import free_port

pytest.importorskip("prometheus_client")


def get(url: str) -> str:
    with urllib.request.urlopen(url, timeout=PATIENCE) as answer:
        found: str = answer.read().decode()
        return found


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="sockets are handed over")
def test_a_room_without_a_site(tmp_path: Path) -> None:
    data = ("--data", str(tmp_path))
    listen = ("--listen", f"127.0.0.1:{free_port()}", "--no-udp", "--metrics", str(free_port()))
    with Running("room", *data, *listen, "--json") as room:
        room.event("listening")
        url = room.event("metrics_listening")["url"]
        assert url.startswith("http://127.0.0.1:") and url.endswith("/metrics")
        assert "ssbfast_build_info" in get(url)
        assert get(url.replace("/metrics", "/healthz")) == "ok\n"
        (told,) = events("room", "restart", *data)
        successor = psutil.Process(told["pid"])
        try:
            assert room.wait() == 0
            assert "ssbfast_build_info" in get(url), "the new process has the port"
            assert events("room", "status", *data)[0]["sessions"] == 0
        finally:
            successor.terminate()
            psutil.wait_procs([successor], PATIENCE)


def test_mistakes(tmp_path: Path) -> None:
    for options, words in (
        (("--metrics", "0.0.0.0:9464"), "others reach that address"),
        (("--metrics", "nowhere"), "the port of 'nowhere' is missing"),
        (("--metrics", "9464", "--metrics-token-file", str(tmp_path / "none")), "No such file"),
        (("--metrics-token-file", str(tmp_path / "none")), "are for a room with --web"),
    ):
        assert_unusable(run_here("room", "--data", str(tmp_path), *options), words)
