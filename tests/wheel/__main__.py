"""`python -m tests.wheel [PYTEST ARGUMENTS]`: build, audit, install and test; the first mistake ends it."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from tests.wheel import making, trying


def main(words: list[str]) -> int:
    with tempfile.TemporaryDirectory(prefix="ssbfast-wheel-") as name:
        folder = Path(name)
        try:
            archive = making.sources(folder)
            wheel = making.wheel(folder, archive)
            trying.try_all(folder / "places", wheel, archive, words)
        except making.Failure as failure:
            print(f"FAILED: {failure}", file=sys.stderr)
            return 1
    return 0


sys.exit(main(sys.argv[1:]))
