"""What to build from: a tree, a tarball, or the distribution's source package; and what identifies it."""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from hmmspec.linux.errors import wrong
from hmmspec.linux.identity import Snapshot, snapshot
from hmmspec.linux.image import replace_folder
from hmmspec.linux.store import Store
from hmmspec.linux.tree import Tree, open_tree

PACKAGED = (Path("/usr/src"),)  # where linux-source packages put their tarballs
_TARBALL = re.compile(r"\.(tar|tar\.xz|txz|tar\.gz|tgz|tar\.bz2|tar\.zst)$")
_UNPACKED = 1_700_000_000  # bytes that a tree takes

Tell = Callable[[str], object]


@dataclass(frozen=True)
class Source:
    """A tree to build.  name: as the user knows it; identity: a hash of what it holds.

    files: what it held when it was looked at; None for a tarball, whose tree is ours and does not change.
    """

    tree: Tree
    name: str
    identity: str
    files: Snapshot | None = None
    memo: Path | None = None

    def still_the_same(self) -> Source:
        """The tree as it is now: its files may have changed while it was built.  Raises SpecError."""
        if self.files is None:
            return self
        files = snapshot(self.tree.folder, self.memo)
        if files.digest == self.identity:
            return self
        return Source(open_tree(self.tree.folder, self.name), self.name, files.digest, files, self.memo)


def find_source(text: str, store: Store, tell: Tell, packaged: Sequence[Path] = PACKAGED) -> Source:
    """The source that `--source` names: a folder, a tarball or `debian`.  Raises SpecError."""
    if text == "debian":
        return _from_tarball(_package(packaged), store, tell)
    path = Path(text).expanduser()
    if path.is_dir():
        return _from_folder(path, text, store, tell)
    if not path.exists():
        fix = "--source takes a kernel tree, a tarball of one, or 'debian' for the distribution's source package"
        raise wrong("HMM151", f"there is no '{text}'", fix)
    if not _TARBALL.search(path.name):
        raise wrong(
            "HMM151", f"'{text}' is neither a folder nor a tarball", "tarballs end in .tar, .tar.xz, .tar.gz, .."
        )
    return _from_tarball(path, store, tell)


def _from_folder(path: Path, name: str, store: Store, tell: Tell) -> Source:
    tree = open_tree(path, name)
    memo = store.memos / f"{tag(tree.folder)}.json"
    tell(f"looking at {name}")
    files = snapshot(tree.folder, memo, lambda count: tell(f"looking at {name}: {count:,} files read"))
    return Source(tree, str(tree.folder), files.digest, files, memo)


def _from_tarball(path: Path, store: Store, tell: Tell) -> Source:
    tell(f"looking at {path.name}")
    identity = _digest(path)
    place = store.trees / identity[:24]
    if not place.is_dir():
        _unpack(path, place, tell)
    inside = [p for p in place.iterdir() if p.is_dir()]
    if (place / "Makefile").exists() or len(inside) != 1:
        inside = [place]
    try:
        tree = open_tree(inside[0], path.name)
    except Exception:
        shutil.rmtree(place, ignore_errors=True)  # nothing that can be built is kept
        raise
    return Source(tree, str(path), identity)


def tag(folder: Path) -> str:
    """A short name for what belongs to a folder: its own and a hash of its path."""
    return f"{folder.name[:40]}-{hashlib.sha256(str(folder).encode(errors='surrogateescape')).hexdigest()[:12]}"


def _package(packaged: Sequence[Path]) -> Path:
    found = []
    for folder in packaged:
        for pattern in ("linux-source-*.tar.*", "linux-source-*/linux-source-*.tar.*"):
            found += [path for path in folder.glob(pattern) if _TARBALL.search(path.name)]
    if not found:
        fix = "apt-get install linux-source-6.12 ('apt-cache search linux-source' tells others), or --source DIR"
        raise wrong("HMM151", "there is no kernel source package in /usr/src", fix)
    return max(found, key=lambda path: [int(number) for number in re.findall(r"\d+", path.name)])


def _digest(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise wrong("HMM151", f"'{path}' cannot be read: {error.strerror}") from None


def _unpack(path: Path, place: Path, tell: Tell) -> None:
    """Unpack a tarball to its place, whole or not at all.  Raises SpecError."""
    check_room(place.parent, _UNPACKED if path.stat().st_size > 20_000_000 else 0, "to unpack a kernel tree")
    tell(f"unpacking {path.name}")
    temporary = Path(tempfile.mkdtemp(prefix=".new-", dir=place.parent))
    try:
        command = ["tar", "-x", "--no-same-owner", "-C", str(temporary), "-f", str(path.absolute())]
        done = subprocess.run(command, check=False, capture_output=True, text=True, errors="replace")
        if done.returncode:
            told = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[0]
            if "No space left" in done.stderr:
                raise full(place.parent)
            fix = "apt-get install xz-utils" if "xz: " in told and "exec" in told else None
            raise wrong("HMM151", f"'{path}' cannot be unpacked: {told}", fix)
        replace_folder(temporary, place)
    except FileNotFoundError:
        raise wrong("HMM157", "there is no program 'tar'", "apt-get install tar") from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def check_room(folder: Path, bytes_: int, what: str) -> None:
    """Whether a disk has so much room.  Raises SpecError."""
    free = shutil.disk_usage(folder).free
    if free < bytes_:
        told = f"no room {what}: {folder} has {free / 1e9:.1f} GB free of {bytes_ / 1e9:.1f} GB that it takes"
        raise wrong("HMM156", told, "'hmmspec linux rm --all' empties the cache; XDG_CACHE_HOME puts it elsewhere")


def full(folder: Path) -> Exception:
    """The error for a disk that is full."""
    told = f"no room is left on the disk of {folder}"
    return wrong("HMM156", told, "'hmmspec linux rm --all' empties the cache; XDG_CACHE_HOME puts it elsewhere")
