"""The pages of the documentation, for mkdocs: `docs/`, some pages of the repository, and a reference of the docstrings.

The reference begins with the names of `import ssbfast`; a page for each package follows. A module's page lists the
public members that the module defines, in their order. What a module only imports is found where it is defined.

Links of pages are those of the repository, so that they work there too. Here they are changed to lead to the page of
the site, or to the file on the web.
"""

from __future__ import annotations

import ast
import os
import re
import sys
import time
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

import ssbfast

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "ssbfast"
ADDED = ("CHANGELOG.md", ".github/CONTRIBUTING.md", ".github/SECURITY.md", "benchmarks")
"""Pages outside of `docs/`, or folders of them, which keep their paths."""
SOURCE = "https://github.com/ssbfast/ssbfast/blob/main/"
PUBLIC = "reference/names.md"
BASE = "reference/base.md"
"""What lies directly in `ssbfast`: errors, ids, keys, limits."""
ELSEWHERE = {"README.md": "index.md", "ssbfast/__init__.py": PUBLIC}
"""Where a link to a file of the repository leads on the site."""
INTERNALS = ("architecture.md", "kernels.md", "protocol/", "benchmarks/", ".github/", "reference/")
"""Pages that the search finds last, but for the one of the public names."""
FOUND_LAST, FOUND_FIRST = 0.1, 2.0
"""Weights of a page in the search; 1 is Material's own."""

# Material has colours that are too pale for text. These have a contrast of at least 4.5 to 1 with what they stand on.
STYLE = """\
.md-grid { max-width: 80rem }
[data-md-color-scheme="default"][data-md-color-primary] {
  --md-default-fg-color--light: #00000ab8;
  --md-default-fg-color--lighter: #00000aa6;
  --md-code-hl-comment-color: #5c5c66;
  --md-code-hl-generic-color: #5c5c66;
  --md-code-hl-operator-color: #52525c;
  --md-code-hl-punctuation-color: #52525c;
  --md-code-hl-variable-color: #52525c;
  --md-code-hl-string-color: #14713f;
  --md-code-hl-number-color: #b3261e;
  --md-code-hl-special-color: #b1205f;
  --md-code-hl-function-color: #8a37a8;
  --md-code-hl-constant-color: #5b45c4;
  --md-code-hl-keyword-color: #2f58b8;
}
[data-md-color-scheme="slate"][data-md-color-primary] {
  --md-typeset-a-color: #9aa7f0;
  --md-default-fg-color--light: #e2e4e9c4;
  --md-default-fg-color--lighter: #e2e4e9b0;
  --md-code-hl-comment-color: #a9adbb;
  --md-code-hl-generic-color: #a9adbb;
  --md-code-hl-operator-color: #b5b9c6;
  --md-code-hl-punctuation-color: #b5b9c6;
  --md-code-hl-variable-color: #b5b9c6;
  --md-code-hl-number-color: #f08a86;
  --md-code-hl-constant-color: #a99cf5;
  --md-code-hl-function-color: #cf8fe6;
  --md-code-hl-keyword-color: #86a9f5;
}
.md-footer-meta { --md-footer-fg-color--lighter: #ffffffb8; --md-footer-fg-color--light: #ffffffd9 }
.md-typeset pre > code { font-size: 0.75em }
.md-typeset .headerlink { color: inherit }
.md-typeset h2.doc-heading, .md-typeset h3.doc-heading { overflow-wrap: anywhere }
.md-typeset code { word-break: normal; overflow-wrap: break-word }
.md-typeset table:not([class]) thead td, .md-typeset table:not([class]) tbody:first-child tr:first-child td {
  border-top: 0;
}
@media screen and (max-width: 44.9em) {
  .md-typeset table:not([class]) td, .md-typeset table:not([class]) th { min-width: 0; padding: 0.6em 0.5em }
  .md-typeset table:not([class]) code { word-break: normal; overflow-wrap: normal }
  .md-typeset table:not([class]) td:has(> .doc-md-description) { min-width: 8rem }
}
"""


def public_names() -> str:
    """The page of what `import ssbfast` offers: each name is described at its home."""
    homes = {name: home for name, home in ssbfast._HOMES.items() if name in ssbfast.__all__}
    short = "    options:\n      show_root_full_path: false\n      inherited_members: true\n"
    entries = "\n".join(f"::: {home}.{name}\n{short}" for name, home in homes.items())
    about = "`from ssbfast import …` offers these; they are loaded when they are used."
    return f"# Names of ssbfast\n\n{about}\n\n{entries}"


