"""The border between C and Python: numbers agree, names exist, memory outlives its users, the backend is chosen."""

from __future__ import annotations

import ast
import gc
import importlib.util
import mmap
import os
import platform
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest

from ssbfast import engine_types, errors, limits, native

core = pytest.importorskip("ssbfast.native.core", reason="the C core is not built")

ROOT = Path(__file__).parent.parent
KEYS: dict[str, Any] = {
    "send_key": bytes(32),
    "send_nonce": bytes(24),
    "receive_key": b"\x01" * 32,
    "receive_nonce": b"\x02" * 24,
}
MIRROR: dict[str, Any] = {
    "send_key": b"\x01" * 32,
    "send_nonce": b"\x02" * 24,
    "receive_key": bytes(32),
    "receive_nonce": bytes(24),
}


@pytest.fixture(autouse=True)
def _c_core() -> None:
    if native.BACKEND == "pure":
        pytest.skip("SSBFAST_BACKEND=pure")


def test_numbers_agree() -> None:
    for status in engine_types.Status:
        assert getattr(core.lib, f"SSB_{status.name}") == status
    for name in ("HEADER", "BODY", "LENGTH", "AFTER", "TYPE", "PACKET", "CLOSED", "MEMORY"):
        assert getattr(core.lib, f"SSB_E_{name}") == getattr(engine_types, f"E_{name}")
    for name in ("EV_PACKET", "EV_CHUNK", "EV_GOODBYE", "STREAM", "END", "TYPE_MASK"):
        assert getattr(core.lib, f"SSB_{name}") == getattr(engine_types, name)
    assert core.lib.SSB_BOX_BODY == limits.BOX_BODY
    assert [name for name, _ in core.ffi.typeof("ssb_limits").fields] == list(native.CoreLimits._fields)


def test_python_is_given_all_of_the_header() -> None:
    header = (ROOT / "csrc" / "ssbfast.h").read_text(encoding="utf-8")
    header = re.sub(r"/\*(?! (?:cdef|opaque)).*?\*/", "", header, flags=re.S)
    functions = set(re.findall(r"\b(ssb_\w+)\((?!\*)", header))
    assert len(functions) > 40
    assert not [name for name in functions if not hasattr(core.lib, name)]


def test_the_stub_names_what_the_library_has() -> None:
    stub = ast.parse((Path(native.__file__).parent.parent / "_native.pyi").read_text(encoding="utf-8"))
    classes = {node.name: node.body for node in stub.body if isinstance(node, ast.ClassDef)}
    defined = [node for node in classes["Lib"] if isinstance(node, ast.FunctionDef)]
    methods = {node.name: len(node.args.posonlyargs) - 1 for node in defined}
    functions = [name for name in dir(core.lib) if name.startswith("ssb_")]
    assert methods == {name: len(core.ffi.typeof(getattr(core.lib, name)).args) for name in functions}
    constants = {ast.unparse(node.target) for node in classes["Lib"] if isinstance(node, ast.AnnAssign)}
    assert constants == set(dir(core.lib)) - set(functions)
    assert {name for name in classes if name.startswith("ssb_")} < set(core.ffi.list_types()[0])
    used = {node.name for node in classes["FFI"] if isinstance(node, ast.FunctionDef)}
    assert used <= set(dir(core.ffi))


def test_every_code_is_an_error() -> None:
    kinds = [type(core.error_of(code)) for code in range(-8, 0)]
    box, packet = errors.BoxStreamError, errors.PacketError
    assert kinds == [errors.LimitError, errors.LocalProtocolError, packet, packet, box, box, box, box]


def test_forgotten_links_give_everything_back() -> None:
    hub = native.Hub(8 << 20)
    link = native.Link(hub, 1, **KEYS)
    lane = native.Lane(link, 1)
    assert lane.write(bytes(100_000))
    assert hub.lent == 25
    del link, lane
    gc.collect()
    assert hub.lent == 0
    assert hub.dirty() == []


def test_a_spliced_lane_lives_as_long_as_its_inlet() -> None:
    hub = native.Hub(8 << 20)
    source, target = native.Link(hub, 1, **KEYS), native.Link(hub, 2, **KEYS)
    native.Inlet(source, 1, native.Lane(target, 5))
    gc.collect()
    far = native.Link(hub, 3, **MIRROR)
    out = native.Lane(far, 1)
    assert out.write(b"hello")
    assert source.receive(bytearray(far.flush()[0])) == (native.Status.OK, [])
    assert target.queued == 5
    target.close()
    assert out.write(b"dropped")
    assert source.receive(bytearray(far.flush()[0])) == (native.Status.OK, [])
    del target, hub
    gc.collect()
    source.close()
    source.close()


def test_a_packet_longer_than_the_shared_event_buffer() -> None:
    hub = native.Hub(16 << 20)
    near, far = native.Link(hub, 1, **KEYS), native.Link(hub, 2, **MIRROR)
    body = os.urandom(700_000)
    assert far.control(2, -1, body)
    got: list[native.Event] = []
    status = native.Status.FULL
    while status == native.Status.FULL:
        data, status = far.flush()
        assert len(data) <= limits.FLUSH_CHUNK
        answer, events = near.receive(bytearray(data))
        assert answer == native.Status.OK
        got += events
    assert got == [(native.EV_PACKET, 2, -1, body)]
    assert hub.lent == 0
    hub.trim()


