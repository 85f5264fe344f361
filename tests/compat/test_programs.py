"""Whole programs in the style of each generation, their imports untouched: `ssbfast.install()` is all they are given.

They run in fresh interpreters, plain, under `-O`, and with every warning an error.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from base64 import b64encode
from pathlib import Path

import pytest
from nacl.signing import SigningKey

from tests.helpers.compat import NOT_SLOW

ROOT = Path(__file__).parent.parent.parent

CHECK = """
def check(good, what):
    if not good:
        raise SystemExit("wrong: %s" % (what,))
"""

SERVER = """
import struct
from asyncio import Event, ensure_future
from secret_handshake import SHSServer
from ssb.packet_stream import PacketStream, PSMessageType
from ssb.util import load_ssb_secret

BLOB = bytes(range(256)) * 100
gone = Event()
seen = []

async def on_connect(conn):
    stream = PacketStream(conn)
    pings = set()
    async for msg in stream:
        if msg.req in pings:
            seen.append((msg.body, msg.end_err))
            if not msg.end_err:
                stream.send(msg.body, msg_type=PSMessageType.BUFFER, stream=True, req=-msg.req)
            continue
        name = ".".join(msg.body["name"])
        if name == "whoami":
            stream.send({"id": load_ssb_secret()["id"]}, req=-msg.req)
        elif name == "createHistoryStream":
            for sequence in range(msg.body["args"][0]["seq"], 4):
                stream.send({"value": {"sequence": sequence}}, stream=True, req=-msg.req)
            stream.send(True, stream=True, end_err=True, req=-msg.req)
        elif name == "blobs.get":
            for at in range(0, len(BLOB), 10000):
                stream.send(BLOB[at:at + 10000], msg_type=PSMessageType.BUFFER, stream=True, req=-msg.req)
            stream.send(True, stream=True, end_err=True, req=-msg.req)
        elif name == "createLogStream":
            for n in range(200):
                stream.send({"key": n, "value": "x" * 4096}, stream=True, req=-msg.req)
            stream.send(True, stream=True, end_err=True, req=-msg.req)
        elif name == "get":
            stream.send(msg.body["args"][0], req=-msg.req)
        elif name == "gossip.ping":
            pings.add(msg.req)
        else:
            error = {"name": "Error", "message": "no such method", "stack": ""}
            stream.send(error, stream=msg.stream, end_err=True, req=-msg.req)
    gone.set()
"""

OF_2019 = """
import asyncio, hashlib
from asyncio import get_event_loop, gather, ensure_future
from secret_handshake.network import SHSClient
from ssb.muxrpc import MuxRPCAPI, MuxRPCAPIException

api = MuxRPCAPI()

@api.define('createHistoryStream')
def create_history_stream(connection, msg):
    print('create_history_stream', msg)

async def client_program(client):
    found = []
    async for msg in api.call('createHistoryStream', [{'id': 'x', 'seq': 1, 'live': False}], 'source'):
        found.append(msg.body)
    check(found == [{'value': {'sequence': n}} for n in (1, 2, 3)] + [True], found)
    async for msg in api.call('createLogStream', [], 'source'):
        if msg.body is not True:
            author = await api.call('get', [msg.body['key']], 'async')
            check(author.body == msg.body['key'], author)
    msg = await api.call('whoami', [], 'sync')
    check(msg.body['id'] == load_ssb_secret()['id'], msg)
    try:
        await api.call('nothing', [], 'sync')
    except MuxRPCAPIException as e:
        check(str(e) == 'no such method', e)
    else:
        check(False, 'no error')
    handler = api.call('gossip.ping', [], 'duplex')
    handler.send(struct.pack('l', 5), msg_type=PSMessageType.BUFFER)
    async for msg in handler:
        check(msg.data == struct.pack('l', 5), msg)
        handler.send(True, end=True)
        break
    data = b''
    async for msg in api.call('blobs.get', ['&x'], 'source'):
        if msg.type.name == 'BUFFER':
            data += msg.data
        if msg.type.name == 'JSON' and msg.data == b'true':
            check(hashlib.sha256(data).digest() == hashlib.sha256(BLOB).digest(), len(data))
    client.disconnect()

async def connected():
    print('connected')

async def main():
    keypair = load_ssb_secret()['keypair']
    server = SHSServer('127.0.0.1', 0, keypair)
    server.on_connect(on_connect)
    await server.listen()
    port = server.server.sockets[0].getsockname()[1]
    client = SHSClient('127.0.0.1', port, keypair, bytes(keypair.verify_key))
    client.on_connect(connected)
    packet_stream = PacketStream(client)
    await client.open()
    api.add_connection(packet_stream)
    await gather(ensure_future(api), client_program(client))
    await gone.wait()
    check(seen == [(struct.pack('l', 5), False), (True, True)], seen)
    server.disconnect()
    await asyncio.sleep(0.05)

