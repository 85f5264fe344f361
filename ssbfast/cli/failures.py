"""Failures of a command: one line on stderr, an exit code, and with `--json` an event on stdout.

    {"event": "error", "time": …, "kind": "refused", "message": "…", "code": 1}

`code` is the exit code. `kind` is a word that stays the same when messages are improved.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from typing import Final

import click

from ssbfast import errors
from ssbfast.cli.output import json_line

DONE: Final = 0
FAILED: Final = 1
UNUSABLE: Final = 2

_KINDS: Final[dict[type[BaseException], str]] = {
    errors.KeyFileError: "secret",
    errors.FeedIdError: "input",
    errors.AddressError: "input",
    errors.BadInputError: "input",
    errors.MissingExtraError: "extra",
    errors.HandshakeError: "handshake",
    errors.RemoteProtocolError: "protocol",
    errors.RemoteError: "remote",
    errors.RefusedError: "refused",
    errors.SessionEndedError: "unreachable",
    errors.DeadlineError: "deadline",
    errors.PunchError: "path",
    errors.LimitError: "limit",
    errors.AliasError: "alias",
    errors.InviteError: "invite",
    errors.WebSiteError: "web",
    errors.StoreError: "store",
    errors.GraphAwayError: "graph",
}
"""The word for each error, and for those that derive from it."""

_USAGE: Final = "usage"
_OTHERS: Final = "failed"


@dataclass(frozen=True, slots=True)
class Failure:
    """The failure of a command. kind: a word for programs. message: one line for people. code: the exit code."""

    kind: str
    message: str
    code: int


def failure_of(error: click.ClickException | errors.SSBError) -> Failure:
    """Return what an error means for the user of the command."""
    if isinstance(error, click.ClickException):
        return Failure(_kind(error, _USAGE), error.format_message(), UNUSABLE)
    unusable = isinstance(error, errors.BadInputError | errors.MissingExtraError)
    return Failure(_kind(error, _OTHERS), str(error), UNUSABLE if unusable else FAILED)


def print_failure(failure: Failure) -> None:
    """Print it as an event on stdout. Where that cannot be written, stderr has to do."""
    if sys.stdout is None:
        return
    event = {"event": "error", "kind": failure.kind, "message": failure.message, "code": failure.code}
    try:
        click.echo(json_line(event))
    except OSError:
        with open(os.devnull, "wb") as nothing:  # the rest is not flushed at exit
            os.dup2(nothing.fileno(), sys.stdout.fileno())


def _kind(error: BaseException | None, otherwise: str) -> str:
    """Return the word for an error, or for what it was made of: options and rooms put their names in front."""
    while error is not None:
        for kind in type(error).__mro__:
            if kind in _KINDS:
                return _KINDS[kind]
        error = error.__cause__
    return otherwise
