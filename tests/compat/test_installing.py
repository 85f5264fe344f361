"""install() and uninstall(): before the program's imports, after them, and against the original where it is."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.compat import NOT_SLOW
from tests.helpers.require import require

ROOT = Path(__file__).parent.parent.parent

FAKE = {
    "secret_handshake/__init__.py": "from secret_handshake.network import SHSClient, SHSServer",
    "secret_handshake/util.py": "def inc_nonce(nonce): return 'theirs'",
    "secret_handshake/boxstream.py": """
from nacl.secret import SecretBox
class BoxStream(object):
    def __init__(self, writer, key, nonce):
        super(BoxStream, self).__init__()
        self.writer, self.key, self.nonce, self.box = writer, key, nonce, SecretBox(key)
    def write(self, data): self.writer.write(b"theirs" + self.nonce)
    def close(self): self.writer.write(b"theirs" + self.nonce)
    def extra(self): return "extra"
class UnboxStream(object):
    def __init__(self, reader, key, nonce):
        self.reader, self.key, self.nonce, self.closed = reader, key, nonce, False
    async def read(self): return b"theirs"
def get_stream_pair(reader, writer, **kwargs): return UnboxStream(reader, b"", b""), BoxStream(writer, b"", b"")
""",
    "secret_handshake/crypto.py": """
class SHSError(Exception): pass
class SHSCryptoBase(object):
    def __init__(self, local_key, network):
        self.local_key, self.application_key = local_key, network
class SHSClientCrypto(SHSCryptoBase):
    def clean(self, new_ephemeral_key=None): raise RuntimeError
class SHSServerCrypto(SHSCryptoBase): pass
""",
    "secret_handshake/network.py": """
from .boxstream import BoxStream, get_stream_pair
from .crypto import SHSServerCrypto
MAIN = bytes.fromhex("d4a1cb88a66f02f8db635ce26441cc5dac1b08420ceaac230839b755845a9ffb")
class SHSClientException(Exception): pass
class SHSDuplexStream(object):
    def __init__(self): self.write_stream = self.read_stream = None; self.is_connected = False
    def write(self, data): self.write_stream.write(data)
class SHSEndpoint(object):
    def __init__(self): self.crypto = None
class SHSServer(SHSEndpoint):
    def __init__(self, host, port, server_kp, application_key=None):
        super(SHSServer, self).__init__()
        self.host, self.port, self.connections = host, port, []
        self.crypto = SHSServerCrypto(server_kp, application_key or MAIN)
    def disconnect(self): raise RuntimeError
class SHSServerConnection(SHSDuplexStream): pass
class SHSClient(SHSDuplexStream, SHSEndpoint):
    def disconnect(self): raise RuntimeError
""",
    "ssb/__init__.py": "",
    "ssb/packet_stream.py": """
from enum import Enum
class PSMessageType(Enum):
    BUFFER = 0; TEXT = 1; JSON = 2
class PSMessage(object): pass
class PacketStream(object): pass
""",
    "ssb/muxrpc.py": """
class MuxRPCAPIException(Exception): pass
class MuxRPCAPI(object):
    def __init__(self): self.handlers, self.connection = {}, None
    def call(self, name, args, type_='sync'): raise RuntimeError
""",
    "ssb/feed/__init__.py": "import a_module_that_is_not_there",
    "ssb/feed/models.py": "",
    "ssb/util.py": "",
}

TALK = """
import asyncio
from nacl.signing import SigningKey
KEY = SigningKey.generate()
def history(connection, request):
    for n in range(request.args[0]):
        connection.send({"n": n, "text": "x" * 4096}, stream=True, req=-request.req)
    connection.send(True, stream=True, end_err=True, req=-request.req)
