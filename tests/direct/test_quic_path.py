"""Direct paths: two ends on the loopback interface, real sockets, real QUIC."""

from __future__ import annotations

import asyncio
import builtins
import datetime
import hashlib
import importlib
import logging
import random
import socket
import sys
from typing import Any

import pytest

if sys.version_info < (3, 11):
    pytest.skip("aioquic needs Python 3.11: there are no direct paths", allow_module_level=True)

from ssbfast import limits
from ssbfast.direct import certificates
from ssbfast.direct.certificates import Credentials
from ssbfast.direct.quic_driver import QuicDriver
from ssbfast.direct.quic_path import DirectPath
from ssbfast.direct.udp import Address, UdpSocket
from ssbfast.errors import DirectUnavailableError, LocalProtocolError, MissingExtraError, RemoteProtocolError
from ssbfast.wire.direct.keys import Role
from tests.helpers.direct import (
    PathPair,
    RawEnd,
    both_engines,
    direct,
    keys,
    loopback,
    raw_caller,
    raw_target,
)
from tests.helpers.feeds import feeds
from tests.helpers.rawpeer import eventually, settle
from tests.helpers.udp import send_one_by_one

pytestmark = both_engines

LARGE = 3_000_000


class Lossy(UdpSocket):
    """Loses one datagram of `one_in` on the way out, and lets others overtake some."""

    one_in = 12
    send_train = send_one_by_one

    def send(self, data: bytes, to: Address) -> bool:
        chance = self.__dict__.setdefault("chance", random.Random(5))
        late: list[tuple[bytes, Address]] = self.__dict__.setdefault("late", [])
        if chance.randrange(self.one_in) == 0:
            return False
        if chance.randrange(self.one_in) == 0:
            late.append((data, to))
            return True
        sent = super().send(data, to)
        while late:
            super().send(*late.pop())
        return sent


class Silent(UdpSocket):
    """A socket whose cable can be cut: then nothing goes and nothing comes, and nobody is told."""

    cut = False
    send_train = send_one_by_one

    def send(self, data: bytes, to: Address) -> bool:
        return True if self.cut else super().send(data, to)

    def _dispatch(self, data: bytes, source: Address) -> bool:
        return False if self.cut else super()._dispatch(data, source)

    def take_trains(self) -> None:
        """Read one by one."""


async def pour(path: DirectPath, data: bytes) -> None:
    """Send all of it, never much ahead of QUIC."""
    for start in range(0, len(data), 65_536):
        path.send_data(data[start : start + 65_536])
        await eventually(lambda: path.unsent < 262_144 or not path.is_ready)


# ---------------------------------------------------------------- what it is for


async def test_both_ends_prove_themselves_and_then_records_flow_both_ways() -> None:
    async with direct() as ends:
        assert ends.here.log == ["ready"]
        assert ends.there.log == ["ready"]
        assert ends.caller.is_ready and ends.target.is_ready
        ends.caller.send_records(b"hold 0")
        ends.target.send_records(b"hold 1")
        await eventually(lambda: ends.there.records == b"hold 0" and ends.here.records == b"hold 1")


async def test_data_both_ways_at_once_arrive_whole() -> None:
    chance = random.Random(1)
    up, down = chance.randbytes(LARGE), chance.randbytes(LARGE)
    async with direct() as ends:
        await asyncio.gather(pour(ends.caller, up), pour(ends.target, down))
        await eventually(lambda: len(ends.there.data) >= LARGE and len(ends.here.data) >= LARGE, 60)
        assert hashlib.sha256(ends.there.data).digest() == hashlib.sha256(up).digest()
        assert hashlib.sha256(ends.here.data).digest() == hashlib.sha256(down).digest()
        assert ends.caller.unsent == ends.target.unsent == 0


async def test_loss_and_reordering_neither_lose_nor_double_bytes() -> None:
    data = random.Random(2).randbytes(600_000)
    ends = PathPair(sockets=(Lossy.open(socket.AF_INET, "127.0.0.1"), Lossy.open(socket.AF_INET, "127.0.0.1")))
    try:
        ends.start()
        await ends.ready()
        ends.caller.send_records(b"first")
        await pour(ends.caller, data)
        await eventually(lambda: len(ends.there.data) >= len(data), 60)
        assert bytes(ends.there.data) == data
        assert ends.there.records == b"first"
    finally:
        await ends.close()


