"""The rights of a data directory: users who may write there can put another identity in place of ours."""

from __future__ import annotations

import os
import shlex
import stat
from pathlib import Path
from typing import Final

import click

from ssbfast.cli.standard_error import warn
from ssbfast.errors import KeyFileError

_TOLD: Final = "ssbfast.writable"
"""Where click keeps which directories have been told of."""


def check_rights(directory: Path) -> None:
    """Check that others cannot write in a directory that has an identity; there may be none.

    A group that its owner is alone in (umask 002) is not "others", and the sticky bit keeps others from our files. It
    warns once a command. Raises KeyFileError for a directory of our own that every user can write.
    """
    if os.name != "posix":
        return
    try:
        status = directory.stat()
    except (OSError, ValueError):
        return  # reading the identity says what is wrong
    everyone = bool(status.st_mode & stat.S_IWOTH)
    by_group = bool(status.st_mode & stat.S_IWGRP) and not _is_private(status.st_gid, status.st_uid)
    if status.st_mode & stat.S_ISVTX or not (everyone or by_group):
        return
    who = "every user" if everyone else "its group"
    text = f"{directory} can be written by {who}, and so its identity be exchanged; first: chmod go-w "
    text += shlex.quote(str(directory))
    if everyone and status.st_uid == os.geteuid():
        raise KeyFileError(text)
    context = click.get_current_context(silent=True)
    told = set() if context is None else context.meta.setdefault(_TOLD, set())
    if directory not in told:
        told.add(directory)
        warn(text)


def _is_private(group: int, owner: int) -> bool:
    """Return whether a group is its owner's own, with no other member."""
    import grp
    import pwd

    try:
        name, found = pwd.getpwuid(owner).pw_name, grp.getgrgid(group)
    except KeyError:
        return False
    return found.gr_name == name and set(found.gr_mem) <= {name}
