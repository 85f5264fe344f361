"""`python -m tests.hostile.leash FILES COMMAND …`: become that command, with a limit of files; end with the parent.

FILES: the hard limit of file descriptors; 0 leaves it. The kernel ends the process when the thread that started it
does.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main() -> None:
    files, *command = sys.argv[1:]
    parent = os.getppid()
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if parent != os.getppid():
        sys.exit("the parent is gone")
    if int(files):
        resource.setrlimit(resource.RLIMIT_NOFILE, (int(files), int(files)))
    os.execv(command[0], command)


if __name__ == "__main__":
    main()
