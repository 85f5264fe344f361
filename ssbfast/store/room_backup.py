"""A backup of a room: its secret and its store in one tar file, and a room made from it.

The secret is the room: a thief of the file can pose as it. So it is readable by its owner only.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import tarfile
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Final

from ssbfast import limits
from ssbfast.errors import BadInputError
from ssbfast.ids import FeedId
from ssbfast.keys import load_secret
from ssbfast.store.room_store import FILE, Contents, RoomStore

SECRET: Final = "secret"
_MOST: Final = {SECRET: limits.KEY_FILE, FILE: limits.BACKUP_BYTES}
_BESIDE: Final = ("-wal", "-shm", "-journal")


def back_up(data: Path, target: Path) -> FeedId:
    """Write the room in `data` into a new tar file, as it is at one moment; the room may run meanwhile.

    Returns:
        The room's id.

    Raises:
        BadInputError: There is no room, or `target` exists or cannot be written.
        StoreError: The store cannot be read just now.
    """
    room = load_secret(data / SECRET, allow_group_read=True).id
    with _one_line(target), _scratch(target.parent) as scratch:
        if os.path.lexists(target):
            raise BadInputError(f"{target} exists already; nothing was written")
        names = [SECRET]
        shutil.copyfile(data / SECRET, scratch / SECRET)
        if os.path.lexists(data / FILE):
            with RoomStore(data, reading=True) as store:
                store.backup(scratch / FILE)
            names.append(FILE)
        with _new_file(scratch / "tar") as stream:
            with tarfile.open(fileobj=stream, mode="w") as archive:
                for name in names:
                    with open(scratch / name, "rb") as content:
                        archive.addfile(_member(name, os.fstat(content.fileno()).st_size), content)
            stream.flush()
            os.fsync(stream.fileno())
        _publish(scratch / "tar", target)
    return room


def restore(source: Path, data: Path) -> FeedId:
    """Make a room in `data` from a backup. What is there is never overwritten.

    Returns:
        The room's id.

    Raises:
        BadInputError: `source` is no backup of a room, or there is a room in `data` already.
    """
    for name in (SECRET, FILE, *(FILE + ending for ending in _BESIDE)):
        if os.path.lexists(data / name):
            raise BadInputError(f"there is a room in {data} already ({name}); nothing was changed")
    with _one_line(source):
        data.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _scratch(data) as scratch:
            names = _unpack(source, scratch)
            try:
                room = load_secret(scratch / SECRET).id
                if FILE in names:
                    with RoomStore(scratch) as store:
                        store.check()
            except BadInputError as error:  # it names the files where they are just now
                raise BadInputError(str(error).replace(f"{scratch}{os.sep}", f"{source}: ")) from None
            if FILE in names:
                _publish(scratch / FILE, data / FILE)
            _publish(scratch / SECRET, data / SECRET)
    return room


def publish_room(data: Path, secret: Path | None, contents: Contents) -> None:
    """Make a room in `data` with a store that is filled; nothing that is there is overwritten.

    Args:
        data: The data directory, made if it is missing.
        secret: A secret file to copy; None when the room's is there already.
        contents: What is in the store.

    Raises:
        BadInputError: There is a store or secret already, or nothing can be written.
    """
    with _one_line(data):
        data.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _scratch(data) as scratch:
            with RoomStore(scratch) as store:
                store.fill(contents)
                store.backup(scratch / "whole")
            (scratch / "whole").chmod(0o600)
            _publish(scratch / "whole", data / FILE)
            if secret is not None:
                with _new_file(scratch / SECRET) as stream:
                    stream.write(secret.read_bytes())
                    stream.flush()
                    os.fsync(stream.fileno())
                _publish(scratch / SECRET, data / SECRET)


def _unpack(source: Path, scratch: Path) -> set[str]:
    """Write the files of a backup; return their names. Nothing but their names and contents is believed."""
    names: set[str] = set()
    try:
        with tarfile.open(source, "r:*") as archive:
            for member in archive:
                if member.name not in _MOST or not member.isreg() or member.name in names:
                    raise BadInputError(f"{source} is no backup of a room: there is something else in it")
                if member.size > _MOST[member.name]:
                    raise BadInputError(f"{source} is no backup of a room: its {member.name} is too large")
                content = archive.extractfile(member)
                if content is None:
                    raise BadInputError(f"{source} is damaged")
                with content, _new_file(scratch / member.name) as stream:
                    shutil.copyfileobj(content, stream)
                    stream.flush()
                    os.fsync(stream.fileno())
                names.add(member.name)
    except (tarfile.TarError, EOFError):
        raise BadInputError(f"{source} is no backup of a room, or it is damaged") from None
    if SECRET not in names:
        raise BadInputError(f"{source} is no backup of a room: there is no secret in it")
    return names


def _member(name: str, size: int) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.size, member.mode, member.mtime = size, 0o600, int(time.time())
    return member


@contextlib.contextmanager
def _scratch(parent: Path) -> Iterator[Path]:
    """Make a directory on the same file system that only we can read, and remove it."""
    with tempfile.TemporaryDirectory(prefix=f".ssbfast-{secrets.token_hex(4)}-", dir=parent) as name:
        yield Path(name)


@contextlib.contextmanager
def _new_file(path: Path) -> Iterator[IO[bytes]]:
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
    with os.fdopen(os.open(path, flags, 0o600), "w+b") as stream:
        yield stream


def _publish(draft: Path, path: Path) -> None:
    """Give a file its name in one step that fails when the name is taken."""
    if os.name == "nt":
        draft.rename(path)  # refuses an existing target there, unlike POSIX
        return
    try:
        os.link(draft, path)
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links: two steps
        if os.path.lexists(path):
            raise FileExistsError(17, "File exists", str(path)) from None
        draft.rename(path)


@contextlib.contextmanager
def _one_line(path: Path) -> Iterator[None]:
    """Make BadInputError of what the system says about a file."""
    try:
        yield
    except OSError as error:
        raise BadInputError(f"{error.filename or path}: {(error.strerror or 'cannot be used').lower()}") from None
