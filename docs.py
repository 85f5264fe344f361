"""The pages of the documentation, for mkdocs: those of the repository, and a reference made of the docstrings.

The reference begins with the names of `import ssbfast`; a page for each package follows. A module's members are the
public ones that it defines, in their order: what it only imports is found where it is defined.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

import ssbfast

ROOT = Path(__file__).parent
PACKAGE = ROOT / "ssbfast"
FOLDERS = (".", "docs", "docs/topics", ".github", "benchmarks")
PAGES = [*(page for folder in FOLDERS for page in (ROOT / folder).glob("*.md")), ROOT / "LICENSE"]
PUBLIC = "reference/names.md"
BASE = "reference/base.md"
"""What lies directly in `ssbfast`: errors, ids, keys, limits."""
STYLE = ".wy-table-responsive table td, .wy-table-responsive table th { white-space: normal }\n"
"""The theme lets no cell of a table have two lines: what did not fit was out of sight."""


def public_names() -> str:
    """The page of what `import ssbfast` offers: each name is described at its home."""
    homes = {name: home for name, home in ssbfast._HOMES.items() if name in ssbfast.__all__}
    short = "    options:\n      show_root_full_path: false\n"
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
    """The place in the navigation that is kept for the reference."""
    titles = {PUBLIC: "names of ssbfast", BASE: "errors, ids, keys, limits"}
    for entry in config.nav or []:
        if entry.get("Reference") == "REFERENCE":
            entry["Reference"] = [{titles.get(page, f"ssbfast.{Path(page).stem}"): page} for page in reference()]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """All pages, and nothing of the folder that mkdocs was told to read."""
    pages = [File.generated(config, str(path.relative_to(ROOT)), abs_src_path=str(path)) for path in PAGES]
    pages += [File.generated(config, page, content=text) for page, text in reference().items()]
    pages.append(File.generated(config, "style.css", content=STYLE))
    return Files(pages + [file for file in files if not file.src_uri.endswith((".py", ".typed", ".so"))])


def on_page_content(html: str, **_: Any) -> str:
    """Docstrings announce a block by `::`, which Markdown does not know."""
    return re.sub(r"::</p>", ":</p>", html.replace("<p>::</p>\n", ""))