async def talk(
    SHSClient, SHSServer, SHSClientException, MuxRPCAPI, MuxRPCAPIException, PacketStream, PSMessageType, key=KEY
):
    server = SHSServer("127.0.0.1", 0, key)
    async def on_connect(connection):
        api = MuxRPCAPI()
        api.define("add")(lambda connection, request: sum(request.args))
        api.define("history")(history)
        api.add_connection(PacketStream(connection))
        await api
    server.on_connect(on_connect)
    await server.listen()
    port = server.server.sockets[0].getsockname()[1]
    client = SHSClient("127.0.0.1", port, SigningKey.generate(), bytes(key.verify_key))
    await client.open()
    assert type(client.write_stream).__name__ == "BoxStream"
    stream = PacketStream(client)
    api = MuxRPCAPI()
    api.add_connection(stream)
    pump = asyncio.ensure_future(api)
    answer = await api.call("add", [1, 2])
    assert answer.body == 3 and answer.type == PSMessageType.JSON and answer.type is PSMessageType.JSON
    count = 0
    async for message in api.call("history", [200], "source"):
        if message.body is not True:
            answer = await asyncio.wait_for(api.call("add", [count, 1]).get_response(), 20)
            count = answer.body
    if count != 200:
        raise RuntimeError("a call inside of a loop was not answered")
    try:
        await api.call("nope", [])
    except MuxRPCAPIException:
        pass
    else:
        raise RuntimeError("no error")
    client.crypto.verify_server_challenge = lambda data: False
    try:
        await client.open()
    except SHSClientException:
        pass
    else:
        raise RuntimeError("no error")
    client.disconnect()
    await pump
    server.disconnect()
    await asyncio.sleep(0.01)
"""

FRESH = (
    TALK
    + """
import sys, ssbfast
assert not [name for name in sys.modules if name.startswith("ssbfast.compat")]
ssbfast.install(); ssbfast.install()
from secret_handshake import SHSClient, SHSServer
from secret_handshake.network import SHSClientException
import secret_handshake.boxstream, secret_handshake.crypto, secret_handshake.util
import ssb.feed.models, ssb.util, ssb_client.packet_stream
from ssb.muxrpc import MuxRPCAPI, MuxRPCAPIException
from ssb_client.packet_stream import PacketStream, PSMessageType
import ssb.packet_stream
assert ssb.packet_stream.PacketStream is PacketStream
assert SHSClient.__module__ == "ssbfast.compat.secret_handshake.network"
asyncio.run(talk(SHSClient, SHSServer, SHSClientException, MuxRPCAPI, MuxRPCAPIException, PacketStream, PSMessageType))
ssbfast.uninstall(); ssbfast.uninstall()
assert not [name for name in sys.modules if name.partition(".")[0] in ("secret_handshake", "ssb", "ssb_client")]
try:
    import secret_handshake
except ImportError:
    print("gone")
else:
    print(secret_handshake.__file__)
"""
)

EARLY = (
    TALK
    + """
import sys
from secret_handshake import SHSClient, SHSServer
from secret_handshake.network import SHSClientException, BoxStream, SHSServerConnection
from secret_handshake.boxstream import UnboxStream
from ssb.muxrpc import MuxRPCAPI, MuxRPCAPIException
from ssb.packet_stream import PacketStream, PSMessageType
import ssbfast
class Writer:
    data = b""
    def write(self, data): self.data += data
living = BoxStream(Writer(), b"k" * 32, b"n" * 24)
server, apis = SHSServer("127.0.0.1", 0, KEY), [MuxRPCAPI(), MuxRPCAPI()]
before = {cls: dict(vars(cls)) for cls in (BoxStream, UnboxStream, SHSClient, SHSServer, MuxRPCAPI, PacketStream)}
ssbfast.install(); ssbfast.install()
import secret_handshake.boxstream
assert secret_handshake.boxstream.BoxStream is BoxStream and secret_handshake.network.BoxStream is BoxStream
assert secret_handshake.util.inc_nonce(bytes(24)) == bytes(23) + b"\\1"
import ssb.feed
assert ssb.feed.__name__ == "ssbfast.compat.ssb.feed", "what cannot be imported is ours"
living.write(b"foo")
assert living.writer.data == ssbfast.native.Sealer(b"k" * 32, b"n" * 24).seal(b"foo") and living.extra() == "extra"
rest = MuxRPCAPIException, PacketStream, PSMessageType
asyncio.run(talk(SHSClient, SHSServer, SHSClientException, MuxRPCAPI, *rest))
asyncio.run(talk(SHSClient, lambda *_: server, SHSClientException, apis.pop, *rest))  # made before install()
assert not apis
ssbfast.uninstall()
assert {cls: dict(vars(cls)) for cls in before} == before
assert secret_handshake.util.inc_nonce(b"") == "theirs" and "ssb.feed" not in sys.modules and not hasattr(ssb, "feed")
other = BoxStream(Writer(), b"k" * 32, b"n" * 24)
other.write(b"foo")
assert other.writer.data == b"theirs" + b"n" * 24
sent = living.writer.data
try:
    living.write(b"bar")
