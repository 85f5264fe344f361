"""`./dev deb`: build the Debian package, install it on a fresh Debian that systemd runs, upgrade it, and remove it.

Needs root, and mmdebstrap, debhelper and lintian. Nothing of it touches this machine.
"""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.wheel.making import ROOT, Failure, litter

BOOT = Path(__file__).with_name("boot.sh")
TOOLS = ("mmdebstrap", "dpkg-buildpackage", "dh", "lintian", "unshare", "nsenter", "ip", "pkill")
PACKAGES = "systemd,systemd-sysv,dbus,python3"
PATIENCE = 60.0
PORT = 8008
CONFIG = "/etc/ssbfast/room.toml"
DATA = "/var/lib/ssbfast"
UNIT = "ssbfast-room"


def check(what: str, holds: bool) -> None:
    if not holds:
        raise Failure(what)
    print(f"deb: {what}", flush=True)


def run(*command: str | Path, fails: bool = False) -> str:
    """What a command says; Failure with all of it when it fails, or when it does not and `fails`."""
    words = [str(word) for word in command]
    done = subprocess.run(
        words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    if bool(done.returncode) is not fails:
        raise Failure(f"{' '.join(words)}: exit code {done.returncode}\n{done.stdout[-8000:]}")
    return done.stdout.strip()


def build(folder: Path) -> Path:
    """The package of this tree, without what lintian calls an error."""
    run("/usr/bin/python3", "-m", "venv", folder / "pip")
    shutil.copytree(ROOT, folder / "tree", symlinks=True, ignore=lambda path, names: litter(Path(path), names))
    run(folder / "pip/bin/pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", folder, folder / "tree")
    (wheel,) = folder.glob("ssbfast-*.whl")
    run(ROOT / "packaging/debian/build.sh", wheel, folder)
    (package,) = folder.glob("ssbfast_*.deb")
    run("lintian", "--fail-on", "error", "--allow-root", package)
    return package


class Machine:
    """A Debian that lies in a folder, once it runs."""

    def __init__(self, root: Path, process: int) -> None:
        self.root = root
        self._process = process

    def enter(self, *command: str) -> list[str]:
        return [
            "nsenter",
            "--all",
            "--root",
            f"--target={self._process}",
            "env",
            "-i",
            "PATH=/usr/sbin:/usr/bin",
            *command,
        ]

    def run(self, *command: str, fails: bool = False) -> str:
        return run(*self.enter(*command), fails=fails)

    def shows(self, name: str) -> str:
        """A property of the room's unit."""
        return self.run("systemctl", "show", "--property", name, "--value", UNIT)

    def has(self, path: str) -> bool:
        return os.path.lexists(self.root / path.lstrip("/"))

    def has_no(self, process: str) -> bool:
        """Return whether a process has ended; its number as the machine counts."""
        return self.run("sh", "-c", f"kill -0 {process} 2>/dev/null || echo ended") == "ended"

    def configure(self, text: str) -> str:
        """Write the room's options; return what they were."""
        file = self.root / CONFIG.lstrip("/")
        before = file.read_text(encoding="utf-8")
        file.write_text(text, encoding="utf-8")
        return before

    def install(self, package: Path) -> str:
        shutil.copy(package, self.root / "ssbfast.deb")
        return self.run("dpkg", "--install", "/ssbfast.deb")


@contextlib.contextmanager
def booted(folder: Path) -> Iterator[Machine]:
    """A Debian of the same release as ours, run by its systemd."""
    release = run("sh", "-c", ". /etc/os-release; echo $VERSION_CODENAME")
    root = folder / "root"
    run("mmdebstrap", "--variant=minbase", f"--include={PACKAGES}", release, root)
    with subprocess.Popen(["sh", BOOT, root], stdin=subprocess.DEVNULL) as boot:
        try:
            yield Machine(root, _first(boot.pid))
        finally:
            boot.terminate()


def _first(boot: int) -> int:
    """Return the process of a machine's systemd, once that has come up."""
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        found = [boot]
        for pid in found:
            with contextlib.suppress(OSError):
                found += map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
                if Path(f"/proc/{pid}/comm").read_text() == "systemd\n" and _is_up(pid):
                    return pid
        time.sleep(0.2)
    raise Failure("systemd does not come up")


def _is_up(process: int) -> bool:
    said = subprocess.run(
        Machine(Path("/"), process).enter("systemctl", "is-system-running"), capture_output=True, text=True, check=False
    )
    return said.stdout.strip() in ("running", "degraded")


class Callers:
    """A process on the machine that connects to the room again and again."""

    PROGRAM = f"""
import socket, sys, time
until = time.monotonic() + 300
while time.monotonic() < until:
    try:
        socket.create_connection(("127.0.0.1", {PORT}), 10).close()
    except OSError as error:
        sys.exit(f"refused: {{error}}")
    time.sleep(0.01)
"""

    def __init__(self, machine: Machine) -> None:
        self._process = subprocess.Popen(
            machine.enter("python3", "-c", self.PROGRAM), stderr=subprocess.PIPE, text=True, start_new_session=True
        )

    def end(self) -> bool:
        """End it; return whether all connections were accepted."""
        well = self._process.poll() is None
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGTERM)
        print(self._process.communicate()[1], end="")
        return well


def wait_for(what: str, holds: Callable[[], bool]) -> None:
    until = time.monotonic() + PATIENCE
    while not holds() and time.monotonic() < until:
        time.sleep(0.1)
    check(what, holds())


# ---------------------------------------------------------------- what has to hold, in this order