async def test_two_paths_on_one_loop_do_not_know_each_other() -> None:
    async with direct() as one, direct() as other:
        one.caller.send_data(b"for one")
        other.caller.send_data(b"for the other")
        await eventually(lambda: one.there.data and other.there.data)
        assert (one.there.data, other.there.data) == (b"for one", b"for the other")
        one.caller.abort("enough")
        await one.lost()
        other.target.send_data(b"still here")
        await eventually(lambda: other.here.data == b"still here")
        assert not other.here.lost and not other.there.lost


async def test_forwarded_connections_have_streams_of_their_own_from_either_end() -> None:
    async with direct() as ends:
        await ends.can_open()
        ours, theirs = ends.caller.open_stream(), ends.target.open_stream()
        assert len({ours, theirs, 0, 2, 3}) == 5
        ends.caller.send_stream(ours, b"from the caller")
        ends.target.send_stream(theirs, b"from the target", end=True)
        await eventually(lambda: ends.there.streams and ends.here.streams)
        assert ends.there.streams == {ours: b"from the caller"}
        assert ends.here.streams == {theirs: b"from the target"}
        ends.target.send_stream(ours, b"back", end=True)
        ends.caller.send_stream(ours, b"", end=True)
        await eventually(lambda: ours in ends.there.ended and ours in ends.here.ended)
        assert ends.here.streams[ours] == b"back"
        assert theirs in ends.here.ended and theirs not in ends.there.ended


async def test_more_forwarded_connections_than_may_be_open_follow_one_another() -> None:
    async with direct() as ends:
        for _ in range(limits.FORWARDS_PER_PEER + 50):
            await ends.can_open()
            stream = ends.caller.open_stream()
            ends.caller.send_stream(stream, b"x", end=True)
            await eventually(lambda stream=stream: stream in ends.there.ended)
            ends.target.send_stream(stream, b"y", end=True)
            await eventually(lambda stream=stream: stream in ends.here.ended)
        assert len(ends.there.streams) == limits.FORWARDS_PER_PEER + 50
        opened = sorted(ends.there.streams)
        await eventually(lambda: sum(map(ends.target._quic.is_open, opened)) < 8)


async def test_a_reset_forwarded_connection_is_told_once_and_harms_no_other() -> None:
    async with direct() as ends:
        await ends.can_open()
        one, other = ends.caller.open_stream(), ends.caller.open_stream()
        for stream in (one, other):
            ends.caller.send_stream(stream, b"hello")
        await eventually(lambda: len(ends.there.streams) == 2)
        ends.target.reset_stream(one)
        ends.target.reset_stream(one)
        await eventually(lambda: ends.here.resets == [one])
        ends.caller.send_stream(one, b"to nobody")
        ends.target.send_stream(one, b"to nobody")
        ends.caller.send_stream(other, b" again")
        await eventually(lambda: ends.there.streams[other] == b"hello again")
        assert ends.there.streams[one] == b"hello"
        assert ends.there.resets == [] and ends.here.resets == [one]
        await eventually(lambda: not ends.caller._quic.is_open(one) and not ends.target._quic.is_open(one))


async def test_more_than_there_is_room_for_waits_and_arrives_whole() -> None:
    """All of it is written before anything can be acknowledged, on a stream that ends and on the session's."""
    text = random.Random(2).randbytes(limits.DIRECT_STREAM_WINDOW + 3 * LARGE)
    async with direct() as ends:
        await ends.can_open()
        stream = ends.caller.open_stream()
        for at in range(0, len(text), 65_536):
            ends.caller.send_data(text[at : at + 65_536])
        ends.caller.send_stream(stream, text[:LARGE], True)
        await eventually(lambda: len(ends.there.data) >= len(text) and stream in ends.there.ended, 60)
        assert ends.there.data == text and ends.there.streams[stream] == text[:LARGE]


async def test_unsent_is_what_quic_has_not_sent_once() -> None:
    async with direct() as ends:
        await ends.can_open()
        stream = ends.caller.open_stream()
        ends.caller.send_data(bytes(100_000))
        ends.caller.send_stream(stream, bytes(50_000))
        assert ends.caller.unsent == 150_000
        await eventually(lambda: ends.caller.unsent == 0)


