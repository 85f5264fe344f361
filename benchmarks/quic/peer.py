"""Arguments and answers of all peers of QUIC, and the part of them that those in Python share.

    PEER serve|dial send|receive|ask|echo [-address HOST:PORT] [-certificate PEM] [-key PEM] [-alpn NAME] [-bytes N]
        [-datagram N] [-suite aes128|chacha20] [-gso on|off] [-updates N]

`send` writes N bytes to a unidirectional stream, which `receive` reads; `ask` writes them to a bidirectional one and
reads what `echo` writes back. Both ends open a unidirectional stream first, with one byte, when they can go on, and
wait for that of the other. The end that has got all says so by such a stream; the other closes with code 0.

-certificate: the server's; the client trusts that one alone. -datagram: bytes of UDP payload of a full packet.
-updates: a key update after so many packets, as soon as one is allowed; 0: as the library does.

Each prints two lines of JSON. The first is {"event": "ready"}, of a server with its "port". The second is
{"event": "done"} with "bytes" and "sha256" of what came, "cpu" (seconds of the process, user and system) and "seconds"
from the agreement to the last byte (where it is sent: until the other end says so), "library", "suite", "gso",
"datagram". Making the payload and hashing lie outside of that time.
"""

from __future__ import annotations

import argparse
import functools
import hashlib
import json
import resource
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NoReturn

from aioquic.quic.configuration import QuicConfiguration
from aioquic.tls import CipherSuite
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import load_pem_private_key

BLOCK: Final = 1024
CHUNK: Final = 65_536
SUITES: Final = {
    "aes128": CipherSuite.AES_128_GCM_SHA256,
    "chacha20": CipherSuite.CHACHA20_POLY1305_SHA256,
}
FAREWELL: Final = 3.0
"""Seconds to wait for the close, which may get lost."""
RECEIVING: Final = ("receive", "ask")
JOBS: Final = ("send", "receive", "ask", "echo")


@dataclass(frozen=True, slots=True)
class Options:
    """The arguments of a peer: see this module."""

    serve: bool
    job: str
    host: str
    port: int
    certificate: Path
    key: Path | None
    alpn: str
    bytes: int
    datagram: int
    suite: str
    gso: bool
    updates: int

    @classmethod
    def parse(cls) -> Options:
        """Return those of this process."""
        parser = argparse.ArgumentParser(description="One end of a QUIC connection: see benchmarks/quic/peer.py.")
        parser.add_argument("role", choices=("serve", "dial"))
        parser.add_argument("job", choices=JOBS)
        parser.add_argument("-address", default="127.0.0.1:0")
        parser.add_argument("-certificate", type=Path, required=True)
        parser.add_argument("-key", type=Path)
        parser.add_argument("-alpn", default="bench")
        parser.add_argument("-bytes", type=int, default=1 << 20)
        parser.add_argument("-datagram", type=int, default=1400)
        parser.add_argument("-suite", choices=SUITES, default="aes128")
        parser.add_argument("-gso", choices=("on", "off"), default="on")
        parser.add_argument("-updates", type=int, default=0)
        given: dict[str, Any] = vars(parser.parse_args())
        host, _, port = given.pop("address").rpartition(":")
        role, gso = given.pop("role"), given.pop("gso")
        return cls(serve=role == "serve", host=host, port=int(port), gso=gso == "on", **given)

    @property
    def configuration(self) -> QuicConfiguration:
        """aioquic's for this end."""
        made = QuicConfiguration(
            is_client=not self.serve,
            alpn_protocols=[self.alpn],
            max_datagram_size=self.datagram,
            cipher_suites=[SUITES[self.suite]],
        )
        pem = self.certificate.read_bytes()
        if not self.serve:
            made.load_verify_locations(cadata=pem)
            return made
        if self.key is None:
            raise SystemExit("a server needs -key")
        key = load_pem_private_key(self.key.read_bytes(), password=None)
        if not isinstance(key, ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey):
            raise SystemExit("a key of another kind")
        made.certificate, made.private_key = x509.load_pem_x509_certificate(pem), key
        return made


def payload(n: int) -> bytes:
    """Return n bytes: block i is i, little-endian, and 1016 constant bytes."""
    rest = bytes(i * 7 & 0xFF for i in range(8, BLOCK))
    blocks = (i.to_bytes(8, "little") + rest for i in range(-(-n // BLOCK)))
    return b"".join(blocks)[:n]


@functools.cache
def digest(n: int) -> str:
    """Return the SHA-256 of the payload."""
    return hashlib.sha256(payload(n)).hexdigest()


def say(**what: Any) -> None:
    """Print a line of JSON."""
    print(json.dumps(what), flush=True)


class Meter:
    """CPU of this process and time on the clock since it was made."""

    def __init__(self) -> None:
        self._cpu, self._began = _cpu(), time.perf_counter()
        self.cpu = self.seconds = 0.0

    def stop(self) -> None:
        self.cpu, self.seconds = _cpu() - self._cpu, time.perf_counter() - self._began


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def done(options: Options, meter: Meter, got: list[bytes], echoed: int, **more: Any) -> None:
    """Say how it ended. got: all that came and was to be kept; echoed: bytes that were not."""
    hashed = hashlib.sha256()
    for part in got:
        hashed.update(part)
    say(
        event="done", bytes=sum(map(len, got)) + echoed, sha256=hashed.hexdigest(),
        cpu=meter.cpu, seconds=meter.seconds, suite=options.suite, datagram=options.datagram, **more,
    )  # fmt: skip


def fail(why: str) -> NoReturn:
    """End this process."""
    print(why, file=sys.stderr)
    raise SystemExit(1)
