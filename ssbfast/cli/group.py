"""The group of all commands, and how errors become one line and an exit code."""

from __future__ import annotations

import contextlib
import io
import itertools
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any, Final

import click

from ssbfast.cli.failures import DONE, FAILED, UNUSABLE, Failure, failure_of, print_failure
from ssbfast.cli.lazy_group import LazyGroup
from ssbfast.cli.output import Level
from ssbfast.cli.standard_error import bounded_stderr, warn
from ssbfast.cli.terminal_text import plain_option
from ssbfast.errors import SSBError

COMMANDS: Final = {
    "room": ("room.command", "Run a room: peers that join can reach each other through it."),
    "listen": ("listen", "Offer a TCP service to your friends through rooms."),
    "connect": ("connect", "Reach a friend's service through rooms, at a local address."),
    "share": ("share", "Offer services by name to your friends, and let new ones in."),
    "open": ("open", "Reach services of your friends, each at its own port."),
    "service": ("service.command", "Have `ssbfast share` run by itself: install, status, logs, uninstall."),
    "config": ("config", "Check the file of options of `ssbfast share`, and show what is set."),
    "pair": ("pair", "Take a ticket: from then on you and its maker follow each other."),
    "ticket": ("ticket", "Make a ticket, which lets one peer in, once."),
    "status": ("status", "Show what runs here: rooms, and sessions with their paths and speed."),
    "path": ("path", "Change the path of running sessions: through the room, or directly."),
    "alias": ("alias", "Show, register and revoke aliases: names of peers in rooms."),
    "attendants": ("attendants", "List the peers that are in a room now."),
    "follow": ("contacts", "Follow a peer: it may open tunnels to you."),
    "unfollow": ("contacts", "Stop following a peer."),
    "block": ("contacts", "Block a peer; no policy overrules that."),
    "unblock": ("contacts", "Stop blocking a peer."),
    "contacts": ("contacts", "List the peers that you follow and block; change nicknames."),
    "denials": ("denials", "List refused connections, and follow or call back."),
    "keys": ("keys", "Make this peer's identity, and show it."),
    "doctor": (
        "doctor",
        "Show what your network allows: UDP, the kind of NAT, and which peers you reach directly.",
    ),
    "demo": ("demo.command", "Tunnel random bytes through a room, and prove that they arrived."),
    "bench": ("bench.command", "Measure the speed of this machine, side by side with libsodium."),
    "completion": ("completion", "Print what completes commands and options in a shell."),
}
"""Every command: the module that has it, and what `--help` says, so that nothing needs to be loaded for that."""

SECTIONS: Final = {
    "The first five minutes": ("share", "pair", "open", "status", "service"),
    "Friends": ("ticket", "follow", "unfollow", "block", "unblock", "contacts", "denials"),
    "Rooms": ("room", "attendants", "alias"),
    "Tools": ("listen", "connect", "path", "config", "keys", "doctor", "demo", "bench", "completion"),
}
"""Commands that `--help` shows together."""

COMPLETE: Final = "_SSBFAST_COMPLETE"
"""The variable by which a shell asks for completions."""

_HIDDEN: Final = {"demo-part": "demo.command"}


class MainGroup(LazyGroup):
    """All commands. The reader of their output may leave when it likes."""

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name in _HIDDEN:
            return self.load(_HIDDEN[cmd_name], cmd_name)
        return super().get_command(ctx, cmd_name)

    def make_context(self, *args: Any, **more: Any) -> click.Context:
        try:
            return super().make_context(*args, **more)  # --help and --version print here
        except BrokenPipeError:
            _empty_stdout()
            raise click.exceptions.Exit(DONE) from None

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except BrokenPipeError:  # the reader of our output has left; click would call that a failure
            _empty_stdout()
            return DONE


@click.group(
    cls=MainGroup,
    package="ssbfast.cli",
    table=COMMANDS,
    command_sections=SECTIONS,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(package_name="ssbfast", prog_name="ssbfast")
@plain_option
def group() -> None:
    """Secure Scuttlebutt rooms and tunnels."""


def run(arguments: Sequence[str]) -> int:
    """Run one command. Returns its exit code; a user's mistake is one line on stderr, never a stack trace."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal that has no "…" gets a question mark
    with bounded_stderr():
        if "--json" not in itertools.takewhile(lambda word: word != "--", arguments):
            return _run(arguments, lambda _failure: None)
        failures: list[Failure] = []
        try:
            code = _run(arguments, failures.append)
        except Exception as error:  # a bug: its traceback follows
            print_failure(Failure("internal", type(error).__name__, FAILED))
            raise
        if code != DONE:
            print_failure(failures[0] if failures else Failure("failed", "the command has failed", code))
        return code


def _run(arguments: Sequence[str], tell: Callable[[Failure], None]) -> int:
    if not arguments and COMPLETE not in os.environ:
        click.echo(group.get_help(click.Context(group, info_name="ssbfast")), err=True)
        return UNUSABLE
    try:
        code = group.main(list(arguments), prog_name="ssbfast", complete_var=COMPLETE, standalone_mode=False)
    except (click.ClickException, SSBError) as error:
        failure = failure_of(error)
        warn(failure.message, Level.ERROR)
        tell(failure)
        return failure.code
    except (KeyboardInterrupt, click.Abort):
        return DONE
    except MemoryError:
        failure = Failure("memory", "out of memory", FAILED)
        warn(failure.message, Level.ERROR)
        tell(failure)
        return failure.code
    except OSError as error:  # all others have become errors of ours: this one is of stdout, or of a file that we name
        if error.filename is None:
            _empty_stdout()
        failure = Failure("output" if error.filename is None else "file", _unwritten(error), FAILED)
        warn(failure.message, Level.ERROR)
        tell(failure)
        return failure.code
    return code if isinstance(code, int) else DONE


def _unwritten(error: OSError) -> str:
    what = "the output cannot be written" if error.filename is None else str(error.filename)
    return f"{what}: {(error.strerror or type(error).__name__).lower()}"


def _empty_stdout() -> None:
    """Send what is still in its buffer nowhere: Python would try once more at its end, and say so."""
    with contextlib.suppress(OSError, AttributeError), open(os.devnull, "wb") as nothing:
        os.dup2(nothing.fileno(), sys.stdout.fileno())
