"""What takes long to make and is asked for again, kept in the user's cache directory.

A cache that is missing, stale, damaged, somebody else's or not writable is no error: what it held is made again.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import sys
import tempfile
from functools import cache
from pathlib import Path

MOST = 200  # files of one kind
_DIGEST = 32


def file_for(kind: str, *parts: str) -> Path | None:
    """Where something is kept that was made of these parts, by this Python and this source of hmmspec."""
    try:
        base = os.environ.get("XDG_CACHE_HOME")
        folder = (Path(base) if base else Path.home() / ".cache") / "hmmspec" / kind
    except RuntimeError:  # no home directory
        return None
    key = hashlib.sha256("\n".join([sys.version, _source(), *(str(len(p)) + ":" + p for p in parts)]).encode())
    return folder / f"{key.hexdigest()[:32]}.bin"


@cache
def _source() -> str:
    """What says that the code of this package is the same."""
    here = Path(__file__).parent
    files = sorted(
        [*here.glob("*.py"), *here.glob("*.lark"), here.parent / "diagnostics.py", here.parent / "records.py"]
    )
    return " ".join(f"{p.name}:{(s := p.stat()).st_mtime_ns}:{s.st_size}" for p in files)


def read(path: Path | None) -> bytes | None:
    """What was written there, whole and by this user: it may be code in the end."""
    if path is None:
        return None
    try:
        if path.stat().st_uid != os.getuid() or path.parent.stat().st_mode & 0o022:
            return None
        data = path.read_bytes()
    except OSError:
        return None
    digest, payload = data[:_DIGEST], data[_DIGEST:]
    return payload if hashlib.sha256(payload).digest() == digest else None


def write(path: Path | None, payload: bytes) -> None:
    """Keep it, if that is possible."""
    if path is None:
        return
    with contextlib.suppress(OSError):
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # Written aside and moved into place, so that no other process reads half of it.
        with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as stream:
            stream.write(hashlib.sha256(payload).digest() + payload)
        Path(stream.name).replace(path)
        kept = sorted(path.parent.iterdir(), key=lambda p: p.stat().st_mtime, reverse=True)
        for old in kept[MOST:]:
            old.unlink(missing_ok=True)
