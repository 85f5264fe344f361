"""Requests to the web site of a room: one at a time, small, and bounded in time and length.

HTTP is the standard library's, in a thread of its own. Every read has a deadline, so that a site that sends a byte a
second costs `WEB_SECONDS` in all. The environment's proxies are not asked: who runs them would learn whom we look for.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import ipaddress
import json
import socket
import ssl
import threading
import time
from collections.abc import Callable
from typing import Any, Final, TypeVar
from urllib.parse import SplitResult, urljoin, urlsplit

from ssbfast import limits
from ssbfast.errors import WebSiteError
from ssbfast.net.socket_names import system_reason
from ssbfast.net.tls import tls_context
from ssbfast.pasted.web_links import is_web

T = TypeVar("T")

_OK: Final = range(200, 300)
_MOVED: Final = (301, 302, 303, 307, 308)
_GONE: Final = (404, 410)
_PORTS: Final = {"http": 80, "https": 443}
_LATE: Final = "the web site did not answer in time"


class NotThereError(WebSiteError):
    """There is no such page."""


async def request_json(url: str, *, body: object = None, seconds: float = limits.WEB_SECONDS) -> Any:
    """Get a page, or post `body` as JSON, and read the answer as JSON.

    Args:
        url: The page, `https:`, or `http:` on this machine.
        body: What to post; None to get the page. What is posted follows no redirect.
        seconds: For everything together.

    Returns:
        The answer, as `json.loads` reads it.

    Raises:
        WebSiteError: There is no such answer; the text names no host.
    """
    data = None if body is None else json.dumps(body).encode()
    deadline = time.monotonic() + seconds
    try:
        return await asyncio.wait_for(_in_thread(lambda: _ask(url, data, deadline)), seconds)
    except asyncio.TimeoutError:
        raise WebSiteError(_LATE) from None


async def _in_thread(work: Callable[[], T]) -> T:
    """Work in a thread that nobody waits for at the end: a resolver may keep it for minutes."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    def settle(result: T | None, problem: BaseException | None) -> None:
        if done.done():
            return
        if problem is not None:
            done.set_exception(problem)
        else:
            done.set_result(result)  # type: ignore[arg-type]  # there is one when there is no problem

    def run() -> None:
        result: T | None = None
        problem: BaseException | None = None
        try:
            result = work()
        except BaseException as error:
            problem = error
        with contextlib.suppress(RuntimeError):  # the loop has closed
            loop.call_soon_threadsafe(settle, result, problem)

    threading.Thread(target=run, name="web", daemon=True).start()
    return await done


def _ask(url: str, body: bytes | None, deadline: float) -> Any:
    import http.client  # here: it takes a while to load, and most commands ask no web site

    try:
        return _read_json(_get(url, body, deadline))
    except WebSiteError:
        raise
    except TimeoutError:
        raise WebSiteError(_LATE) from None
    except ssl.SSLError:
        raise WebSiteError("the web site's certificate cannot be believed") from None
    except socket.gaierror:
        raise WebSiteError("the web site cannot be reached: name not found") from None
    except OSError as error:
        reason = system_reason(error) if error.errno else "the connection ended"
        raise WebSiteError(f"the web site cannot be reached: {reason}") from None
    except (http.client.HTTPException, ValueError):
        raise WebSiteError("the web site's answer cannot be read") from None


def _get(url: str, body: bytes | None, deadline: float) -> bytes:
    """Return what is at `url`, redirects followed."""
    for _hop in range(limits.WEB_REDIRECTS + 1):
        parts = _checked(url)
        with contextlib.closing(_connected(parts, deadline)) as sock:
            status, location, answer = _exchange(sock, parts, body, deadline)
        if status not in _MOVED:
            if status in _GONE:
                raise NotThereError("the web site has no such page")
            if status not in _OK:
                raise WebSiteError(f"the web site answers with an error ({status})")
            return answer
        url = _next(parts, location, posting=body is not None)
    raise WebSiteError("the web site sends us on again and again")


def _checked(url: str) -> SplitResult:
    parts = urlsplit(url)
    if len(url) > limits.WEB_URL or not is_web(parts) or "@" in parts.netloc:
        raise WebSiteError("that web address may not be asked: it is not https")
    return parts


