"""The core as arm64 runs it, in an emulator: NEON and plain C against an arm64 libsodium, every length.

Debian: qemu-user, gcc-aarch64-linux-gnu, libc6-dev-arm64-cross and, after `dpkg --add-architecture arm64`,
libsodium-dev:arm64. SSBFAST_REQUIRE may list qemu.
"""

from __future__ import annotations

import platform
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.c.test_c import CORE, HERE, INCLUDE, PROGRAMS, WARNINGS, run
from tests.helpers.require import require

CC = "aarch64-linux-gnu-gcc"
LIBRARIES = "/usr/lib/aarch64-linux-gnu"
EMULATOR = ["qemu-aarch64", "-L", "/usr/aarch64-linux-gnu", "-E", f"LD_LIBRARY_PATH={LIBRARIES}"]

pytestmark = pytest.mark.skipif(platform.machine() in ("aarch64", "arm64"), reason="test_c.py does it without emulator")


@pytest.fixture(scope="module")
def arm64(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the core compiled for arm64."""
    for tool in (CC, EMULATOR[0]):
        require("qemu", shutil.which(tool) is not None, tool)
    folder = tmp_path_factory.mktemp("arm64")
    probe = folder / "probe.c"
    probe.write_text("#include <sodium.h>\nint main(void) { return sodium_init() < 0; }\n", encoding="utf-8")
    link = [CC, str(probe), "-L", LIBRARIES, "-lsodium", "-o", str(folder / "probe")]
    require("qemu", subprocess.run(link, capture_output=True, check=False).returncode == 0, "libsodium-dev:arm64")
    run([CC, "-std=c11", "-O2", "-c", *WARNINGS, *CORE], folder)
    return folder


@pytest.mark.parametrize("backend", ["neon", "portable"])
@pytest.mark.parametrize("program", PROGRAMS)
def test_program(arm64: Path, program: str, backend: str) -> None:
    if not (arm64 / program).exists():
        objects = [f"{Path(source).stem}.o" for source in CORE]
        source = str(HERE / f"{program}.c")
        flags = ["-std=c11", "-O2", *WARNINGS, *INCLUDE, "-L", LIBRARIES]
        run([CC, *flags, source, *objects, "-lsodium", "-lm", "-o", program], arm64)
    run([*EMULATOR, str(arm64 / program)], arm64, backend)
