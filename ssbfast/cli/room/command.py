"""`ssbfast room`: it runs the room, unless one of its commands is given."""

from __future__ import annotations

from typing import Any, Final

import click
from click.core import ParameterSource

from ssbfast.cli.config_file import loaded_config
from ssbfast.cli.lazy_group import LazyGroup
from ssbfast.cli.room.run import run

COMMANDS: Final = {
    "members": ("members", "List members; add and remove them, change their roles."),
    "invite": ("invites", "Make invites, list them, revoke them."),
    "alias": ("aliases", "List aliases, and revoke them."),
    "deny": ("denied", "List blocked keys; block and unblock keys."),
    "mode": ("settings", "Show or change the privacy mode."),
    "settings": ("settings", "Show or change name, language and other settings."),
    "config": ("config", "Check the file of options, and show what is set."),
    "login-link": ("links", "Make a link that signs a member in on the web site, once."),
    "status": ("live", "Show how a running room does."),
    "attendants": ("live", "List the peers that can be reached through a running room."),
    "tunnels": ("live", "List the tunnels of a running room."),
    "limits": ("limits", "List what peers may hold and spend, and how often each limit was reached."),
    "top": ("top", "Show the tunnels of a running room, those that carry most bytes a second first, and go on."),
    "drain": ("live", "End a running room: it takes no connections any more, and waits for its tunnels."),
    "restart": ("live", "Start a running room anew, without refusing a connection."),
    "audit": ("audit", "Show who changed what."),
    "backup": ("archive", "Write all that a room keeps into one file."),
    "restore": ("archive", "Bring a room back from such a file."),
    "import-go": ("import_go", "Take over a room of go-ssb-room."),
}
"""Every command of a room: the module that has it, and what `--help` says."""

_SECTIONS: Final = {
    "Where it is reached": ("listen", "host", "udp", "no_udp", "name"),
    "Web site": (
        "web", "web_url", "trust_proxy", "tls_cert", "tls_key", "tls", "http",
        "acme_directory", "acme_email", "acme_ca",
    ),
    "Operation": ("metrics", "metrics_token_file", "log", "log_addresses", "drain_seconds", "take_over"),
    "Who may do what": ("admin", "limit", "allow_address"),
}  # fmt: skip
"""Options that `--help` shows together, by their names in Python."""

_INHERITED: Final = ("config", "data", "as_json", "network")


def _run_or_not(**options: Any) -> Any:
    """Run the room when no command is given; else let the command have --data and --json."""
    context = click.get_current_context()
    if (config := loaded_config()) is not None and context.invoked_subcommand != "config":
        config.must_be_right()
    if context.invoked_subcommand is None:
        return context.invoke(run, **options)
    for option in context.command.params:
        name = option.name or ""
        if name not in _INHERITED and context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            raise click.UsageError(
                f"{option.opts[0]} is for a room that is to run, without {context.invoked_subcommand!r}"
            )
    return None


room = LazyGroup(
    "room",
    package="ssbfast.cli.room",
    table=COMMANDS,
    sections=_SECTIONS,
    params=run.params,
    help=run.help,
    callback=_run_or_not,
    invoke_without_command=True,
    context_settings=run.context_settings,
    subcommand_metavar="[COMMAND [ARGS]...]",
)
