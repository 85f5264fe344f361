"""The documentation as `./dev docs` has just written it."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest

from tests.helpers.require import require

USERS = (
    "tutorial/",
    *(f"howto/{page}/" for page in ("run-a-room", "moderate-a-room", "tunnel-a-service")),
    *(f"howto/{page}/" for page in ("use-from-python", "come-from-pyssb", "coming-from-go-ssb-room")),
    *(f"howto/{page}/" for page in ("run-a-room-for-people", "be-a-member")),
    *(f"topics/{page}/" for page in ("who-gets-in", "direct-paths", "private-addresses", "under-load")),
)
INTERNALS = ("architecture/", "kernels/", "protocol/direct/", "reference/wire/", "reference/net/", "benchmarks/")
PUBLISHED = {".html", ".css", ".js", ".json", ".map", ".svg", ".png", ".webp", ".xml", ".gz", ".inv", ""}
"""The endings of what is published; "": LICENSE."""
CONTRAST = 4.5
"""WCAG 2.2, 1.4.3 (AA)."""


@pytest.fixture(scope="module")
def site() -> Path:
    place = os.environ.get("SSBFAST_SITE", "")
    require("site", Path(place, "index.html").is_file() and bool(place), "SSBFAST_SITE names no documentation")
    return Path(place)


def pages(site: Path) -> list[Path]:
    found = sorted(site.rglob("index.html"))
    assert len(found) > 15
    return found


def test_only_documentation_is_published(site: Path) -> None:
    files = [path.relative_to(site) for path in site.rglob("*") if path.is_file()]
    assert [str(path) for path in files if path.suffix not in PUBLISHED or "__pycache__" in path.parts] == []


def test_no_head_of_a_table_is_empty(site: Path) -> None:
    empty = r"<th[^>]*>\s*</th>"
    assert [str(page) for page in pages(site) if re.search(empty, page.read_text(encoding="utf-8"))] == []


@pytest.mark.parametrize("page", ["", "howto/use-from-python/", "reference/names/"])
def test_programs_are_highlighted(site: Path, page: str) -> None:
    html = (site / page / "index.html").read_text(encoding="utf-8")
    assert re.search(r'<div class="[^"]*\bhighlight\b.*?<span class="(k|kn|nf|nb)">', html, re.DOTALL)


def test_nothing_is_loaded_from_elsewhere(site: Path) -> None:
    loaded = r"<(?:script|link|img)\b[^>]*(?:src|href)=\"?(https?:)?//"
    assert [str(page) for page in pages(site) if re.search(loaded, page.read_text(encoding="utf-8"))] == []


def test_the_search_finds_pages_for_users_first(site: Path) -> None:
    entries = json.loads((site / "search" / "search_index.json").read_text(encoding="utf-8"))["docs"]
    weights: dict[str, set[float]] = {}
    for entry in entries:
        weights.setdefault(entry["location"].partition("#")[0], set()).add(entry.get("boost", 1))
    users, internals = ({weight for page in group for weight in weights[page]} for group in (USERS, INTERNALS))
    assert min(users) >= 10 * max(internals)
    assert weights["reference/names/"] == weights[""] == users


def test_the_navigation_has_pages_for_users_first(site: Path) -> None:
    html = (site / "index.html").read_text(encoding="utf-8")
    links = re.findall(r'<a href="?([^" >]+)"? class="?md-nav__link', html)
    places = {page: links.index(page) for page in (*USERS, *INTERNALS)}
    assert max(places[page] for page in USERS) < min(places[page] for page in INTERNALS)


# ---------------------------------------------------------------- colours


def rgb(text: str, ground: tuple[float, ...]) -> tuple[float, ...]:
    """The parts of `#rrggbb` or `#rrggbbaa` on this ground, from 0 to 1."""
    *parts, alpha = (int(f"{text.removeprefix('#')}ff"[n : n + 2], 16) / 255 for n in (0, 2, 4, 6))
    return tuple(part * alpha + below * (1 - alpha) for part, below in zip(parts, ground, strict=True))


def luminance(colour: tuple[float, ...]) -> float:
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in colour]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(text: str, ground: str) -> float:
    below = rgb(ground, (1, 1, 1))
    bright, dark = sorted((luminance(rgb(text, below)), luminance(below)), reverse=True)
    return (bright + 0.05) / (dark + 0.05)


GROUNDS = {"default": ("#ffffff", "#f5f5f5"), "slate": ("#1e2129", "#272a35")}
"""Material's own, of the page and of code."""


@pytest.mark.parametrize("scheme", GROUNDS)
def test_colours_of_text_can_be_read(site: Path, scheme: str) -> None:
    style = (site / "style.css").read_text(encoding="utf-8")
    block = re.search(rf'\[data-md-color-scheme="{scheme}"\]\S* {{(.*?)}}', style, re.DOTALL)
    assert block is not None
    colours = re.findall(r"(--[\w-]+): (#[0-9a-f]+);", block[1])
    assert len(colours) > 8
    assert {
        name: text for name, text in colours if min(contrast(text, ground) for ground in GROUNDS[scheme]) < CONTRAST
    } == {}


def test_the_measure_of_contrast() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#767676", "#ffffff") == pytest.approx(4.54, abs=0.01)
    assert contrast("#00000080", "#ffffff") == pytest.approx(contrast("#7f7f7f", "#ffffff"), abs=0.05)
