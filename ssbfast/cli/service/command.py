"""`ssbfast service`: install, status, logs, uninstall."""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import click
from click.core import ParameterSource

from ssbfast.cli.command_group import CommandGroup
from ssbfast.cli.config import share_context
from ssbfast.cli.config_file import is_from_file, loaded_config, user_path
from ssbfast.cli.homes import PEER_DATA
from ssbfast.cli.options import data_flag, data_home, data_option, json_option, say
from ssbfast.cli.service.launchd import Launchd
from ssbfast.cli.service.manager import MARK, CommandLine, Manager, content, name_of, run, write
from ssbfast.cli.service.systemd import Systemd
from ssbfast.cli.share import CONFIG, planned
from ssbfast.cli.standard_error import warn
from ssbfast.errors import BadInputError, SSBError
from ssbfast.pasted.web_links import InviteLink

_INSTALL: Final = "ssbfast service install"

_UNSEEN: Final = ("SSBFAST_PEER_", "SSBFAST_NETWORK_KEY")
"""Beginning of the names in the environment that say what is shared."""

_dry_run_option = click.option("--dry-run", is_flag=True, help="Show the file and the commands; change nothing.")


def find_manager(name: str, platform: str = sys.platform) -> Manager:
    """Return the manager of the service of this name. Raises BadInputError on systems of which we know none."""
    if platform == "win32":
        raise BadInputError(
            "ssbfast is no service on Windows; to start it at log-on, once: schtasks /Create /SC ONLOGON /TN ssbfast"
            ' /TR "ssbfast share --no-ticket"'
        )
    return Launchd(name) if platform == "darwin" else Systemd(name)


@click.group("service", cls=CommandGroup)
def service() -> None:
    """Have `ssbfast share` run by itself, from each login on: by systemd, or launchd on macOS.

    \b
    Examples:
      ssbfast service install
      ssbfast service status
      ssbfast service logs --follow
      ssbfast service uninstall
    """


@service.command("install")
@click.option("--config", type=click.Path(path_type=Path), metavar="FILE", help="Its options; default: your peer.toml.")
@data_option
@click.option("--force", is_flag=True, help="Replace a service of this name that is another.")
@_dry_run_option
@json_option
def install(config: Path | None, data: Path, force: bool, dry_run: bool, as_json: bool) -> None:
    """Install `ssbfast share` as a service of this user, and start it. Each --data has a service of its own.

    Its options stand in a file: see `ssbfast config`. It makes no ticket, which would stand in the log: run `ssbfast
    ticket` for one.

    \b
    Examples:
      ssbfast service install --dry-run
      ssbfast service install --config ~/ssbfast/git.toml --data ~/ssbfast/git
    """
    manager = find_manager(name_of(data, data_home("peer")))
    command, ticket = _shared(config, data)
    text = manager.text(command)
    before = content(manager.file)
    is_replaced = before not in (None, text)
    if is_replaced and not force:
        raise BadInputError(f"there is another {manager.file}; --force replaces it")
    first = manager.before_change() if before is not None else []
    commands = manager.after_write(is_replaced=is_replaced)
    if dry_run:
        _show(manager.file, text, [*first, *commands], as_json=as_json)
        return
    manager.check()
    _begin(manager.file, text, first, commands, data_flag(data))
    advice = manager.advice()
    event = {"event": "service_installed", "file": str(manager.file), "written": before != text, "advice": advice}
    start = "the machine's start" if advice is None else "each login"
    lines = [f"{'Wrote' if before != text else 'As it was:'} {manager.file}", f"It runs now, and from {start} on."]
    lines += [] if advice is None else [advice]
    lines += [
        f"After a change of its options:   {shlex.join(manager.reload)}",
        f"Let someone in:   {ticket}",
    ]
    say(event, "\n".join(lines), as_json=as_json)


@service.command("status")
@data_option
@json_option
def status(data: Path, as_json: bool) -> int:
    """Show whether the service runs. Exit code 0 when it does, 1 when it does not.

    \b
    Example:
      ssbfast service status
    """
    manager = find_manager(name_of(data, data_home("peer")))
    if content(manager.file) is None:
        event: dict[str, Any] = {
            "event": "service_state",
            "installed": False,
            "active": False,
            "state": None,
            "pid": None,
        }
        say(event, f"Not installed. Next: {_INSTALL}{data_flag(data)}", as_json=as_json)
        return 1
    manager.check()
    state = manager.state()
    event = {
        "event": "service_state",
        "installed": True,
        "active": state.is_active,
        "state": state.text,
        "pid": state.pid,
    }
    process = "" if state.pid is None else f", pid {state.pid}"
    say(event, f"{state.text}{process}\n{manager.file}", as_json=as_json)
    return 0 if state.is_active else 1


