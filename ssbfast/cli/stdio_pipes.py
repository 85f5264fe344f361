"""Stdin and stdout of this process, read and written in threads: so they may be anything, a file or a terminal as well.

Only what Python has loaded anyway is imported here: a command that has to begin fast uses it, too.
"""

import os
import socket
import threading

PIECE = 65_536
"""Bytes that are read at a time, as `FORWARD_READ` of `limits`, which takes too long to load."""

_STDIN = 0
_STDOUT = 1


def send_stdin(sock: socket.socket) -> None:
    """Begin to send all of stdin, and then to end our direction. A thread that still waits for it holds up no exit."""
    threading.Thread(target=_send_stdin, args=(sock,), name="stdin", daemon=True).start()


def _send_stdin(sock: socket.socket) -> None:
    try:
        while data := _read_stdin():
            sock.sendall(data)
        sock.shutdown(socket.SHUT_WR)
    except OSError:
        return  # the connection is over


def _read_stdin() -> bytes:
    try:
        return os.read(_STDIN, PIECE)
    except OSError:  # it is closed, or its terminal is gone
        return b""


def write_stdout(sock: socket.socket) -> OSError | None:
    """Write what comes to stdout, and end it behind the last byte, so that its reader sees it.

    Return why not all of it was taken: BrokenPipeError when the reader is gone.
    """
    try:
        while data := _received(sock):
            view = memoryview(data)
            while view:
                view = view[os.write(_STDOUT, view) :]
    except OSError as error:
        return error
    try:
        nothing = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nothing, _STDOUT)  # its number stays taken, or the next file would get it
        os.close(nothing)
    except OSError:
        return None
    return None


def _received(sock: socket.socket) -> bytes:
    try:
        return sock.recv(PIECE)
    except OSError:  # it was cut
        return b""