@pytest.mark.skipif(not hasattr(mmap, "MADV_DONTNEED"), reason="memory cannot be given back here")
def test_a_burst_is_given_back_though_some_of_it_still_waits() -> None:
    process, hub = psutil.Process(), native.Hub(384 << 20)  # a lane may hold a sixteenth of what is left
    links = [native.Link(hub, i, limits=native.CoreLimits(link_backlog=1 << 30), **KEYS) for i in range(3)]
    lanes = [native.Lane(link, 1, 1 << 30) for link in links]
    texts = [os.urandom(16 << 10) for _ in links]
    before = process.memory_info().rss
    for _ in range(1000):  # 48 MiB, a slab of each in turn
        for lane, text in zip(lanes, texts, strict=True):
            assert lane.write(text)
    assert process.memory_info().rss - before > 40 << 20
    waiting = lanes[1].queued
    lanes[0].clear()
    lanes[2].clear()
    lent = hub.lent
    hub.trim()
    assert process.memory_info().rss - before < waiting + (4 << 20)
    assert (hub.lent, lanes[1].queued) == (lent, waiting)
    peer, got, status = native.Opener(KEYS["send_key"], KEYS["send_nonce"]), 0, native.Status.FULL
    while status == native.Status.FULL:
        data, status = links[1].flush()
        for body in peer.open(data):
            assert body[9:] == (texts[1] * 2)[got % len(texts[1]) :][: len(body) - 9]
            got += len(body) - 9
    assert got == waiting
    hub.trim()
    assert hub.lent == 0 and process.memory_info().rss - before < 4 << 20


def test_receive_needs_memory_it_may_write_to() -> None:
    link = native.Link(native.Hub(8 << 20), 1, **KEYS)
    with pytest.raises(BufferError):
        link.receive(memoryview(b"read only"))


def test_no_inlet_across_hubs() -> None:
    one, two = (native.Link(native.Hub(8 << 20), 1, **KEYS) for _ in range(2))
    with pytest.raises(ValueError, match="one hub"):
        native.Inlet(one, 1, native.Lane(two, 1))


def test_repr_shows_no_keys() -> None:
    link = native.Link(native.Hub(8 << 20), 7, **KEYS)
    assert repr(link) == "<Link 7>"
    link.close()
    assert repr(link) == "<Link 7 closed>"


def fresh(backend: str, *options: str, code: str = "print(native.BACKEND)") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *options, "-c", f"from ssbfast import native; {code}"],
        env={**os.environ, "SSBFAST_BACKEND": backend},
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )


def test_the_environment_chooses() -> None:
    assert fresh("pure").stdout == "pure\n"
    assert fresh("libsodium").stdout == "libsodium\n"
    best = fresh("").stdout.strip()
    assert best == native.available()[0]
    assert fresh(best).stdout == f"{best}\n"
    wrong = fresh("quick")
    assert wrong.returncode == 1
    assert "SSBFAST_BACKEND is 'quick'" in wrong.stderr.splitlines()[-1]


KERNELS = ("avx512", "avx2", "sse2", "neon", "portable")


def test_what_is_available() -> None:
    found = native.available()
    assert found[-2:] == ("libsodium", "pure")
    assert list(found[:-2]) == [name for name in KERNELS if name in found]
    known = {"x86_64": "sse2", "amd64": "sse2", "aarch64": "neon", "arm64": "neon"}
    if (own := known.get(platform.machine().lower())) and sys.platform != "win32":
        left_out = os.environ.get("SSBFAST_WITHOUT", "").split(",")
        expected = {own, "portable"} - set(left_out)
        assert expected == {"sse2", "neon", "portable"} & set(found)
    assert fresh("pure", code="print(native.available())").stdout == f"{found}\n"


def test_every_kernel_is_there_or_refused_by_one_line() -> None:
    for name in KERNELS:
        done = fresh(name)
        if name in native.available():
            assert (done.stdout, done.stderr) == (f"{name}\n", "")
        else:
            assert done.returncode == 1
            assert done.stderr.splitlines()[-1].endswith(f"{name!r}, which this machine does not offer")


