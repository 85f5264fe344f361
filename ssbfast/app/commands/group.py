"""What `ssbfast` knows, and how errors become one line and an exit code."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Final

import click

from ssbfast import __version__
from ssbfast.app.commands.demo import demo, demo_part
from ssbfast.app.commands.room import room
from ssbfast.errors import BadInputError, MissingExtraError, SSBError

DONE: Final = 0
FAILED: Final = 1
UNUSABLE: Final = 2


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="ssbfast")
def group() -> None:
    """Secure Scuttlebutt rooms and tunnels."""


group.add_command(room)
group.add_command(demo)
group.add_command(demo_part)


def run(arguments: Sequence[str]) -> int:
    """Run one command. Returns its exit code; a user's mistake is one line on stderr, never a stack trace."""
    if not arguments:
        click.echo(group.get_help(click.Context(group, info_name="ssbfast")), err=True)
        return UNUSABLE
    try:
        code = group.main(list(arguments), prog_name="ssbfast", standalone_mode=False)
    except click.ClickException as error:
        return _complain(error.format_message().replace("\n", " "), UNUSABLE)
    except (BadInputError, MissingExtraError) as error:
        return _complain(str(error), UNUSABLE)
    except SSBError as error:
        return _complain(str(error), FAILED)
    except (KeyboardInterrupt, click.Abort):
        return DONE
    except BrokenPipeError:  # whoever read our output has left
        return DONE
    return code if isinstance(code, int) else DONE


def _complain(message: str, code: int) -> int:
    print(f"ssbfast: {message}", file=sys.stderr)
    return code
