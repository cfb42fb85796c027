"""Files are written whole or not at all: a reader never sees half a report, and a full disk leaves the old one."""

from __future__ import annotations

import os
import re
import tempfile
from pathlib import Path

from hmmspec.cli.args import mistake


def write_whole(path: Path, text: str) -> None:
    """Write a file under a temporary name and rename it.  Raises SpecError if that cannot be done."""
    try:
        if path.is_dir():
            raise IsADirectoryError(0, "it is a folder")
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists() and not path.is_file():
            # /dev/stdout, /dev/null, a pipe: nothing to rename.
            path.write_text(text, encoding="utf-8", errors="backslashreplace")
            return
        target = path.resolve()
        mode = target.stat().st_mode & 0o777 if target.exists() else 0o666 & ~_umask()
        handle, name = tempfile.mkstemp(prefix=f".{target.name[:100]}.", dir=target.parent)
        temporary = Path(name)
        try:
            with os.fdopen(handle, "w", encoding="utf-8", errors="backslashreplace", newline="") as out:
                out.write(text)
            temporary.chmod(mode)
            temporary.replace(target)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise mistake("HMM087", f"cannot write '{path}': {error.strerror or error}") from None


def check_writable(path: Path) -> None:
    """Before a long run: whether `path` can be written at its end at all.  Raises SpecError."""
    there = next(p for p in (path, *path.absolute().parents) if p.exists())
    if not os.access(there, os.W_OK) or (there != path and not there.is_dir()):
        raise mistake("HMM087", f"cannot write '{path}': '{there}' does not allow it")


def file_name(*parts: str) -> str:
    """Parts joined by `-`, without what a file name should not hold."""
    return "-".join(re.sub(r"[^A-Za-z0-9_.]+", "_", part).strip("_.") or "_" for part in parts)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
