"""The runner: measure attacks, print a table. Exit code 1 when a criterion does not hold."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence

from tests.hostile.attacks import ATTACKS, NAMES, pairs
from tests.hostile.trial import P99_FLOOR, Figures, percentile, run, verdicts

HEADS = ("attack", "row", "ok", "answers", "p99 ms", "×idle", "join ms", "frozen", "joins✗", "visits✗", "lost")
HEADS += ("RSS+ MB", "peak", "log B/s", "stop s", "room", "att", "others", "failed")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.hostile", description=__doc__)
    parser.add_argument("--seconds", type=float, default=10.0, help="of attack, and of idle before it (default 10)")
    parser.add_argument("--attack", action="append", default=[], metavar="NAME[+NAME]", help="repeatable; + is at once")
    parser.add_argument("--all", action="store_true", help="every attack")
    parser.add_argument("--pairs", type=int, default=0, help="so many pairs of attacks at once, chosen by the seed")
    parser.add_argument("--plain", action="store_true", help="the room runs on asyncio's own loop, not on uvloop")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="one JSON object a trial")
    parser.add_argument("--list", action="store_true", help="say what there is")
    given = parser.parse_args()
    if given.list:
        for name, attack in ATTACKS.items():
            print(f"{name:18}{attack.row:5}{attack.about}")
        return 0
    wanted = [tuple(text.split("+")) for text in given.attack]
    wanted += [(name,) for name in NAMES] if given.all else []
    wanted += pairs(given.pairs, given.seed)
    unknown = {name for names in wanted for name in names} - set(NAMES)
    if unknown or not wanted:
        parser.error(f"no such attack: {', '.join(sorted(unknown))}" if unknown else "say --attack, --all or --pairs")
    return _measure(wanted, given.seconds, given.seed, plain=given.plain, as_json=given.json)


def _measure(wanted: Sequence[tuple[str, ...]], seconds: float, seed: int, *, plain: bool, as_json: bool) -> int:
    idle_calls: list[float] = []
    red = 0
    if not as_json:
        print(f"{os.cpu_count()} cores; load {os.getloadavg()[0]:.1f}; idle p99 of all idle times so far, ", end="")
        print(f"at least {P99_FLOOR * 1000:g} ms")
        print(_line(HEADS))
    for names in wanted:
        figures = run(names, seconds=seconds, idle_seconds=seconds, seed=seed, plain=plain)
        idle_calls += figures.idle_calls
        idle_p99 = percentile(idle_calls, 0.99)
        results = verdicts(figures, idle_p99)
        red += not all(holds for _, _, holds in results.values())
        if as_json:
            told = {name: {"value": v, "bound": b, "holds": h} for name, (v, b, h) in results.items()}
            print(json.dumps({**figures.as_json(), "idle_p99": idle_p99, "verdicts": told}), flush=True)
        else:
            print(_row(figures, idle_p99), flush=True)
    if not as_json:
        summary = f"{len(wanted) - red} of {len(wanted)} hold"
        print(f"{summary}; idle p99 {idle_p99 * 1000:.1f} ms of {len(idle_calls)} calls")
    return 1 if red else 0


def _row(figures: Figures, idle_p99: float) -> str:
    bad = [name for name, (_, _, holds) in verdicts(figures, idle_p99).items() if not holds]
    calls = f"{figures.failed('join')}/{figures.attack.joins + figures.after.joins}"
    visits = f"{figures.failed('visit')}/{figures.attack.visits + figures.after.visits}"
    stopped = "never" if figures.stopped is None else f"{figures.stopped:.1f}"
    cells = (
        "+".join(figures.names),
        "+".join(dict.fromkeys(ATTACKS[name].row for name in figures.names)),
        "RED" if bad else "ok",
        f"{figures.ratio:.2f}",
        f"{figures.attack.p99 * 1000:.1f}",
        f"{figures.p99_ratio(idle_p99):.1f}",
        f"{figures.attack.join_p99 * 1000:.1f}",
        f"{figures.frozen:.1f}",
        calls,
        visits,
        str(figures.lost),
        f"{figures.growth / 1e6:+.1f}",
        f"{figures.rss_peak / 1e6:.0f}",
        f"{figures.log:.0f}",
        stopped,
        f"{figures.room_cpu:.2f}",
        f"{figures.did.get('cpu %', 0) / 100:.2f}",
        f"{figures.other_cpu:.2f}",
        ",".join(bad),
    )
    return _line(cells)


def _line(cells: Sequence[str]) -> str:
    left = [cell.ljust(width) for cell, width in zip(cells, (18, 4, 3), strict=False)]
    right = [cell.rjust(max(len(head), 6)) for cell, head in zip(cells[3:], HEADS[3:], strict=True)]
    return "  ".join([*left, *right])


if __name__ == "__main__":
    sys.exit(main())
