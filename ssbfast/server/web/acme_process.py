"""The process that gets one certificate: `python -m ssbfast.server.web.acme_process`.

It is a process of its own because the libraries cost 21 MiB and a second, once in two months. It reads one line of
JSON, the `Order`, and answers with lines of JSON:

    {"challenge": [TOKEN, ANSWER]}      the room answers it from now on, and says so with a line
    {"done": true}                      the file has the certificate, or another process was quicker
    {"problem": TEXT, "wait": SECONDS}  what is wrong and what to do; wait: what the authority asks for, or 0

It ends when its stdin does. The file changes whole or not at all, whenever the process is killed.
"""

from __future__ import annotations

import contextlib
import datetime
import email.utils
import json
import os
import queue
import ssl
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import requests
from acme import challenges, client, crypto_util, errors, messages
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from josepy import jwa, jwk
from josepy.errors import DeserializationError

from ssbfast import limits
from ssbfast.server.web.acme_order import Order, digest

ACCOUNT: Final = "account.key"
LOCK: Final = "lock"
_NONCE_TRIES: Final = 8
_ROOM_FOR_CHAIN: Final = 16_384

_PROBLEMS: Final = {
    "connection": "the certificate authority does not reach port 80 of {name}: open it in the firewall, forward it in"
    " the router, and let each A and AAAA record of the name lead to this machine",
    "dns": "the certificate authority finds no address of {name}: add A and AAAA records to its DNS that lead to this"
    " machine",
    "dnssec": "the DNSSEC of {name} is broken: see its signatures where its DNS is managed",
    "unauthorized": "something else than this room answers at port 80 of {name}: let its A and AAAA records lead to"
    " this machine only, and port 80 to the room",
    "caa": "a CAA record of {name} forbids this certificate authority: change it, or name another authority by"
    " --acme-directory",
    "rateLimited": "the certificate authority gives no more certificates for {name} for a while: the room asks again by"
    " itself",
    "rejectedIdentifier": "the certificate authority gives no certificate for {name}: it has to be a public name",
    "invalidContact": "the certificate authority does not take the address for its mail: see --acme-email",
    "externalAccountRequired": "this certificate authority wants an account of its web site, which the room cannot use:"
    " name another one by --acme-directory",
}
_SAME: Final = {
    "unknownHost": "dns",
    "incorrectResponse": "unauthorized",
    "tls": "connection",
    "unsupportedIdentifier": "rejectedIdentifier",
    "unsupportedContact": "invalidContact",
    "invalidEmail": "invalidContact",
}
_PLACEHOLDER_DAYS: Final = 3_650


class Refused(Exception):
    """The order came to nothing. text: what is wrong and what to do. wait: seconds that the authority asks for."""

    def __init__(self, text: str, wait: float = 0.0) -> None:
        super().__init__(text)
        self.wait = wait


class Room:
    """The room at the other end of stdin and stdout."""

    def __init__(self) -> None:
        self._lines: queue.Queue[str] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def line(self) -> str:
        """Return its next line."""
        return self._lines.get()

    def tell(self, **members: Any) -> None:
        """Send it a line."""
        print(json.dumps(members), flush=True)

    def _read(self) -> None:
        with open(0, "rb", buffering=0, closefd=False) as stream:  # a buffer's lock would be in the way at the end
            for line in stream:
                self._lines.put(line.decode())
        os._exit(1)  # the room has gone: nothing is left to do


class Network(client.ClientNetwork):
    """HTTP with the authority: it remembers what the last answer asked to wait, and is patient with nonces."""

    wait = 0.0

    def post(self, *args: Any, **kwargs: Any) -> requests.Response:
        """Send a signed request; again with a new nonce, when the authority has forgotten the one that it gave."""
        tries = 0
        while True:
            try:
                return self._post_once(*args, **kwargs)
            except messages.Error as error:
                tries += 1
                if error.code != "badNonce" or tries == _NONCE_TRIES:
                    raise

    def _send_request(self, *args: Any, **kwargs: Any) -> requests.Response:
        response = super()._send_request(*args, **kwargs)
        self.wait = _seconds(response.headers.get("Retry-After", ""))
        return response


def _seconds(retry_after: str) -> float:
    """Read the header: seconds or a date; 0 for anything else."""
    if retry_after.isdecimal():
        return float(retry_after[:9])
    try:
        date = email.utils.parsedate_to_datetime(retry_after)
        return max(0.0, date.timestamp() - time.time())
    except (TypeError, ValueError):
        return 0.0


# ---------------------------------------------------------------- one order


def fulfil(order: Order, room: Room) -> None:
    """Get the certificate, unless another process has got one since the room looked. Raises Refused, OSError."""
    with _locked(Path(order.folder)):
        if order.seen is None:
            if not order.file.exists():
                _write(order.file, _placeholder(order.name))
            return
        if digest(order.file) == order.seen:
            key = ec.generate_private_key(ec.SECP256R1())
            # None is asked for that could not be kept: an authority gives only so many.
            draft = _draft(order.file, bytes(_ROOM_FOR_CHAIN))
            try:
                chain = _ordered(order, _pem(key), room)
            finally:
                draft.unlink()
            _write(order.file, _checked(chain, key, order.name))


