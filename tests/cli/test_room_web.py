"""`ssbfast room --web` as a process: first links, what is missing, restarts; and what it says about mistakes."""

from __future__ import annotations

import asyncio
import http.client
import json
import re
import signal
import socket
import ssl
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from ssbfast.errors import BadInputError
from ssbfast.keys import Keypair, load_secret
from ssbfast.net.endpoints import Endpoint
from ssbfast.room.codes import hash_of, new_code
from ssbfast.room.roles import Mode, Role
from ssbfast.store.room_store import RoomStore
from tests.helpers.processes import Running, run

pytestmark = pytest.mark.slow

QUIET = ("--listen", "127.0.0.1:0", "--no-udp")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "room"


def start(data: Path, *arguments: str) -> Running:
    return Running("room", "--data", str(data), *QUIET, *arguments)


def get(url: str, *, method: str = "GET", body: str | None = None, host: str | None = None) -> tuple[int, str]:
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=30)
    headers = {"Content-Type": "application/json"} if body is not None else {}
    if host is not None:
        headers["Host"] = host
    connection.request(method, f"{parts.path or '/'}?{parts.query}", body, headers)
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    return answer.status, text


def claim(base: str, code: str, me: Keypair) -> dict[str, Any]:
    status, text = get(f"{base}/claim", method="POST", body=json.dumps({"id": str(me.id), "invite": code}))
    assert status == 200
    found: dict[str, Any] = json.loads(text)
    return found


def test_the_first_run_makes_a_community_with_an_invite_and_an_admin_link(data: Path) -> None:
    me = Keypair.generate()
    with start(data, "--json", "--web", "127.0.0.1:0") as room:
        room.event("listening")
        told = room.event("web_listening")
        assert told["url"].startswith("http://localhost:")
        assert get(told["url"])[0] == 200
        assert get(told["admin_link"])[0] == 200
        assert claim(told["url"], told["invite"].partition("invite=")[2], me)["status"] == "successful"
        assert room.event("web_checked")["problems"] == []
        room.signal(signal.SIGTERM)
        assert room.wait() == 0
        assert room.stderr == ""
    with RoomStore(data) as store:
        assert store.news(None).settings.mode is Mode.COMMUNITY
        assert [member.feed for member in store.members()] == [me.id]
        assert store.web_address() == told["url"]
    with start(data, "--json", "--web", "127.0.0.1:0") as room:  # again: a link, because there is no admin yet
        room.event("listening")
        told = room.event("web_listening")
        assert told["invite"] is None and told["admin_link"] is not None
        room.signal(signal.SIGTERM)


def test_an_admin_by_option(data: Path) -> None:
    me = Keypair.generate()
    with start(data, "--json", "--web", "127.0.0.1:0", "--admin", str(me.id)) as room:
        room.event("listening")
        link = room.event("web_listening")["admin_link"]
        status, page = get(link)
        assert status == 200 and me.id.short in page
        room.signal(signal.SIGTERM)
    with RoomStore(data) as store:
        assert [(member.feed, member.role) for member in store.members()] == [(me.id, Role.ADMIN)]
    with start(data, "--json", "--web", "127.0.0.1:0") as room:
        room.event("listening")
        assert room.event("web_listening")["admin_link"] is None
        room.signal(signal.SIGTERM)


def test_people_are_told_where_it_is(data: Path) -> None:
    options = ("--host", "room.invalid", "--web-url", "https://site.invalid:8443")
    with start(data, "--web", "127.0.0.1:0", *options) as room:
        lines = []
        while not any("invite   https" in line for line in lines):
            lines.append(room.line() or "")
        room.signal(signal.SIGTERM)
        room.wait()
    text = "\n".join(lines)
    assert "Web site https://site.invalid:8443" in text and "listens  127.0.0.1:" in text
    assert "SSB+Room+PSK" not in text  # such invites are for open rooms
    assert "admin    https://site.invalid:8443/login/link?code=" in text


def test_what_is_missing_is_told(data: Path) -> None:
    options = ("--web", "127.0.0.1:0", "--host", "room.invalid", "--web-url", "https://site.invalid:8443")
    with start(data, "--json", *options) as room:
        room.event("listening")
        problems = room.event("web_checked")["problems"]
        room.signal(signal.SIGTERM)
    assert len(problems) == 3
    for problem, words in zip(problems, ("peers dial room.invalid", "port 8443", "has no address yet"), strict=True):
        assert words in problem


