"""Certificates by ACME: got from Pebble, renewed, kept through every failure; the process that asks, and port 80."""

from __future__ import annotations

import asyncio
import http.server
import json
import ssl
import stat
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import asynccontextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("acme")

from ssbfast import limits
from ssbfast.budgets import Rate
from ssbfast.errors import BadInputError
from ssbfast.keys import Keypair
from ssbfast.net.endpoints import Endpoint, bind
from ssbfast.room.roles import Mode
from ssbfast.server.room_server import RoomServer
from ssbfast.server.status import status
from ssbfast.server.web import acme_certificates
from ssbfast.server.web.acme_certificates import AcmeCertificates
from ssbfast.server.web.acme_order import Authority, Order, digest, file_of
from ssbfast.server.web.certificate import SiteCertificate
from ssbfast.server.web.plain_http import plain_listener
from ssbfast.server.web.request_limits import RATES, RequestLimits
from ssbfast.server.web.server import WebServer
from ssbfast.server.web.site import Site
from ssbfast.store.room_store import RoomStore
from ssbfast.wire.alias import decode_signature, sign_alias
from tests.helpers.pebble import Pebble, pebble, serving
from tests.helpers.rawpeer import PATIENCE, eventually
from tests.helpers.small_disks import small_disk

NAME = "room.test"
LOCAL = Endpoint("127.0.0.1", 0)
NOWHERE = Authority("https://127.0.0.1:9/dir")


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is told together is told soon."""
    monkeypatch.setattr(limits, "TALLY_SECONDS", 0.05)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pebble]:
    with pebble(tmp_path_factory.mktemp("pebble")) as running:
        yield running


class Served:
    """A room with its site on TLS, port 80 and its certificates."""

    def __init__(self, room: RoomServer, store: RoomStore, acme: AcmeCertificates, web: WebServer) -> None:
        self.room = room
        self.store = store
        self.acme = acme
        self.web = web
        self.http_port = 0
        self.events: list[dict[str, Any]] = []

    async def event(self, kind: str, **members: Any) -> dict[str, Any]:
        """The next event of that name, and with these members; it is taken."""
        found: list[dict[str, Any]] = []

        def is_there() -> bool:
            found[:] = [event for event in self.events if event["event"] == kind and members.items() <= event.items()]
            return bool(found)

        await eventually(is_there)
        self.events.remove(found[0])
        return found[0]

    async def shown(self, context: ssl.SSLContext, name: str = NAME) -> bytes:
        """The certificate that visitors of a name get, in DER; a page comes over it."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.web.port, ssl=context, server_hostname=name)
        writer.write(f"GET /healthz HTTP/1.1\r\nHost: {NAME}\r\nConnection: close\r\n\r\n".encode())
        assert (await reader.read()).endswith(b"ok\n")
        found = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        writer.close()
        assert isinstance(found, bytes)
        return found

    async def plain(self, request: str) -> tuple[int, str]:
        """What port 80 says: status, and the rest."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.http_port)
        writer.write(request.replace("\n", "\r\n").encode() + b"\r\n\r\n")
        text = (await asyncio.wait_for(reader.read(), PATIENCE)).decode()
        writer.close()
        return int(text.split()[1]), text

    async def alias(self, name: str) -> None:
        me = Keypair.generate()
        assert self.room.keeper is not None
        await self.room.keeper.run(self.store.add_member, me.id, by=None)
        signature = decode_signature(sign_alias(me, self.room.me.id, name))
        await self.room.keeper.run(self.store.register_alias, name, me.id, signature, most=8, now=0.0)


@asynccontextmanager
async def served(folder: Path, source: Authority, http_port: int = 0) -> AsyncIterator[Served]:
    """Open one. folder: the room's directory. source: where certificates come from."""
    events: list[dict[str, Any]] = []
    with RoomStore(folder) as store:
        store.change_settings(by=None, mode=Mode.COMMUNITY, alias_style="subdomain")
        room = RoomServer(Keypair.generate(), listen=[LOCAL], udp=(), records=store, on_event=events.append)
        acme = AcmeCertificates(folder / "tls", NAME, source)
        async with room:
            await acme.prepare()
            rates = {**dict.fromkeys(RATES, Rate(1e9, 1e9)), "requests": Rate(1e-9, 200.0)}
            site = Site(room, f"https://{NAME}", request_limits=RequestLimits(rates))
            async with WebServer(site, bind([LOCAL]), certificate=acme.certificate) as web:
                plain = plain_listener(web, bind([Endpoint("127.0.0.1", http_port)]), acme.answers)
                await plain.start()
                room.web.certificate = acme.state
                found = Served(room, store, acme, web)
                found.http_port, found.events = plain.port, events
                running = asyncio.create_task(acme.run(room))
                try:
                    yield found
                finally:
                    running.cancel()
                    await asyncio.gather(running, return_exceptions=True)
                    await plain.close()


