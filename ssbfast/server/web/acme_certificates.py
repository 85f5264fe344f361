"""Certificates that a site gets by itself (ACME, HTTP-01): for its name, and on demand for sub-domains of aliases.

A process of its own asks for one at a time (`acme_process`). This side decides when, answers the challenges, and shows
what came of it. Whatever fails, the certificate that is there stays.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from ssbfast import limits
from ssbfast.backoff import Backoff
from ssbfast.budgets import Bucket, Rate
from ssbfast.errors import BadInputError
from ssbfast.room.roles import has_aliases
from ssbfast.server.presence import CertificateState
from ssbfast.server.room_server import RoomServer
from ssbfast.server.web.acme_order import Authority, Order, digest, file_of
from ssbfast.server.web.certificate import SiteCertificate

_PROCESS: Final = "ssbfast.server.web.acme_process"
_ENDED: Final = "the process that asks for the certificate has ended early: see that there is memory for it"
_MISTAKE: Final = "the certificate could not be renewed: see what the log says above"
_SLOW: Final = "the certificate authority takes too long: the room asks again by itself"
_OVER: Final = (
    "the certificate authority gives certificates that are to be renewed at once: see the clock of this machine"
)
_ALIASES: Final = Rate(limits.ALIAS_CERTIFICATES_PER_DAY / 86_400, limits.ALIAS_CERTIFICATES_BURST)


class _Attempts:
    """When the next order of a kind may be tried. problem: why the last one failed; empty if it did not."""

    def __init__(self) -> None:
        self._pauses = Backoff(limits.CERTIFICATE_RETRY, limits.CERTIFICATE_RETRY_FACTOR, limits.CERTIFICATE_RETRY_MOST)
        self._not_before = 0.0
        self.problem = ""

    def may_begin(self, now: float) -> bool:
        return now >= self._not_before

    def succeeded(self) -> None:
        self._pauses.reset()
        self._not_before, self.problem = 0.0, ""

    def failed(self, problem: str, wait: float, now: float) -> float:
        """Return the pause. wait: what the authority asks for."""
        pause = max(self._pauses.next(), min(wait, limits.CERTIFICATE_WAIT_MOST))
        self._not_before, self.problem = now + pause, problem
        return pause


class AcmeCertificates:
    """The certificates of one site.

    Args:
        folder: Where account key and certificates are kept.
        name: The site's name.
        authority: Where they come from.

    Attributes:
        answers: The challenges that are open just now: what port 80 answers by token.
        certificate: The site's own one; there after `prepare`. Until the first has come, one that signs itself.
    """

    certificate: SiteCertificate

    def __init__(self, folder: Path, name: str, authority: Authority) -> None:
        self._folder = folder
        self._name = name
        self._authority = authority
        self.answers: dict[str, str] = {}
        self._aliases: dict[str, SiteCertificate | None] = {}  # None: asked for. The one to be tried next is the first
        self._own, self._theirs = _Attempts(), _Attempts()
        self._asked = Bucket(0.0)
        self._woken = asyncio.Event()
        self._room: RoomServer | None = None

    async def prepare(self) -> None:
        """Load the certificate that is there, or make one that signs itself. Raises BadInputError."""
        file = file_of(self._folder, self._name)
        if not file.exists():
            problem, _ = await self._ask(Order(str(self._folder), self._name, None))
            if problem:
                raise BadInputError(f"--tls auto: {problem}")
        try:
            self.certificate = SiteCertificate([file])
        except BadInputError as error:
            raise BadInputError(f"--tls auto: {file} cannot be used ({error}): remove it to get a new one") from None
        self.certificate.context.sni_callback = self._on_server_name

    async def run(self, room: RoomServer) -> None:
        """Get and renew certificates until cancelled."""
        self._room = room
        self._load_aliases()
        while True:
            self._woken.clear()
            self._forget_aliases(room)
            name = self._due()
            if name is not None:
                await self._renew(name, room)
                continue
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._woken.wait(), limits.CERTIFICATE_LOOK_SECONDS)

    def state(self) -> CertificateState:
        """Return what the operator sees of them."""
        facts = self.certificate.facts
        return CertificateState(
            None if facts.is_self_signed else facts.ends,
            self._own.problem or self.certificate.problem or self._theirs.problem,
            sum(certificate is not None for certificate in self._aliases.values()),
        )

    # ------------------------------------------------------------ orders

    def _due(self) -> str | None:
        """Return the name whose certificate is to be got now."""
        now = asyncio.get_running_loop().time()
        if self._own.may_begin(now) and _is_due(self.certificate):
            return self._name
        if self._theirs.may_begin(now):
            for alias, certificate in self._aliases.items():
                if certificate is None or _is_due(certificate):
                    return f"{alias}.{self._name}"
        return None

    async def _renew(self, name: str, room: RoomServer) -> None:
        """Try to get a certificate, once."""
        alias = None if name == self._name else name.removesuffix(f".{self._name}")
        attempts = self._own if alias is None else self._theirs
        file = file_of(self._folder, name)
        try:
            problem, wait = await self._ask(Order(str(self._folder), name, digest(file), **asdict(self._authority)))
            problem = problem or self._take(alias, file, room)
        except Exception as error:  # a mistake of ours, or files that cannot be read: neither ends the renewals
            context = {"message": "a certificate could not be renewed", "exception": error}
            asyncio.get_running_loop().call_exception_handler(context)
            problem, wait = _MISTAKE, 0.0
        if not problem:
            attempts.succeeded()
            return
        if alias is not None and (certificate := self._aliases.pop(alias, None)) is not None:
            self._aliases[alias] = certificate  # behind the others; one without is to be asked for again
        pause = attempts.failed(problem, wait, asyncio.get_running_loop().time())
        room.events.emit("certificate_problem", name=name, problem=problem, seconds=round(pause))

    def _take(self, alias: str | None, file: Path, room: RoomServer) -> str:
        """Show a certificate that has come; return what is wrong with it."""
        if alias is None:
            self.certificate.follow(room.events)
            return self.certificate.problem or (_OVER if _is_due(self.certificate) else "")
        try:
            certificate = SiteCertificate([file])
        except BadInputError:
            return _ENDED
        self._aliases[alias] = certificate
        room.events.emit("certificate_loaded", name=file.stem, days=certificate.days)
        return _OVER if _is_due(certificate) else ""

    async def _ask(self, order: Order) -> tuple[str, float]:
        """Let a process fulfil an order; return what is wrong, and for how long the authority asks to wait."""
        try:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", _PROCESS),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL,
            )
        except OSError as error:
            return f"no process for the certificate can begin: {error.strerror}", 0.0
        try:
            return await asyncio.wait_for(self._talk(process, order), limits.ACME_PROCESS_SECONDS)
        except asyncio.TimeoutError:
            return _SLOW, 0.0
        except ValueError:  # not what it is to say
            return _ENDED, 0.0
        finally:
            self.answers.clear()
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()

    async def _talk(self, process: asyncio.subprocess.Process, order: Order) -> tuple[str, float]:
        stdin: Any = process.stdin
        stdout: Any = process.stdout
        stdin.write(json.dumps(asdict(order)).encode() + b"\n")
        while line := await stdout.readline():
            told = json.loads(line)
            if "challenge" not in told:
                return told.get("problem", ""), told.get("wait", 0.0)
            token, answer = told["challenge"]
            self.answers[token] = answer
            stdin.write(b"\n")
        return _ENDED, 0.0

    # ------------------------------------------------------------ aliases

    def _on_server_name(self, connection: ssl.SSLObject, name: str | None, _context: ssl.SSLContext) -> None:
        """Show the certificate of an alias to a visitor of its sub-domain; without one yet, that of the site."""
        alias, _, host = (name or "").lower().partition(".")
        if host != self._name or self._room is None:
            return
        registry = self._room.registry
        has_names = registry.settings.alias_style == "subdomain" and has_aliases(registry.mode)
        if not has_names or registry.alias(alias) is None:
            return
        if alias not in self._aliases:
            self._want(alias, self._room)
        elif (certificate := self._aliases[alias]) is not None:
            connection.context = certificate.context

    def _want(self, alias: str, room: RoomServer) -> None:
        """Ask for the certificate of an alias, if that is within the limits."""
        now = asyncio.get_running_loop().time()
        is_spent = _ALIASES.wait(self._asked.level(_ALIASES.rate, now) + 1) > 0
        if is_spent or len(self._aliases) >= limits.ALIAS_CERTIFICATES:
            room.limit_reached("alias_certificates")
            return
        self._asked.spend(1, _ALIASES.rate, now)
        self._aliases[alias] = None
        self._woken.set()

    def _load_aliases(self) -> None:
        """Load the certificates of aliases that are there."""
        for file in sorted(self._folder.glob(f"*.{self._name}.pem")):
            alias = file.name.removesuffix(f".{self._name}.pem")
            if len(self._aliases) < limits.ALIAS_CERTIFICATES:
                with contextlib.suppress(BadInputError):  # it is asked for again
                    self._aliases[alias] = SiteCertificate([file])

    def _forget_aliases(self, room: RoomServer) -> None:
        """Remove the certificates of names that are no aliases any more."""
        for alias in [alias for alias in self._aliases if room.registry.alias(alias) is None]:
            del self._aliases[alias]
            with contextlib.suppress(OSError):
                file_of(self._folder, f"{alias}.{self._name}").unlink(missing_ok=True)


def _is_due(certificate: SiteCertificate) -> bool:
    return certificate.facts.is_self_signed or time.time() >= certificate.renews