def test_a_room_that_was_open_stays_open(data: Path) -> None:
    with start(data, "--json") as room:
        room.event("listening")
        room.signal(signal.SIGTERM)
        room.wait()
    with start(data, "--json", "--web", "127.0.0.1:0") as room:
        room.event("listening")
        told = room.event("web_listening")
        assert told["invite"] is None
        room.signal(signal.SIGTERM)
        room.wait()
    with RoomStore(data) as store:
        assert store.news(None).settings.mode is Mode.OPEN


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--web-url", "https://room.example"), "--web"),
        (("--trust-proxy", "10.0.0.0/8"), "--web"),
        (("--web", "127.0.0.1:0", "--trust-proxy", "nets"), "not a network"),
        (("--web", "127.0.0.1:0", "--web-url", "ftp://room.example"), "not the URL of a web site"),
        (("--web", "127.0.0.1:0", "--web-url", "https://room.example/sub"), "not the URL of a web site"),
        (("--web", "nowhere:at:all"), "HOST:PORT"),
        (("--web", "127.0.0.1:0", "--tls-cert", "x"), "belong together"),
        (("--web", "127.0.0.1:0", "--tls-cert", "/x", "--tls-key", "/y"), "cannot be used"),
        (("--admin", "nobody"), "--admin"),
    ],
)
def test_mistakes(data: Path, arguments: tuple[str, ...], words: str) -> None:
    done = run("room", "--data", str(data), *QUIET, *arguments)
    assert done.returncode == 2
    assert words in done.stderr


def test_a_taken_port_is_one_line(data: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = run("room", "--data", str(data), *QUIET, "--web", f"127.0.0.1:{taken.getsockname()[1]}")
    assert done.returncode == 2 and "the port is taken" in done.stderr


def test_the_room_is_no_admin_of_itself(data: Path) -> None:
    me = load_secret(data / "secret", create=True)
    done = run("room", "--data", str(data), *QUIET, "--admin", str(me.id))
    assert done.returncode == 2 and "the room's own id" in done.stderr


def test_claims_over_a_restart(data: Path) -> None:
    """The process is killed in the middle of fifty claims: whoever was told so is a member, and nobody too many."""
    with RoomStore(data) as store:
        store.change_settings(by=None, mode=Mode.COMMUNITY)
        codes = [new_code() for _ in range(50)]
        for code in codes:
            store.create_invite(hash_of(code) or b"", by=None)
    load_secret(data / "secret", create=True)
    keys = [Keypair.generate() for _ in codes]
    told: list[Keypair] = []
    enough = threading.Event()

    def one(base: str, code: str, me: Keypair, proxy: int) -> None:
        try:
            connection = http.client.HTTPConnection("127.0.0.1", urlsplit(base).port, timeout=30)
            body = json.dumps({"id": str(me.id), "invite": code})
            headers = {"Content-Type": "application/json", "X-Forwarded-For": f"192.0.2.{proxy}"}
            connection.request("POST", "/claim", body, headers)
            if json.loads(connection.getresponse().read())["status"] == "successful":
                told.append(me)
                if len(told) >= 10:
                    enough.set()
        except (OSError, http.client.HTTPException, ValueError):
            return
        finally:
            connection.close()

    with start(data, "--json", "--web", "127.0.0.1:0") as room, ThreadPoolExecutor(8) as pool:
        room.event("listening")
        base = room.event("web_listening")["url"]
        for n, (code, me) in enumerate(zip(codes, keys, strict=True)):
            pool.submit(one, base, code, me, n)
        assert enough.wait(60)
        room.process.kill()
    assert 10 <= len(told) <= 50
    with start(data, "--json", "--web", "127.0.0.1:0") as room:
        room.event("listening")
        base = room.event("web_listening")["url"]
        with RoomStore(data) as store:
            members = {member.feed for member in store.members()}
            assert {me.id for me in told} <= members
            used = sum(store.find_invite(hash_of(code) or b"").used for code in codes)  # type: ignore[union-attr]
            assert used == len(members)
        late = Keypair.generate()
        for code, me in zip(codes[:10], keys[:10], strict=True):
            said = claim(base, code, late if me.id in members else me)
            assert (said["status"] == "successful") is (me.id not in members)
        room.signal(signal.SIGTERM)


# ---------------------------------------------------------------- TLS


def make_certificate(folder: Path, name: str) -> tuple[str, str]:
    """A certificate that signs itself."""
    x509 = pytest.importorskip("cryptography.x509")
    import datetime

    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.timezone.utc)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    folder.mkdir(exist_ok=True)
    cert, secret = folder / "cert.pem", folder / "key.pem"
    cert.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    plain = serialization.NoEncryption()
    secret.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain))
    return str(cert), str(secret)


async def served(port: int) -> bytes:
    """The certificate that a site shows, in DER; and a page comes over it."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    writer.write(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    answer = await reader.read(-1)
    assert answer.endswith(b"ok\n") and b"strict-transport-security" in answer
    shown = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.close()
    assert isinstance(shown, bytes)
    return shown


async def measured(port: int) -> str:
    """What /metrics says on this machine."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    writer.write(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    text = (await reader.read(-1)).decode()
    writer.close()
    return text