@service.command("logs")
@click.option("--lines", type=click.IntRange(0), default=100, show_default=True, metavar="N", help="The newest lines.")
@click.option("--follow", is_flag=True, help="Go on with what comes, until Ctrl-C.")
@data_option
def logs(lines: int, follow: bool, data: Path) -> int:
    """Show what the service has printed.

    \b
    Examples:
      ssbfast service logs --lines 20
      ssbfast service logs --follow
    """
    manager = find_manager(name_of(data, data_home("peer")))
    if content(manager.file) is None:
        raise BadInputError(f"there is no {manager.file}; next: {_INSTALL}{data_flag(data)}")
    manager.check()
    command = manager.logs(lines, follow=follow)
    sys.stdout.flush()
    try:
        return min(subprocess.call(command, stdin=subprocess.DEVNULL), 1)
    except OSError as error:
        raise SSBError(f"{command[0]}: {(error.strerror or type(error).__name__).lower()}") from None


@service.command("uninstall")
@data_option
@_dry_run_option
@json_option
def uninstall(data: Path, dry_run: bool, as_json: bool) -> None:
    """End the service, and remove what `install` wrote: no more. Contacts, identity and options stay.

    \b
    Example:
      ssbfast service uninstall
    """
    manager = find_manager(name_of(data, data_home("peer")))
    text = content(manager.file)
    if text is not None and MARK not in text:
        raise BadInputError(f"{manager.file} was not written by `{_INSTALL}`: it stays")
    before, after = manager.before_removal(), manager.after_removal()
    if text is not None and dry_run:
        _show(None, "", [*before, ("rm", str(manager.file)), *after], as_json=as_json)
        return
    if text is not None:
        manager.check()
        for one in before:
            try:
                run(one)
            except SSBError as error:
                warn(str(error))  # it did not run
        manager.file.unlink()
        for one in after:
            run(one)
    event = {"event": "service_uninstalled", "file": str(manager.file), "removed": text is not None}
    say(event, f"Removed {manager.file}" if text is not None else "There is no service.", as_json=as_json)


def _begin(file: Path, text: str, first: list[CommandLine], commands: list[CommandLine], flag: str) -> None:
    """Write the file and run commands, those before that as far as they succeed. Raises SSBError, OSError.

    flag: for commands that are advised.
    """
    for one in first:
        with contextlib.suppress(SSBError):
            run(one)
    if content(file) != text:
        write(file, text)
    try:
        for one in commands:
            run(one)
    except SSBError as error:
        raise SSBError(f"{error}; see: ssbfast service logs{flag}") from error


def _shared(config: Path | None, data: Path) -> tuple[list[str], str]:
    """Return the command of the service, and the one for a ticket. Raises BadInputError, click.ClickException."""
    path = (config or user_path(CONFIG)).absolute()
    if not path.exists():
        raise BadInputError(f"there is no {path}, which says what the service shares; see: ssbfast config --help")
    unseen = [name for name in os.environ if name.startswith(_UNSEEN) and name != PEER_DATA and os.environ[name]]
    if unseen:
        raise BadInputError(f"the service would not see {unseen[0]}: unset it, and write that into {path}")
    options = ["--config", str(path)]
    of_peer = ["--data", str(data.absolute())]
    is_given = click.get_current_context().get_parameter_source("data") is ParameterSource.COMMANDLINE
    context = share_context(*options, *(of_peer if is_given else ()))
    with context.scope(cleanup=False):
        planned()
        loaded = loaded_config()
    if any(isinstance(room, InviteLink) for room in context.params["rooms"]):
        raise BadInputError(
            f"an invite is used up at the first start: claim it by `ssbfast share`, which says what {path} needs"
        )
    if not is_from_file(context, "data"):
        options += of_peer  # said in full: it depends on the environment
    rooms = loaded.settings["rooms"].value if loaded is not None else None
    room = str(rooms[0]) if isinstance(rooms, list) else "ROOM"
    ticket = f"ssbfast ticket --room {shlex.quote(room)}{data_flag(context.params['data'])}"
    return [*_program(), "share", *options, "--no-ticket"], ticket


def _program() -> list[str]:
    """Return what runs ssbfast, wherever that begins."""
    script = shutil.which(sys.argv[0]) if Path(sys.argv[0]).name == "ssbfast" else None
    return [sys.executable, "-m", "ssbfast"] if script is None else [os.path.abspath(script)]


def _show(file: Path | None, text: str, commands: list[CommandLine], *, as_json: bool) -> None:
    """Show what would be written and run."""
    lines = [] if file is None else [f"# {file}", text]
    lines += map(shlex.join, commands)
    event = {
        "event": "dry_run",
        "file": None if file is None else str(file),
        "text": text,
        "commands": [list(one) for one in commands],
    }
    say(event, "\n".join(lines), as_json=as_json)