loop = asyncio.new_event_loop()
loop.run_until_complete(main())
loop.close()
print('well')
"""

OF_2023 = """
import asyncio
from asyncio import ensure_future, gather
from typing import Any, List, Optional
from nacl.signing import SigningKey
from secret_handshake.network import SHSClient, SHSDuplexStream
from ssb.muxrpc import MuxRPCAPI, MuxRPCAPIException, MuxRPCRequest
from ssb.packet_stream import PSMessage
from ssb.util import SSBSecret

api = MuxRPCAPI()

@api.define("blobs.createWants")
def create_wants(connection: PacketStream, msg: MuxRPCRequest) -> None:
    print("create_wants", msg)

async def client_program() -> None:
    bodies: List[Any] = []
    msg: Optional[PSMessage]
    async for msg in api.call("createHistoryStream", [{"id": "x", "seq": 2, "live": False}], "source"):
        bodies.append(msg.body)
    check(bodies == [{"value": {"sequence": n}} for n in (2, 3)] + [True], bodies)
    async for msg in api.call("createLogStream", [], "source"):
        if msg.body is not True:
            author = await api.call("get", [msg.body["key"]], "async").get_response()
            check(author.body == msg.body["key"], author)
    response_handler = api.call("whoami", [], "sync")
    response = await response_handler.get_response()
    check(response.body["id"] == load_ssb_secret()["id"], response)
    try:
        await api.call("nothing", [], "sync").get_response()
    except MuxRPCAPIException as e:
        check(str(e) == "no such method", e)
    else:
        check(False, "no error")
    handler = api.call("gossip.ping", [], "duplex")
    handler.send(b"12345678", msg_type=PSMessageType.BUFFER)
    msg = await handler.__anext__()
    check(msg.data == b"12345678", msg)
    handler.send(True, end=True)
    data = b"".join([m.data async for m in api.call("blobs.get", ["&x"], "source") if m.type.name == "BUFFER"])
    check(data == BLOB, len(data))

async def connected(client: SHSDuplexStream) -> None:
    check(client.is_connected, "a client that is connected")

async def main(keypair: SigningKey) -> None:
    server = SHSServer("127.0.0.1", 0, keypair)
    server.on_connect(on_connect)
    await server.listen()
    port = server.server.sockets[0].getsockname()[1]
    client = SHSClient("127.0.0.1", port, SigningKey.generate(), bytes(keypair.verify_key))
    client.on_connect(connected)
    await client.open()
    packet_stream = PacketStream(client)
    api.add_connection(packet_stream)
    pump = ensure_future(api.process_messages())
    await client_program()
    client.close()
    await gather(pump, gone.wait())
    server.close()
    await asyncio.sleep(0.05)

secret: SSBSecret = load_ssb_secret()
asyncio.run(main(secret["keypair"]))
print("well")
"""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home directory with the secret of an ssb server."""
    key = SigningKey.generate()
    public = b64encode(bytes(key.verify_key)).decode() + ".ed25519"
    private = b64encode(bytes(key) + bytes(key.verify_key)).decode() + ".ed25519"
    secret = {"curve": "ed25519", "public": public, "private": private, "id": "@" + public}
    (tmp_path / ".ssb").mkdir()
    (tmp_path / ".ssb" / "secret").write_text("# this is your SECRET name.\n\n" + json.dumps(secret, indent=2))
    return tmp_path


@pytest.mark.parametrize("backend", ["", "pure"], ids=["native", "pure"])
@pytest.mark.parametrize("flags", [(), ("-O", "-W", "error", "-X", "dev")], ids=["plain", "strict"])
@pytest.mark.parametrize("package", ["ssb", "ssb_client"])
@pytest.mark.parametrize("program", [OF_2019, OF_2023], ids=["2019", "2023"])
def test_programs_run_unchanged(program: str, package: str, flags: tuple[str, ...], backend: str, home: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "HOME": str(home), "USERPROFILE": str(home)}
    if backend:
        environment["SSBFAST_BACKEND"] = backend
    text = NOT_SLOW + CHECK + "import ssbfast; ssbfast.install()\n"
    text += (SERVER + program).replace("from ssb.", f"from {package}.")
    command = [sys.executable, *flags, "-c", text]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
    assert done.stdout.splitlines()[-1] == "well"