def defined(path: Path) -> list[str]:
    """The public names that a module defines, in their order."""
    found: list[str] = []
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            found.append(node.name)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            found += [target.id for target in targets if isinstance(target, ast.Name)]
    return [name for name in dict.fromkeys(found) if not name.startswith("_")]


def modules() -> dict[str, str]:
    """The pages of the packages: `reference/wire.md` has all modules of `ssbfast.wire`."""
    found: dict[str, list[str]] = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        if parts[-1] == "__main__" or parts == ("__init__",):
            continue
        page = f"reference/{parts[0]}.md" if len(parts) > 1 else BASE
        name = ".".join(["ssbfast", *(part for part in parts if part != "__init__")])
        found.setdefault(page, []).append(f"::: {name}\n    options:\n      members: {defined(path) or 'false'}\n")
    return {page: f"# ssbfast.{Path(page).stem}\n\n" + "\n".join(texts) for page, texts in found.items()}


def reference() -> dict[str, str]:
    """All pages of the reference, in the order of the navigation."""
    pages = modules()
    base = pages.pop(BASE).replace("# ssbfast.base", "# Errors, ids, keys, limits")
    return {PUBLIC: public_names(), BASE: base, **dict(sorted(pages.items()))}


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """The place in the navigation that is kept for the reference of all modules."""
    titles = {BASE: "errors, ids, keys, limits"}
    for entry in config.nav or []:
        for part in entry.get("Internals", ()):
            if part.get("Modules") == "MODULES":
                pages = [page for page in reference() if page != PUBLIC]
                part["Modules"] = [{titles.get(page, f"ssbfast.{Path(page).stem}"): page} for page in pages]
    return config


def added() -> list[Path]:
    """Return the pages outside of `docs/`."""
    return [page for name in ADDED for page in (sorted((ROOT / name).glob("*.md")) or [ROOT / name])]


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages outside of `docs/` and the reference."""
    pages = [*files]
    pages += [File.generated(config, str(path.relative_to(ROOT)), abs_src_path=str(path)) for path in added()]
    pages += [File.generated(config, page, content=text) for page, text in reference().items()]
    pages.append(File.generated(config, "style.css", content=STYLE))
    Progress.total = sum(page.is_documentation_page() for page in pages)
    return Files(pages)


def lead(target: str, page: str, home: Path) -> str:
    """Return where a link leads on the site. target: as the page says it. page: of the site; home: its file."""
    path = os.path.relpath(os.path.normpath(home.parent / target), ROOT).replace(os.sep, "/")
    place = ELSEWHERE.get(path, path.removeprefix("docs/"))
    if place.endswith((".md", ".png", ".webp")):  # pages, and their pictures
        return os.path.relpath(place, Path(page).parent).replace(os.sep, "/")
    return SOURCE + path


class Progress:
    """Pages that are done, and those that there are."""

    done = 0
    total = 0
    began = time.monotonic()


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    """Give the page its weight in the search, and its links their places on the site."""
    name = page.file.src_uri
    last = name.startswith(INTERNALS) and name != PUBLIC
    page.meta["search"] = {"boost": FOUND_LAST if last else FOUND_FIRST}
    if page.file.abs_src_path is None:
        return markdown
    home = Path(page.file.abs_src_path)
    link = r"(?<=\]\()(?![a-z]+:|#)[^)#\s]+"
    return re.sub(link, lambda found: lead(found[0], name, home), markdown)


def on_page_content(html: str, page: Page, **_: Any) -> str:
    """Mend what Markdown makes of our texts, and tell that the page is done.

    Docstrings announce a block by `::`, which Markdown does not know. A cell of a table's head that is empty heads
    nothing, and a head of such cells is none.
    """
    Progress.done += 1
    print(f"docs: {Progress.done:3} of {Progress.total}  {page.file.src_uri}", file=sys.stderr, flush=True)
    html = re.sub(r"::</p>", ":</p>", html.replace("<p>::</p>\n", ""))
    html = re.sub(r"<thead>\s*<tr>\s*(<th[^>]*></th>\s*)+</tr>\s*</thead>\s*", "", html)
    return re.sub(r"<th([^>]*)></th>", r"<td\1></td>", html)


def on_post_build(config: MkDocsConfig) -> None:
    took = time.monotonic() - Progress.began
    print(f"docs: {Progress.done} pages in {config.site_dir}, after {took:.0f} s", file=sys.stderr)
