"""The picture of `ssbfast bench`: ratios by size. Needs the extra `bench`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from ssbfast.cli.bench.runner import BenchResult
from ssbfast.errors import BadInputError, MissingExtraError

SUFFIXES: Final = (".png", ".svg")
_INCHES: Final = (6.0, 4.0)
_COLUMNS: Final = 2


def check(file: Path) -> None:
    """Check before anything is measured: BadInputError for another suffix or no directory, MissingExtraError."""
    if file.suffix.lower() not in SUFFIXES:
        raise BadInputError(f"--plot {file.name!r}: a picture ends in .png or .svg")
    if not file.parent.is_dir():
        raise BadInputError(f"--plot: there is no directory {str(file.parent)!r}")
    try:
        import matplotlib  # noqa: F401 (only whether it is there)
    except ImportError as error:
        raise MissingExtraError("--plot needs the extra: pip install 'ssbfast[bench]'") from error


def curves(results: Sequence[BenchResult]) -> dict[str, dict[str, list[tuple[str, float]]]]:
    """Return (case, ratio) by group and contender. Groups of a single case, and baselines, are no curves."""
    found: dict[str, dict[str, list[tuple[str, float]]]] = {}
    for result in results:
        lines = found.setdefault(result.contest.group, {})
        for name, figure in result.figures.items():
            if figure.ratio is not None and name != result.contest.baseline:
                lines.setdefault(name, []).append((result.contest.case, figure.ratio))
    return {
        group: lines
        for group, lines in found.items()
        if max((len(points) for points in lines.values()), default=0) > 1 and not group.startswith("calls")
    }


def draw(results: Sequence[BenchResult], file: Path, title: str) -> None:
    """Write the picture. Raises BadInputError when the file cannot be written."""
    from matplotlib.figure import Figure

    groups = curves(results)
    rows = max(1, -(-len(groups) // _COLUMNS))
    figure = Figure(figsize=(_INCHES[0] * _COLUMNS, _INCHES[1] * rows), layout="constrained")
    figure.suptitle(title)
    for number, (group, lines) in enumerate(groups.items(), 1):
        _axes(figure.add_subplot(rows, _COLUMNS, number), group, lines)
    try:
        figure.savefig(file)
    except OSError as error:
        raise BadInputError(f"--plot: {error.strerror or 'the file could not be written'}") from None


def _axes(axes: Any, group: str, lines: dict[str, list[tuple[str, float]]]) -> None:
    for name, points in lines.items():
        axes.plot([case for case, _ in points], [ratio for _, ratio in points], marker="o", label=name)
    axes.axhline(1.0, color="black", linewidth=1, label="libsodium")
    axes.set_yscale("log")
    axes.set_title(group)
    axes.set_xlabel("bytes of a body")
    axes.set_ylabel("times faster than libsodium")
    axes.grid(visible=True, which="both", alpha=0.2)
    axes.legend(fontsize="small")
