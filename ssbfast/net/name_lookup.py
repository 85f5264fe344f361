"""Names of hosts looked up in threads that are never joined.

asyncio's own look-ups run in an executor whose threads are joined when the loop ends: a resolver that does not answer
would hold up the end of the program by as long as it is silent.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
import threading
from collections import deque
from typing import Any, Final, TypeAlias

from ssbfast import limits

Found: TypeAlias = list[tuple[Any, Any, int, str, Any]]
"""What `socket.getaddrinfo` returns."""

_Question: TypeAlias = tuple[str | None, int, int, int]


class _Resolver:
    """A resolver with at most `RESOLVER_THREADS` daemon threads; each ends when there is nothing to look up.

    A question that is being asked already is not asked again: both callers wait for the same answer.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._threads = 0
        self._questions: deque[_Question] = deque()
        self._asking: dict[_Question, set[asyncio.Future[Found]]] = {}

    def ask(self, question: _Question) -> asyncio.Future[Found]:
        asking: asyncio.Future[Found] = asyncio.get_running_loop().create_future()
        with self._lock:
            if question in self._asking:
                self._asking[question].add(asking)
                return asking
            self._asking[question] = {asking}
            self._questions.append(question)
            needs_thread = self._threads < limits.RESOLVER_THREADS
            self._threads += needs_thread
        if needs_thread:
            self._start()
        return asking

    def _start(self) -> None:
        try:
            threading.Thread(target=self._work, name="ssbfast-resolver", daemon=True).start()
        except RuntimeError:  # no more threads
            with self._lock:
                self._threads -= 1
                if self._threads:
                    return
                waiting = [asking for question in self._questions for asking in self._asking.pop(question)]
                self._questions.clear()
            for asking in waiting:
                _tell(asking, OSError(errno.EAGAIN, "no thread for it"))

    def forget(self, question: _Question, asking: asyncio.Future[Found]) -> None:
        """Stop waiting for it. What nothing waits for is not looked up, unless that has begun."""
        with self._lock:
            waiting = self._asking.get(question, set())
            waiting.discard(asking)
            if not waiting and question in self._questions:
                self._questions.remove(question)
                del self._asking[question]

    def _work(self) -> None:
        while True:
            with self._lock:
                if not self._questions:
                    self._threads -= 1
                    return
                question = self._questions.popleft()
            host, port, kind, flags = question
            answer: Found | Exception
            try:
                answer = socket.getaddrinfo(host, port, type=kind, flags=flags)
            except Exception as error:
                answer = error
            with self._lock:
                waiting = self._asking.pop(question)
            for asking in waiting:
                _tell(asking, answer)


def _tell(asking: asyncio.Future[Found], answer: Found | Exception) -> None:
    with contextlib.suppress(RuntimeError):  # its loop has closed
        asking.get_loop().call_soon_threadsafe(_answer, asking, answer)


def _answer(asking: asyncio.Future[Found], answer: Found | Exception) -> None:
    if asking.done():
        return
    if isinstance(answer, Exception):
        asking.set_exception(answer)
    else:
        asking.set_result(answer)


_RESOLVER: Final = _Resolver()


async def resolve(host: str | None, port: int, *, kind: int = socket.SOCK_STREAM, flags: int = 0) -> Found:
    """Look a name up; an IP literal needs no thread for it.

    kind: of socket. flags: of `socket.getaddrinfo`. Raises OSError, and UnicodeError for what cannot be a name.
    """
    try:
        return socket.getaddrinfo(host, port, type=kind, flags=flags | socket.AI_NUMERICHOST)
    except socket.gaierror:
        question = (host, port, kind, flags)
    asking = _RESOLVER.ask(question)
    try:
        return await asking
    finally:
        _RESOLVER.forget(question, asking)


def interleaved(found: Found) -> Found:
    """Return the addresses with their families in turn, as the first of them begins (RFC 8305, section 4)."""
    families: dict[int, deque[Any]] = {}
    for one in dict.fromkeys(found):
        families.setdefault(one[0], deque()).append(one)
    order = []
    while any(families.values()):
        order += [family.popleft() for family in families.values() if family]
    return order
