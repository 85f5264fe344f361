"""go-ssb-room as a child of the benchmarks: started with a key and ports of ours, ended with standard input.

    python -m benchmarks.go_room SERVER-BINARY DIRECTORY

It says where it listens, and the server's process id, in one line of JSON. The flags are those of its
cmd/server/main.go.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

from benchmarks.children import NETWORK
from ssbfast.keys import Keypair, load_secret

START_SECONDS: Final = 20.0


def free_port() -> int:
    """A port of this machine that nobody listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def command(program: str, directory: Path, port: int) -> list[str]:
    """How the server is started: open mode, our network, nothing shared with another one on this machine."""
    return [
        *(program, "-repo", str(directory), "-shscap", base64.b64encode(NETWORK.key).decode(), "-mode", "open"),
        *("-lismux", f"127.0.0.1:{port}", "-lishttp", f"127.0.0.1:{free_port()}", "-dbg", ""),
        *("-https-domain", "localhost", "-nounixsock"),
    ]


def identity(directory: Path) -> Keypair:
    """The server's key: it takes the one that it finds in its directory."""
    directory.mkdir(parents=True, exist_ok=True)
    return load_secret(directory / "secret", create=True)


def _listens(port: int, process: subprocess.Popen[bytes]) -> bool:
    """Wait until the server takes connections; False when it has ended or takes too long."""
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end and process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return True
        time.sleep(0.05)
    return False


def main(args: list[str]) -> int:
    program, directory = args[0], Path(args[1])
    me, port = identity(directory), free_port()
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen(command(program, directory, port), stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        if not _listens(port, process):
            tail = (directory / "log").read_bytes()[-500:].decode("utf-8", "replace")
            print(f"go-ssb-room did not start: {tail}", file=sys.stderr)
            return 1
        address = f"net:127.0.0.1:{port}~shs:{base64.b64encode(me.id.key).decode()}"
        print(json.dumps({"event": "ready", "address": address, "pid": process.pid}), flush=True)
        while os.read(0, 4096):
            pass
    finally:
        process.kill()
        process.wait()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