def it_installs(machine: Machine, package: Path) -> None:
    machine.install(package)
    check("a fresh room does not run by itself", machine.shows("ActiveState") == "inactive")
    check("the room's directory is its user's", machine.run("stat", "--format=%U:%G %a", DATA) == "ssbfast:ssbfast 700")
    check("the example of options is right", "no mistakes" in machine.run("ssbfast", "room", "config", "check"))
    for path in (
        "/usr/share/bash-completion/completions/ssbfast",
        "/usr/share/zsh/vendor-completions/_ssbfast",
        "/usr/share/fish/vendor_completions.d/ssbfast.fish",
        "/usr/share/man/man1/ssbfast-room-members-add.1.gz",
    ):
        check(f"there is {path}", machine.has(path))
    programs = {path.name for path in (machine.root / "usr/lib/ssbfast/bin").iterdir()}
    check("its environment has no other programs", {name for name in programs if "python" not in name} == {"ssbfast"})


def it_runs(machine: Machine) -> None:
    machine.configure(f'data = "{DATA}"\nhost = "room.example"\nweb = true\n')
    machine.run("systemctl", "start", UNIT)
    check("systemd has heard that the room is ready", machine.shows("StatusText") == f"listening on port {PORT}")
    check("it is not root", machine.run("stat", "--format=%U", f"/proc/{machine.shows('MainPID')}") == "ssbfast")
    check("root sees how it does", "room.example" in machine.run("ssbfast", "room", "status"))
    machine.run("ssbfast", "room", "invite", "create")
    owners = machine.run("sh", "-c", f"stat --format='%U %a' {DATA}/room.sqlite* {DATA}/secret").splitlines()
    check("what root changed still belongs to the room", set(owners) == {"ssbfast 600"})


def it_goes_on(machine: Machine, package: Path) -> None:
    changes: dict[str, Callable[[], str]] = {
        "a reload": lambda: machine.run("systemctl", "reload", UNIT),
        "an upgrade": lambda: machine.install(package),
    }
    for what, change in changes.items():
        before, since = machine.shows("MainPID"), machine.shows("ActiveEnterTimestampMonotonic")
        callers = Callers(machine)
        change()
        check(f"{what} begins another process", machine.shows("MainPID") not in (before, "0"))
        check(f"{what} is no restart", machine.shows("ActiveEnterTimestampMonotonic") == since)
        wait_for(f"after {what} the process before ends", functools.partial(machine.has_no, before))
        check(f"{what} refuses no connection", callers.end())


def mistakes_and_hangs_are_noticed(machine: Machine) -> None:
    before = machine.shows("MainPID")
    right = machine.configure("hst = 1\n")
    machine.run("systemctl", "reload", UNIT, fails=True)
    check("a reload with a mistake in the file fails, and the room goes on", machine.shows("MainPID") == before)
    machine.run("systemctl", "restart", UNIT, fails=True)
    check("a start with a mistake in the file has failed", machine.shows("ExecMainStatus") == "2")
    machine.configure(right)
    machine.run("mkdir", "-p", f"/run/systemd/system/{UNIT}.service.d")
    machine.run("sh", "-c", f"printf '[Service]\nWatchdogSec=5\n' >/run/systemd/system/{UNIT}.service.d/watchdog.conf")
    machine.run("systemctl", "daemon-reload")
    machine.run("systemctl", "restart", UNIT)
    before = machine.shows("MainPID")
    machine.run("systemctl", "reload", UNIT)
    wait_for("a successor is alone", functools.partial(machine.has_no, before))
    machine.run("sh", "-c", f"kill -STOP {machine.shows('MainPID')}")
    wait_for("a successor that hangs is started anew", lambda: machine.shows("NRestarts") not in ("", "0"))
    wait_for("and is ready again", lambda: machine.shows("ActiveState") == "active")


def systemd_binds_its_ports(machine: Machine) -> None:
    machine.run("systemctl", "stop", UNIT)
    check("SIGTERM ended the room in order", machine.shows("Result") == "success")
    machine.run("systemctl", "start", f"{UNIT}.socket")
    check("the socket alone begins no room", machine.shows("ActiveState") == "inactive")
    machine.run("python3", "-c", f"import socket; socket.create_connection(('::1', {PORT}), 30)")
    wait_for("a connection does", lambda: machine.shows("StatusText") == f"listening on port {PORT}")
    said = machine.run("journalctl", "--unit", UNIT, "--boot", "--output=cat", "--lines=30")
    check("the room has both UDP ports by it", f"UDP      {PORT}, {PORT + 1}" in said)


def it_is_removed(machine: Machine) -> None:
    machine.run("dpkg", "--remove", "ssbfast")
    check("nothing of it runs any more", machine.run("find", "/proc", "-maxdepth", "1", "-user", "ssbfast") == "")
    check("options and data are kept", machine.has(CONFIG) and machine.has(f"{DATA}/secret"))
    check("the programs are not", not machine.has("/usr/bin/ssbfast") and not machine.has("/usr/lib/ssbfast"))
    said = machine.run("dpkg", "--purge", "ssbfast")
    check("purging removes the options", not machine.has("/etc/ssbfast"))
    check("and tells that the room's secret stays", DATA in said and machine.has(f"{DATA}/secret"))


def main() -> int:
    if missing := [name for name in TOOLS if shutil.which(name) is None]:
        print(
            f"deb: needs {', '.join(missing)} (apt install mmdebstrap debhelper lintian iproute2 procps)",
            file=sys.stderr,
        )
        return 2
    if os.geteuid() != 0:
        print("deb: needs root, for a Debian that runs in namespaces", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory() as folder:
        try:
            package = build(Path(folder))
            with booted(Path(folder)) as machine:
                it_installs(machine, package)
                it_runs(machine)
                it_goes_on(machine, package)
                mistakes_and_hangs_are_noticed(machine)
                systemd_binds_its_ports(machine)
                it_is_removed(machine)
        except Failure as failure:
            print(f"deb: FAILED: {failure}", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