async def test_a_ping_and_bare_acknowledgements_are_heard() -> None:
    async with direct() as ends:
        await eventually(lambda: ends.here.heard)
        for _ in range(3):
            before = ends.here.heard
            ends.caller.ping()
            ends.caller.ping()
            await eventually(lambda before=before: ends.here.heard > before and not ends.caller._pinging)
        before = ends.here.heard
        ends.caller.send_data(b"that is answered by an acknowledgement alone")
        await eventually(lambda: ends.here.heard > before)
        assert ends.here.log == ["ready"]
        assert ends.caller.rtt is not None and 0 < ends.caller.rtt < 5


async def test_a_batch_is_one_pass() -> None:
    """Many datagrams in one wake-up: one `heard`, bytes joined."""
    async with direct() as ends:
        heard = ends.there.heard
        logged = len(ends.there.log)
        passes = 0
        whole = QuicDriver._pass

        def counted(driver: QuicDriver) -> None:
            nonlocal passes
            passes += driver is ends.target._driver
            whole(driver)

        QuicDriver._pass = counted  # type: ignore[method-assign]
        try:
            ends.caller.send_data(bytes(300_000))
            await eventually(lambda: len(ends.there.data) == 300_000)
        finally:
            QuicDriver._pass = whole  # type: ignore[method-assign]
        assert ends.there.heard - heard <= passes
        assert len(ends.there.log) - logged <= passes
        assert passes < 300_000 / limits.DIRECT_DATAGRAM / 2


# ---------------------------------------------------------------- how it begins


@pytest.mark.parametrize("chunks", list(feeds(bytes(40))), ids=lambda chunks: f"{len(chunks)}")
async def test_the_caller_s_proof_may_come_in_any_pieces(chunks: list[bytes]) -> None:
    async with raw_caller() as raw:
        await raw.connect()
        whole = raw.proof + b"behind it"[:8]
        at = 0
        for chunk in chunks:
            raw.write(0, whole[at : at + len(chunk)])
            at += len(chunk)
            await settle(3)
        await eventually(lambda: raw.there.ready and len(raw.there.records) == 8)
        assert raw.there.records == b"behind it"[:8]
        await eventually(lambda: raw.got(0) == keys(Role.TARGET).proof(raw.credentials.certificate))
        assert raw.there.log.count("ready") == 1


@pytest.mark.parametrize("chunks", list(feeds(bytes(40))), ids=lambda chunks: f"{len(chunks)}")
async def test_the_target_s_proof_may_come_in_any_pieces(chunks: list[bytes]) -> None:
    async with raw_target() as raw:
        raw.start()
        await eventually(lambda: raw.got(0) == keys(Role.CALLER).proof(raw.credentials.certificate))
        assert not raw.here.ready
        whole = raw.proof + b"behind it"[:8]
        at = 0
        for chunk in chunks:
            raw.write(0, whole[at : at + len(chunk)])
            at += len(chunk)
            await settle(3)
        await eventually(lambda: raw.here.ready and len(raw.here.records) == 8)
        assert raw.here.records == b"behind it"[:8]


async def test_the_target_has_two_addresses_to_choose_from() -> None:
    """What is allowed later counts as well, and the newest dozen is kept."""
    ends = PathPair()
    try:
        ends.start_target()
        ends.target.allow(ends.sockets[0].local)
        for port in range(2000, 2011):
            ends.target.allow(("127.0.0.1", port))
        ends.start_caller()
        await ends.ready()
        assert len(ends.target._driver._allowed) == limits.CANDIDATES + limits.PEER_REFLEXIVE
    finally:
        await ends.close()


async def test_nothing_is_sent_before_it_is_ready() -> None:
    ends = PathPair()
    try:
        for path in (ends.caller, ends.target):
            for send in (path.send_records, path.send_data):
                with pytest.raises(LocalProtocolError):
                    send(b"too early")
            with pytest.raises(LocalProtocolError):
                path.open_stream()
        with pytest.raises(LocalProtocolError):
            ends.caller.start(ends.sockets[0])
        with pytest.raises(LocalProtocolError):
            ends.target.start(ends.sockets[1], ends.sockets[0].local)
        ends.start()
        with pytest.raises(LocalProtocolError):
            ends.start_caller()
        await ends.ready()
    finally:
        await ends.close()


