"""The running processes of one data directory, as `ssbfast status` and `ssbfast path` find and ask them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ssbfast import limits
from ssbfast.errors import BadInputError
from ssbfast.net.control_socket import NotRunningError, is_supported


def ask_all(
    data: Path, name: str, *, seconds: float = limits.STATUS_ANSWER_SECONDS, **members: Any
) -> list[tuple[Any, str | None]]:
    """Ask each running process; return answers and errors, one of which is None.

    data: the directory. seconds: how long each may take. members: what belongs to the question. Raises BadInputError
    where there are no Unix sockets.
    """
    from ssbfast.client.control_socket import questions, running

    if not is_supported():
        raise BadInputError("running processes cannot be asked on this system: it has no Unix sockets")
    found: list[tuple[Any, str | None]] = []
    for path in running(data):
        try:
            with questions(path, seconds) as asking:
                found.append((asking.ask(name, **members)[0], None))
        except NotRunningError:
            continue
        except BadInputError as error:
            found.append((None, str(error)))
    return found