except AttributeError:
    assert living.writer.data == sent
else:
    raise RuntimeError("a nonce was used twice")
from ssbfast.compat.ssb import packet_stream
assert packet_stream.PSMessageType is not PSMessageType and packet_stream.PSMessageType.__module__.startswith("ssbfast")
ssbfast.install(); ssbfast.uninstall()
print("well")
"""
)

ORIGINAL = (
    TALK
    + """
import asyncio, sys
from nacl.signing import SigningKey
from secret_handshake import SHSClient, SHSServer
from secret_handshake.boxstream import BoxStream
from secret_handshake.network import SHSClientException
from ssb_client.muxrpc import MuxRPCAPI, MuxRPCAPIException
from ssb_client.packet_stream import PacketStream, PSMessageType
assert not BoxStream.__module__.startswith("ssbfast") and not PacketStream.__module__.startswith("ssbfast")
theirs = BoxStream.write
server, apis = SHSServer("127.0.0.1", 0, KEY), [MuxRPCAPI(), MuxRPCAPI()]
client = SHSClient("127.0.0.1", 0, SigningKey.generate(), bytes(KEY.verify_key))
class Writer:
    data = b""
    def write(self, data): self.data += data
living, whole = BoxStream(Writer(), b"k" * 32, b"n" * 24), BoxStream(Writer(), b"k" * 32, b"n" * 24)
for stream in (living, whole):
    stream.write(b"one")
whole.write(b"two")
import ssbfast
ssbfast.install()
assert BoxStream.write is not theirs
async def main():
    key = SigningKey.generate()
    server = SHSServer("127.0.0.1", 0, key)
    async def on_connect(connection):
        async for message in connection:
            connection.write(message)
    server.on_connect(on_connect)
    await server.listen()
    port = server.server.sockets[0].getsockname()[1]
    clients = [SHSClient("127.0.0.1", port, SigningKey.generate(), bytes(key.verify_key)) for _ in range(20)]
    await asyncio.gather(*(client.open() for client in clients))
    for number, client in enumerate(clients):
        client.write(b"%d" % number)
        assert await client.read() == b"%d" % number
        client.disconnect()
    server.disconnect()
    await asyncio.sleep(0.01)
asyncio.run(main())
def made_before(host, port, me, key):
    client.port = port
    return client
rest = MuxRPCAPIException, PacketStream, PSMessageType
asyncio.run(talk(SHSClient, SHSServer, SHSClientException, MuxRPCAPI, *rest))
asyncio.run(talk(made_before, lambda *_: server, SHSClientException, apis.pop, *rest))
living.write(b"two")
assert living.writer.data == whole.writer.data
ssbfast.uninstall()
assert BoxStream.write is theirs
try:
    living.write(b"three")
except AttributeError:
    assert living.writer.data == whole.writer.data
else:
    raise RuntimeError("a nonce was used twice")
