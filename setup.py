"""Builds the C core, unless SSBFAST_NATIVE=0 asks for the pure package, and archives that are the same each time.

Everything else is in pyproject.toml. SOURCE_DATE_EPOCH (seconds since 1970) dates what is inside the archives.
"""

import gzip
import os
import re
import sys
import sysconfig
import tarfile
from pathlib import Path
from typing import Any

from setuptools import setup
from setuptools.command.build_ext import build_ext
from setuptools.command.sdist import sdist

ADVICE = "ssbfast: the C core did not compile; install a C compiler, or set SSBFAST_NATIVE=0 for the pure package"
DATE = os.environ.setdefault("SOURCE_DATE_EPOCH", "1577836800")  # 2020: zip files know no date before 1980


class BuildCore(build_ext):
    """Says in one line what to do when there is no (working) compiler."""

    def build_extension(self, ext: Any) -> None:
        try:
            super().build_extension(ext)
        except Exception as error:
            print(error, file=sys.stderr)
            raise SystemExit(ADVICE) from None


class SameArchive(sdist):
    """The source archive says nothing of who packed it, when and in which order: the same sources, the same bytes."""

    def make_archive(self, base_name: Any, format: str, root_dir: Any = None, base_dir: Any = None, **_: Any) -> str:
        if format != "gztar":
            raise SystemExit(f"ssbfast: source archives are made as gztar, not as {format}")
        path = Path(f"{base_name}.tar.gz")
        path.parent.mkdir(parents=True, exist_ok=True)
        with (
            path.open("wb") as file,
            gzip.GzipFile("", "wb", fileobj=file, mtime=int(DATE)) as packed,
            tarfile.open(mode="w", fileobj=packed, format=tarfile.PAX_FORMAT) as archive,
        ):
            for source in sorted(Path(base_dir).rglob("*"), key=lambda path: path.as_posix()):
                archive.add(source, recursive=False, filter=anonymous)
        return str(path)


def anonymous(member: tarfile.TarInfo) -> tarfile.TarInfo:
    """A member without owner and date, and with one of two modes."""
    member.mtime, member.uid, member.gid, member.uname, member.gname = int(DATE), 0, 0, "", ""
    member.mode = 0o755 if member.isdir() or member.mode & 0o100 else 0o644
    return member


def long_description() -> str:
    """README.md, whose links lead to the files of this version: an index has none of them."""
    here = Path(__file__).parent
    settings = (here / "pyproject.toml").read_text(encoding="utf-8")
    source, version = (re.search(f'^{name} = "(.+)"$', settings, re.M)[1] for name in ("Source", "version"))  # type: ignore[index]
    text = (here / "README.md").read_text(encoding="utf-8")
    return re.sub(r"\]\((?![a-z]+:|#)", f"]({source}/blob/v{version}/", text)


def options() -> dict[str, Any]:
    wanted = os.environ.get("SSBFAST_NATIVE", "1")
    if wanted not in ("0", "1"):
        raise SystemExit(f"ssbfast: SSBFAST_NATIVE is {wanted!r}; it can be 1 (build the C core) or 0 (pure package)")
    chosen: dict[str, Any] = {
        "cmdclass": {"build_ext": BuildCore, "sdist": SameArchive},
        "long_description": long_description(),
        "long_description_content_type": "text/markdown",
    }
    if wanted == "1":
        chosen["cffi_modules"] = ["csrc/build_ffi.py:ffibuilder"]
        # A free-threaded Python has no limited API: it gets a wheel of its own.
        if not sysconfig.get_config_var("Py_GIL_DISABLED"):
            chosen["options"] = {"bdist_wheel": {"py_limited_api": "cp310"}}
    return chosen


setup(**options())
