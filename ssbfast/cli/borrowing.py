"""`ssbfast connect --stdio NICK` through a session of a process that runs already (`cli/lending.py`).

ssh waits for this, so it is done before click, asyncio and the C core are loaded, and imports no more than it needs.
What is not plain, or is not lent, is left to the command as it is otherwise; nothing of stdin has been read then.
"""

import json
import os
import signal
import socket
import stat
import sys
import time

from ssbfast.cli.homes import PEER_DATA, home_of
from ssbfast.cli.stdio_pipes import PIECE, send_stdin, write_stdout
from ssbfast.client.control_names import LEND, PREFIX, SOCKET, SUFFIX

_SECONDS = 4.0
"""For all answers together: longer than `LENDING_SECONDS` of `limits`, which takes too long to load."""

_LONGEST = 65_536
"""Bytes of answers."""

_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH

_SHORT = 100
"""Bytes of a path that may be a socket's, as `SOCKET_PATH` of `limits`."""


def borrow(arguments: list[str]) -> int | None:
    """Run `connect --stdio` by what another process lends; return its exit code, None when nothing is lent."""
    wanted = _read(arguments)
    if wanted is None or not hasattr(socket, "recv_fds") or not _has_stdio():
        return None
    borrowed = _ask(*wanted)
    return None if borrowed is None else _carry(*borrowed)


def _has_stdio() -> bool:
    """Return whether stdin, stdout and stderr are there: else files that are opened next would get their numbers."""
    try:
        return all(os.fstat(number) for number in range(3))
    except OSError:
        return False


def _read(arguments: list[str]) -> tuple[str, str] | None:
    """Return target and data directory; None when anything else is given."""
    if arguments[:1] != ["connect"] or os.environ.get("SSBFAST_NETWORK_KEY"):
        return None
    words, targets, data, stdio = iter(arguments[1:]), [], os.environ.get(PEER_DATA) or home_of("peer"), 0
    for word in words:
        if word == "--stdio":
            stdio += 1
        elif word == "--data":
            data = os.path.expanduser(next(words, ""))
        elif word.startswith("-"):
            return None
        else:
            targets.append(word)
    is_plain = stdio == 1 and len(targets) == 1 and data and not data.startswith("~")
    return (targets[0], data) if is_plain else None


def _ask(target: str, data: str) -> tuple[socket.socket, socket.socket, bytes] | None:
    """Ask the processes of a data directory, that of the lock's holder first.

    Return the connection to the one that lends, what it lends, and what it has said already after that.
    """
    until = time.monotonic() + _SECONDS
    try:
        if os.stat(data).st_mode & _OTHERS_WRITE:  # what there is to say of that is the command's
            return None
        found = os.listdir(data)
        others = sorted(name for name in found if name.startswith(PREFIX) and name.endswith(SUFFIX))
        for name in [SOCKET] * (SOCKET in found) + others:
            control = socket.socket(socket.AF_UNIX)
            answer = _ask_one(control, os.path.join(data, name), target, until)
            if answer is not None:
                return control, *answer
            control.close()
    except (OSError, ValueError):  # no such directory, or a name that cannot be one
        return None
    return None


def _ask_one(control: socket.socket, path: str, target: str, until: float) -> tuple[socket.socket, bytes] | None:
    descriptors: list[int] = []
    try:
        status = os.lstat(path)
        if not stat.S_ISSOCK(status.st_mode) or status.st_uid not in (os.geteuid(), 0):
            return None
        control.settimeout(max(until - time.monotonic(), 0.001))
        _connect(control, path)
        control.sendall(json.dumps({"ask": LEND, "target": target}).encode() + b"\n")
        line = b""
        while b"\n" not in line:
            control.settimeout(max(until - time.monotonic(), 0.001))
            more, got, _flags, _address = socket.recv_fds(control, PIECE, 2)
            descriptors += got
            line += more
            if not more or len(line) > _LONGEST:
                return None
        line, _, rest = line.partition(b"\n")
        if "answer" not in json.loads(line) or len(descriptors) != 1:
            return None
        lent = socket.socket(fileno=descriptors[0])
        descriptors.clear()
        lent.settimeout(None)
        control.settimeout(None)
        return lent, rest
    except (OSError, ValueError, TypeError, RecursionError):  # gone, silent, or nothing that we know
        return None
    finally:
        for descriptor in descriptors:
            os.close(descriptor)


def _connect(control: socket.socket, path: str) -> None:
    if len(os.fsencode(path)) < _SHORT:
        control.connect(path)
        return
    directory = os.open(os.path.dirname(path), os.O_RDONLY | os.O_CLOEXEC)
    try:
        control.connect(f"/proc/self/fd/{directory}/{os.path.basename(path)}")
    finally:
        os.close(directory)


def _carry(control: socket.socket, lent: socket.socket, said: bytes) -> int:
    """Carry stdin and stdout through what was lent, until that is over; return the exit code."""
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):  # as any command: the first signal ends it, and that is no failure
        if signal.getsignal(getattr(signal, name)) != signal.SIG_IGN:
            signal.signal(getattr(signal, name), lambda _number, _frame: os._exit(0))
    send_stdin(lent)
    problem = write_stdout(lent)
    if isinstance(problem, BrokenPipeError):
        return 0
    if problem is not None:
        return _fail(f"the output cannot be written: {(problem.strerror or '').lower()}")
    return _outcome(_read_line(control, said))


def _outcome(line: bytes) -> int:
    try:
        outcome = json.loads(line)["answer"]
        lines, error = list(map(str, outcome["lines"])), outcome["error"]
    except (ValueError, LookupError, TypeError, RecursionError):
        return _fail("the process that carried the connection has ended")
    sys.stderr.write("".join(f"{line}\n" for line in lines))
    return 0 if error is None else _fail(str(error))


def _read_line(control: socket.socket, line: bytes) -> bytes:
    """Return a line that has begun; less when the other end is gone."""
    try:
        while not line.endswith(b"\n") and len(line) <= _LONGEST and (more := control.recv(PIECE)):
            line += more
    except OSError:
        return b""
    return line


def _fail(reason: str) -> int:
    sys.stderr.write(f"ssbfast: {reason}\n")
    return 1
