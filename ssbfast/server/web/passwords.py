"""Passwords of members who cannot sign in by SSB: which are good enough, and how they are kept. Slow: for a thread."""

from __future__ import annotations

import hashlib
import hmac
import os
import re
from typing import Final

from ssbfast import limits

_LOG2_N: Final = 15
_R: Final = 8
_P: Final = 1
_SALT: Final = 16
_KEY: Final = 32
_NUMBERS: Final = b"scrypt$%d$%d$%d$" % (_LOG2_N, _R, _P)
_MEMORY: Final = 64 * 1024 * 1024
_DIFFERENT: Final = 5
"""Different characters that a password has at the least."""

_WORDS: Final = """
    password passwort passw0rd kennwort letmein iloveyou welcome willkommen qwerty qwertz azerty qwertyuiop qwertzuiop
    asdfghjkl yxcvbnm zxcvbnm abcdef abcdefgh abcdefghijkl abcdefghijklm abcdefghijklmnop administrator admin monkey
    dragon football baseball basketball superman batman princess sunshine starwars trustno hallo hello changeme secret
    geheim schatz schalke scuttlebutt scuttlebot ssbfast manyverse patchwork ssbroom room correcthorsebatterystaple
    correct horse battery staple master login access whatever computer internet default pokemon michael jessica
    q1w2e3r4 q1w2e3r4t5 q1w2e3r4t5y6 1q2w3e4r 1q2w3e4r5t 1q2w3e4r5t6y 1qaz2wsx 1qaz2wsx3edc zaq12wsx
"""
_BASES: Final = frozenset(_WORDS.split())
_RUNS: Final = (
    "01234567890123456789",
    "98765432109876543210",
    "abcdefghijklmnopqrstuvwxyz",
    "qwertyuiopasdfghjklzxcvbnm",
    "qwertzuiopasdfghjklyxcvbnm",
)
_DIGITS: Final = re.compile(r"[0-9!?.,_@#$*+ -]+")


def weakness(password: str, *names: str) -> str | None:
    """Return why a password is not taken; None for a good one.

    Args:
        password: What a member wants.
        names: Words that are known of the member and of the room, such as its host name.
    """
    if len(password) < limits.PASSWORD_LETTERS:
        return "a password has 12 characters or more"
    if len(password) > limits.PASSWORD_LETTERS_MOST:
        return "a password has 256 characters or less"
    plain = password.lower()
    if len(set(plain)) < _DIFFERENT or _is_common(plain) or any(name and plain == name.lower() for name in names):
        return "this password is a common one"
    return None


def _is_common(plain: str) -> bool:
    """Return whether a password is a common word, perhaps repeated, with digits around it; or a run of the keyboard."""
    if plain in _BASES or any(plain in run + run for run in _RUNS):
        return True
    for size in range(1, len(plain) // 2 + 1):
        if plain == (plain[:size] * len(plain))[: len(plain)]:
            return True
    words = [word for word in _DIGITS.split(plain) if word]
    return not words or (len(words) <= 2 and all(word in _BASES for word in words))


def store(password: str) -> bytes:
    """Return what is kept of a password: scrypt with its numbers and its salt."""
    salt = os.urandom(_SALT)
    return _NUMBERS + (salt + _scrypt(password, salt)).hex().encode()


def is_right(password: str, stored: bytes | None) -> bool:
    """Return whether a password is the one that is kept. Without any it takes as long, and is wrong."""
    kept = bytes(_SALT + _KEY)
    is_ours = stored is not None and stored.startswith(_NUMBERS)
    if stored is not None and is_ours:
        kept = bytes.fromhex(stored[len(_NUMBERS) :].decode("ascii"))
    same = hmac.compare_digest(_scrypt(password[: limits.PASSWORD_LETTERS_MOST], kept[:_SALT]), kept[_SALT:])
    return same and is_ours


def _scrypt(password: str, salt: bytes) -> bytes:
    return hashlib.scrypt(
        password.encode("utf-8", "surrogatepass"), salt=salt, n=1 << _LOG2_N, r=_R, p=_P, maxmem=_MEMORY, dklen=_KEY
    )
