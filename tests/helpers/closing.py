"""What a run of the tests says at its end: what was skipped, how to run it, and what is slow without saying so."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import pytest

SLOW_SECONDS: Final = 10.0
"""A test that takes longer is marked `slow`. People's quick run leaves it out."""
HINT_SECONDS: Final = 2 * SLOW_SECONDS
"""The run names unmarked tests from here on: a busy machine must not accuse tests that are only near the bound."""
NAMED: Final = 10
"""At most so many slow tests are named."""


@dataclass(frozen=True)
class SkipGroup:
    """Skipped tests with one reason. pattern: found in what pytest was told; how: the way to run them."""

    pattern: str
    needs: str
    how: str


GROUPS: Final = (
    SkipGroup(r"^nat is not", "root, /dev/net/tun, iproute2, nftables (the NAT lab)", "sudo ./dev test tests/nat"),
    SkipGroup(r"^netns is not", "root and network namespaces", "sudo ./dev test -m nat --ignore tests/nat"),
    SkipGroup(
        r"^node is not", "Node and npm (live JavaScript peers)", "apt install nodejs npm; ./dev test tests/interop"
    ),
    SkipGroup(r"^(peers|originals) is not", "the packages whose API we speak", "./dev originals"),
    SkipGroup(r"^site is not", "the documentation as it is written", "./dev docs"),
    SkipGroup(r"^clang is not", "clang", "apt install clang-14 libclang-rt-14-dev; ./dev test tests/c tests/fuzz"),
    SkipGroup(r"^valgrind is not", "valgrind", "apt install valgrind; ./dev test tests/c"),
    SkipGroup(r"^libsodium is not", "libsodium's header", "apt install libsodium-dev; ./dev test tests/c"),
    SkipGroup(r"^nm is not", "nm", "apt install binutils; ./dev test tests/c"),
    SkipGroup(
        r"^qemu is not",
        "an emulator of arm64",
        "as root: dpkg --add-architecture arm64; apt install qemu-user gcc-aarch64-linux-gnu libc6-dev-arm64-cross "
        "libsodium-dev:arm64; ./dev test tests/c/test_arm64.py",
    ),
    SkipGroup(
        r"^(zizmor|check-jsonschema|cibuildwheel) is not",
        "the tools for workflows",
        "PYTHON=python3.11 or newer, a new .venv, ./dev test tests/test_workflows.py",
    ),
    SkipGroup(
        r"^(quic-go|quinn) is not",
        "QUIC by others",
        "Go and cargo; python -m benchmarks.quic.programs; ./dev test tests/interop/test_quic.py",
    ),
    SkipGroup(r"^ipv6 is not|no IPv6", "IPv6", "a machine with ::1; ./dev test tests/net"),
    SkipGroup(r"this machine does not offer", "kernels that this processor lacks", "a machine with them"),
    SkipGroup(
        r"aioquic needs Python", "Python 3.11 (direct paths)", "PYTHON=python3.11 or newer, a new .venv, ./dev test"
    ),
    SkipGroup(
        r"nothing is unreadable for root", "a user who is not root", "./dev test tests/store/test_peer_schema.py"
    ),
    SkipGroup(
        r"this Python has a global lock", "a free-threaded Python", "PYTHON=python3.14t, a new .venv, ./dev test"
    ),
    SkipGroup(r"^the rest of the attacks", "twenty minutes", "SSBFAST_TEST_ATTACKS=all ./dev test -n0 tests/hostile"),
)


def reason(report: pytest.TestReport | pytest.CollectReport) -> str:
    """Return why a report's test was skipped, without pytest's own word before it."""
    text = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    return text.removeprefix("Skipped: ")


def skipped_lines(reasons: Iterable[str]) -> list[str]:
    """Return one line a group, the largest first: how many tests, what they need, how to run them."""
    counted: Counter[str] = Counter()
    for why in reasons:
        group = next((group for group in GROUPS if re.search(group.pattern, why)), None)
        counted[f" {group.needs}: {group.how}" if group else f": {why}"] += 1
    return [_line(count, text) for text, count in counted.most_common()]


def _line(count: int, text: str) -> str:
    tests = "1 test" if count == 1 else f"{count} tests"
    if text.startswith(":"):
        return tests + text
    return f"{tests} need{'s' * (count == 1)}{text}"


def slow_lines(reports: Iterable[pytest.TestReport]) -> list[str]:
    """Return the slowest tests that took long and are not marked `slow`."""
    taken: dict[str, float] = {}
    for report in reports:  # one each of set-up, call and tear-down
        if "slow" not in report.keywords:
            taken[report.nodeid] = taken.get(report.nodeid, 0.0) + report.duration
    slow = sorted(((seconds, name) for name, seconds in taken.items() if seconds > HINT_SECONDS), reverse=True)
    return [f"{seconds:5.0f} s {name}" for seconds, name in slow[:NAMED]]


def summarize(reporter: pytest.TerminalReporter) -> None:
    """Write the sections to the terminal."""
    ran = [report for key in ("", "passed", "failed") for report in reporter.getreports(key)]
    sections = {
        "not run here, and how to run it": skipped_lines(map(reason, reporter.getreports("skipped"))),
        "took long without the mark `slow`": slow_lines(ran),
    }
    for title, lines in sections.items():
        if lines:
            reporter.section(title)
            for line in lines:
                reporter.write_line(line)
