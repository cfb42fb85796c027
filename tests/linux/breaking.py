"""A kernel made wrong on purpose: one line of a scratch copy of a tree is replaced by another.

Each file of `breakages/` says which: `file`, `function`, the `line` that must stand exactly once in that function, and
what it `becomes`; `told` and `seen` say what is wrong then, and by what it shows.

    python tests/linux/breaking.py --source TREE --out DIR [NAME..]

makes a copy of the tree, and for each breakage (for all of them, if none is named) applies it, builds the plain image
into DIR/NAME, and takes it back.  Only the object with the change is compiled anew.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from hmmspec.linux.build import build
from hmmspec.linux.image import Image, copy_image
from hmmspec.linux.mends import replaced
from hmmspec.linux.source import find_source
from hmmspec.linux.store import open_store, remove
from hmmspec.linux.toolchain import find_toolchain

FOLDER = Path(__file__).resolve().parent / "breakages"


class DoesNotFit(Exception):
    """The line to break is not there, or there more than once: the tree is another than the breakage was made for."""


@dataclass(frozen=True)
class Breakage:
    """One line that makes a kernel wrong."""

    name: str
    told: str
    file: str
    function: str
    line: str
    becomes: str
    seen: str

    def apply(self, text: str) -> str:
        """The text of the file with the line replaced.  Raises DoesNotFit."""
        changed = replaced(text, self.function, self.line, self.becomes)
        if changed is None:
            told = f"{self.file} has no function {self.function} with '{self.line}' in it exactly once"
            raise DoesNotFit(f"{self.name}: {told}")
        return changed


def breakages(folder: Path = FOLDER) -> dict[str, Breakage]:
    """All of them, by name."""
    found = {}
    for path in sorted(folder.glob("*.toml")):
        found[path.stem] = Breakage(path.stem, **tomllib.loads(path.read_text(encoding="utf-8")))
    return found


@contextmanager
def broken(tree: Path, breakage: Breakage) -> Iterator[Path]:
    """The tree with the breakage in it; as it was afterwards.  Raises DoesNotFit."""
    path = tree / breakage.file
    text = path.read_text(encoding="utf-8")
    changed = breakage.apply(text)
    try:
        _put(path, changed)
        yield tree
    finally:
        _put(path, text)


def scratch_copy(tree: Path, place: Path) -> Path:
    """A copy that shares its files with the tree until they are replaced: nothing here writes into a file."""
    shutil.copytree(tree, place, copy_function=os.link, symlinks=True, ignore=shutil.ignore_patterns(".git"))
    return place


def build_all(
    scratch: Path, edits: Sequence[Breakage], out: Path, jobs: int
) -> Iterator[tuple[Breakage, Image, float]]:
    """For each breakage its image in `out`, and what building it took.  Raises DoesNotFit, SpecError."""
    store, tools = open_store(), find_toolchain()
    for edit in edits:
        began = time.monotonic()
        with broken(scratch, edit):
            source = find_source(str(scratch), store, lambda text: None)
            made = build(source, "plain", store, lambda: tools, extra={}, jobs=jobs, tell=lambda step: None)
        image = copy_image(made.image, out / edit.name)
        remove(made.image)  # `--target linux` takes the newest of the cache: never one that is wrong on purpose
        yield edit, image, time.monotonic() - began


def _put(path: Path, text: str) -> None:
    """A new file in the place of the old one, which may have other names."""
    handle, name = tempfile.mkstemp(dir=path.parent)
    with os.fdopen(handle, "w", encoding="utf-8", newline="") as file:
        file.write(text)
    shutil.copymode(path, name)
    Path(name).replace(path)


def main(arguments: Sequence[str] | None = None) -> int:
    """Build broken kernels."""
    p = argparse.ArgumentParser(description="Build kernels that are wrong on purpose.")
    p.add_argument("names", nargs="*", metavar="NAME", help=f"which ({', '.join(breakages())})")
    p.add_argument("--source", type=Path, required=True, metavar="TREE", help="a kernel tree; it is not changed")
    p.add_argument("--out", type=Path, required=True, metavar="DIR", help="where the images go")
    p.add_argument("--scratch", type=Path, metavar="DIR", help="where the copy of the tree is kept for the next time")
    p.add_argument("--edits", type=Path, default=FOLDER, metavar="DIR", help="other edits than the breakages")
    p.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)), metavar="N", help="jobs of make")
    args = p.parse_args(arguments)
    scratch = args.scratch or args.out / ".tree"
    if not scratch.exists():
        scratch_copy(args.source.resolve(), scratch)
    known = breakages(args.edits)
    edits = [known[name] for name in args.names or known]
    for breakage, image, seconds in build_all(scratch, edits, args.out, args.jobs):
        print(f"{breakage.name}: {image.folder}, {seconds:.0f} s", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