def _ordered(order: Order, key: bytes, room: Room) -> str:
    """Return the chain that the authority gives. Raises Refused."""
    account = _account(Path(order.folder))
    verify: Any = order.ca or True
    net = Network(account, alg=jwa.ES256, verify_ssl=verify, user_agent="ssbfast", timeout=limits.ACME_REQUEST_SECONDS)
    deadline = datetime.datetime.now() + datetime.timedelta(seconds=limits.ACME_SECONDS)
    try:
        directory = messages.Directory.from_json(net.get(order.directory).json())
        acme = client.ClientV2(directory, net)
        _enter(acme, net, order.email)
        made = acme.new_order(crypto_util.make_csr(key, [order.name]))
        for authorization in made.authorizations:
            if authorization.body.status != messages.STATUS_VALID:
                _answer(acme, authorization, account, room)
        return str(acme.poll_and_finalize(made, deadline).fullchain_pem)
    except errors.ValidationError as error:
        found = [challenge.error for one in error.failed_authzrs for challenge in one.body.challenges]
        raise Refused(_words(next((one for one in found if one is not None), None), order.name), net.wait) from None
    except errors.IssuanceError as error:
        raise Refused(_words(error.error, order.name), net.wait) from None
    except messages.Error as error:
        raise Refused(_words(error, order.name), net.wait) from None
    except requests.exceptions.SSLError:
        raise Refused(
            "the certificate authority shows a certificate that is not trusted here: name its root by --acme-ca"
        ) from None
    except (requests.RequestException, errors.TimeoutError):
        raise Refused(
            f"the certificate authority cannot be reached, or is slow: let this machine open connections to"
            f" {urlsplit(order.directory).netloc}"
        ) from None
    except (errors.Error, DeserializationError, KeyError, ValueError):
        raise Refused("what --acme-directory leads to does not speak ACME: see its URL") from None


def _enter(acme: client.ClientV2, net: Network, address: str) -> None:
    """Let the authority know the account, made if it is new. Whoever starts `--tls auto` agrees to its terms."""
    asked = messages.NewRegistration.from_data(email=address or None, terms_of_service_agreed=True)
    try:
        acme.new_account(asked)
    except errors.ConflictError as known:
        net.account = messages.RegistrationResource(uri=known.location, body=messages.Registration())


def _answer(acme: client.ClientV2, authorization: Any, account: jwk.JWK, room: Room) -> None:
    found = next((one for one in authorization.body.challenges if isinstance(one.chall, challenges.HTTP01)), None)
    if found is None:
        raise Refused("the certificate authority knows no HTTP-01 for this name: use another authority, or files")
    response, answer = found.chall.response_and_validation(account)
    room.tell(challenge=[found.chall.encode("token"), answer])
    room.line()
    acme.answer_challenge(found, response)


def _words(error: Any, name: str) -> str:
    """Return what an error of the authority means, and what to do. Its own text has addresses in it."""
    code = getattr(error, "code", None) or "without a reason"
    text = _PROBLEMS.get(
        _SAME.get(code, code), "the certificate authority refuses ({code}): the room asks again by itself"
    )
    return text.format(name=name, code=code)


# ---------------------------------------------------------------- files


def _account(folder: Path) -> jwk.JWK:
    """Return the key of the account, made if there is none. Raises Refused."""
    file = folder / ACCOUNT
    if not file.exists():
        _write(file, _pem(ec.generate_private_key(ec.SECP256R1())))
    key = jwk.JWK.load(file.read_bytes())  # it takes any text for a key of some kind
    if not isinstance(key, jwk.JWKEC):
        raise Refused(f"{file} is no key: remove it, and the room makes a new one")
    return key


def _checked(chain: str, key: ec.EllipticCurvePrivateKey, name: str) -> bytes:
    """Return the file of a certificate: its key, itself and its chain. Raises Refused if they do not fit together."""
    try:
        found = x509.load_pem_x509_certificates(chain.encode())
        names = found[0].extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        is_ours = found[0].public_key() == key.public_key() and name in names.get_values_for_type(x509.DNSName)
    except (ValueError, x509.ExtensionNotFound):
        is_ours = False
    if not is_ours:
        raise Refused("the certificate authority has given something else than was asked for: the room asks again")
    if found[0].not_valid_after_utc <= datetime.datetime.now(datetime.timezone.utc):
        raise Refused("the certificate authority has given a certificate that is over: see the clock of this machine")
    return _pem(key) + b"".join(one.public_bytes(serialization.Encoding.PEM) for one in found)


def _placeholder(name: str) -> bytes:
    """Return a certificate that signs itself: what visitors see until there is one."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([])
    now = datetime.datetime.now(datetime.timezone.utc)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=_PLACEHOLDER_DAYS))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=True)
        .sign(key, hashes.SHA256())
    )
    return _pem(key) + made.public_bytes(serialization.Encoding.PEM)


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _draft(file: Path, content: bytes) -> Path:
    draft = file.with_name(f"{file.name}.draft")
    draft.unlink(missing_ok=True)  # of a process that was killed; we have the lock
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
    return draft


def _write(file: Path, content: bytes) -> None:
    """Write a file of which nothing else than the old or the whole new content is ever seen."""
    draft = _draft(file, content)
    if file.suffix == ".pem":
        ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(draft)
    draft.replace(file)


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Let one process at a time into the folder, which is made if there is none."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with os.fdopen(os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o600), "w") as stream:
        with contextlib.suppress(ModuleNotFoundError):  # Windows, where no room takes over from another one
            import fcntl

            fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def main() -> None:
    """Fulfil the order of stdin."""
    room = Room()
    try:
        fulfil(Order(**json.loads(room.line())), room)
    except Refused as error:
        room.tell(problem=str(error), wait=error.wait)
    except OSError as error:
        room.tell(
            problem=f"the room's directory for certificates cannot be used: {error.strerror or 'unknown'}", wait=0
        )
    else:
        room.tell(done=True)


if __name__ == "__main__":
    main()
