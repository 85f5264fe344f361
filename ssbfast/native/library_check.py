"""A check that the file of the C core is complete.

Linux maps a library into memory without looking at the file's length, and ends the process when it touches what is
missing. Other systems refuse such a file by themselves.
"""

from __future__ import annotations

import importlib.util
import struct
import sys
from typing import Final

_ELF64: Final = b"\x7fELF\x02\x01"
"""An ELF file of 64 bits, little-endian: what all machines have for which there are wheels."""
_HEADER: Final = struct.Struct("<32xQ14xHH")  # e_phoff, e_phentsize, e_phnum
_SEGMENT: Final = struct.Struct("<8xQ16xQ")  # p_offset, p_filesz


def check(name: str) -> None:
    """Raise ImportError when the file of the extension module `name` is cut off.

    A missing file is left to the import.

    Spec: System V ABI, "ELF header" and "Program header".
    """
    spec = None if name in sys.modules else importlib.util.find_spec(name)
    if spec is None or not spec.has_location or spec.origin is None:
        return
    with open(spec.origin, "rb") as file:
        data = file.read()
    if is_cut_off(data):
        raise ImportError(f"{spec.origin} is cut off")


def is_cut_off(data: bytes) -> bool:
    """Return whether a library is shorter than its segments say. False for a file that is no 64-bit ELF."""
    if not data.startswith(_ELF64):
        return False
    try:
        start, size, count = _HEADER.unpack_from(data)
        segments = [_SEGMENT.unpack_from(data, start + n * size) for n in range(count)]
    except struct.error:
        return True
    return any(offset + length > len(data) for offset, length in segments)