def _next(here: SplitResult, location: str, *, posting: bool) -> str:
    """Return where a redirect leads. Raises WebSiteError for one that is not followed."""
    url = urljoin(here.geturl(), location)
    there = urlsplit(url)
    if posting or not location:
        raise WebSiteError("the web site sends us somewhere else")
    if there.scheme != here.scheme:
        raise WebSiteError("the web site sends us from https to something else")
    if (there.hostname, _port(there)) != (here.hostname, _port(here)):
        raise WebSiteError("the web site sends us to another host")
    return url


def _port(parts: SplitResult) -> int:
    return parts.port or _PORTS.get(parts.scheme, 0)


def _connected(parts: SplitResult, deadline: float) -> socket.socket:
    """Return a connection; the addresses of a name are tried one after the other."""
    host = parts.hostname or ""
    found = socket.getaddrinfo(host, _port(parts), type=socket.SOCK_STREAM)[: limits.DIAL_ADDRESSES]
    problem: OSError = OSError()
    for index, (family, kind, protocol, _name, address) in enumerate(found):
        if parts.scheme == "http" and not ipaddress.ip_address(str(address[0]).partition("%")[0]).is_loopback:
            continue
        sock = socket.socket(family, kind, protocol)
        try:
            sock.settimeout(_left(deadline) / (len(found) - index))
            sock.connect(address)
            if parts.scheme == "https":
                sock.settimeout(_left(deadline))
                return tls_context().wrap_socket(sock, server_hostname=host)
            return sock
        except (OSError, ValueError) as error:
            sock.close()
            problem = error if isinstance(error, OSError) else OSError()
    raise problem


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


def _exchange(sock: socket.socket, parts: SplitResult, body: bytes | None, deadline: float) -> tuple[int, str, bytes]:
    """Send a request; return the answer's status, where it sends us to, and its body."""
    method = "GET" if body is None else "POST"
    target = f"{parts.path or '/'}{f'?{parts.query}' if parts.query else ''}"
    head = [
        f"{method} {target} HTTP/1.1",
        f"Host: {parts.netloc}",
        "Accept: application/json",
        "User-Agent: ssbfast",
        "Connection: close",
    ]
    if body is not None:
        head += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    text = "".join(f"{line}\r\n" for line in (*head, ""))
    if not text.replace("\r\n", "").isprintable():
        raise WebSiteError("that web address may not be asked")
    import http.client

    sock.settimeout(_left(deadline))
    sock.sendall(text.encode("ascii") + (body or b""))
    response = http.client.HTTPResponse(_Answering(sock, deadline), method=method)  # type: ignore[arg-type]  # makefile is all it uses
    with contextlib.closing(response):
        response.begin()
        answer = b"" if response.status in _MOVED else response.read(limits.WEB_ANSWER + 1)
    if len(answer) > limits.WEB_ANSWER:
        raise WebSiteError(_LONG)
    return response.status, response.getheader("Location") or "", answer


_LONG: Final = "the web site's answer is too long"


class _Answering:
    """A socket as `http.client` wants it: something that makes a file."""

    def __init__(self, sock: socket.socket, deadline: float) -> None:
        self._sock = sock
        self._deadline = deadline

    def makefile(self, _mode: str) -> io.BufferedReader:
        return io.BufferedReader(_Answer(self._sock, self._deadline))


class _Answer(io.RawIOBase):
    """The bytes of an answer: so many, and until a deadline."""

    def __init__(self, sock: socket.socket, deadline: float) -> None:
        super().__init__()
        self._sock = sock
        self._deadline = deadline
        self._left = limits.WEB_HEAD + 2 * limits.WEB_ANSWER  # chunks have heads of their own

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self._sock.settimeout(_left(self._deadline))
        size = self._sock.recv_into(buffer)
        self._left -= size
        if self._left < 0:
            raise WebSiteError(_LONG)
        return size


def _read_json(answer: bytes) -> Any:
    try:
        return json.loads(answer)
    except (ValueError, RecursionError):
        raise WebSiteError("the web site's answer is not JSON") from None