class Silent(http.server.BaseHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


def anyone() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


# ---------------------------------------------------------------- with Pebble


async def test_certificates_are_got_renewed_and_kept(
    authority: Pebble, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "CERTIFICATE_LOOK_SECONDS", 0.05)
    monkeypatch.setattr(limits, "ALIAS_CERTIFICATES", 1)
    trusting = authority.trusting()
    async with served(tmp_path, authority.authority, authority.http_port) as site:
        assert status(site.room)["certificate"]["days"] is None
        await site.shown(anyone())  # a stand-in, from the first moment on
        assert (await site.event("certificate_loaded"))["days"] == 89
        first = await site.shown(trusting)
        assert 89 < status(site.room)["certificate"]["days"] <= 90
        folder = tmp_path / "tls"
        assert sorted(file.name for file in folder.iterdir()) == ["account.key", "lock", f"{NAME}.pem"]
        assert {stat.S_IMODE(file.stat().st_mode) for file in folder.iterdir()} == {0o600}
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        account = (folder / "account.key").read_bytes()

        site.acme.certificate.renews = 0.0
        await site.event("certificate_loaded")
        second = await site.shown(trusting)
        assert second != first and (folder / "account.key").read_bytes() == account

        # Sub-domains of aliases, on demand, and no others.
        await site.alias("alice")
        await site.alias("bob")
        assert await site.shown(anyone(), f"carol.{NAME}") == second
        assert await site.shown(anyone(), f"alice.{NAME}") == second  # asked for now
        await site.event("certificate_loaded", name=f"alice.{NAME}")
        hers = await site.shown(trusting, f"alice.{NAME}")
        assert hers != second == await site.shown(trusting)
        assert await site.shown(anyone(), f"bob.{NAME}") == second
        await site.event("limited")
        assert status(site.room)["certificate"]["aliases"] == 1
        assert not file_of(folder, f"carol.{NAME}").exists() and not file_of(folder, f"bob.{NAME}").exists()

    # The certificates are there at the next start; one of a name that is no alias any more is removed.
    (folder / f"mallory.{NAME}.pem").write_bytes(file_of(folder, f"alice.{NAME}").read_bytes())
    monkeypatch.setattr(limits, "ALIAS_CERTIFICATES", 9)
    async with served(tmp_path, NOWHERE) as site:
        assert await site.shown(trusting) == second
        assert await site.shown(trusting, f"alice.{NAME}") == hers
        assert not file_of(folder, f"mallory.{NAME}").exists()
        # A failure never takes the old one away, and is told.
        site.acme.certificate.renews = 0.0
        problem = await site.event("certificate_problem")
        assert "cannot be reached" in problem["problem"] and 90 <= problem["seconds"] <= 180
        assert await site.shown(trusting) == second
        assert status(site.room)["certificate"]["problem"] == problem["problem"]


async def test_what_is_missing_is_told(authority: Pebble, tmp_path: Path) -> None:
    folder = tmp_path / "tls"
    acme = AcmeCertificates(folder, NAME, authority.authority)
    await acme.prepare()
    before = file_of(folder, NAME).read_bytes()

    async def asked(source: Authority = authority.authority) -> str:
        order = Order(str(folder), NAME, digest(file_of(folder, NAME)), **asdict(source))
        return (await acme._ask(order))[0]

    assert "does not reach port 80 of room.test: open it in the firewall" in await asked()

    class Other(Silent):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"another program")

    with serving(http.server.ThreadingHTTPServer(("127.0.0.1", authority.http_port), Other)):
        assert "something else than this room answers at port 80" in await asked()
    assert "name its root by --acme-ca" in await asked(replace(authority.authority, ca=""))
    assert "does not speak ACME" in await asked(
        Authority(f"{authority.management}/roots/0", "", authority.authority.ca)
    )
    assert file_of(folder, NAME).read_bytes() == before and acme.answers == {}


def begin(order: Order) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-m", "ssbfast.server.web.acme_process"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    process.stdin.write(json.dumps(asdict(order)) + "\n")
    process.stdin.flush()
    return process


def finish(process: subprocess.Popen[str], answers: dict[str, str]) -> list[dict[str, Any]]:
    """Answer its challenges to its end; what it said."""
    assert process.stdin is not None and process.stdout is not None
    told = []
    with process:
        for line in process.stdout:
            told.append(json.loads(line))
            if challenge := told[-1].get("challenge"):
                answers[challenge[0]] = challenge[1]
                process.stdin.write("\n")
                process.stdin.flush()
        process.wait(PATIENCE)
    return told


