"""`python -m tests.fuzz.under_atheris TARGET [LIBFUZZER OPTIONS] [FOLDERS]`: one target under atheris.

Only our own modules are instrumented: coverage of the standard library would drown theirs.
"""

from __future__ import annotations

import sys


def main(words: list[str]) -> None:
    import atheris

    with atheris.instrument_imports(include=["ssbfast"]):
        from tests.fuzz.parsers import TARGETS
    atheris.Setup(["fuzz", *words[1:]], TARGETS[words[0]])
    atheris.Fuzz()


main(sys.argv[1:])
