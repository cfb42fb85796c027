"""Compiled specs on disk: a folder of the user's own, from which only what was written whole is loaded.

An entry is `KEY-DIGEST.so`: KEY says what it was made from, DIGEST is the hash of its bytes, which are looked at before
they are loaded.  It is written beside its place and moved there, so no reader sees a part of one.
"""

from __future__ import annotations

import hashlib
import os
import stat
import tempfile
import time
from contextlib import suppress
from pathlib import Path

LARGEST = 256 << 20  # bytes of all entries
_ABANDONED = 3600  # seconds after which a file that was never moved to its place is removed


class Refused(Exception):
    """The folder cannot be used; the message says why."""


def cache_folder(name: str = "native") -> Path:
    """A folder of the cache (for compiled specs), made if need be.  Raises Refused if others could write to it."""
    base = os.environ.get("XDG_CACHE_HOME")
    try:
        top = (Path(base) if base else Path.home() / ".cache") / "hmmspec"
    except RuntimeError:
        raise Refused("there is no home directory for a cache") from None
    folder = top / name
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for path, forbidden in ((top, 0o022), (folder, 0o077)):
            found = path.lstat()
            if not stat.S_ISDIR(found.st_mode):
                raise Refused(f"{path} is not a folder")
            if found.st_uid != os.getuid():
                raise Refused(f"{path} belongs to another user")
            if found.st_mode & forbidden:
                raise Refused(f"{path} is open to other users (mode {stat.S_IMODE(found.st_mode):o})")
        if not os.access(folder, os.W_OK | os.X_OK):
            raise Refused(f"{folder} is not writable")
    except OSError as e:
        raise Refused(f"{folder}: {e.strerror or e}") from None
    return folder


def find(folder: Path, key: str) -> Path | None:
    """The entry of this key, if there is one and its bytes are those that were written."""
    for path in sorted(folder.glob(f"{key}-*.so")):
        try:
            if path.name == f"{key}-{_digest(path.read_bytes())}.so" and path.lstat().st_uid == os.getuid():
                os.utime(path)
                return path
            path.unlink()  # damaged
        except OSError:
            continue
    return None


def store(folder: Path, key: str, made: Path) -> Path:
    """Take a file from the same folder in under this key; old entries go where there are too many.  Raises OSError."""
    path = folder / f"{key}-{_digest(made.read_bytes())}.so"
    made.chmod(0o600)
    made.replace(path)
    _trim(folder, path)
    return path


def scratch(folder: Path) -> Path:
    """A name for a file that is not ready yet.  Raises OSError."""
    handle, name = tempfile.mkstemp(prefix="new-", suffix=".part", dir=folder)
    os.close(handle)
    return Path(name)


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:40]


def _trim(folder: Path, newest: Path) -> None:
    """Remove what was used longest ago while all entries together are too large."""
    with suppress(OSError):
        for part in folder.glob("new-*.part"):
            with suppress(OSError):
                if part.stat().st_mtime < time.time() - _ABANDONED:
                    part.unlink()
        entries = []
        for path in folder.glob("*.so"):
            with suppress(OSError):
                found = path.stat()
                entries.append((found.st_mtime, found.st_size, path))
        total = sum(size for _, size, _ in entries)
        for _, size, path in sorted(entries):
            if total <= LARGEST:
                break
            if path != newest:
                with suppress(OSError):
                    path.unlink()
                    total -= size
