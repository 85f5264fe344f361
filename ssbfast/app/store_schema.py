"""How a peer's store is opened, and how it came to look as it does: numbered migrations, applied in one transaction.

The number of the newest migration that a file has seen is its `user_version`. A file with a higher number than we
know was written by a newer ssbfast: it is not opened, and nothing in it is changed.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import stat
import time
from pathlib import Path
from typing import Final

from ssbfast import limits
from ssbfast.errors import BadInputError

MIGRATIONS: Final[tuple[tuple[str, ...], ...]] = (
    # 1: whom we follow and block. Both are statements of their own: unblocking does not forget a follow.
    (
        """
        CREATE TABLE contacts (
            feed BLOB PRIMARY KEY CHECK (typeof(feed) = 'blob' AND length(feed) = 32),
            follows INTEGER NOT NULL CHECK (follows IN (0, 1)),
            blocks INTEGER NOT NULL CHECK (blocks IN (0, 1)),
            changed REAL NOT NULL
        ) WITHOUT ROWID
        """,
    ),
    # 2: refused connections. AUTOINCREMENT: people use the numbers, so none is ever given again.
    (
        """
        CREATE TABLE denials (
            number INTEGER PRIMARY KEY AUTOINCREMENT,
            room BLOB NOT NULL CHECK (typeof(room) = 'blob' AND length(room) = 32),
            origin BLOB NOT NULL CHECK (typeof(origin) = 'blob' AND length(origin) = 32),
            address TEXT,
            proven INTEGER NOT NULL CHECK (proven IN (0, 1)),
            known INTEGER NOT NULL CHECK (known IN (0, 1)),
            reason TEXT NOT NULL,
            time REAL NOT NULL
        )
        """,
        """
        CREATE TABLE denial_rooms (
            room BLOB PRIMARY KEY CHECK (typeof(room) = 'blob' AND length(room) = 32),
            refused INTEGER NOT NULL,
            faults INTEGER NOT NULL,
            population INTEGER NOT NULL,
            places INTEGER NOT NULL
        ) WITHOUT ROWID
        """,
    ),
)

VERSION: Final = len(MIGRATIONS)

APPLICATION: Final = 0x73736266
"""`ssbf`, at its place in the file's head: other programs' databases are left alone."""

_RETRY_SECONDS: Final = 0.02


def connect(path: Path, *, busy: float = limits.STORE_BUSY_SECONDS) -> sqlite3.Connection:
    """Open the store at `path`, made if need be (with its directory), and bring it up to date.

    busy: seconds to wait for other processes. The connection is in autocommit mode and may be used by any thread, one
        at a time. The file is readable by its owner only.
    Raises BadInputError, in one line, for a file that is not a store of ours, of a newer version or not accessible.
    """
    try:
        _prepare(path)
        return _open(path, busy)
    except OSError as error:
        raise BadInputError(f"{path}: {(error.strerror or 'cannot be used').lower()}") from None
    except sqlite3.Error as error:
        raise BadInputError(f"{path} cannot be used: {error}") from None
    except ValueError as error:
        if isinstance(error, BadInputError):
            raise
        raise BadInputError("the path of the store cannot be used") from None


def newer(path: Path) -> BadInputError:
    return BadInputError(f"{path} was written by a newer version of ssbfast; nothing was changed")


def _prepare(path: Path) -> None:
    """Make the file if it is missing, empty and with its permissions: SQLite's own files beside it get the same.

    A file that exists is never opened here: closing it would drop, for the whole process, the locks that SQLite has
    on it (POSIX), and with them what protects it.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with contextlib.suppress(FileExistsError):
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0), 0o600))
    if not stat.S_ISREG(path.stat().st_mode):
        raise BadInputError(f"{path} is not a file")


def _open(path: Path, busy: float) -> sqlite3.Connection:
    if _has_log(path):
        _check_log(path, busy)
    connection = sqlite3.connect(path, timeout=busy, isolation_level=None, check_same_thread=False)
    try:
        _check(connection, path)
        if os.name == "posix" and path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            path.chmod(0o600)
        _use_wal(connection, busy)
        connection.execute("PRAGMA synchronous = FULL")  # a block that was confirmed survives a power cut
        _migrate(connection, path)
    except BaseException:
        connection.close()
        raise
    return connection


def _check(connection: sqlite3.Connection, path: Path) -> None:
    """Read only: is it ours, and one that we understand?"""
    alone = not connection.in_transaction
    if alone:
        connection.execute("BEGIN")  # one moment for all three: another process may be making it just now
    try:
        version = version_of(connection)
        application = int(connection.execute("PRAGMA application_id").fetchone()[0])
        tables = int(connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0])
    finally:
        if alone:
            connection.execute("ROLLBACK")
    if application != APPLICATION and (application or version or tables):
        raise BadInputError(f"{path} is another program's database")
    if version > VERSION:
        raise newer(path)


def _has_log(path: Path) -> bool:
    log = path.with_name(path.name + "-wal")
    with contextlib.suppress(OSError):
        return log.stat().st_size > 0
    return False


def _check_log(path: Path, busy: float) -> None:
    """A writer folds the write-ahead log into the file when it closes; a reader leaves both as they are."""
    reader = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=busy, isolation_level=None)
    with contextlib.closing(reader):
        _check(reader, path)


def version_of(connection: sqlite3.Connection) -> int:
    """The number of the newest migration that the file has seen."""
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def _use_wal(connection: sqlite3.Connection, busy: float) -> None:
    """Readers then never wait for a writer. File systems that cannot do it keep SQLite's older way, which is safe."""
    until = time.monotonic() + busy
    while True:
        try:
            if connection.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
                connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError:
            # Two processes that do this at once: SQLite does not wait here by itself.
            if time.monotonic() > until:
                raise
            time.sleep(_RETRY_SECONDS)


def _migrate(connection: sqlite3.Connection, path: Path) -> None:
    if version_of(connection) == VERSION:
        return
    connection.execute("BEGIN IMMEDIATE")
    try:
        _check(connection, path)  # again: another process may have been quicker
        for statements in MIGRATIONS[version_of(connection) :]:
            for statement in statements:
                connection.execute(statement)
        connection.execute(f"PRAGMA application_id = {APPLICATION}")
        connection.execute(f"PRAGMA user_version = {VERSION}")
        connection.execute("COMMIT")
    except BaseException:
        connection.execute("ROLLBACK")
        raise