print("well")
"""
)


def run(program: str, *paths: Path | str, flags: tuple[str, ...] = ()) -> str:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (ROOT, *paths)))}
    command = [sys.executable, "-X", "dev", "-W", "error::ResourceWarning", *flags, "-c", NOT_SLOW + program]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment, check=False)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
    return done.stdout.strip()


@pytest.fixture
def fake(tmp_path: Path) -> Path:
    """Packages with the names and shapes of the originals, and nothing of theirs."""
    for name, text in FAKE.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def test_we_ship_nothing_under_their_names() -> None:
    """Who installs an original beside us gets the original."""
    for name in ("secret_handshake", "ssb", "ssb_client"):
        assert not (ROOT / name).exists()
        found = importlib.util.find_spec(name)
        assert found is None or not str(found.origin).startswith(str(ROOT / "ssbfast"))


def test_before_the_programs_imports() -> None:
    assert run(FRESH)  # "gone", or the place of an original that is installed


def test_before_the_imports_with_the_package_on_the_path(fake: Path) -> None:
    assert run(FRESH, fake).startswith(str(fake))


def test_after_the_programs_imports(fake: Path) -> None:
    assert run(EARLY, fake) == "well"


def test_with_the_original() -> None:
    """SSBFAST_PEERS: a directory with the original `secret_handshake`, `ssb_client`, and what they need."""
    place = os.environ.get("SSBFAST_PEERS", "")
    require("peers", (Path(place) / "ssb_client").is_dir(), "SSBFAST_PEERS names no directory with ssb_client")
    assert run(ORIGINAL, place) == "well"
    assert run(ORIGINAL.replace("assert ", "pass # "), place, flags=("-O",)) == "well"


OWN = {
    "package": {"ssb/__init__.py": "MINE = 1", "ssb/util.py": "MINE = 2"},
    "one module": {"ssb.py": "MINE = 1"},
    "with a module of the peer's name": {"ssb/__init__.py": "MINE = 1", "ssb/muxrpc.py": "MINE = 2"},
    "without __init__": {"ssb/tools.py": "MINE = 1"},
    "packages without __init__": {"ssb/tools/__init__.py": "MINE = 1"},
}


@pytest.mark.parametrize("imported", ["", "import NAME"], ids=["before", "after"])
@pytest.mark.parametrize("name", ["ssb", "secret_handshake", "ssb_client"])
@pytest.mark.parametrize("files", OWN.values(), ids=OWN)
def test_a_package_of_the_programs_own_is_left_alone(
    files: dict[str, str], name: str, imported: str, tmp_path: Path
) -> None:
    """`ssb` is a good name for a package; who has one and installs us for the other two has to keep it."""
    for path, text in files.items():
        place = tmp_path / path.replace("ssb", name, 1)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)
    names = [path.replace("ssb", name, 1)[:-3].replace("/", ".").removesuffix(".__init__") for path in files]
    others = {"ssb": "muxrpc", "secret_handshake": "network", "ssb_client": "packet_stream"}
    del others[name]
    lines = [
        imported.replace("NAME", name),
        "import importlib, sys, ssbfast; ssbfast.install()",
        f"import {name}; kept = {name}",
        "assert 'ssbfast' not in str(getattr(kept, '__path__', kept.__dict__.get('__file__'))), kept",
        *(f"import {n}.{part} as it; assert it.__name__.startswith('ssbfast')" for n, part in others.items()),
        f"modules = {names}",
        "for module in modules: assert importlib.import_module(module).MINE, module",
        f"assert not {{'{name}.packet_stream', '{name}.boxstream'}} & set(sys.modules) and not hasattr(kept, 'feed')",
        "ssbfast.uninstall()",
        f"assert sys.modules['{name}'] is kept",
        "print('well')",
    ]
    assert run("\n".join(lines), tmp_path) == "well"


@pytest.mark.parametrize("files", [(), ("ssb/log.offset", "ssb/blobs/ab")], ids=["empty", "with data"])
def test_a_directory_is_no_package(files: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "ssb").mkdir()
    for path in files:
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).touch()
    program = "import ssbfast; ssbfast.install()\nimport ssb.muxrpc\nprint(ssb.muxrpc.__name__)"
    assert run(program, tmp_path) == "ssbfast.compat.ssb.muxrpc"


def test_importing_ssbfast_imports_none_of_it() -> None:
    program = "import sys, ssbfast; print([m for m in sys.modules if 'compat' in m and 'ssbfast' in m])"
    assert run(program) == "[]"
