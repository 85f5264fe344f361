"""A peer's own key pair, and the file that keeps it (`~/.ssb/secret`).

The file is what every SSB program writes: comment lines that begin with `#`, and one JSON object::

    {"curve": "ed25519", "public": "<base64>.ed25519", "private": "<base64 of seed and public>.ed25519",
     "id": "@<base64>.ed25519"}

Files of older programs are read, too, as ssb-keys reads them: without `id`, with an `id` that lacks its @ or is the
hash of the key, with keys that lack `.ed25519`; and in UTF-16, as PowerShell rewrites a file.
"""

from __future__ import annotations

import binascii
import codecs
import contextlib
import json
import os
import re
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from nacl.bindings import crypto_sign, crypto_sign_ed25519_sk_to_curve25519, crypto_sign_seed_keypair

from ssbfast.errors import KeyFileError
from ssbfast.ids import ID_BYTES, SUFFIX, FeedId, encode_key
from ssbfast.limits import KEY_FILE

_SIGNATURE: Final = 64
_PRIVATE_TEXT: Final = re.compile(r"([A-Za-z0-9+/]{86})==(\.ed25519)?")
_OLD_HASH: Final = re.compile(r"@?[A-Za-z0-9+/]{43}=\.(blake2s|sha256)")
_BYTE_ORDER_MARKS: Final = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
"""The marks that editors and PowerShell put in front of a file."""

_COMMENT: Final = re.compile(r"\s*#[^\n]*")
_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO

_WARNING: Final = """\
# This is your secret identity. Whoever has this file can be you, and nobody can take that back.
# Never show it to anyone, and never use it on two machines at a time.
"""
_FAREWELL: Final = "# The id above is public: that is the one to give away.\n"


class Keypair:
    """An Ed25519 key pair: a peer's identity with the right to use it. `repr` shows the short id only.

    Args:
        seed: 32 bytes.

    Attributes:
        id: The public half.

    Raises:
        ValueError: The seed has another length.
    """

    __slots__ = ("_curve", "_secret", "id")

    id: FeedId

    def __init__(self, seed: bytes) -> None:
        if not isinstance(seed, bytes) or len(seed) != ID_BYTES:
            raise ValueError("a seed has 32 bytes")
        public, self._secret = crypto_sign_seed_keypair(seed)
        self._curve: bytes | None = None
        self.id = FeedId(public)

    @classmethod
    def generate(cls) -> Keypair:
        """Make a new key pair from the system's randomness."""
        return cls(secrets.token_bytes(ID_BYTES))

    @classmethod
    def from_seed(cls, seed: bytes) -> Keypair:
        """Make the key pair of an Ed25519 seed.

        Args:
            seed: 32 bytes.

        Raises:
            ValueError: The seed has another length.
        """
        return cls(seed)

    def sign(self, message: bytes) -> bytes:
        """Return the Ed25519 signature of `message`.

        Args:
            message: Bytes of any length.

        Returns:
            64 bytes.
        """
        return crypto_sign(message, self._secret)[:_SIGNATURE]

    def curve_secret(self) -> bytes:
        """Return the 32-byte X25519 secret that belongs to this key pair (computed once)."""
        if self._curve is None:
            self._curve = crypto_sign_ed25519_sk_to_curve25519(self._secret)
        return self._curve

    def _secret_text(self) -> str:
        """Return the file's content. Only `load_secret` has a reason to ask for it."""
        fields = {
            "curve": "ed25519",
            "public": encode_key(self.id.key) + SUFFIX,
            "private": encode_key(self._secret) + SUFFIX,
            "id": str(self.id),
        }
        return f"{_WARNING}\n{json.dumps(fields, indent=2)}\n\n{_FAREWELL}"

    def __repr__(self) -> str:
        return f"Keypair({self.id.short})"

    def __reduce__(self) -> str:
        raise TypeError("a key pair is not copied or pickled: it is kept in its file")


def load_secret(path: str | os.PathLike[str], create: bool = False, *, allow_group_read: bool = False) -> Keypair:
    """Load the key pair kept at `path`.

    Args:
        path: The secret file; a leading `~` is the home directory.
        create: Make a new key pair (and its directory) when there is no file. The file appears at once and whole,
            readable by its owner only; an existing file is never overwritten.
        allow_group_read: Take a file that its group can read, as Kubernetes mounts secrets (0440). No other user may
            read it, and only the owner may write it.

    Raises:
        KeyFileError: The file is missing, malformed, holds a pair that does not match, or can be read by others
            (POSIX). Messages name the path, never the content.
    """
    place = Path(path).expanduser()
    with _os_errors(place):
        if create and not os.path.lexists(place):
            _create(place)
        content = _read(place, _OTHERS & ~stat.S_IRGRP if allow_group_read else _OTHERS)
    found = _decode(content)
    if isinstance(found, str):
        raise KeyFileError(f"{place} is not a valid secret file: {found}")
    return found


