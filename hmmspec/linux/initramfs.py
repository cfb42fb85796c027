"""The guest's first file system: a cpio archive, compressed, with nothing in it but `/init`."""

from __future__ import annotations

import gzip

_FIELDS = 13  # numbers of eight hexadecimal digits in a header of the format "newc"
_FOLDER, _FILE, _DEVICE = 0o040755, 0o100755, 0o020600


def initramfs(init: bytes) -> bytes:
    """An archive with this program as `/init`, and the two nodes that it needs before it has mounted anything."""
    entries = [
        _entry(1, "dev", _FOLDER),
        _entry(2, "dev/console", _DEVICE, major=5, minor=1),
        _entry(3, "init", _FILE, init),
        _entry(4, "TRAILER!!!", 0),
    ]
    # Without a time stamp the same program gives the same bytes.
    return gzip.compress(b"".join(entries), compresslevel=6, mtime=0)


def _entry(number: int, name: str, mode: int, data: bytes = b"", major: int = 0, minor: int = 0) -> bytes:
    """One entry: header, name and data, both filled up to four bytes."""
    told = name.encode() + b"\0"
    numbers = (number, mode, 0, 0, 1, 0, len(data), 0, 0, major, minor, len(told), 0)
    assert len(numbers) == _FIELDS
    head = b"070701" + b"".join(b"%08X" % n for n in numbers)
    return _filled(head + told) + _filled(data)


def _filled(data: bytes) -> bytes:
    return data + b"\0" * (-len(data) % 4)