def test_a_process_that_is_killed_leaves_a_whole_file_and_two_get_one(authority: Pebble, tmp_path: Path) -> None:
    answers: dict[str, str] = {}

    class Port80(Silent):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(answers[self.path.rpartition("/")[2]].encode())

    assert finish(begin(Order(str(tmp_path), NAME, None)), answers) == [{"done": True}]
    file = file_of(tmp_path, NAME)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", authority.http_port), Port80)
    with serving(server), ThreadPoolExecutor() as threads:
        for seconds in (0.2, 0.6, 0.9, 1.5, 2.2):
            process = begin(Order(str(tmp_path), NAME, digest(file), **asdict(authority.authority)))
            finishing = threads.submit(finish, process, answers)
            wait([finishing], seconds)
            process.kill()
            finishing.result(PATIENCE)
            SiteCertificate([file])  # it is whole
        process = begin(Order(str(tmp_path), NAME, digest(file), **asdict(authority.authority)))
        assert process.stdin is not None and process.stdout is not None
        with process:
            assert "challenge" in process.stdout.readline()
            process.stdin.close()  # the room has been killed
            assert process.wait(PATIENCE) == 1
        before = file.read_bytes()
        (tmp_path / f"{NAME}.pem.draft").write_bytes(b"half a cer")  # killed while it wrote
        order = Order(str(tmp_path), NAME, digest(file), **asdict(authority.authority))
        two = [threads.submit(finish, begin(order), answers) for _ in range(2)]
        told = [finishing.result(PATIENCE) for finishing in two]
    assert sorted(len(lines) for lines in told) == [1, 2], "one of them has asked; the other has found what it got"
    assert [lines[-1] for lines in told] == [{"done": True}] * 2
    assert file.read_bytes() != before and not SiteCertificate([file]).facts.is_self_signed
    assert not (tmp_path / f"{NAME}.pem.draft").exists()


# ---------------------------------------------------------------- without