async def test_a_certificate_that_is_renewed_is_taken(data: Path, tmp_path: Path, monkeypatch: Any) -> None:
    from ssbfast import limits
    from ssbfast.net.endpoints import bind
    from ssbfast.server.room_server import RoomServer
    from ssbfast.server.status import status
    from ssbfast.server.web.certificate import SiteCertificate
    from ssbfast.server.web.server import WebServer
    from ssbfast.server.web.site import Site
    from tests.helpers.rawpeer import eventually

    monkeypatch.setattr(limits, "CERTIFICATE_LOOK_SECONDS", 0.05)
    files = make_certificate(tmp_path / "tls", "one")
    events: list[Any] = []
    local = Endpoint("127.0.0.1", 0)
    data.mkdir()
    with RoomStore(data) as store:
        room = RoomServer(Keypair.generate(), listen=[local], udp=(), records=store, on_event=events.append)
        async with room:
            sockets = bind([local])
            port = sockets[0].getsockname()[1]
            async with WebServer(Site(room, f"https://localhost:{port}"), sockets, certificate=SiteCertificate(files)):
                first = await served(port)
                Path(files[0]).write_text("rubbish")
                await eventually(lambda: any(event["event"] == "certificate_problem" for event in events))
                assert "the old one stays" in status(room)["certificate"]["problem"]
                assert await served(port) == first
                make_certificate(tmp_path / "tls", "two")
                await eventually(lambda: {"event": "certificate_loaded", "days": 0} in events)
                assert status(room)["certificate"] == {"days": 0.99, "problem": None, "aliases": 0}
                assert await served(port) != first
                (left,) = re.findall(r"^ssbfast_certificate_expiry_seconds (\S+)$", await measured(port), re.M)
                assert 86_000 < float(left) <= 86_400


def test_a_plan_needs_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    from ssbfast.cli.room.web import plan_web
    from ssbfast.errors import MissingExtraError

    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(MissingExtraError, match=r"ssbfast\[web\]"):
        plan_web("", url=None, host=None, proxies=(), certificate=None)


@pytest.mark.parametrize(
    ("host", "url", "expected"),
    [
        (None, None, ""),
        (Endpoint("room.example", 0), None, "https://room.example"),
        (Endpoint("2001:db8::1", 0), None, "https://[2001:db8::1]"),
        (Endpoint("room.example", 8008), "site.example", "https://site.example"),
        (None, "https://site.example:443", "https://site.example"),
    ],
)
def test_where_a_site_is(host: Endpoint | None, url: str | None, expected: str) -> None:
    from ssbfast.cli.room.web import plan_web

    plan = plan_web("", url=url, host=host, proxies=(), certificate=None)
    assert plan.url == expected
    assert plan.endpoint == Endpoint("127.0.0.1", 3000)
    assert plan.proxies == ("127.0.0.0/8", "::1/128")
    assert plan_web("0.0.0.0:80", url=url, host=host, proxies=(), certificate=None).proxies == ()
    with pytest.raises(BadInputError):
        plan_web("", url="https://a b", host=host, proxies=(), certificate=None)


def test_the_token_of_a_file_opens_the_measurements(data: Path, tmp_path: Path) -> None:
    file, token = tmp_path / "token", "0123456789abcdef0123456789abcdef"
    file.write_text(f"{token}\n")
    with start(data, "--json", "--web", "127.0.0.1:0", "--metrics-token-file", str(file)) as room:
        parts = urlsplit(room.event("web_listening")["url"])
        found = []
        for authorization in (f"Bearer {token}", f"Bearer {token[:-1]}"):
            connection = http.client.HTTPConnection("127.0.0.1", parts.port, timeout=20)
            headers = {"Host": parts.netloc, "X-Forwarded-For": "192.0.2.7", "Authorization": authorization}
            connection.request("GET", "/metrics", headers=headers)
            found.append(connection.getresponse().status)
            connection.close()
        assert found == [200, 404]


@pytest.mark.parametrize("content", [None, b"", b"short\n", b"x" * 201, b"a token with blanks in it\n", b"\xff" * 32])
def test_a_token_that_can_be_guessed_or_sent_by_nobody_is_refused(tmp_path: Path, content: bytes | None) -> None:
    from ssbfast.cli.room.web import plan_web

    file = tmp_path / "token"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(BadInputError, match="--metrics-token-file"):
        plan_web("", url=None, host=None, proxies=(), certificate=None, metrics_token=file)
    file.write_bytes(b"x" * 20)
    plan = plan_web("", url=None, host=None, proxies=(), certificate=None, metrics_token=file)
    assert plan.metrics_token == "x" * 20
