"""`python tests/wheel/packing.py WHEEL|FOLDER`: packs wheels anew, as tightly as their format allows.

zipfile's compressor stops searching long before zopfli does: 3 % of a wheel. What the members hold stays the same.
Needs zopfli; nothing else of this project, because the workflow's containers run it by itself.

Spec: APPNOTE.TXT 6.3, "Local file header", "Central directory structure".
"""

from __future__ import annotations

import struct
import sys
import zipfile
from pathlib import Path

from zopfli.zlib import compress

_COMMON = struct.Struct("<5H3I2H")  # version, flags, method, time, date; checksum, sizes packed and plain; name, extra
_CENTRAL = struct.Struct("<3H2I")  # comment, disk, internal attributes; external attributes, offset
_END = struct.Struct("<4s4H2IH")


def pack(path: Path) -> None:
    """Replace a wheel by the same, packed more tightly."""
    body, directory, count = bytearray(), bytearray(), 0
    with zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            if not info.is_dir():
                offset = len(body)
                fields, name, data = member(info, archive.read(info))
                body += b"PK\3\4" + fields + name + data
                rest = _CENTRAL.pack(0, 0, 0, info.external_attr, offset)
                directory += b"PK\1\2" + struct.pack("<H", 3 << 8 | 20) + fields + rest + name
                count += 1
    end = _END.pack(b"PK\5\6", 0, 0, count, count, len(directory), len(body), 0)
    path.write_bytes(body + directory + end)
    with zipfile.ZipFile(path) as archive:
        if archive.testzip() is not None:
            raise SystemExit(f"{path} was packed wrongly")


def member(info: zipfile.ZipInfo, plain: bytes) -> tuple[bytes, bytes, bytes]:
    """The fields that both headers of a member have, its name, its data."""
    name = info.filename.encode("ascii")
    packed = compress(plain)[2:-4]  # without zlib's head and checksum
    method = zipfile.ZIP_DEFLATED
    if len(packed) >= len(plain):
        packed, method = plain, zipfile.ZIP_STORED
    year, month, day, hour, minute, second = info.date_time
    date, time = (year - 1980) << 9 | month << 5 | day, hour << 11 | minute << 5 | second // 2
    fields = _COMMON.pack(20, 0, method, time, date, info.CRC, len(packed), len(plain), len(name), 0)
    return fields, name, packed


if __name__ == "__main__":
    for word in sys.argv[1:]:
        for wheel in [Path(word)] if Path(word).is_file() else sorted(Path(word).glob("*.whl")):
            pack(wheel)
