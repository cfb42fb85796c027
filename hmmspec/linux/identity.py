"""What a kernel tree holds, as a hash: of what takes part in a build, read anew only where a file has changed.

A tree of 60,000 files is hashed in some seconds.  What stands in the memo is believed for a file whose size, times and
inode are the same, as git does it; a file that was changed about when it was hashed is hashed again.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from hmmspec.linux.errors import wrong

# Size, time of change in ns, time of change of the inode in ns, inode, hash.
Stamp = tuple[int, int, int, int, str]

_ASIDE = frozenset({"Documentation", "samples", "LICENSES", ".git", "tools/testing", "tools/perf"})
_NOISE = (".orig", ".rej", "~", ".swp", ".patch", ".o", ".cmd")
_RACY = 3_000_000_000  # ns: within this of its hashing, a file's time says little


@dataclass(frozen=True)
class Snapshot:
    """What a tree held at one moment.  files: path -> stamp; digest: of all paths, modes and contents."""

    files: Mapping[str, Stamp]
    digest: str

    def changed(self, before: Mapping[str, str]) -> list[str]:
        """The paths whose content is not what it was (`before`: path -> hash): changed, new, gone."""
        now = {path: stamp[4] for path, stamp in self.files.items()}
        return sorted(path for path in now.keys() | before.keys() if now.get(path) != before.get(path))


def snapshot(folder: Path, memo: Path | None = None, tell: Callable[[int], object] | None = None) -> Snapshot:
    """Look at a tree.  memo: a file that keeps the hashes until the next time; tell: called with how many files were
    read.  Raises SpecError for what cannot be read."""
    known = _load(memo)
    files: dict[str, Stamp] = {}
    read = 0
    try:
        for path, found in _walk(folder, ""):
            before = known.get(path)
            stamp = (found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino)
            if before is not None and tuple(before[:4]) == stamp:
                files[path] = before
                continue
            digest = _hash(folder / path, found.st_mode)
            files[path] = (*stamp, digest)
            read += 1
            if tell is not None and read % 1000 == 0:
                tell(read)
    except OSError as error:
        raise wrong("HMM154", f"the tree cannot be read: {error.filename or folder}: {error.strerror}") from None
    whole = hashlib.sha256()
    for path in sorted(files):
        whole.update(f"{path}\0{files[path][4]}\n".encode(errors="surrogateescape"))
    if memo is not None and (read or len(files) != len(known)):
        _save(memo, files)
    return Snapshot(files, whole.hexdigest())


def _walk(folder: Path, inside: str) -> Iterator[tuple[str, os.stat_result]]:
    with os.scandir(folder / inside) as entries:
        found = sorted(entries, key=lambda entry: entry.name)
    for entry in found:
        path = f"{inside}/{entry.name}" if inside else entry.name
        if entry.is_dir(follow_symlinks=False):
            if path not in _ASIDE and (inside != "arch" or entry.name == "x86"):
                yield from _walk(folder, path)
        elif not entry.name.endswith(_NOISE):
            told = entry.stat(follow_symlinks=False)
            if stat.S_ISREG(told.st_mode) or stat.S_ISLNK(told.st_mode):
                yield path, told


def _hash(path: Path, mode: int) -> str:
    if stat.S_ISLNK(mode):
        return "l" + hashlib.blake2b(os.fsencode(path.readlink()), digest_size=16).hexdigest()
    kind = "x" if mode & 0o100 else "f"
    return kind + hashlib.blake2b(path.read_bytes(), digest_size=16).hexdigest()


def _load(memo: Path | None) -> dict[str, Stamp]:
    if memo is None:
        return {}
    try:
        data = json.loads(memo.read_text(encoding="utf-8", errors="surrogateescape"))
        return {path: (a, b, c, d, str(e)) for path, (a, b, c, d, e) in data.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


def _save(memo: Path, files: Mapping[str, Stamp]) -> None:
    """Keep the hashes; a memo that cannot be written costs some seconds the next time, and nothing else."""
    now = time.time_ns()
    sure = {path: stamp for path, stamp in files.items() if now - max(stamp[1], stamp[2]) > _RACY}
    temporary = memo.with_name(f"{memo.name}.{os.getpid()}")
    with suppress(OSError):
        try:
            text = json.dumps(sure, separators=(",", ":"), ensure_ascii=True)
            temporary.write_text(text, encoding="utf-8")
            temporary.replace(memo)
        finally:
            temporary.unlink(missing_ok=True)