async def test_each_end_takes_the_keys_of_its_role_only() -> None:
    async with raw_caller() as raw:
        await raw.connect()
        credentials = raw.credentials
        with pytest.raises(LocalProtocolError):
            DirectPath.caller(credentials.certificate, keys(Role.TARGET), raw.there)
        with pytest.raises(LocalProtocolError):
            DirectPath.target(credentials, bytes(8), keys(Role.CALLER), raw.there)


@pytest.mark.parametrize("length", [0, 7, 21, 255])
async def test_a_connection_id_has_eight_to_twenty_bytes(length: int) -> None:
    async with raw_caller() as raw:
        await raw.connect()
        with pytest.raises(RemoteProtocolError):
            DirectPath.target(raw.credentials, bytes(length), keys(Role.TARGET), raw.there)


async def test_credentials_are_made_for_one_attempt() -> None:
    one, other = Credentials.make(), Credentials.make()
    assert one.certificate != other.certificate
    assert len(one.certificate) < 400 <= limits.CERTIFICATE
    parsed = certificates.load(one.certificate)
    now = datetime.datetime.now(datetime.timezone.utc)
    hour = datetime.timedelta(hours=1)
    assert parsed.not_valid_before_utc <= now - hour + datetime.timedelta(seconds=5)
    assert now + 23 * hour < parsed.not_valid_after_utc <= now + 24 * hour
    assert "key" not in repr(one)


# ---------------------------------------------------------------- how it ends


async def test_close_is_clean_on_both_ends_and_told_once() -> None:
    async with direct() as ends:
        ends.caller.send_data(b"last words")
        ends.caller.close()
        ends.caller.close()
        ends.caller.abort("too late")
        assert not ends.here.lost, "never from within a call"
        await ends.lost()
        assert ends.there.data == b"last words"
        await settle()
        assert [clean for clean, _ in ends.here.lost] == [True]
        assert [clean for clean, _ in ends.there.lost] == [True]


async def test_both_ends_may_close_at_once() -> None:
    async with direct() as ends:
        ends.caller.close()
        ends.target.close()
        await ends.lost()
        assert [clean for clean, _ in ends.here.lost + ends.there.lost] == [True, True]


async def test_abort_is_not_clean_and_its_reason_stays_here() -> None:
    async with direct() as ends:
        ends.target.abort("a secret reason")
        await ends.lost()
        assert ends.there.lost == [(False, "a secret reason")]
        assert [clean for clean, _ in ends.here.lost] == [False]
        assert "secret" not in ends.here.lost[0][1]


async def test_a_close_that_was_lost_is_said_again() -> None:
    ends = PathPair(sockets=(Silent.open(socket.AF_INET, "127.0.0.1"), loopback()))
    try:
        ends.start()
        await ends.ready()
        ends.sockets[0].cut = True  # type: ignore[attr-defined]
        ends.caller.close()
        ends.sockets[0].cut = False  # type: ignore[attr-defined]
        await eventually(lambda: ends.here.lost)
        ends.target.ping()
        await eventually(lambda: ends.there.lost)
        assert [clean for clean, _ in ends.there.lost] == [True]
    finally:
        await ends.close()


async def test_what_is_done_with_a_lost_path_does_nothing() -> None:
    async with direct() as ends:
        await ends.can_open()
        stream = ends.caller.open_stream()
        ends.caller.abort("over")
        ends.caller.send_data(b"x")
        ends.caller.send_records(b"x")
        ends.caller.send_stream(stream, b"x", end=True)
        ends.caller.reset_stream(stream)
        with pytest.raises(LocalProtocolError):
            ends.caller.open_stream()
        ends.caller.ping()
        ends.caller.allow(("127.0.0.1", 9))
        await ends.lost()
        assert len(ends.here.lost) == 1
        assert repr(ends.caller) == "<DirectPath caller 7 lost>"


