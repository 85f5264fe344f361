"""What all tests share: backends to choose from, and how thorough the random ones are."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import HealthCheck, settings

from ssbfast import limits, native, pure

pytest.register_assert_rewrite("tests.helpers")

TESTS = Path(__file__).parent
QUICK = os.environ.get("SSBFAST_TEST_QUICK") == "1"
"""Set by tests/mutants: each mutant runs the same tests with fewer rounds."""

SLOW_KINDS = ("nat", "mutants", "interop")
"""Markers of tests that are slow one and all."""
SLOW_FOLDERS = ("c", "fuzz", "browser")
"""Tests that compile the core for themselves, or run a browser."""
SLOW_FILES = (
    "cli/test_alias.py",
    "cli/test_attendants.py",
    "cli/test_connect.py",
    "cli/test_denials.py",
    "cli/test_doctor.py",
    "cli/test_garbage_collection.py",
    "cli/test_listen.py",
    "cli/test_lost_output.py",
    "cli/test_room.py",
    "cli/test_room_commands.py",
    "cli/test_room_tls.py",
    "cli/test_room_top.py",
    "cli/test_room_web.py",
    "client/test_direct_floods.py",
    "client/test_direct_leftovers.py",
    "client/test_direct_liars.py",
    "client/test_direct_lying_rooms.py",
    "client/test_direct_meddling.py",
    "client/test_direct_telling.py",
    "compat/test_installing.py",
    "compat/test_originals.py",
    "compat/test_programs.py",
    "direct/test_attacks.py",
    "interop/test_js_rooms2.py",
    "interop/test_js_web.py",
    "interop/test_js_websocket.py",
    "server/test_roles.py",
    "server/test_writes.py",
    "server/web/test_acme.py",
    "server/web/test_alias_pages.py",
    "server/web/test_attacks.py",
    "server/web/test_invite_pages.py",
    "server/web/test_security.py",
    "server/web/test_sign_in_pages.py",
    "store/test_room_store_cuts.py",
    "test_closing.py",
    "test_examples.py",
    "test_workflows.py",
)
"""Tests, below this folder, that begin rooms, sites or processes for each case."""

LONG_FILES = ("client/test_sleep.py", "hostile/test_attacks.py", "net/test_vanished.py", "server/test_flow.py")
"""Tests that wait for a quarter of a minute and more: at the end the other cores would wait for them."""

settings.register_profile("full", deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
settings.register_profile(
    "quick", parent=settings.get_profile("full"), max_examples=20, derandomize=True, database=None
)
settings.load_profile("quick" if QUICK else "full")


@pytest.fixture(scope="session", autouse=True)
def data_home(tmp_path_factory: pytest.TempPathFactory) -> None:
    """What commands keep for all data directories of a user is not kept in the home of the tests' user."""
    os.environ["XDG_DATA_HOME"] = str(tmp_path_factory.mktemp("share"))


@pytest.fixture(scope="session", autouse=True)
def settling() -> Iterator[None]:
    """A busy machine may find a path's moment for the engine late: tests of the deadline set one of their own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(limits, "DIRECT_SETTLE_LEAST", 15.0)
        yield


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what is slow as a kind: people's quick run (`-m "not slow"`) leaves it out. What waits for long begins."""
    items.sort(key=lambda item: item.path.relative_to(TESTS).as_posix() not in LONG_FILES)
    for item in items:
        is_slow = item.path.parent.name in SLOW_FOLDERS or item.path.relative_to(TESTS).as_posix() in SLOW_FILES
        if is_slow or any(item.get_closest_marker(kind) for kind in SLOW_KINDS):
            item.add_marker("slow")


def pytest_collection_finish() -> None:
    """Leave what stays until the end to no collector: many tests collect, and it would be gone through each time."""
    gc.collect()
    gc.freeze()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    from tests.helpers import closing  # rewriting its asserts has been asked for by now

    closing.summarize(terminalreporter)


def _paths() -> list[str]:
    """The ways in which the native core can run here: those of the machine, or the one that is forced."""
    if native.BACKEND == "pure" or os.environ.get("SSBFAST_BACKEND") or QUICK:
        return [native.BACKEND]
    return [name for name in native.available() if name != "pure"]


def use_path(name: str) -> None:
    """Let the native core go this way. Box streams that are open may change over: all ways give the same bytes."""
    if native.BACKEND != "pure":
        from ssbfast.native import core

        assert core.use_kernel("" if name == "libsodium" else name)


PATHS = _paths()


@pytest.fixture(params=PATHS)
def path(request: pytest.FixtureRequest) -> Iterator[str]:
    """Each way of the native core in turn."""
    use_path(request.param)
    yield request.param
    use_path(native.BACKEND)


@pytest.fixture(params=[*(f"native-{name}" for name in PATHS), "pure"])
def core(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """Each backend in turn; the protocols of `ssbfast.wire` stand on it as well."""
    name, _, way = request.param.partition("-")
    backend = native if name == "native" else pure
    for protocol in ("box_stream", "packet_stream"):
        monkeypatch.setattr(f"ssbfast.wire.{protocol}.native", backend)
    if way:
        use_path(way)
    yield backend
    use_path(native.BACKEND)


@pytest.fixture
def rounds() -> int:
    """By how much the quick run divides its work."""
    return 8 if QUICK else 1
