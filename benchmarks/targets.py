"""What the report is about: its rows, and which ratios count as reached. Data, and one way to look it up."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

KERNELS: Final = ("avx512", "avx2", "sse2", "neon", "portable")
PATHS: Final = (*KERNELS, "libsodium")
"""Ways through the C core; "libsodium" is the core without kernels of its own."""


@dataclass(frozen=True, slots=True)
class Target:
    """A bound of a median ratio. cases: of its row, () for all of them. who: paths; at_most: else it is a least."""

    bound: float
    cases: tuple[str, ...] = ()
    who: tuple[str, ...] = PATHS
    at_most: bool = False

    def is_met(self, ratio: float) -> bool:
        """By hundredths: where libsodium does the work on both sides, the third digit is noise."""
        shown = round(ratio, 2)
        return shown <= self.bound if self.at_most else shown >= self.bound

    def __str__(self) -> str:
        return f"{'≤' if self.at_most else '≥'} {self.bound:g}"


@dataclass(frozen=True, slots=True)
class Row:
    """One thing that is measured. name: also the group of pytest-benchmark. figure: what a ratio is.

    targets: the first that fits a case and a path is the one that counts.
    """

    name: str
    baseline: str
    figure: str
    targets: tuple[Target, ...]

    def target(self, case: str, who: str) -> Target | None:
        """who: a path, behind which a comma may say more ("avx512, uvloop"); others have no target."""
        path = who.partition(",")[0]
        fitting = (one for one in self.targets if path in one.who and (case in one.cases or not one.cases))
        return next(fitting, None)


def _both(verbs: tuple[str, str], *sizes: str) -> tuple[str, ...]:
    return tuple(f"{verb} {size}" for size in sizes for verb in verbs)


_BOX: Final = ("seal", "open")
_TEXT: Final = ("write", "read")
_SMALL: Final = _both(_BOX, "1", "9", "32", "64", "128", "256")

IN_C: Final = Row(
    "box stream in C, many boxes a call",
    "libsodium through PyNaCl's pointer, in the same C",
    "CPU seconds of libsodium ÷ ours",
    (
        Target(6.0, _SMALL, ("avx512",)),
        Target(3.5, _both(_BOX, "4096"), ("avx512",)),
        Target(4.0, _SMALL, ("avx2",)),
        Target(1.6, _both(_BOX, "4096"), ("avx2",)),
        Target(1.0, who=KERNELS),
    ),
)
ONE_IN_C: Final = Row(
    "box stream in C, one box a call",
    "libsodium through PyNaCl's pointer, in the same C",
    "CPU seconds of libsodium ÷ ours",
    (
        Target(2.4, _both(_BOX, "64"), KERNELS),
        Target(1.4, _both(_BOX, "4096"), KERNELS),
        Target(1.0, who=KERNELS),
    ),
)
NATIVE: Final = Row(
    "native Python API, one chunk a call",
    "PySecretHandshake",
    "CPU seconds of the baseline ÷ ours",
    (
        Target(12.0, ("write 64",), ("avx512",)),
        Target(6.0, ("write 4096",), ("avx512",)),
        Target(20.0, ("read 64",), ("avx512",)),
        Target(8.0, ("read 4096",), ("avx512",)),
        Target(9.0, ("write 64",), ("avx2",)),
        Target(3.5, ("write 4096",), ("avx2",)),
        Target(13.0, ("read 64",), ("avx2",)),
        Target(5.0, ("read 4096",), ("avx2",)),
    ),
)
BATCHED: Final = Row(
    "native Python API, batched",
    "PySecretHandshake",
    "CPU seconds of the baseline ÷ ours",
    (
        Target(50.0, _both(_TEXT, "64"), ("avx512",)),
        Target(12.0, _both(_TEXT, "4096"), ("avx512",)),
        Target(33.0, _both(_TEXT, "64"), ("avx2",)),
        Target(6.0, _both(_TEXT, "4096"), ("avx2",)),
    ),
)
TO_JS: Final = Row(
    "native Python API, batched, and other stacks",
    "JavaScript's pull-box-stream on sodium-native",
    "CPU seconds of the baseline ÷ ours",
    (Target(5.0, _both(_BOX, "64")), Target(3.0, _both(_BOX, "4096"))),
)
COMPAT: Final = Row(
    "compat classes, one chunk",
    "our native API in the same run",
    "CPU seconds of the native API ÷ those of the class",
    (Target(0.67),),
)
HANDSHAKES: Final = Row(
    "handshakes, server process",
    "JavaScript's secret-handshake; curve arithmetic alone",
    "handshakes a CPU-second, ours ÷ baseline",
    (Target(2.0, ("to JavaScript",)), Target(0.6, ("to curve arithmetic",))),
)
RELAY: Final = Row(
    "relay, CPU",
    "the same room with libsodium",
    "CPU seconds a GB of the baseline ÷ ours",
    (
        Target(6.0, ("64 B",), ("avx512",)),
        Target(2.0, who=("avx512",)),
        Target(1.5, who=("avx2",)),
    ),
)
BOUND: Final = Row(
    "relay, against a relay without cryptography",
    "asyncio BufferedProtocol relay without cryptography",
    "CPU seconds a GB of the baseline ÷ ours",
    (Target(0.40, ("4087 B",), ("avx512",)), Target(0.25, ("4087 B",), ("avx2",))),
)
ROOM: Final = Row(
    "tunnel through a real room",
    "ssb-room 1.3 (JavaScript); go-ssb-room",
    "payload a CPU-second of the room, or a second on the clock, ours ÷ baseline; latency, baseline ÷ ours",
    (
        Target(10.0, tuple(f"CPU to ssb-room, items of {size} B" for size in (32768, 4096, 256))),
        Target(3.0, tuple(f"CPU to go-ssb-room, items of {size} B" for size in (32768, 4096, 256))),
    ),
)
LATENCY: Final = Row(
    "added latency of one frame",
    "asyncio BufferedProtocol relay without cryptography",
    "time added to one way, ours ÷ baseline",
    (Target(1.3, at_most=True),),
)
IDLE: Final = Row(
    "idle attendant, resident memory",
    "10 KiB; ssb-room 1.3",
    "ours ÷ baseline",
    (
        Target(1.0, ("to 10 KiB, announced", "to 10 KiB, subscribed"), at_most=True),
        Target(0.1, ("to ssb-room, announced", "to ssb-room, subscribed"), at_most=True),
    ),
)
STALLED: Final = Row(
    "stalled target",
    "the cap of its memory; the same calls without it",
    "peak of memory ÷ cap; p99 of calls beside it ÷ alone",
    (Target(1.0, ("memory to cap",), at_most=True), Target(2.0, ("p99 beside to alone",), at_most=True)),
)
WEB: Final = Row(
    "web site of a room",
    "its budgets; the same room without it; the same calls without requests beside them",
    "ours ÷ baseline",
    (
        Target(1.0, ("memory to 12 MiB", "start to 0.6 s", "page to 20 ms"), at_most=True),
        Target(1.0, ("WebSocket to 12 KiB", "attendant to 6.5 KiB"), at_most=True),
        Target(2.0, ("p99 beside 200 dashboards a second to alone",), at_most=True),
        Target(1.03, ("CPU a GB to without",), at_most=True),
    ),
)

QUIC: Final = Row(
    "QUIC, CPU of each end",
    "aioquic's asyncio protocol, today's direct path, quic-go, quinn; ChaCha20 where nothing else is said",
    "CPU a byte of the baseline ÷ ours",
    (
        Target(30.0, ("receiver to aioquic", "sender to aioquic")),
        Target(15.0, ("receiver to today", "sender to today")),
        Target(1.43, ("receiver to quic-go, AES, GSO", "sender to quic-go, AES, GSO")),
        Target(1.0, ("receiver to quinn, GSO", "sender to quinn, GSO")),
        Target(6.0, ("receiver without GSO to today", "sender without GSO to today")),
    ),
)

LOSSY: Final = Row(
    "QUIC, 1 % of loss each way, 20 ms",
    "quic-go, quinn: each at both ends of a relay of datagrams, 6 MB, ChaCha20",
    "MB/s of ours ÷ baseline",
    (Target(1.0, ("to quic-go",)),),
)

UPDATE: Final = Row(
    "update of a room under load",
    "none of them; the same room before",
    "how many; slowest ÷ slowest before; seconds",
    (Target(0.0, ("connections refused", "tunnels cut", "tunnels with a wrong byte"), at_most=True),),
)

ROWS: Final = (
    *(IN_C, ONE_IN_C, NATIVE, BATCHED, TO_JS, COMPAT, HANDSHAKES),
    *(RELAY, BOUND, ROOM, LATENCY, IDLE, STALLED, WEB, UPDATE, QUIC, LOSSY),
)
