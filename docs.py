"""The pages of the documentation, for mkdocs: those of the repository, and one of reference for each package."""

from __future__ import annotations

from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parent
PACKAGE = ROOT / "ssbfast"
PAGES = [*ROOT.glob("*.md"), *ROOT.glob(".github/*.md"), *ROOT.glob("benchmarks/*.md"), ROOT / "LICENSE"]


def reference() -> dict[str, list[str]]:
    """The modules of each package, by the name of the page: `reference/wire.md` has all of `ssbfast.wire`."""
    found: dict[str, list[str]] = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = list(path.relative_to(PACKAGE).with_suffix("").parts)
        if parts[-1] in ("__main__", "__init__") and len(parts) < 2:
            continue
        page = parts[0] if len(parts) > 1 else "ssbfast"
        name = ".".join(["ssbfast", *(part for part in parts if part != "__init__")])
        found.setdefault(f"reference/{page}.md", []).append(name)
    return found


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """The place in the navigation that is kept for the reference."""
    for entry in config.nav or []:
        if entry.get("Reference") == "REFERENCE":
            entry["Reference"] = [{Path(page).stem: page} for page in sorted(reference())]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """All pages, and nothing of the folder that mkdocs was told to read."""
    pages = [File.generated(config, str(path.relative_to(ROOT)), abs_src_path=str(path)) for path in PAGES]
    for page, modules in reference().items():
        text = f"# {Path(page).stem}\n\n" + "\n".join(f"::: {name}" for name in modules)
        pages.append(File.generated(config, page, content=text))
    return Files(pages + [file for file in files if not file.src_uri.endswith((".py", ".typed", ".so"))])