async def test_a_path_that_goes_silent_says_nothing_until_it_is_given_up() -> None:
    """`wire/direct/carriers` judges; ours is to hear nothing, to go on trying, and to be quiet afterwards."""
    ends = PathPair(sockets=(Silent.open(socket.AF_INET, "127.0.0.1"), loopback()))
    try:
        ends.start()
        await ends.ready()
        await settle(200)
        ends.sockets[0].cut = True  # type: ignore[attr-defined]
        heard = ends.here.heard
        ends.caller.ping()
        ends.caller.send_data(bytes(200_000))
        await asyncio.sleep(0.3)
        assert ends.here.heard == heard
        assert not ends.here.lost and not ends.there.lost
        ends.caller.abort("nothing was heard")
        await eventually(lambda: ends.here.lost)
        assert ends.here.lost == [(False, "nothing was heard")]
    finally:
        await ends.close()


async def test_the_socket_may_go_first() -> None:
    async with direct() as ends:
        ends.sockets[0].close()
        ends.caller.send_data(b"into the void")
        ends.caller.close()
        await eventually(lambda: ends.here.lost)


@pytest.mark.parametrize("code", [1, 2, 3000])
async def test_every_other_code_is_not_clean(code: int) -> None:
    async with raw_caller() as raw:
        await raw.prove()
        raw.quic.close(error_code=code, reason_phrase="from 192.0.2.1, with a secret")
        raw.driver.transmit_soon()
        await eventually(lambda: raw.there.lost)
        clean, reason = raw.there.lost[0]
        assert not clean
        assert f"{code:#x}" in reason and "192" not in reason and "secret" not in reason


async def test_code_0_before_the_proofs_is_not_clean() -> None:
    async with raw_caller() as raw:
        await raw.connect()
        raw.driver.close(0, "")
        await eventually(lambda: raw.there.lost)
        assert raw.there.lost[0][0] is False


@pytest.mark.parametrize("silent", ["caller", "target"])
async def test_proofs_have_a_deadline(silent: str) -> None:
    ends = PathPair()
    try:
        if silent == "caller":
            ends.start_target(0.05)
            await eventually(lambda: ends.there.lost)
            assert ends.there.lost == [(False, "the proofs have not come in time")]
        else:
            ends.start_caller(0.05)
            await eventually(lambda: ends.here.lost)
            assert ends.here.lost == [(False, "the proofs have not come in time")]
    finally:
        await ends.close()


async def test_a_handshake_without_proof_has_the_same_deadline() -> None:
    async with raw_caller() as raw:
        await raw.connect(0.5)
        raw.write(0, raw.proof[:31])
        await raw.refused()
        assert not raw.there.ready


async def test_the_deadline_is_over_when_both_have_passed() -> None:
    ends = PathPair()
    try:
        ends.start(0.5)
        await ends.ready()
        await asyncio.sleep(0.6)
        assert not ends.here.lost and not ends.there.lost
    finally:
        await ends.close()


# ---------------------------------------------------------------- what it does not tell


async def test_no_log_and_no_repr_tells_addresses_or_keys(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with direct() as ends:
        ends.caller.send_data(b"a body")
        await eventually(lambda: ends.there.data)
        texts = [repr(ends.caller), repr(ends.target), repr(ends.credentials)]
        ends.caller.close()
        await ends.lost()
    texts += [record.getMessage() for record in caplog.records if record.name != "asyncio"]
    for text in texts:
        assert "127.0.0.1" not in text and "body" not in text
    assert repr(ends.target) == "<DirectPath target 7 lost>"
    assert not [record for record in caplog.records if record.name.startswith("quic")]


def test_without_aioquic_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *rest: Any, **more: Any) -> Any:
        if name.partition(".")[0] in ("aioquic", "cryptography"):
            raise ImportError(name)
        return real(name, *rest, **more)

    for name in ("quic_path", "quic_connection", "quic_driver", "certificates"):
        monkeypatch.delitem(sys.modules, f"ssbfast.direct.{name}", raising=False)
    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(DirectUnavailableError, match=r"Python 3\.11 .*ssbfast\[direct\]") as caught:
        importlib.import_module("ssbfast.direct.quic_path")
    assert isinstance(caught.value, MissingExtraError)
    assert "\n" not in str(caught.value)


async def test_a_raw_end_is_a_quic_end() -> None:
    """The attacks' tool works: what it reports of an honest target is a proof, nothing else."""
    async with raw_caller() as raw:
        assert isinstance(raw, RawEnd)
        await raw.prove()
        await eventually(lambda: len(raw.got(0)) == 32)
