"""What the doctor says of direct paths' engine, and of datagrams that move many at once."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from ssbfast.cli.doctor import _engine_words
from ssbfast.client import engine_diagnosis
from ssbfast.client.engine_diagnosis import EngineFindings, find_engine, try_trains
from ssbfast.direct import udp
from ssbfast.direct.udp import UdpSocket
from ssbfast.errors import LocalProtocolError

needs_aioquic = pytest.mark.skipif(sys.version_info < (3, 11), reason="aioquic needs Python 3.11")


@needs_aioquic
@pytest.mark.parametrize(
    ("choice", "has_engine", "has_core", "name", "reason"),
    [
        ("auto", True, True, "native", None),
        ("native", True, True, "native", None),
        ("aioquic", True, True, "aioquic", "SSBFAST_DIRECT=aioquic"),
        ("auto", False, False, "aioquic", "the C core is not here"),
        ("auto", False, True, "aioquic", "this aioquic is not as the engine in C knows it"),
        ("native", False, False, None, "SSBFAST_DIRECT=native, and the C core is not here"),
    ],
)
async def test_the_engine_and_why_it_is_not_the_one_in_c(
    choice: str, has_engine: bool, has_core: bool, name: str | None, reason: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSBFAST_DIRECT", choice)
    monkeypatch.setattr("ssbfast.direct.quic_engine.HAS_ENGINE", has_engine)
    if not has_core:
        monkeypatch.setitem(sys.modules, "ssbfast.native.quic", None)
    elif not has_engine:
        pytest.importorskip("ssbfast.native.quic")
    found = await find_engine()
    assert (found.name, found.reason) == (name, reason)
    assert (found.kernel is not None) is (name == "native")


async def test_without_aioquic_there_are_no_direct_paths(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "ssbfast.direct.quic_engine", raising=False)
    monkeypatch.delitem(sys.modules, "ssbfast.direct.quic_connection", raising=False)
    monkeypatch.setitem(sys.modules, "aioquic.quic.configuration", None)
    found = await find_engine()
    assert found.name is None and found.reason is not None and "Python 3.11" in found.reason
    assert found.kernel is found.segment is found.gro is None


async def test_a_choice_that_there_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSBFAST_DIRECT", "quic")
    with pytest.raises(LocalProtocolError, match="SSBFAST_DIRECT"):
        await find_engine()


# ---------------------------------------------------------------- trains

on_linux = pytest.mark.skipif(sys.platform != "linux", reason="UDP_SEGMENT is Linux's")


@on_linux
async def test_linux_takes_and_gives_many_datagrams_in_one_call() -> None:
    assert await try_trains() == (True, True)


@on_linux
async def test_where_nothing_is_joined_for_us(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(udp, "_TRAIN_OPTIONS", {})
    assert await try_trains() == (True, False)


@on_linux
async def test_where_a_train_has_to_go_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    send = UdpSocket.send_train

    def refuse(self: UdpSocket, *train: Any) -> bool:
        self._joins = False
        return send(self, *train)

    monkeypatch.setattr(UdpSocket, "send_train", refuse)
    assert await try_trains() == (False, None)


@on_linux
async def test_an_old_kernel_sends_one_long_datagram(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(UdpSocket, "send_train", lambda self, data, _segment, to: self.send(data, to))
    assert await try_trains() == (False, None)


@on_linux
async def test_a_train_that_does_not_come_is_no_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_diagnosis.limits, "DOCTOR_SECONDS", 0.05)
    monkeypatch.setattr(UdpSocket, "send_train", lambda *_: True)
    assert await try_trains() == (None, None)


# ---------------------------------------------------------------- words


@pytest.mark.parametrize(
    ("found", "text"),
    [
        (EngineFindings(None, "why"), "No direct paths on this machine: why"),
        (EngineFindings("aioquic", "why"), "Direct paths are slow on this machine, by aioquic alone: why"),
        (EngineFindings("native", None, "avx2"), "Direct paths go by the native engine (avx2)"),
        (
            EngineFindings("native", None, "avx2", segment=True, gro=False),
            "Direct paths go by the native engine (avx2)\n"
            "  many datagrams in one call: UDP_SEGMENT works, UDP_GRO is not to be had",
        ),
        (
            EngineFindings("native", None, "neon", segment=False),
            "Direct paths go by the native engine (neon)\n  many datagrams in one call: UDP_SEGMENT is not to be had",
        ),
    ],
)
def test_what_people_read(found: EngineFindings, text: str) -> None:
    assert _engine_words({"event": "engine", **found.as_json()}) == text
    assert all(len(line) <= 80 for line in text.splitlines())
