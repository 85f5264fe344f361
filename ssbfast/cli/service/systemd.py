"""The service as a unit of systemd's manager of the user's services."""

from __future__ import annotations

import getpass
import os
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from ssbfast.cli.service.manager import MARK, CommandLine, State, must_be_one_line, run
from ssbfast.errors import BadInputError, SSBError

BOOTED: Final = Path("/run/systemd/system")
"""Is there where systemd runs: sd_booted(3)."""

LINGERING: Final = Path("/var/lib/systemd/linger")
"""Has a file for each user whose services run without a login."""

_PLAIN: Final = re.compile(r"[\w/.,:=@+-]+", re.ASCII)

# What needs namespaces (Protect…=, Private…=) is not for a user's units: without privileges they fail on many systems.
_TEXT: Final = f"""\
# {MARK}
# Its options stand in the file of --config; changes of this unit: systemctl --user edit %s
[Unit]
Description=Services for friends through Secure Scuttlebutt rooms (ssbfast share)
Documentation=https://ssbfast.github.io/ssbfast/howto/share-for-good/
StartLimitIntervalSec=0

[Service]
Type=notify
ExecStart=%s
# Reads the options again; no session ends.
ExecReload=/bin/kill -HUP $MAINPID
WatchdogSec=60
# Also when its options have a mistake, or another process has its identity, until that is mended.
Restart=on-failure
RestartSec=10
TimeoutStopSec=20
UMask=0077

NoNewPrivileges=yes
LockPersonality=yes
MemoryDenyWriteExecute=yes
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX AF_NETLINK
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallFilter=~@privileged @resources
SystemCallErrorNumber=EPERM

[Install]
WantedBy=default.target
"""


class Systemd:
    """systemd, as the user's manager. name: that of the service."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._unit = f"{name}.service"
        self.reload: CommandLine = ("systemctl", "--user", "reload", self._unit)
        home = os.environ.get("XDG_CONFIG_HOME", "")
        base = Path(home) if os.path.isabs(home) else Path("~/.config").expanduser()
        self.file = base / "systemd" / "user" / self._unit

    def check(self) -> None:
        if not BOOTED.is_dir() or shutil.which("systemctl") is None:
            raise BadInputError(
                "systemd does not run here (a container, perhaps): let `ssbfast share --no-ticket` be started by what"
                " starts programs here"
            )
        try:
            run(("systemctl", "--user", "show", "--property=Version"))
        except SSBError as error:
            raise BadInputError(f"your manager of services is away; log in as this user, not by su: {error}") from None

    def text(self, command: Sequence[str]) -> str:
        must_be_one_line(command)
        return _TEXT % (self._name, " ".join(map(_quoted, command)))

    def before_change(self) -> list[CommandLine]:
        return []

    def after_write(self, *, is_replaced: bool) -> list[CommandLine]:
        restart = [("systemctl", "--user", "restart", self._unit)] if is_replaced else []
        return [
            ("systemctl", "--user", "daemon-reload"),
            ("systemctl", "--user", "enable", "--now", self._unit),
            *restart,
        ]

    def before_removal(self) -> list[CommandLine]:
        return [("systemctl", "--user", "disable", "--now", self._unit)]

    def after_removal(self) -> list[CommandLine]:
        return [("systemctl", "--user", "daemon-reload")]

    def advice(self) -> str | None:
        if (LINGERING / getpass.getuser()).exists():
            return None
        return "It ends when you log out. To let it run from the machine's start on, once: loginctl enable-linger"

    def state(self) -> State:
        shown = "--property=ActiveState,SubState,MainPID,UnitFileState,StatusText"
        lines = run(("systemctl", "--user", "show", self._unit, shown)).splitlines()
        found = dict(line.split("=", 1) for line in lines if "=" in line)
        active, pid = found.get("ActiveState", "unknown"), found.get("MainPID", "0")
        text = f"{active} ({found.get('SubState', '')}), {found.get('UnitFileState') or 'not enabled'}"
        text += f": {found['StatusText']}" if found.get("StatusText") else ""
        return State(active in ("active", "reloading"), text, int(pid) if pid.isdigit() and pid != "0" else None)

    def logs(self, lines: int, *, follow: bool) -> CommandLine:
        return (
            "journalctl",
            f"--user-unit={self._unit}",
            f"--lines={lines}",
            *(("--follow",) if follow else ("--no-pager",)),
        )


def _quoted(word: str) -> str:
    """Return a word as it stands in a command line of a unit: systemd.service(5)."""
    word = word.replace("%", "%%").replace("$", "$$")
    if _PLAIN.fullmatch(word):
        return word
    return '"' + word.replace("\\", "\\\\").replace('"', '\\"') + '"'
