"""Where commands keep their things. Only `os` is imported here: a command that has to begin fast reads it, too."""

import os

PEER_DATA = "SSBFAST_PEER_DATA"
"""The variable that names the directory of a peer."""


def home_of(program: str) -> str:
    """Return where a program keeps its things; it begins with ~ where this user has no home.

    The room and the peer are apart, else the room would be its own peer.
    """
    home = os.environ.get("LOCALAPPDATA" if os.name == "nt" else "XDG_DATA_HOME", "")
    base = home if os.path.isabs(home) else os.path.expanduser(os.path.join("~", ".local", "share"))
    return os.path.join(base, "ssbfast", program)