@pytest.mark.parametrize("name", native.available()[:-2])
def test_a_kernel_that_is_left_out_is_not_there(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything goes on as on a machine without it."""
    monkeypatch.setenv("SSBFAST_WITHOUT", f"{os.environ.get('SSBFAST_WITHOUT', '')},{name}")
    left = tuple(other for other in native.available() if other != name)
    assert fresh("", code="print(native.available())").stdout == f"{left}\n"
    assert fresh("").stdout == f"{left[0]}\n"
    assert fresh(name).stderr.splitlines()[-1].endswith(f"{name!r}, which this machine does not offer")


def test_without_any_kernel_libsodium_works(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSBFAST_WITHOUT", ",".join(KERNELS))
    done = fresh("")
    assert (done.stdout, done.stderr) == ("libsodium\n", "")


@pytest.mark.parametrize("backend", ["", "pure"])
def test_what_is_left_out_has_to_be_a_kernel(backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSBFAST_WITHOUT", "avx512,quick")
    wrong = fresh(backend)
    assert wrong.returncode == 1
    assert "SSBFAST_WITHOUT has 'quick'" in wrong.stderr.splitlines()[-1]


def with_lib(backend: str, method: str) -> subprocess.CompletedProcess[str]:
    """Run a process in which one function of the core is replaced."""
    code = (
        "from ssbfast import _native\n"
        "class Lib:\n"
        "    def __getattr__(self, name): return getattr(real, name)\n"
        f"    {method}\n"
        "real = _native.lib; _native.lib = Lib()\n"
        "from ssbfast import native; print(native.BACKEND)"
    )
    environment = {**os.environ, "SSBFAST_BACKEND": backend}
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False, env=environment
    )


def test_a_machine_without_kernels() -> None:
    method = "def ssb_kernel_init(self, kernel, name): return 1"
    plain = with_lib("", method)
    assert (plain.stdout, plain.stderr) == ("libsodium\n", "")
    for name in KERNELS:
        refused = with_lib(name, method)
        assert refused.returncode == 1
        assert refused.stderr.splitlines()[-1].endswith(f"{name!r}, which this machine does not offer")


@pytest.mark.skipif(native.available()[0] == "libsodium", reason="no kernel runs here")
def test_a_wrong_kernel_is_found_out() -> None:
    """It is replaced by libsodium with a warning; forced, it is an error."""
    method = (
        "count = 0\n"
        "    def ssb_open_many(self, *args):\n"
        "        self.count += 1\n"
        "        return real.ssb_open_many(*args) if self.count < 4 else -1"
    )
    kernel = native.available()[0]
    fallen = with_lib("", method)
    assert fallen.stdout == "libsodium\n", fallen.stderr
    assert f"RuntimeWarning: ssbfast uses libsodium, more slowly: the self-test of {kernel} failed" in fallen.stderr
    forced = with_lib(kernel, method)
    assert forced.returncode == 1
    assert forced.stderr.splitlines()[-1] == f"ImportError: the self-test of {kernel} failed"


def test_pure_does_not_load_the_core() -> None:
    names = "import sys; print(sorted(n for n in sys.modules if n in ('ssbfast._native', 'ssbfast.native.links')))"
    assert fresh("pure", code=names).stdout == "[]\n"


@pytest.mark.parametrize(("backend", "works"), [("", True), ("libsodium", False)])
def test_without_extension(backend: str, works: bool, tmp_path: Path) -> None:
    """No core: announced and pure, unless the core was asked for."""
    code = "import sys; sys.modules['ssbfast._native'] = None; from ssbfast import native; print(native.BACKEND)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "SSBFAST_BACKEND": backend},
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )
    assert (done.returncode == 0) is works
    if works:
        assert done.stdout == "pure\n"
        assert "RuntimeWarning: ssbfast runs without its C core" in done.stderr


ANOTHER_FILE = """
import importlib.util, sys
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == "ssbfast._native":
            return importlib.util.spec_from_file_location(name, sys.argv[1])
sys.meta_path.insert(0, Finder())
from ssbfast import native
print(native.BACKEND)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="other loaders look at a file's length")
@pytest.mark.parametrize("part", [0, 0.0001, 0.001, 0.01, 0.25, 0.5, 0.75, 1])
def test_a_core_that_is_cut_off(part: float, tmp_path: Path) -> None:
    """The loader would end the process."""
    spec = importlib.util.find_spec("ssbfast._native")
    assert spec is not None and spec.origin is not None
    data = Path(spec.origin).read_bytes()
    file = tmp_path / Path(spec.origin).name
    file.write_bytes(data[: int(len(data) * part)])
    command = [sys.executable, "-c", ANOTHER_FILE, str(file)]
    environment = {**os.environ, "SSBFAST_BACKEND": ""}
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, (done.returncode, done.stderr)
    assert (done.stdout != "pure\n") is (part == 1)
    assert ("RuntimeWarning: ssbfast runs without its C core" in done.stderr) is (part < 1)


def test_a_wrong_libsodium_is_found_out() -> None:
    """The self-test stands between a changed PyNaCl and the wire."""
    code = (
        "import nacl._sodium as s; real = s.ffi.addressof\n"
        "class FFI:\n"
        "    def __getattr__(self, name): return getattr(s_ffi, name)\n"
        "    def addressof(self, lib, name): return real(lib, name.replace('_open_easy', '_easy'))\n"
        "s_ffi = s.ffi; s.ffi = FFI()\n"
        "from ssbfast import native; print(native.BACKEND)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "SSBFAST_BACKEND": ""},
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )
    assert done.stdout == "pure\n", done.stderr
    assert "self-test" in done.stderr


def test_import_is_cheap() -> None:
    code = "import sys, ssbfast; print(sorted(n for n in sys.modules if n in ('asyncio', 'ssbfast.native', 'click')))"
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False).stdout
        == "[]\n"
    )
