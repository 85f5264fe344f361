"""The acceptor of connections: what it waits for when it ends."""

from __future__ import annotations

import asyncio
import socket
import ssl

from ssbfast.net.acceptor import Acceptor


async def test_its_end_waits_for_no_handshake_of_tls() -> None:
    listening = socket.create_server(("127.0.0.1", 0))
    entered = asyncio.Event()

    def enter(_sock: socket.socket, _host: str) -> asyncio.Protocol:
        entered.set()
        return asyncio.Protocol()

    acceptor = Acceptor(
        listening,
        enter,
        failed=lambda _: None,
        full=lambda: None,
        tls=ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER),
    )
    with socket.create_connection(listening.getsockname()):
        await entered.wait()
        ending = asyncio.create_task(acceptor.close())
        for _ in range(10):  # turns of the loop: no time passes, and the handshake does not go on
            await asyncio.sleep(0)
        assert ending.done()
        await ending
    await asyncio.wait(acceptor._beginning)