class FalseAuthority(Silent):
    """It forgets its nonces five times, then has a rate limit."""

    forgotten = 0

    def do_HEAD(self) -> None:
        self._say(200, {})

    def do_GET(self) -> None:
        here = f"http://127.0.0.1:{self.server.server_address[1]}"  # type: ignore[misc,str-bytes-safe]
        self._say(200, {name: f"{here}/{name}" for name in ("newNonce", "newAccount", "newOrder")})

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        cls = type(self)
        cls.forgotten += 1
        code = "badNonce" if cls.forgotten <= 5 else "rateLimited"
        self._say(429, {"type": f"urn:ietf:params:acme:error:{code}", "detail": "192.0.2.9 asks too often"})

    def _say(self, code: int, value: Any) -> None:
        body = json.dumps(value).encode()
        self.send_response(code)
        self.send_header("Replay-Nonce", "bm9uY2U")
        self.send_header("Retry-After", "7200")
        self.send_header("Content-Type", "application/problem+json" if code == 429 else "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


async def test_forgotten_nonces_are_borne_and_a_rate_limit_is_waited_for(tmp_path: Path) -> None:
    FalseAuthority.forgotten = 0
    with serving(http.server.ThreadingHTTPServer(("127.0.0.1", 0), FalseAuthority)) as port:
        async with served(tmp_path, Authority(f"http://127.0.0.1:{port}/dir")) as site:
            told = await site.event("certificate_problem")
    assert FalseAuthority.forgotten == 6
    assert told["seconds"] == 7200 and told["name"] == NAME
    assert "rate limit" not in told["problem"] and "no more certificates for room.test for a while" in told["problem"]
    assert "192.0.2.9" not in str(told)


def test_no_certificate_is_asked_for_that_could_not_be_kept(tmp_path: Path) -> None:
    FalseAuthority.forgotten = 0
    with (
        small_disk(tmp_path / "disk") as disk,
        serving(http.server.ThreadingHTTPServer(("127.0.0.1", 0), FalseAuthority)) as port,
    ):
        assert finish(begin(Order(str(disk.path), NAME, None)), {}) == [{"done": True}]
        seen = digest(file_of(disk.path, NAME))
        order = Order(str(disk.path), NAME, seen, f"http://127.0.0.1:{port}/dir")
        assert "no more certificates" in finish(begin(order), {})[0]["problem"]  # the account has its key now
        asked = FalseAuthority.forgotten
        disk.fill()
        told = finish(begin(order), {})
        assert told == [
            {"problem": "the room's directory for certificates cannot be used: No space left on device", "wait": 0}
        ]
        assert FalseAuthority.forgotten == asked and digest(file_of(disk.path, NAME)) == seen


async def test_port_80_answers_open_challenges_and_leads_all_else_to_https(tmp_path: Path) -> None:
    async with served(tmp_path, NOWHERE) as site:
        await site.event("certificate_problem")
        site.acme.answers["token"] = "token.print"
        path = "/.well-known/acme-challenge/"
        found = await site.plain(f"GET {path}token HTTP/1.1\nHost: {NAME}")
        assert found[0] == 200 and found[1].endswith("\r\n\r\ntoken.print")
        strange = ("nothing", "", "token/", "../token", "%2e%2e/room.sqlite", "t" * 4000, "token%00")
        answers = {await site.plain(f"GET {path}{token} HTTP/1.1\nHost: {NAME}") for token in strange}
        answers.add(await site.plain(f"DELETE {path}token HTTP/1.1\nHost: {NAME}"))
        assert [status for status, _ in answers] == [404], answers
        for host, target, where in (
            (NAME, "/join?invite=1", f"https://{NAME}/join?invite=1"),
            (f"alice.{NAME}", "/", f"https://alice.{NAME}/"),
            ("evil.example", "/a", f"https://{NAME}/a"),
            ("127.0.0.1", "//evil.example", f"https://{NAME}//evil.example"),
        ):
            code, text = await site.plain(f"GET {target} HTTP/1.1\nHost: {host}")
            assert code == 308 and f"\r\nlocation: {where}\r\n" in text.lower()
        codes = [(await site.plain(f"GET {path}x HTTP/1.1\nHost: {NAME}"))[0] for _ in range(200)]
        assert set(codes) == {404, 429} and codes[-1] == 429, "one address may ask only so often"


async def test_new_names_have_a_rate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    async def refuse(self: AcmeCertificates, order: Order) -> tuple[str, float]:
        asked.append(order.name)
        return "no", 0.0

    async with served(tmp_path, NOWHERE) as site:
        await site.event("certificate_problem")
        monkeypatch.setattr(AcmeCertificates, "_ask", refuse)
        names = [f"alias{number}" for number in range(int(limits.ALIAS_CERTIFICATES_BURST) + 3)]
        for name in names:
            await site.alias(name)
        for number in range(9):  # names that are no aliases cost nothing of it
            await site.shown(anyone(), f"stranger{number}.{NAME}")
        for name in names:
            await site.shown(anyone(), f"{name}.{NAME}")
        await site.event("limited")
        assert len(site.acme._aliases) + len(asked) == limits.ALIAS_CERTIFICATES_BURST
        problem = await site.event("certificate_problem")
        assert problem["name"] == asked[0] == f"alias0.{NAME}"
        assert len(asked) == 1, "the others wait, too"


async def test_a_process_that_dies_or_hangs_is_a_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    acme = AcmeCertificates(tmp_path, NAME, NOWHERE)
    monkeypatch.setattr(acme_certificates, "_PROCESS", "ssbfast.nothing")
    assert "has ended early" in (await acme._ask(Order(str(tmp_path), NAME, "")))[0]
    monkeypatch.setattr(acme_certificates, "_PROCESS", "this")
    assert "has ended early" in (await acme._ask(Order(str(tmp_path), NAME, "")))[0], "it has said something else"
    monkeypatch.setattr(limits, "ACME_PROCESS_SECONDS", 0.05)
    monkeypatch.setattr(acme_certificates, "_PROCESS", "json.tool")  # it waits for the end of its input
    assert "takes too long" in (await acme._ask(Order(str(tmp_path), NAME, "")))[0]


async def test_a_mistake_of_ours_ends_no_renewals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(self: AcmeCertificates, order: Order) -> tuple[str, float]:
        raise RuntimeError("ours")

    async with served(tmp_path, NOWHERE) as site:
        await site.event("certificate_problem")
        told: list[dict[str, Any]] = []
        asyncio.get_running_loop().set_exception_handler(lambda _loop, context: told.append(context))
        monkeypatch.setattr(AcmeCertificates, "_ask", fail)
        site.acme._own.succeeded()
        site.acme._woken.set()
        assert "see what the log says" in (await site.event("certificate_problem"))["problem"]
        assert [str(one["exception"]) for one in told] == ["ours"]


async def test_a_directory_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "tls").write_text("")
    with pytest.raises(BadInputError, match="directory for certificates cannot be used: File exists"):
        await AcmeCertificates(tmp_path / "tls", NAME, NOWHERE).prepare()
    (tmp_path / "other").mkdir()
    file_of(tmp_path / "other", NAME).write_text("rubbish")
    with pytest.raises(BadInputError, match="remove it to get a new one"):
        await AcmeCertificates(tmp_path / "other", NAME, NOWHERE).prepare()
    (tmp_path / "other" / "account.key").write_text("rubbish")
    order = Order(str(tmp_path / "other"), NAME, digest(file_of(tmp_path / "other", NAME)), **asdict(NOWHERE))
    problem, _ = await AcmeCertificates(tmp_path / "other", NAME, NOWHERE)._ask(order)
    assert problem.endswith("account.key is no key: remove it, and the room makes a new one")
