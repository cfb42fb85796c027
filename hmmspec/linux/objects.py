"""The folder where make works, kept between builds, and what it was last built from.

NOTE(older-than-its-object): make rebuilds what is newer than its object.  A file that changed but carries an old time
(copied with `cp -p`, unpacked, put back from a backup) would be missed, and the image would not be of its source.  So
the folder remembers the hash of every file and when the last build ended: what has changed without being newer than
that is taken out of make's reach by removing the objects that mention it.
"""

from __future__ import annotations

import fcntl
import json
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

from hmmspec.linux.errors import wrong
from hmmspec.linux.identity import Snapshot

_RECORD = "hmmspec.json"
_NEVER = (1 << 62) - 1  # ns: a build that did not end may have ended at any time
_CONFIGURES = ("Kconfig", "scripts/", "Makefile", "arch/x86/configs/", "kernel/configs/")


@dataclass
class Record:
    """What a folder of objects was last built from.

    files: path -> hash; ended: when the build ended, in ns; steps: how many a whole build takes; begun: how many of
    them an unfinished one has made; options: what was asked for; configured: what became of it.
    """

    files: dict[str, str] = field(default_factory=dict)
    ended: int = _NEVER
    steps: int = 0
    begun: int = 0
    options: str = ""
    configured: str = ""


@dataclass
class Objects:
    """A locked folder of objects: nobody else builds in it."""

    folder: Path
    record: Record

    @property
    def log(self) -> Path:
        """What make said in the last build."""
        return self.folder / "hmmspec.log"

    @property
    def fresh(self) -> bool:
        """Whether nothing has been built here yet."""
        return not (self.folder / "vmlinux").exists()

    def prepare(self, files: Snapshot | None, options: str) -> bool:
        """Make it ready for what the tree holds now.  Returns whether it has to be configured anew."""
        self.log.unlink(missing_ok=True)
        config = self.folder / ".config"
        again = self.record.options != options or not config.exists() or self.record.configured != _text(config)
        if files is not None:
            changed = files.changed(self.record.files)
            again = again or any(part in path for path in changed for part in _CONFIGURES)
            stale = [path for path in changed if path in files.files and files.files[path][1] <= self.record.ended]
            if not self.fresh and (not self.record.files or (stale and not self._forget(stale))):
                self._empty()
                again = True
            self.record.files = {path: stamp[4] for path, stamp in files.files.items()}
        self.record.ended = _NEVER
        self._save()
        return again

    def configured(self, options: str) -> None:
        """It has been configured with these options."""
        self.record.options, self.record.configured = options, _text(self.folder / ".config")
        self._save()

    def ended(self, *, steps: int = 0, begun: int = 0) -> None:
        """A build has ended, well or not.  steps: of a whole one that began with nothing; begun: of an unfinished."""
        self.record.ended = time.time_ns()
        self.record.steps = steps or self.record.steps
        self.record.begun = begun
        with suppress(OSError):  # after a full disk: the next build then trusts no time
            self._save()

    def _forget(self, paths: list[str]) -> bool:
        """Remove the objects that were made from these files.  False: of one of them nobody knows what was."""
        wanted = {path: f"/{path}".encode() for path in paths}
        met: set[str] = set()
        for told in self.folder.rglob(".*.cmd"):
            text = told.read_bytes()
            hits = [path for path, name in wanted.items() if name in text]
            if hits:
                met.update(hits)
                (told.parent / told.name.removeprefix(".").removesuffix(".cmd")).unlink(missing_ok=True)
                told.unlink(missing_ok=True)
        # What make reads anew in any case, and sources that no object came from: they were not built.
        harmless = (".c", ".h", ".S", ".dts", ".dtsi", ".txt", ".rst", "Makefile", "Kbuild")
        return all(path in met or path.endswith(harmless) or "Kconfig" in path for path in paths)

    def _empty(self) -> None:
        for path in self.folder.iterdir():
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()
        self.record = Record(steps=self.record.steps)

    def _save(self) -> None:
        temporary = self.folder / f"{_RECORD}.new"
        temporary.write_text(json.dumps(asdict(self.record), separators=(",", ":")), encoding="utf-8")
        temporary.replace(self.folder / _RECORD)


@contextmanager
def objects(folder: Path) -> Iterator[Objects]:
    """The folder of objects, made if need be, while nobody else builds in it.  Raises SpecError if somebody does."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with folder.with_name(f"{folder.name}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise wrong("HMM154", f"another hmmspec builds this tree now, in {folder}", "wait for it") from None
        yield Objects(folder, _load(folder))


def _load(folder: Path) -> Record:
    try:
        data = json.loads((folder / _RECORD).read_text(encoding="utf-8"))
        files: Mapping[str, str] = data["files"]
        return Record(
            dict(files),
            int(data["ended"]),
            int(data["steps"]),
            int(data.get("begun", 0)),
            str(data["options"]),
            str(data["configured"]),
        )
    except (OSError, ValueError, TypeError, KeyError):
        return Record()


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
