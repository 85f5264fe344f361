"""The names of control sockets in a data directory, without any import: commands that have to begin fast use them."""

SOCKET = "listen.socket"
"""Name of the socket of the process that holds the lock."""

PREFIX = "peer-"
SUFFIX = ".socket"
"""How the names of all others begin and end."""

LEND = "lend"
"""What is asked for a connection through a session of the running process (`cli/lending.py`)."""