@contextlib.contextmanager
def _os_errors(place: Path) -> Iterator[None]:
    """Turn the system's errors about the file into KeyFileError."""
    try:
        yield
    except FileNotFoundError as error:
        raise KeyFileError(f"{place} does not exist") from error
    except OSError as error:
        raise KeyFileError(f"{place}: {error.strerror}") from error
    except ValueError as error:  # a path with a zero byte
        if isinstance(error, KeyFileError):
            raise
        raise KeyFileError("the path of the secret file cannot be used") from error


def _read(place: Path, forbidden: int) -> bytes:
    # O_NONBLOCK: a pipe put in the file's place must not hold us up. The checks look at what was opened, not at the
    # path, which may be exchanged in between.
    file = os.open(place, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0))
    with os.fdopen(file, "rb") as stream:
        status = os.fstat(stream.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise KeyFileError(f"{place} is not a file")
        if os.name == "posix" and status.st_mode & forbidden:
            hint = "" if status.st_mode & _OTHERS != stat.S_IRGRP else ", or --allow-group-read if its group is yours"
            raise KeyFileError(f"{place} can be read by others; `chmod 600` it{hint}")
        content = stream.read(KEY_FILE + 1)
    if len(content) > KEY_FILE:
        raise KeyFileError(f"{place} is too long for a secret file")
    return content


def _decode(content: bytes) -> Keypair | str:
    """Parse the file, or return the problem in words of ours, so that no error carries the content along."""
    # As ssb-keys does it: without comments and line ends. What stands in comments need not be UTF-8.
    text = _COMMENT.sub("", _text(content)).replace("\n", "")
    try:
        fields = json.loads(text)
    except (ValueError, RecursionError):
        return "there is no JSON object in it" if text.strip() else "there is nothing in it"
    if not isinstance(fields, dict):
        return "there is no JSON object in it"
    if fields.get("curve", "ed25519") != "ed25519":
        return "its curve is not ed25519"
    private = fields.get("private")
    match = _PRIVATE_TEXT.fullmatch(private) if isinstance(private, str) else None
    if match is None:
        return "its private key is missing or damaged"
    secret = binascii.a2b_base64(f"{match[1]}==")
    keypair = Keypair(secret[:ID_BYTES])
    key = encode_key(keypair.id.key)
    names = (key, key + SUFFIX)
    if secret[ID_BYTES:] != keypair.id.key or fields.get("public") not in names:
        return "its public key is not that of its private key"
    if "id" in fields and not _is_id_of(fields["id"], names):
        return "its id is not that of its private key"
    return keypair


def _is_id_of(said: object, names: tuple[str, ...]) -> bool:
    """Return whether an id is the key's, or of the time when ids were hashes, which says nothing about the key."""
    if not isinstance(said, str):
        return False
    return said.removeprefix("@") in names or _OLD_HASH.fullmatch(said) is not None


def _text(content: bytes) -> str:
    for mark, encoding in _BYTE_ORDER_MARKS:
        if content.startswith(mark):
            return content[len(mark) :].decode(encoding, "replace")
    if content[:2].count(0) == 1:  # UTF-16 without a mark: every file begins with # or {
        return content.decode("utf-16-be" if content[0] == 0 else "utf-16-le", "replace")
    return content.decode("utf-8", "replace")


def _create(place: Path) -> None:
    """Put a new secret at `place`, unless another process is quicker: then its file stays."""
    place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    text = Keypair.generate()._secret_text().encode("utf-8")
    draft = place.with_name(f".{place.name}.{secrets.token_hex(8)}")
    try:
        _write_new(draft, text)
        with contextlib.suppress(FileExistsError):
            _publish(draft, place)
    finally:
        with contextlib.suppress(FileNotFoundError):
            draft.unlink()


def _publish(draft: Path, place: Path) -> None:
    """Give the draft its name in one step that fails when the name is taken."""
    if os.name == "nt":
        draft.rename(place)  # refuses an existing target there, unlike POSIX
        return
    try:
        os.link(draft, place)
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links: not in one step, but still never over an existing file
        _write_new(place, draft.read_bytes())


def _write_new(place: Path, content: bytes) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
    with os.fdopen(os.open(place, flags, 0o600), "wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
