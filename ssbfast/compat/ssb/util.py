"""`ssb.util`: the secret file, and ids as tags."""

from __future__ import annotations

import json
import os
import re
from base64 import b64decode, b64encode
from typing import Any, Final, TypedDict

from nacl.signing import SigningKey, VerifyKey

from ssbfast.limits import KEY_FILE

__all__ = [
    "ConfigException",
    "SSBSecret",
    "SigningKey",
    "VerifyKey",
    "b64decode",
    "b64encode",
    "load_ssb_secret",
    "tag",
]

_COMMENT: Final = re.compile(r"^\s*#.*$", re.MULTILINE)
_PRIVATE: Final = re.compile(r"([A-Za-z0-9+/]{86}==)(\.ed25519)?")
_SEED: Final = 32


class ConfigException(Exception):
    """A secret file that we cannot use. The message never holds its content."""


class SSBSecret(TypedDict):
    """A loaded secret. keypair: signs, and knows its `verify_key`. id: `@….ed25519`."""

    keypair: SigningKey
    id: str


def load_ssb_secret(filename: str | None = None) -> SSBSecret:
    """Read a secret file, `~/.ssb/secret` unless another is named.

    Raises ConfigException when it is malformed or its keys do not match, OSError when it cannot be read. The file's
    permissions are not checked; `ssbfast.load_secret` checks them.
    """
    path = os.path.expanduser("~/.ssb/secret") if filename is None else filename
    with open(path, encoding="utf-8", errors="replace") as file:  # comments may be of any encoding
        text = file.read(KEY_FILE + 1)
    secret = _parse(text) if len(text) <= KEY_FILE else None
    if secret is None:
        raise ConfigException("this is not a valid secret file")
    return secret


def _parse(text: str) -> SSBSecret | None:
    """Parse the file; return None for whatever is wrong, so that no error carries the content along."""
    try:
        fields: Any = json.loads(_COMMENT.sub("", text))
    except (ValueError, RecursionError):
        return None
    if not isinstance(fields, dict) or fields.get("curve") != "ed25519":
        return None
    private = _PRIVATE.fullmatch(str(fields.get("private")))
    if private is None:
        return None
    both = b64decode(private[1])
    keypair = SigningKey(both[:_SEED])
    id = tag(keypair.verify_key).decode("ascii")
    if both[_SEED:] != bytes(keypair.verify_key) or fields.get("id", id) != id:
        return None
    return {"keypair": keypair, "id": id}


def tag(key: VerifyKey) -> bytes:
    """Return a public key's id, `@….ed25519`, as bytes."""
    return b"@" + b64encode(bytes(key)) + b".ed25519"
