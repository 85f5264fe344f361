"""The command `ssbfast`. Without the extra `room` it says, in one line, how to get it."""

from __future__ import annotations

import sys
from typing import Final, NoReturn

from ssbfast.errors import BadInputError

EXTRA: Final = ("click", "rich")
ADVICE: Final = "ssbfast: the commands need an extra: pip install 'ssbfast[room]'"


def main() -> NoReturn:
    """Run the command line and exit: 0 done or Ctrl-C, 1 refused or failed at run time, 2 unusable input."""
    try:
        borrowed = _borrow(sys.argv[1:])
        if borrowed is None:
            from ssbfast.cli.group import run

            code = run(sys.argv[1:])
        else:
            code = borrowed
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in EXTRA:
            raise
        print(ADVICE, file=sys.stderr)
        code = 2
    except BadInputError as error:  # a backend that does not exist, found while importing
        print(f"ssbfast: {error}", file=sys.stderr)
        code = 2
    except KeyboardInterrupt:
        code = 0
    # CPython notes an interrupt that leaves code run from a string, as dataclasses run theirs while they are imported,
    # and then dies of SIGINT in the end although it was caught. The next such code makes it forget.
    exec("")
    sys.exit(code)


def _borrow(arguments: list[str]) -> int | None:
    """Run `connect --stdio` by a process that runs already; None for all else, and when there is none."""
    if "--stdio" not in arguments:
        return None
    from ssbfast.cli.borrowing import borrow

    return borrow(arguments)
